"""What a command finds when it starts: streams that may be closed, variables that may be wrong."""

import os
import re
import sys

from sweepengine.data.errors import InputError
from sweepengine.data.machine import LEAST, require_addresses

THREADS = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS")
"""Variables by which libraries are told how many threads to start; some abort on nonsense."""
MOST_THREADS = 65_536


def check_environment() -> None:
    """Refuse variables and limits that libraries below would end the process for.

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
        several = name == "OMP_NUM_THREADS"  # one a level, as OpenMP has it
        numbers = value.split(",") if several else [value]
        for number in numbers:
            if not re.fullmatch(r"\s*[0-9]{1,6}\s*", number) or not (
                1 <= int(number) <= MOST_THREADS
            ):
                raise InputError(f"{name} = {value}: expected a number of threads, at least 1")


def open_streams() -> None:
    """Let any text be written to the terminal, and to nothing where a stream is closed."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # which takes the number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
