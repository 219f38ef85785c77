"""Work on threads, with results in order."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from sweepengine.data.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")
RANGE_ROWS = 1 << 16
"""Points that a thread fills at a time."""


def cores() -> int:
    """Default number of threads."""
    return os.cpu_count() or 1


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], workers: int, wait: bool
) -> Iterator[Result]:
    """Results of `work` on items, in order, computed a few ahead of the reader.

    When the reader stops or `work` raises, items that have not started are dropped.

    Parameters
    ----------
    work : callable
    items : iterable
    workers : int
        Threads.
    wait : bool
        Whether to wait then for items that have started.
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
    """Call `work(start, stop)` on ranges that cover `rows` rows, on `workers` threads."""

    def fill(start: int) -> None:
        work(start, min(rows, start + RANGE_ROWS))

    starts = range(0, rows, RANGE_ROWS)
    if workers == 1 or len(starts) < 2:
        for start in starts:
            fill(start)
    else:
        deque(in_order(fill, starts, workers, wait=True), 0)


class _Forks:
    """Whether this process was forked after array libraries had started threads."""

    begun = False
    lost = False


def _forked() -> None:
    _Forks.lost = _Forks.begun


os.register_at_fork(after_in_child=_forked)


def begin(what: str) -> None:
    """Note that array libraries start threads; `what` names the caller in messages.

    Raises
    ------
    InputError
        In a process that was forked after that: it has lost the threads and would wait forever.
    """
    if _Forks.lost:
        raise InputError(
            f"{what}: this process was forked from one that had used sweepengine, and lost its "
            'threads: expected the start method "spawn" or "forkserver" of multiprocessing'
        )
    _Forks.begun = True
