"""`python -m sweepengine` is the command `sweepengine`."""

from sweepengine.cli import main

if __name__ == "__main__":
    main()
