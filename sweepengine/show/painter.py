"""Draws charts: the functions, and a process that takes Vega-Lite on stdin until it is closed.

The process loads nothing else of the package, so it starts in a fraction of a second.
"""

import pickle
import signal
import sys
from contextlib import suppress
from typing import Any

import vl_convert

PNG_SCALE = 1.5


def svg_of(specification: dict[str, Any]) -> bytes:
    """Return the SVG of a chart."""
    picture: str = vl_convert.vegalite_to_svg(specification)
    return picture.encode()


def png_of(svg: bytes) -> bytes:
    """Return the PNG of an SVG."""
    picture: bytes = vl_convert.svg_to_png(svg.decode(), scale=PNG_SCALE)
    return picture


def main() -> None:
    """Answer pickled charts, and whether a PNG is needed, with pickled pictures or an error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started this process ends it
    answers = sys.stdout.buffer
    while True:
        specification, png = pickle.load(sys.stdin.buffer)
        answer: tuple[bytes, bytes] | Exception
        try:
            svg = svg_of(specification)
            answer = svg, png_of(svg) if png else b""
        except Exception as error:  # raised again by who asked
            answer = ValueError(str(error))
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    with suppress(EOFError, BrokenPipeError):
        main()
