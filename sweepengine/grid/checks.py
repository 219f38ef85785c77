"""The one check of inputs: of a point, an axis, a frame, lengths and measured runs alike.

`checked_values` checks one column, `check_together` what several columns must be together.
Callers say only what they call a place, as text that stands before ": expected ...".
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sweepengine.data.errors import InputError, nearest
from sweepengine.data.models import Model
from sweepengine.formulas.formats import WEIGHT_FORMATS, WEIGHT_ROLES, row_of
from sweepengine.formulas.layout import Layout
from sweepengine.formulas.points import INPUTS, NEEDS, Input
from sweepengine.grid.axes import AXES
from sweepengine.grid.products import bounds, distinct

Integers = NDArray[np.int64]
Where = Callable[[int, object], str]
"""Text of the place of a row and its value, such as ``points: batch_size[3] = 0``."""
LAID = (*AXES["layout"].columns, "weight_format", *AXES["heads"].columns)
CROPS = AXES["crops"].columns
LONGEST_SHOWN = 80
"""Characters of a value in a message."""


class Problem(NamedTuple):
    """What is wrong with a row whose values are valid each by itself."""

    column: str
    """The first column at fault."""
    value: int | None
    """Its value; None where the text names columns and values itself."""
    text: str
    whole: int = 0
    """What the value must divide, where that is the rule."""
    row: int = 0

    @property
    def sentence(self) -> str:
        """The problem without its place."""
        return self.text if self.value is None else f"{self.column} = {self.value}: {self.text}"

    @property
    def joint_text(self) -> str:
        """The problem where a joint value stands before it."""
        return f"expected {self.column} that divide {self.whole}" if self.whole else self.text


def shown(value: object) -> str:
    """A value as messages show it: as JSON, cut where it is long."""
    text = json.dumps(value, default=str)
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 3] + "..."


def refused_input(
    model: Model, place: str, what: str, name: str, named: Iterable[str]
) -> InputError:
    """The error of an input that does not exist, or that a model does not have.

    Parameters
    ----------
    model : Model
    place : str
        What the user wrote, such as ``points: batchsize``.
    what : str
        What it is there: "key", "column" or "input".
    name : str
        An input column of it.
    named : iterable of str
        What the model has.
    """
    column, names = INPUTS.get(name), list(named)
    known = f"expected some of {', '.join(names)}"
    if column is None or model.has[column.needs]:
        return InputError(f"{place}: unknown {what}{nearest(name, names)}: {known}")
    return InputError(f"{place}: only a model that {NEEDS[column.needs]} has it: {known}")


def checked_values(
    column: Input, values: Sequence[object] | NDArray[Any], where: Where
) -> Integers:
    """The integers that stand for values of one column.

    Parameters
    ----------
    column : Input
        With the choices of the model (`data.models.choices_of`).
    values : sequence, or array of numbers, shape (N,)
        As users give them: numbers, or names of choices.
    where : callable
        Text of a row and its value, for messages.

    Returns
    -------
    int64 array, shape (N,)

    Raises
    ------
    InputError
        Naming the first row whose type, range, multiple or choice is not valid.
    """
    if not isinstance(values, np.ndarray):
        found = [_held_value(column, value) for value in values]
        if None in found:
            row = found.index(None)
            raise InputError(f"{where(row, values[row])}: expected {column.allowed}")
        return np.array(found, np.int64)
    numeric = values.dtype.kind in ("iuf" if column.scale > 1 else "iu")
    if not numeric or column.choices or values.ndim != 1:
        raise InputError(f"{where(0, values[0].item())}: expected {column.allowed}")
    if column.scale == column.multiple == 1:  # two passes, no array in between
        low, high = bounds(values)
        if not len(values) or (column.minimum <= low and high <= column.maximum):
            return values.astype(np.int64, copy=False)
    held, valid = _held(column, values)
    if not np.all(valid):
        row = int(np.argmin(valid))
        raise InputError(f"{where(row, values[row].item())}: expected {column.allowed}")
    whole: Integers = held.astype(np.int64, copy=False)
    return whole


def checked_value(column: Input, value: object, place: str) -> int:
    """The integer that stands for one value of a column, as `checked_values`.

    Raises
    ------
    InputError
        With the place, which shows the value, and what is expected.
    """
    found = _held_value(column, value)
    if found is None:
        raise InputError(f"{place}: expected {column.allowed}")
    return found


def _held_value(column: Input, value: object) -> int | None:
    """The integer that stands for a value; None where it is not valid."""
    if column.choices:
        named = isinstance(value, str) and value in column.choices
        return column.choices.index(value) if named else None
    real = int | np.integer | float | np.floating if column.scale > 1 else int | np.integer
    if isinstance(value, bool | np.bool_) or not isinstance(value, real):
        return None
    held, valid = _held(column, value)
    return int(held) if valid else None


def _held(column: Input, values: Any) -> tuple[Any, Any]:
    """The whole numbers that stand for a number or an array of them, and whether each is valid."""
    held, near = values, True
    if column.scale > 1:
        with np.errstate(invalid="ignore", over="ignore"):
            whole = np.float64(values) * column.scale
            held = np.rint(whole)
            near = np.abs(whole - held) <= 1e-6 * column.scale
    inside = (column.minimum <= held) & (held <= column.maximum)
    return held, near & inside & (column.multiple == 1 or held % column.multiple == 0)


def check_together(
    model: Model, columns: Mapping[str, Integers], message: Callable[[Problem], str]
) -> None:
    """Check what columns must be together: layouts, formats, heads and crops that a model can have.

    Parameters
    ----------
    model : Model
    columns : mapping of str to int64 array, shape (N,)
        Checked values (`checked_values`) of all of `LAID`, of both of `CROPS`, or of all these.
    message : callable
        The whole message of a problem.

    Raises
    ------
    InputError
        Naming the first row that breaks a rule.
    """
    if CROPS[0] in columns:
        tiles = columns[CROPS[0]]
        one_sided = np.flatnonzero((tiles == 0) != (columns[CROPS[1]] == 0))
        if len(one_sided):
            row = int(one_sided[0])
            text = "expected crop_rows and crop_cols both 0 (no tiles) or both 1..1000"
            raise InputError(message(Problem(CROPS[0], int(tiles[row]), text, row=row)))
    if LAID[0] in columns:
        rows, codes = distinct([columns[name] for name in LAID])
        for code, row in enumerate(rows.tolist()):
            values = {name: int(columns[name][row]) for name in LAID}
            if problem := _laid_problem(model, values):
                first = int(np.argmax(codes == code))
                raise InputError(message(problem._replace(row=first)))


def _laid_problem(model: Model, values: Mapping[str, int]) -> Problem | None:
    """What is wrong with values of `LAID`, if anything."""
    layout = Layout(*(values[name] for name in LAID[:4]))
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


def layout_problem(model: Model, layout: Layout, heads: tuple[int, int] = (0, 0)) -> str:
    """Which rule a layout breaks, in words; empty where it breaks none.

    `heads` are the attention heads and key-value heads of a point, 0 the model's own.
    """
    tensor, expert, pipeline, data = layout
    arch = model.architecture
    for group in arch.groups:
        own = group.attention
        queries = heads[0] or own.heads
        if queries % tensor:
            return f"tensor_parallel = {tensor} does not divide {queries} attention heads"
        grouped = 0 if own.latent else heads[1] or own.key_value_heads
        if grouped and grouped % tensor and tensor % grouped:
            return (
                f"tensor_parallel = {tensor} neither divides {grouped} key-value heads "
                "nor is a multiple of them"
            )
        if group.recurrent.heads % tensor:
            return f"tensor_parallel = {tensor} does not divide {group.recurrent.heads} state heads"
    layers = sum(group.layers for group in arch.groups)
    if pipeline > layers:
        return f"pipeline_parallel = {pipeline} is more than {layers} layers"
    if expert == 1:
        return ""
    most = max((experts for experts, _ in arch.routings), default=0)
    if not most:
        return f"expert_parallel = {expert}: expected 1, the model has no routed experts"
    if expert > most:
        return f"expert_parallel = {expert} is more than {most} experts"
    if tensor % expert and (expert % tensor or (tensor * data) % expert):
        return (
            f"expert_parallel = {expert}: expected a divisor of tensor_parallel = {tensor}, or a "
            f"multiple of it that divides tensor_parallel x data_parallel = {tensor * data}"
        )
    return ""


def format_problem(model: Model, weights: int) -> str:
    """Why a model has no such weights; empty where it may."""
    name = WEIGHT_FORMATS[weights]
    covers = WEIGHT_ROLES if name == "checkpoint" else row_of(name).get("covers", WEIGHT_ROLES)
    mixture = any(experts for experts, _ in model.architecture.routings)
    if set(covers) == {"experts"} and not mixture:
        return f'weight_format = "{name}" is of routed experts, the model has none'
    return ""
