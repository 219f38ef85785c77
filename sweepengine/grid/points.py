"""Defaults and checks of single points."""

from collections.abc import Iterable, Mapping

from sweepengine.data.errors import InputError, nearest
from sweepengine.data.models import Model, choices_of
from sweepengine.formulas.formats import FORMATS, WEIGHT_ROLES, own_activation, own_cache, row_of
from sweepengine.formulas.layout import Layout
from sweepengine.formulas.points import INPUTS, NEEDS, Point
from sweepengine.grid.columns import OUTPUTS, STAGES, TIMED
from sweepengine.grid.plain import layout_of


def default_values(model: Model) -> dict[str, int]:
    """Values of the input columns that are not given; heads default to the model's own.

    Sizes are those of the model's first mode with tiles. What a model does not have is 0.
    """
    has = model.has
    values = {name: column.default if has[column.needs] else 0 for name, column in INPUTS.items()}
    tiled = next((mode for mode in model.modes.values() if mode.tile_size), None)
    if model.has_vision and tiled is not None:
        values |= {"view_size": tiled.view_size, "tile_size": tiled.tile_size or 0}
    values["activation_format"] = own_activation(model.architecture)
    values["cache_format"] = own_cache(model.architecture)
    values["attention_heads"], values["key_value_heads"] = model.heads
    return values


def output_names(model: Model) -> tuple[str, ...]:
    """Output columns that a model has."""
    columns = (*OUTPUTS, *TIMED) if model.devices else OUTPUTS
    return tuple(column.name for column in columns if model.has_vision or not column.vision)


def stages_of(model: Model) -> tuple[str, ...]:
    """Stages that a model has."""
    return STAGES if model.has_vision else STAGES[1:]


def refuse_input(
    model: Model, place: str, what: str, name: str, named: Iterable[str]
) -> InputError:
    """What to say of an input that there is not, or that a model does not have."""
    column = INPUTS.get(name)
    names = list(named)
    known = f"expected some of {', '.join(names)}"
    if column is None or model.has[column.needs]:
        return InputError(f"{place}: unknown {what}{nearest(name, names)}: {known}")
    return InputError(f"{place}: only a model that {NEEDS[column.needs]} has it: {known}")


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
    name = FORMATS[weights]
    covers = WEIGHT_ROLES if name == "checkpoint" else row_of(name).get("covers", WEIGHT_ROLES)
    mixture = any(experts for experts, _ in model.architecture.routings)
    if set(covers) == {"experts"} and not mixture:
        return f'weight_format = "{name}" is of routed experts, the model has none'
    return ""


def checked_point(model: Model, given: Mapping[str, object]) -> Point:
    """A point of the given inputs and, for the rest, their defaults.

    Raises
    ------
    InputError
        For an unknown input, or values that are not valid, alone or together.
    """
    has = model.has
    values = default_values(model)
    for name, value in given.items():
        column = INPUTS.get(name)
        if column is None or not has[column.needs]:
            raise refuse_input(model, f"point: {name}", "input", name, model.inputs)
        choices = choices_of(model, name)
        if choices and value in choices:
            values[name] = choices.index(str(value))
        elif column.choices or (held := column.held(value)) is None:
            raise InputError(f"point: {name} = {value!r}: expected {column.allowed}")
        else:
            values[name] = held
    if "attention_heads" in given and "key_value_heads" not in given:
        values["key_value_heads"] = values["attention_heads"]
    point = Point(**values)
    heads = (point.attention_heads, point.key_value_heads)
    if problem := layout_problem(model, layout_of(point), heads):
        raise InputError(f"point: {problem}")
    if problem := format_problem(model, point.weight_format):
        raise InputError(f"point: {problem}")
    if not has["heads"]:
        return _with_crops(point)
    if model.query_width % point.attention_heads:
        raise InputError(
            f"point: attention_heads = {point.attention_heads}: "
            f"expected a divisor of {model.query_width}"
        )
    if point.attention_heads % point.key_value_heads:
        raise InputError(
            f"point: key_value_heads = {point.key_value_heads}: expected a divisor of "
            f"attention_heads = {point.attention_heads}"
        )
    return _with_crops(point)


def _with_crops(point: Point) -> Point:
    if (point.crop_rows == 0) != (point.crop_cols == 0):
        raise InputError(
            f"point: crop_rows = {point.crop_rows}, crop_cols = {point.crop_cols}: "
            "expected both 0 (no tiles) or both 1..1000"
        )
    return point
