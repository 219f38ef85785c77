"""Checks of inputs, shared by points, axes, frames, request lengths and measured runs.

`checked_values` checks one column, `check_together` the rules between columns. Callers pass the
text that stands before ": expected ..." in a message.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sweepengine.data.errors import InputError, nearest
from sweepengine.data.models import Model
from sweepengine.formulas.images import image_of_size
from sweepengine.formulas.layout import Layout
from sweepengine.formulas.points import DRAFT_COLUMNS, INPUTS, NEEDS, Input
from sweepengine.formulas.views import ImageSizeError
from sweepengine.grid.axes import AXES
from sweepengine.grid.layout_checks import (
    Problem,
    draft_problem,
    format_problem,
    layout_problem,
)
from sweepengine.grid.products import bounds, distinct

Integers = NDArray[np.int64]
Where = Callable[[int, object], str]
"""Text that names a row and its value, such as ``points: batch_size[3] = 0``."""
LAYOUT_RULE_COLUMNS = (*AXES["layout"].columns, "weight_format", *AXES["heads"].columns)
IMAGE_RULE_COLUMNS = (*AXES["crops"].columns, *AXES["image"].columns)
PREFIX_RULE_COLUMNS = ("shared_tokens", "prompt_tokens", "text_tokens", "images")
DRAFT_RULE_COLUMNS = (*DRAFT_COLUMNS, *AXES["layout"].columns)
RULE_COLUMNS = (
    LAYOUT_RULE_COLUMNS, IMAGE_RULE_COLUMNS, PREFIX_RULE_COLUMNS, DRAFT_RULE_COLUMNS
)  # fmt: skip
"""Columns that are checked together, by rule."""
LONGEST_SHOWN = 80
"""Most characters of a value in a message."""


def shown(value: object) -> str:
    """A value as messages show it: JSON, shortened to `LONGEST_SHOWN` characters."""
    text = json.dumps(value, default=str)
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 3] + "..."


def refused_input(
    model: Model, place: str, what: str, name: str, named: Iterable[str]
) -> InputError:
    """The error of an unknown input, or of one that the model does not have.

    Parameters
    ----------
    model : Model
    place : str
        Text of what the user wrote, such as ``points: batchsize``.
    what : str
        "key", "column" or "input".
    name : str
        Its first input column.
    named : iterable of str
        Inputs of the model.
    """
    column, names = INPUTS.get(name), list(named)
    known = f"expected some of {', '.join(names)}"
    if column is None or model.has[column.needs]:
        return InputError(f"{place}: unknown {what}{nearest(name, names)}: {known}")
    return InputError(f"{place}: only a model that {NEEDS[column.needs]} has it: {known}")


def checked_values(
    column: Input, values: Sequence[object] | NDArray[Any], where: Where
) -> Integers:
    """Check values of one column, and return the integers that they are stored as.

    Parameters
    ----------
    column : Input
        With the choices of the model (`data.models.choices_of`).
    values : sequence, or array of numbers, shape (N,)
        Numbers, or names of choices.
    where : callable
        Text that names a row and its value, for messages.

    Returns
    -------
    int64 array, shape (N,)

    Raises
    ------
    InputError
        Naming the first row whose type, range, multiple or choice is not valid.
    """
    if not isinstance(values, np.ndarray):
        integers = [_stored_value(column, value) for value in values]
        if None in integers:
            row = integers.index(None)
            raise InputError(f"{where(row, values[row])}: expected {column.allowed}")
        return np.array(integers, np.int64)
    numeric = values.dtype.kind in ("iuf" if column.scale > 1 else "iu")
    if not numeric or column.choices or values.ndim != 1:
        raise InputError(f"{where(0, values[0].item())}: expected {column.allowed}")
    if column.scale == column.multiple == 1:  # without an array in between
        low, high = bounds(values)
        if not len(values) or (column.minimum <= low and high <= column.maximum):
            return values.astype(np.int64, copy=False)
    numbers, valid = _stored(column, values)
    if not np.all(valid):
        row = int(np.argmin(valid))
        raise InputError(f"{where(row, values[row].item())}: expected {column.allowed}")
    stored: Integers = numbers.astype(np.int64, copy=False)
    return stored


def checked_value(column: Input, value: object, place: str) -> int:
    """As `checked_values` for one value; `place` names it in messages.

    Raises
    ------
    InputError
        When the value is not valid.
    """
    stored = _stored_value(column, value)
    if stored is None:
        raise InputError(f"{place}: expected {column.allowed}")
    return stored


def _stored_value(column: Input, value: object) -> int | None:
    """The integer that a value is stored as; None where it is not valid."""
    if column.choices:
        named = isinstance(value, str) and value in column.choices
        return column.choices.index(value) if named else None
    real = int | np.integer | float | np.floating if column.scale > 1 else int | np.integer
    if isinstance(value, bool | np.bool_) or not isinstance(value, real):
        return None
    stored, valid = _stored(column, value)
    return int(stored) if valid else None


def _stored(column: Input, values: Any) -> tuple[Any, Any]:
    """The integer that each number is stored as (`Input.scale`), and whether it is valid."""
    stored, near = values, True
    if column.scale > 1:
        with np.errstate(invalid="ignore", over="ignore"):
            scaled = np.float64(values) * column.scale
            stored = np.rint(scaled)
            near = np.abs(scaled - stored) <= 1e-6 * column.scale
    inside = (column.minimum <= stored) & (stored <= column.maximum)
    return stored, near & inside & (column.multiple == 1 or stored % column.multiple == 0)


def check_together(
    model: Model, columns: Mapping[str, Integers], message: Callable[[Problem], str]
) -> None:
    """Check the rules between columns: layouts, formats, heads and crops valid for the model.

    Parameters
    ----------
    model : Model
    columns : mapping of str to int64 array, shape (N,)
        Values from `checked_values`, of all columns of one or more of `RULE_COLUMNS`.
    message : callable
        Makes the message of a problem.

    Raises
    ------
    InputError
        Naming the first row that breaks a rule.
    """
    if IMAGE_RULE_COLUMNS[0] in columns:
        _check_images(model, columns, message)
    if PREFIX_RULE_COLUMNS[0] in columns:
        _check_prefix(columns, message)
    for names, problem_of in _PROBLEMS.items():
        if not {*names} <= columns.keys():
            continue
        rows, codes = distinct([columns[name] for name in names])
        for code, row in enumerate(rows.tolist()):
            values = {name: int(columns[name][row]) for name in names}
            if problem := problem_of(model, values):
                first = int(np.argmax(codes == code))
                raise InputError(message(problem._replace(row=first)))


def _check_images(
    model: Model, columns: Mapping[str, Integers], message: Callable[[Problem], str]
) -> None:
    """Check crops and sizes of images; parameters as those of `check_together`."""
    rows, cols, height, width = (columns[name] for name in IMAGE_RULE_COLUMNS)
    first, size = IMAGE_RULE_COLUMNS[0], IMAGE_RULE_COLUMNS[2]

    def refuse(bad: NDArray[np.bool_], column: str, text: str) -> None:
        if bad.any():
            row = int(np.argmax(bad))
            raise InputError(message(Problem(column, int(columns[column][row]), text, row=row)))

    expected = "expected crop_rows and crop_cols both 0 (no tiles) or both 1..1000"
    refuse((rows == 0) != (cols == 0), first, expected)
    if not model.has["image"]:
        return
    if model.has["crops"]:
        both = "expected image_height and image_width both 0 (crops as stated) or both 1..65,536"
        refuse((height == 0) != (width == 0), size, both)
        refuse((height > 0) & (rows > 0), first, "expected no crops with an image, which sets them")
        return
    for name in IMAGE_RULE_COLUMNS[2:]:
        refuse(columns[name] == 0, name, "expected an integer, 1..65,536")
    chosen, _ = distinct([height, width])
    for row in chosen.tolist():
        try:
            image_of_size(model.architecture.vision, int(height[row]), int(width[row]))
        except ImageSizeError as error:
            raise InputError(message(Problem(size, None, str(error), row=row))) from None


def _check_prefix(columns: Mapping[str, Integers], message: Callable[[Problem], str]) -> None:
    """Check that a shared prefix is text and leaves a token to prefill; images follow it."""
    shared, prompt, text, images = np.broadcast_arrays(
        *(columns[name] for name in PREFIX_RULE_COLUMNS)
    )
    most = prompt + text - (images * text == 0)
    beyond = (shared > 0) & (shared > most)
    if beyond.any():
        row = int(np.argmax(beyond))
        expected = f"expected at most {max(int(most[row]), 0):,}, as it is part of the text"
        problem = Problem(PREFIX_RULE_COLUMNS[0], int(shared[row]), expected, row=row)
        raise InputError(message(problem))


def _layout_rule_problem(model: Model, values: Mapping[str, int]) -> Problem | None:
    """The first rule that values of `LAYOUT_RULE_COLUMNS` break; None where they break none."""
    layout = Layout(*(values[name] for name in AXES["layout"].columns))
    heads, groups = values["attention_heads"], values["key_value_heads"]
    width = model.query_width
    if heads and width % heads:
        return Problem("attention_heads", heads, f"expected a divisor of {width}", width)
    if heads and heads % groups:
        text = f"expected a divisor of attention_heads = {heads}"
        return Problem("key_value_heads", groups, text, heads)
    if text := layout_problem(model, layout, (heads, groups)):
        return Problem("tensor_parallel", None, text)
    if text := format_problem(model, values["weight_format"]):
        return Problem("weight_format", None, text)
    return None


_PROBLEMS: Final = {
    LAYOUT_RULE_COLUMNS: _layout_rule_problem,
    DRAFT_RULE_COLUMNS: draft_problem,
}
"""The rule that columns follow, of rows that differ in them."""
