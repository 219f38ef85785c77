"""The one place that collects points: one line for what goes wrong while they are read."""

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
    """Say in one line what Polars finds wrong, whether it parses, plans or runs.

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
        raise InputError(f"{source}: {_meant(' '.join(lines[0].split()))}") from None


def _meant(message: str) -> str:
    """Polars' message, with the nearest column where it names one that is not there."""
    found = re.match(r'(unable to find column "([^"]*)"); valid columns: (\[.*\])$', message)
    if found is None:
        return message
    names = re.findall(r'"([^"]*)"', found[3])
    return f"{found[1]}{nearest(found[2], names)}: expected some of {', '.join(names)}"


def collected(frame: pl.LazyFrame, source: str) -> pl.DataFrame:
    """Rows of a frame that memory holds, computed or read piece by piece.

    Raises
    ------
    InputError
        Naming `source`.
    """
    with told(source):
        found = frame.collect(engine="streaming")
    interrupts.check()
    return found


def each_batch(frame: pl.LazyFrame, source: str, work: Callable[[pl.DataFrame], object]) -> None:
    """Call `work` with the rows of a frame, batch after batch in order, in bounded memory.

    What computes the next batches waits for `work`, as it does not where Polars hands out an
    iterator.

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
