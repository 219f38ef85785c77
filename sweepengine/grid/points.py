"""Single points: default inputs, the columns of a model, and a checked point."""

from collections.abc import Mapping

import numpy as np

from sweepengine.data.errors import InputError
from sweepengine.data.models import Model, choices_of
from sweepengine.formulas.formats import own_activation, own_cache
from sweepengine.formulas.points import INPUTS, SIZE_COLUMNS, Point
from sweepengine.formulas.speeds import FRAMEWORKS
from sweepengine.grid.axes import JOINT
from sweepengine.grid.checks import (
    RULE_COLUMNS,
    check_together,
    checked_value,
    refused_input,
    shown,
)
from sweepengine.grid.columns import AXIS_TEXTS, DEVICE_OUTPUTS, OUTPUTS, PHASES, RANGES
from sweepengine.grid.layout_checks import Problem
from sweepengine.grid.shorthand import joint_values


def default_values(model: Model) -> dict[str, int]:
    """Default values of the input columns, as stored integers.

    Heads and formats are those of the model; image sizes are those of its first mode with tiles.
    Inputs that the model does not have are as if there were none (`Input.without`).
    """
    has = model.has
    values = {
        name: column.default if has[column.needs] else column.without
        for name, column in INPUTS.items()
    }
    values["view_size"], values["tile_size"] = model.image_sizes
    if has["crops"]:
        values |= dict.fromkeys(SIZE_COLUMNS, 0)
    values["activation_format"] = own_activation(model.architecture)
    values["cache_format"] = own_cache(model.architecture)
    values["attention_heads"], values["key_value_heads"] = model.heads
    return values


def shown_input(model: Model, name: str, value: int) -> int | float | str:
    """The value that a stored input of a model stands for; a choice by its name."""
    column = INPUTS[name]
    return choices_of(model, name)[value] if column.choices else column.shown(value)


def output_names(model: Model) -> tuple[str, ...]:
    """Output columns of a model."""
    return _OUTPUTS[model.has_vision, bool(model.devices)]


_OUTPUTS = {
    (vision, timed): tuple(
        column.name
        for column in ((*OUTPUTS, *DEVICE_OUTPUTS) if timed else OUTPUTS)
        if vision or not column.vision
    )
    for vision in (False, True)
    for timed in (False, True)
}


def axis_texts(model: Model) -> tuple[str, ...]:
    """Columns of texts of the joint axes that a model has."""
    has = {"mode": bool(model.modes) and model.has["crops"], "crops": model.has["crops"]}
    return tuple(column.name for column in AXIS_TEXTS if has.get(column.name, True))


def column_names(model: Model) -> tuple[str, ...]:
    """All columns of a model: inputs, texts of joint axes, outputs."""
    return (*model.inputs, *axis_texts(model), *output_names(model))


def stored_names(model: Model) -> tuple[str, ...]:
    """Columns of a model that datasets store."""
    return tuple(name for name in column_names(model) if name not in RANGES)


def phases_of(model: Model) -> tuple[str, ...]:
    """Phases of a model."""
    return PHASES if model.has_vision else PHASES[1:]


def checked_point(model: Model, given: Mapping[str, object], place: str = "point") -> Point:
    """A checked point of the given inputs and the defaults of the others.

    Parameters
    ----------
    model : Model
        With the devices that `device` names, if any.
    given : mapping of str to object
        Values by input column, or by joint axis: ``{"layout": "tp4", "batch_size": 8}``.
    place : str
        Name of the point in messages.

    Raises
    ------
    InputError
        For an unknown input, or values that are not valid alone or together.
    """
    has, values, sources = model.has, default_values(model), dict[str, str]()
    if "framework_version" in given:
        framework = str(given.get("framework", FRAMEWORKS[0]))
        given = dict(given) | {"framework_version": _version(framework, given, place)}
    for name, value in given.items():
        columns = JOINT[name].columns if name in JOINT else (name,)
        if columns[0] not in INPUTS or not has[INPUTS[columns[0]].needs]:
            named = (*model.inputs, *(axis for axis in JOINT if has_axis(model, axis)))
            raise refused_input(model, f"{place}: {name}", "input", columns[0], named)
        if twice := next((column for column in columns if column in sources), ""):
            raise InputError(f"{place}: {name}: sets {twice}, as {sources[twice]} does")
        sources |= dict.fromkeys(columns, name)
        if name in JOINT:
            joint = joint_values(model, name, value, f"{place}: {name}")
            values.update(zip(columns, joint, strict=True))
        else:
            column = INPUTS[name]
            if column.choices:
                column = column._replace(choices=choices_of(model, name))
            values[name] = checked_value(column, value, f"{place}: {name} = {value!r}")
    if "attention_heads" in sources and "key_value_heads" not in sources:
        values["key_value_heads"] = values["attention_heads"]

    def message(problem: Problem) -> str:
        source = sources.get(problem.column, "")
        if source in JOINT:
            return f"{place}: {source} = {shown(given[source])}: {problem.joint_text}"
        return f"{place}: {problem.sentence}"

    for names in RULE_COLUMNS:
        if sources.keys() & {*names}:
            check_together(model, {name: np.array([values[name]]) for name in names}, message)
    return Point(**values)


def _version(framework: str, given: Mapping[str, object], place: str) -> str:
    """The version of a serving engine that the given one falls under.

    Raises
    ------
    InputError
        When the engine has no such version.
    """
    from sweepengine.data.serving_engines.memory import NEWEST, version_of

    version = given["framework_version"]
    if version == NEWEST or framework not in FRAMEWORKS:
        return str(version)
    try:
        return version_of(framework, str(version)).version
    except InputError as error:
        raise InputError(f"{place}: {error}") from None


def has_axis(model: Model, axis: str) -> bool:
    """Whether a model has the inputs of a joint axis."""
    return model.has[INPUTS[JOINT[axis].columns[0]].needs]
