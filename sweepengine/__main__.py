"""`python -m sweepengine` is the command `sweepengine`; both begin here."""

import sys


def main() -> None:
    """Run the command line; Ctrl-C while it is being loaded ends it as it does later."""
    try:
        from sweepengine.cli import main as command
    except KeyboardInterrupt:
        sys.stderr.write("sweepengine: interrupted\n")
        sys.exit(130)
    command()


if __name__ == "__main__":
    main()
