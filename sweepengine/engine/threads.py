"""Work on threads: results in order, a few ahead of the reader."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from sweepengine.data.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")
RANGE_ROWS = 1 << 16
"""Points that one thread fills before it asks for more."""


def cores() -> int:
    """How many threads work at once unless something else is asked."""
    return os.cpu_count() or 1


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], workers: int, wait: bool
) -> Iterator[Result]:
    """Results of `work` on items, in order, computed on threads a few ahead of the reader.

    When the reader stops or `work` raises, what has not begun is dropped; `wait` says whether to
    wait for what has.
    """
    pending: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for item in items:
            pending.append(pool.submit(work, item))
            if len(pending) > workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=wait, cancel_futures=True)


def in_ranges(work: Callable[[int, int], None], rows: int, workers: int) -> None:
    """Call `work(start, stop)` on ranges that cover so many rows, on so many threads."""

    def one(start: int) -> None:
        work(start, min(rows, start + RANGE_ROWS))

    starts = range(0, rows, RANGE_ROWS)
    if workers == 1 or len(starts) < 2:
        for start in starts:
            one(start)
    else:
        deque(in_order(one, starts, workers, wait=True), 0)


class _Forks:
    """Whether this process was forked from one whose array libraries had begun to work."""

    begun = False
    lost = False


def _forked() -> None:
    _Forks.lost = _Forks.begun


os.register_at_fork(after_in_child=_forked)


def begin(what: str) -> None:
    """Note that libraries with threads of their own begin to work.

    Raises
    ------
    InputError
        In a process forked from one where they had begun: their threads are lost, and it would
        wait for them forever.
    """
    if _Forks.lost:
        raise InputError(
            f"{what}: this process was forked from one that had used sweepengine, and lost its "
            'threads: expected the start method "spawn" or "forkserver" of multiprocessing'
        )
    _Forks.begun = True
