"""Progress of a command on a terminal, after a second without an answer."""

import sys
import threading
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

DELAY = 1.0
"""Seconds after which a command that has not answered shows its progress."""


class TerminalProgress:
    """A line on the error stream: what is done, how much of it, and for how long.

    It has a bar where the length is known. It shows nothing where the stream is no terminal.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self.what, self.done = "working", 0
        self.total: int | None = None
        self.lock, self.ended = threading.Lock(), False
        self.shown: Progress | None = None
        self.task: TaskID | None = None
        self.timer = threading.Timer(DELAY, self._show)
        self.timer.daemon = True
        if self.stream.isatty():
            self.timer.start()

    def begin(self, what: str, total: int | None) -> None:
        """Show a new phase."""
        self.what, self.done, self.total = what, 0, total
        self._update()

    def advance(self, count: int) -> None:
        """Show that more of the phase is done."""
        self.done += count
        self._update()

    def stop(self) -> None:
        """Remove the line, and show none again."""
        self.timer.cancel()
        with self.lock:
            self.ended = True
            if self.shown is not None:
                self.shown.stop()

    def _show(self) -> None:
        """Show the line, if the command has not ended."""
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(20), TextColumn("{task.fields[of]}"),
                   TimeElapsedColumn())  # fmt: skip
        with self.lock:
            if self.ended:
                return
            console = Console(file=self.stream)
            self.shown = Progress(*columns, console=console, transient=True)
            self.task = self.shown.add_task(self.what, total=self.total, of="")
            self.shown.start()
        self._update()

    def _update(self) -> None:
        """Show the figures that are known."""
        if self.shown is None or self.task is None:
            return
        of = f"{self.done:,}" if self.done else ""
        of += f" of {self.total:,}" if self.total else ""
        self.shown.update(self.task, description=self.what, completed=self.done, total=self.total,
                          of=of)  # fmt: skip
