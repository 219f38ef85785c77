"""`python -m sweepengine` is the command `sweepengine`; both begin here."""

import os


def main() -> None:
    """Run the command line; Ctrl-C while its modules load ends it as it does later."""
    try:
        from sweepengine.engine import interrupts

        interrupts.hold()
    except BaseException as error:
        if not _was_interrupted(error):
            raise
        os.write(2, b"sweepengine: interrupted\n")
        os._exit(130)
    from sweepengine.cli import main as command

    command()


def _was_interrupted(error: BaseException | None) -> bool:
    """Whether Ctrl-C is behind an error of an import, which may have turned it into another."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


if __name__ == "__main__":
    main()
