"""Checks when a command starts: closed streams, and environment variables that are not valid."""

import os
import re
import sys

from sweepengine.data.errors import InputError
from sweepengine.data.machine import LEAST, require_addresses

THREADS = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS")
"""Variables that set the threads of libraries, some of which abort on a bad value."""
MOST_THREADS = 65_536


def check_environment() -> None:
    """Refuse variables and limits on which a library would abort the process.

    Raises
    ------
    InputError
        Naming the variable or the limit.
    """
    require_addresses(LEAST)
    for name in THREADS:
        value = os.environ.get(name)
        if value is None:
            continue
        several = name == "OMP_NUM_THREADS"  # OpenMP takes one number for each level
        numbers = value.split(",") if several else [value]
        for number in numbers:
            if not re.fullmatch(r"\s*[0-9]{1,6}\s*", number) or not (
                1 <= int(number) <= MOST_THREADS
            ):
                raise InputError(f"{name} = {value}: expected a number of threads, at least 1")


def open_streams() -> None:
    """Let any text be written to the streams; a closed stream becomes the null device."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
