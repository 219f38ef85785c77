"""Collects points; all errors while they are read become one line."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import polars as pl
from polars.exceptions import PanicException, PolarsError

from sweepengine.data.errors import InputError, nearest
from sweepengine.engine import interrupts

BATCH_ROWS = 1 << 18


@contextmanager
def told(source: str) -> Iterator[None]:
    """Turn errors of Polars into one line, whether it parses, plans or runs.

    Raises
    ------
    InputError
        Naming `source`, such as "query" or a dataset.
    """
    try:
        yield
    except (PolarsError, PanicException, OverflowError) as error:
        interrupts.check()
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(f"{source}: {_with_nearest(' '.join(lines[0].split()))}") from None


def _with_nearest(message: str) -> str:
    """Add the nearest column to a message of Polars that names an unknown one."""
    match = re.match(r'(unable to find column "([^"]*)"); valid columns: (\[.*\])$', message)
    if match is None:
        return message
    names = re.findall(r'"([^"]*)"', match[3])
    near = nearest(match[2], names)
    listed = "`sweepengine schema` lists all" if near else f"expected some of {', '.join(names)}"
    return f"{match[1]}{near}: {listed}"


def collected(frame: pl.LazyFrame, source: str) -> pl.DataFrame:
    """Collect a frame that fits in memory, computed or read piece by piece.

    Raises
    ------
    InputError
        Naming `source`.
    """
    with told(source):
        result = frame.collect(engine="streaming")
    interrupts.check()
    return result


def each_batch(frame: pl.LazyFrame, source: str, work: Callable[[pl.DataFrame], object]) -> None:
    """Call `work` with the rows of a frame, batch after batch in order, in bounded memory.

    The next batches wait for `work`; with an iterator of Polars they would not.

    Raises
    ------
    InputError
        Naming `source`; and whatever `work` raises.
    """
    raised: list[BaseException] = []

    def one(batch: pl.DataFrame) -> bool:
        try:
            interrupts.check()
            work(batch)
        except BaseException as error:
            raised.append(error)
            return True
        return False

    with told(source):
        frame.sink_batches(one, chunk_size=BATCH_ROWS, maintain_order=True)
    if raised:
        raise raised[0]
    interrupts.check()
