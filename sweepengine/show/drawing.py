"""Charts of a report, drawn by a process of their own while the next ones are computed.

The library that draws holds Python's lock, so a thread would stop what computes.
"""

import pickle
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from altair.utils.schemapi import SchemaBase, debug_mode

from sweepengine.data.errors import InputError
from sweepengine.data.outputs import KINDS
from sweepengine.engine import progress
from sweepengine.show.look import Chart
from sweepengine.show.rendering import HTML, PNG, SVG, page_of, specification_of

SCRIPT = Path(__file__).with_name("painter.py")


class Drawing(NamedTuple):
    """A chart that is being drawn."""

    name: str
    title: str
    stage: str
    """Phase that it shows; empty: all."""
    folded: bool
    """Whether a page shows it on demand."""
    specification: dict[str, Any]
    """Its Vega-Lite."""
    pictures: "Future[tuple[bytes, bytes]] | None"
    """Its SVG and PNG; None where no file needs them."""

    def files(self, kinds: Sequence[str]) -> dict[str, bytes]:
        """Return files of some of `KINDS` by their endings, once they are there.

        Raises
        ------
        InputError
            When the process that draws was ended.
        """
        files: dict[str, bytes] = {}
        if self.pictures is not None:
            files[SVG], files[PNG] = self.pictures.result()
        if HTML in kinds:
            files[HTML] = page_of(self.specification)
        progress.advance(len(kinds))
        return {kind: files[kind] for kind in kinds}


class Painter:
    """A process that draws charts one after the other, in the order in which they come."""

    def __init__(self, kinds: Sequence[str] = KINDS) -> None:
        """Start the process, for files of some of `KINDS`.

        Raises
        ------
        InputError
            When the machine does not start it.
        """
        self._png, self._pictures = PNG in kinds, PNG in kinds or SVG in kinds
        command = [sys.executable, "-P", str(SCRIPT)]
        try:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        except OSError as error:
            reason = error.strerror or error
            raise InputError(f"report: cannot start a process that draws: {reason}") from None
        self._thread = ThreadPoolExecutor(1)

    def draw(self, chart: Chart) -> Drawing:
        """Hand over a chart, and return it while it is being drawn."""
        shown = specification_of(chart.drawn)
        pictures = self._thread.submit(self._answer, shown) if self._pictures else None
        return Drawing(chart.name, chart.title, chart.stage, chart.folded, shown, pictures)

    def end(self) -> None:
        """End the process; what it has not drawn stays undrawn."""
        self._process.kill()
        self._thread.shutdown(cancel_futures=True)
        with suppress(OSError), self._process:
            pass

    def _answer(self, specification: dict[str, Any]) -> tuple[bytes, bytes]:
        to, back = self._process.stdin, self._process.stdout
        assert to is not None
        assert back is not None
        try:
            pickle.dump((specification, self._png), to)
            to.flush()
            answer: tuple[bytes, bytes] | ValueError = pickle.load(back)
        except (OSError, EOFError, pickle.UnpicklingError):
            raise InputError(
                "report: the process that draws charts was ended: expected it to run, which takes "
                "0.3 GB of memory"
            ) from None
        if isinstance(answer, ValueError):
            raise answer
        return answer


@contextmanager
def painting(kinds: Sequence[str] = KINDS) -> Iterator[Painter]:
    """Start a painter, and let Altair neither check the parts of charts nor copy charts whole.

    Altair checks each part, and at each step it copies a chart with all that it holds; both take
    longer than drawing. Tests check whole charts, and nothing changes the parts of a chart.

    Parameters
    ----------
    kinds : sequence of str
        Files that are made, some of `KINDS`.
    """

    def copied(chart: Any, deep: Any = True, ignore: list[str] | None = None) -> Any:
        return whole(chart, False if deep is True else deep, ignore)

    whole, painter = SchemaBase.copy, Painter(kinds)
    try:
        SchemaBase.copy = copied  # type: ignore[assignment, method-assign]
        with debug_mode(False):
            yield painter
    finally:
        SchemaBase.copy = whole  # type: ignore[method-assign]
        painter.end()
