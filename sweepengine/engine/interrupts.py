"""Ctrl-C and its like: a command that is told to stop says no answer, whatever was under way.

Libraries that handle SIGINT themselves may end a scan early and call that its end. So commands
hold these signals back from all threads and wait for them on one of their own, which notes that
one came before it wakes the main thread. They are held back before modules load, too: an exception
in the middle of an import can turn into any other.
"""

import _thread
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GRACE_SECONDS = 5.0
"""How long a command may take to tidy up before it is ended as it is."""
_came: list[int] = []


def status() -> int:
    """Exit status of a command that a signal ended, 128 and its number; 0: none came."""
    return 128 + _came[0] if _came else 0


def check() -> None:
    """Refuse to go on once a signal came.

    Raises
    ------
    KeyboardInterrupt
    """
    if _came:
        raise KeyboardInterrupt


@contextmanager
def watched() -> Iterator[None]:
    """Note signals that ask this process to end, and raise `KeyboardInterrupt` on this thread."""
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
    """Hold signals back from this thread and those that it starts, until they are watched for.

    Returns
    -------
    tuple
        The signals that this process does not ignore, and those that were held back before.
    """
    heeded = {number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN}
    return heeded, signal.pthread_sigmask(signal.SIG_BLOCK, heeded)


@contextmanager
def unwatched() -> Iterator[None]:
    """Let signals reach this thread, and processes that it starts, as they do elsewhere."""
    before = signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _watch(heeded: set[signal.Signals], leaving: threading.Event, ended: threading.Event) -> None:
    # Without a time limit: with one, Python takes a stop that was continued for a signal.
    came = signal.sigwaitinfo(heeded)
    if leaving.is_set():
        if came.si_pid != os.getpid():  # a signal, not what wakes this thread
            os.kill(os.getpid(), came.si_signo)
        ended.wait()
        return
    _came.append(came.si_signo)
    sys.unraisablehook = lambda _: None  # what callbacks of libraries swallow is no news
    _thread.interrupt_main()
    if not ended.wait(GRACE_SECONDS):
        _end()


def _end() -> NoReturn:
    """End as it is: what was being written lies under names of its own, and says no answer."""
    os.write(2, b"sweepengine: interrupted\n")
    os._exit(status())
