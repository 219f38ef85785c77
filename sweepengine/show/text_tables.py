"""Tables as lines of text that fit a width: cells wrap between words, wide tables fold."""

from collections.abc import Iterator, Sequence
from textwrap import wrap

Cells = Sequence[Sequence[str]]
"""Rows of texts, the first of which holds the titles of the columns."""
MOST_LINES = 2
"""Lines of a row from which on its longest text stands on a line of its own."""
LEAST_COLUMNS = 4
"""Columns of a table whose longest text may do so."""
INDENT = "  "


def table_lines(cells: Cells, width: int, between: int) -> list[str]:
    """Lines of a table; columns of numbers are aligned to the right.

    Where rows would take many lines, the longest text of each stands below its row. Where words
    are too wide for one table, the last columns follow in another, which repeats the first column.

    Parameters
    ----------
    cells : sequence of rows, each of N texts
        Titles first; rows of empty titles are left out.
    width : int
        Characters of a line.
    between : int
        Blanks between two columns.
    """
    columns, below = list(range(len(cells[0]))), None
    widths = column_widths(cells, width, between)
    if len(columns) >= LEAST_COLUMNS and (widths is None or _height(cells, widths) > MOST_LINES):
        below = max(columns[1:], key=lambda column: max(len(row[column]) for row in cells))
        columns.remove(below)
    lines: list[str] = []
    for block in blocks([[row[i] for i in columns] for row in cells], width, between):
        shown = [columns[i] for i in block]
        lines += [""] if lines else []
        lines += _block_lines(cells, shown, None if lines else below, width, between)
    return lines


def _block_lines(
    cells: Cells, columns: Sequence[int], below: int | None, width: int, between: int
) -> Iterator[str]:
    """Yield the lines of some columns, and of the text below each row."""
    part = [[row[i] for i in columns] for row in cells]
    widths = column_widths(part, width, between) or [min(w, width) for w in _whole(part)]
    titled = any(cells[0])
    right = [titled and _is_numeric([row[i] for row in part[1:]], i) for i in range(len(columns))]
    for number, row in enumerate(part):
        if number or any(row):
            wrapped = [_wrapped(text, most) for text, most in zip(row, widths, strict=True)]
            height = max(map(len, wrapped))
            # Titles stand on the row, texts begin on it.
            padded = [[*[""] * (height - len(one)), *one] if not number else one for one in wrapped]
            for i in range(height):
                texts = (lines[i] if i < len(lines) else "" for lines in padded)
                line = (" " * between).join(
                    text.rjust(most) if numeric else text.ljust(most)
                    for text, most, numeric in zip(texts, widths, right, strict=True)
                )
                yield line.rstrip()
        if below is not None and cells[number][below]:
            yield from wrap(cells[number][below], width, initial_indent=INDENT,
                            subsequent_indent=INDENT, break_on_hyphens=False)  # fmt: skip


def _wrapped(text: str, width: int) -> list[str]:
    """Lines of a cell, which keeps the blanks that it begins with."""
    if len(text) <= width:
        return [text]
    bare = text.lstrip()
    indent = text[: len(text) - len(bare)][: width // 2]
    return wrap(bare, width, initial_indent=indent, subsequent_indent=indent,
                break_on_hyphens=False)  # fmt: skip


def _is_numeric(texts: Sequence[str], position: int) -> bool:
    """Whether a column is one of numbers: the first if all texts are, others if most are."""
    numbers = sum(text[:1].isdigit() for text in texts)
    return numbers == len(texts) or (position > 0 and numbers > len(texts) / 2)


def _height(cells: Cells, widths: Sequence[int]) -> int:
    """Lines of the highest row below the titles."""
    return max(
        (len(_wrapped(text, width)) for row in cells[1:]
         for text, width in zip(row, widths, strict=True)),
        default=1,
    )  # fmt: skip


def column_widths(cells: Cells, width: int, between: int) -> list[int] | None:
    """Widths of columns that fit a line without breaking a word, as few lines as that takes.

    Parameters
    ----------
    cells, width, between
        As of `table_lines`.

    Returns
    -------
    list of int, length N, or None
        None where the longest words alone are wider than the line.
    """
    whole, words = _whole(cells), _longest_words(cells, width)
    room = width - between * (len(whole) - 1)
    if sum(words) > room:
        return None
    widths = list(whole)
    while sum(widths) > room:
        widest = max(range(len(widths)), key=lambda i: (widths[i] > words[i], widths[i]))
        widths[widest] -= 1
    return widths


def blocks(cells: Cells, width: int, between: int) -> list[list[int]]:
    """Columns of a table, in tables that fit a line; later ones repeat the first column.

    Parameters
    ----------
    cells, width, between
        As of `table_lines`.

    Returns
    -------
    list of list of int
        Positions of the columns of each table.
    """
    words = _longest_words(cells, width)
    found, used = [[0]], words[0]
    for column in range(1, len(words)):
        if used + between + words[column] > width and len(found[-1]) > 1:
            found.append([0])
            used = words[0]
        found[-1].append(column)
        used += between + words[column]
    return found


def _whole(cells: Cells) -> list[int]:
    """Characters of the longest text of each column."""
    return [max(map(len, column)) for column in zip(*cells, strict=True)]


def _longest_words(cells: Cells, width: int) -> list[int]:
    """Characters of the longest word of each column; the first breaks from half of `width` on.

    The first column names the rows, so it is not broken before the others are.
    """
    words = [
        max((len(word) for text in column for word in text.split()), default=0)
        for column in zip(*cells, strict=True)
    ]
    return [max(words[0], min(_whole(cells)[0], width // 2)), *words[1:]]
