"""Interrupts: a command that gets SIGINT, SIGTERM or SIGHUP stops without an answer.

Libraries that handle SIGINT may end a scan early as if it were complete. So a command blocks these
signals on all threads and waits for them on a thread that notes the signal before it wakes the main
thread. Signals are blocked while modules load, too: an exception during an import can turn into
another one.
"""

import _thread
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GRACE_SECONDS = 5.0
"""Seconds for cleanup before the process is ended."""
_came: list[int] = []


def status() -> int:
    """Exit status after a signal, 128 plus its number; 0 without a signal."""
    return 128 + _came[0] if _came else 0


def check() -> None:
    """Raise KeyboardInterrupt if a signal came."""
    if _came:
        raise KeyboardInterrupt


@contextmanager
def watched() -> Iterator[None]:
    """Note signals that end this process, and raise `KeyboardInterrupt` on this thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _came.clear()
    heeded, before = hold()
    if not heeded:
        yield
        return
    leaving, ended = threading.Event(), threading.Event()
    watcher = threading.Thread(target=_watch, args=(heeded, leaving, ended), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        leaving.set()
        signal.pthread_kill(watcher.ident or 0, min(heeded))  # wakes it; it lives until `ended`
        ended.set()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def hold() -> tuple[set[signal.Signals], set[signal.Signals | int]]:
    """Block signals on this thread and the threads that it starts, until they are watched.

    Returns
    -------
    tuple
        The signals that this process does not ignore, and the signals blocked before.
    """
    heeded = {number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN}
    return heeded, signal.pthread_sigmask(signal.SIG_BLOCK, heeded)


@contextmanager
def unwatched() -> Iterator[None]:
    """Unblock signals on this thread and in processes that it starts."""
    before = signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_stderr: list[int] = []


def _hush() -> None:
    """Keep what libraries print of an interrupt, such as a panic of Polars, off stderr."""
    with suppress(OSError), Path(os.devnull).open("wb") as nowhere:
        _stderr.append(os.dup(2))
        os.dup2(nowhere.fileno(), 2)


def restore_stderr() -> None:
    """Give stderr back, for the one line that says why the command ends."""
    while _stderr:
        os.dup2(_stderr.pop(), 2)


def _watch(heeded: set[signal.Signals], leaving: threading.Event, ended: threading.Event) -> None:
    # Without a time limit, as with one Python takes a stopped and continued process for a signal.
    came = signal.sigwaitinfo(heeded)
    if leaving.is_set():
        if came.si_pid != os.getpid():  # a signal from outside, not the wake-up of this thread
            os.kill(os.getpid(), came.si_signo)
        ended.wait()
        return
    _hush()  # before the main thread can see the signal and restore stderr
    _came.append(came.si_signo)
    sys.unraisablehook = lambda _: None  # hide errors in callbacks of libraries
    _thread.interrupt_main()
    if not ended.wait(GRACE_SECONDS):
        _end()


def _end() -> NoReturn:
    """End the process at once; unfinished files have temporary names."""
    restore_stderr()
    os.write(2, b"sweepengine: interrupted\n")
    os._exit(status())
