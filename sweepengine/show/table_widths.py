"""Widths of the columns of a table in a terminal: cells wrap between words, not within them."""

from collections.abc import Sequence


def column_widths(
    cells: Sequence[Sequence[str]], width: int, between: int
) -> tuple[int, ...] | None:
    """Widths that fit a terminal without breaking a word, as few lines as that takes.

    Parameters
    ----------
    cells : sequence of rows, each of N texts
        Titles included.
    width : int
        Characters of the terminal.
    between : int
        Blanks between two columns.

    Returns
    -------
    tuple of int, length N, or None
        None where the longest words alone are wider than the terminal.
    """
    columns = list(zip(*cells, strict=True))
    whole = [max(map(len, column)) for column in columns]
    words = [
        max((len(word) for text in column for word in text.split()), default=0)
        for column in columns
    ]
    room = width - between * (len(columns) - 1)
    if sum(words) > room:
        return None
    widths = list(whole)
    while sum(widths) > room:
        widest = max(range(len(widths)), key=lambda i: (widths[i] > words[i], widths[i]))
        widths[widest] -= 1
    return tuple(widths)
