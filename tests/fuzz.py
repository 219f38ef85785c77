"""How long to fuzz, and the command line within this process."""

import io
import os
import sys

from hypothesis import settings

from sweepengine import cli

TIMES = int(os.environ.get("SWEEPENGINE_FUZZ", "1"))
"""Examples for each that a plain run draws; `make fuzz` asks for many, drawn anew."""


def examples(count):
    """So many examples of a test."""
    return settings(max_examples=count * TIMES)


def outcome(arguments):
    """Status, stdout and stderr of a command; a traceback is an exception of the test."""
    streams = [io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2)]
    kept = sys.argv, sys.stdout, sys.stderr
    sys.argv, sys.stdout, sys.stderr = ["sweepengine", *arguments], *streams
    try:
        cli.main()
        status = 0
    except SystemExit as stop:
        status = stop.code or 0
    finally:
        sys.argv, sys.stdout, sys.stderr = kept
    return status, *(stream.buffer.getvalue().decode() for stream in streams)


def right(arguments):
    """Run a command that must end in an answer, or in one line on stderr."""
    status, out, error = outcome(arguments)
    assert status in (0, 2), (arguments, error)
    if status:
        assert error.count("\n") == 1, (arguments, error)
        assert error.startswith("sweepengine: "), (arguments, error)
    assert all(character.isprintable() or character == "\n" for character in error)
    return status, out
