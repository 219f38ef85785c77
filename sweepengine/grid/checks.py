"""Checks of inputs, shared by points, axes, frames, request lengths and measured runs.

`checked_values` checks one column, `check_together` the rules between columns. Callers pass the
text that stands before ": expected ..." in a message.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sweepengine.data.errors import InputError, nearest
from sweepengine.data.models import Model
from sweepengine.formulas.formats import WEIGHT_FORMATS, WEIGHT_ROLES, row_of
from sweepengine.formulas.images import image_of_size
from sweepengine.formulas.layout import Layout
from sweepengine.formulas.points import INPUTS, NEEDS, Input
from sweepengine.formulas.views import ImageSizeError
from sweepengine.grid.axes import AXES
from sweepengine.grid.products import bounds, distinct
from sweepengine.grid.timed import UNTIMED

Integers = NDArray[np.int64]
Where = Callable[[int, object], str]
"""Text that names a row and its value, such as ``points: batch_size[3] = 0``."""
LAYOUT_RULE_COLUMNS = (*AXES["layout"].columns, "weight_format", *AXES["heads"].columns)
IMAGE_RULE_COLUMNS = (*AXES["crops"].columns, *AXES["image"].columns)
PREFIX_RULE_COLUMNS = ("shared_tokens", "prompt_tokens", "text_tokens", "images")
RULE_COLUMNS = (LAYOUT_RULE_COLUMNS, IMAGE_RULE_COLUMNS, PREFIX_RULE_COLUMNS)
"""Columns that are checked together, by rule."""
LONGEST_SHOWN = 80
"""Most characters of a value in a message."""


class Problem(NamedTuple):
    """A rule between columns that a row breaks; each of its values is valid alone."""

    column: str
    """The first column at fault."""
    value: int | None
    """Its value; None where `text` names columns and values."""
    text: str
    whole: int = 0
    """Number that the value must divide, where that is the rule; else 0."""
    row: int = 0

    @property
    def sentence(self) -> str:
        """The problem as a sentence, without the place."""
        return self.text if self.value is None else f"{self.column} = {self.value}: {self.text}"

    @property
    def joint_text(self) -> str:
        """The problem as a sentence that follows a joint value."""
        return f"expected {self.column} that divide {self.whole}" if self.whole else self.text


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
    if LAYOUT_RULE_COLUMNS[0] in columns:
        rows, codes = distinct([columns[name] for name in LAYOUT_RULE_COLUMNS])
        for code, row in enumerate(rows.tolist()):
            values = {name: int(columns[name][row]) for name in LAYOUT_RULE_COLUMNS}
            if problem := _layout_rule_problem(model, values):
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


def layout_problem(model: Model, layout: Layout, heads: tuple[int, int] = (0, 0)) -> str:
    """The rule that a layout breaks, as text; empty where it breaks none.

    Parameters
    ----------
    model : Model
    layout : Layout
    heads : tuple of int
        Attention heads and key-value heads of a point; 0 for those of the model.
    """
    tensor, expert, pipeline, data, context = layout
    arch = model.architecture
    for group in arch.groups:
        attention = group.attention
        queries = heads[0] or attention.heads
        if queries % tensor:
            return f"tensor_parallel = {tensor} does not divide {queries} attention heads"
        grouped = 0 if attention.latent else heads[1] or attention.key_value_heads
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
    if context > 1 and (text := _context_problem(model, layout, heads)):
        return f"decode_context_parallel = {context}: {text}"
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


def _context_problem(model: Model, layout: Layout, heads: tuple[int, int]) -> str:
    """Why devices cannot share the tokens of a KV cache, as vLLM has it; empty where they can."""
    for group in model.architecture.groups:
        attention = group.attention
        if attention.window or attention.stride or attention.index_heads or group.recurrent.heads:
            return (
                "expected 1 for a model with windows, compressed entries, indexers or "
                "recurrent layers"
            )
        grouped = 1 if attention.latent else heads[1] or attention.key_value_heads
        replicas = max(layout.tensor // max(grouped, 1), 1)
        if replicas % layout.decode_context:
            what = "a latent" if attention.latent else "a key-value head"
            return f"expected a divisor of {replicas}, the devices that hold {what}"
    return UNTIMED if model.devices else ""


def format_problem(model: Model, weights: int) -> str:
    """Why a weight format is not valid for a model; empty where it is."""
    name = WEIGHT_FORMATS[weights]
    covers = WEIGHT_ROLES if name == "checkpoint" else row_of(name).get("covers", WEIGHT_ROLES)
    moe = any(experts for experts, _ in model.architecture.routings)
    if set(covers) == {"experts"} and not moe:
        return f'weight_format = "{name}" applies to routed experts: the model has none'
    return ""
