"""How far a command has come: its parts say so, and a terminal that listens shows it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Listener(Protocol):
    """Who shows how far a command has come."""

    def begin(self, what: str, total: int | None) -> None:
        """Show a new phase."""

    def advance(self, count: int) -> None:
        """Show that more of the phase is done."""

    def stop(self) -> None:
        """Show nothing more."""


_listeners: list[Listener] = []


@contextmanager
def heard_by(listener: Listener) -> Iterator[None]:
    """Tell a listener how far the command has come, until it stops."""
    _listeners.append(listener)
    try:
        yield
    finally:
        stop()


def begin(what: str, total: int | None = None) -> None:
    """Begin a phase.

    Parameters
    ----------
    what : str
        What is counted, such as "candidates".
    total : int, optional
        How many there are; by default nobody knows.
    """
    for listener in _listeners:
        listener.begin(what, total)


def advance(count: int = 1) -> None:
    """Say that so many more are done."""
    for listener in _listeners:
        listener.advance(count)


def stop() -> None:
    """Let nobody show more: what follows is the answer."""
    while _listeners:
        _listeners.pop().stop()
