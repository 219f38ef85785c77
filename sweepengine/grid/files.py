"""Grid files: TOML to `Grid`; an error names the file, the key and the allowed values."""

from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sweepengine.data.drafts import with_drafts
from sweepengine.data.errors import InputError, from_validation, nearest
from sweepengine.data.files import exists, read_toml
from sweepengine.data.models import Model, load_model
from sweepengine.data.speeds import on_devices
from sweepengine.data.texts import Name, Text
from sweepengine.formulas.points import INPUTS
from sweepengine.formulas.speculation import DRAFTS
from sweepengine.grid.axes import AXES, MODEL_AXIS
from sweepengine.grid.axis_values import listed, read_axes
from sweepengine.grid.grid import Grid, Targets, with_lengths
from sweepengine.grid.lengths import lengths_of, rows_of
from sweepengine.grid.points import phases_of

_STRICT = ConfigDict(extra="forbid", frozen=True)
_TEXT = Annotated[str, Field(min_length=1, strict=True)]


class GridFile(BaseModel):
    """The content of a grid file."""

    model_config = _STRICT
    name: Name
    description: Text = ""
    model: _TEXT = "deepseek-ocr-3b"
    axes: dict[str, Any]
    targets: Targets = Targets()
    report: tuple[str, ...] | None = None
    times: Literal["silicon", "model", "roofline"] | None = None
    lengths: Annotated[tuple[dict[str, Any], ...], Field(min_length=1)] | None = None
    cost: _TEXT | None = None


def shipped_grids() -> dict[str, Path]:
    """Grid files of the package or its checkout, by stem."""
    package = Path(str(resources.files("sweepengine")))
    folder = next((f for f in (package / "grids", package.parent / "grids") if f.is_dir()), package)
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load_grid(name: str | Path) -> Grid:
    """Read a grid file of one model, given by path or by the stem of a shipped grid.

    Raises
    ------
    InputError
        When the file is missing or not valid, or has several models; the message names file, key
        and allowed values.
    """
    grids = load_grids(name)
    if len(grids) > 1:
        raise InputError(
            f"{grids[0].source}: axes.model: expected one model here, found {len(grids)}"
        )
    return grids[0]


def load_grids(name: str | Path) -> tuple[Grid, ...]:
    """Read a grid file: a grid for each model of its axis `model`, or the one of its model.

    Raises
    ------
    InputError
        As `load_grid`.
    """
    path = Path(name)
    shipped = shipped_grids()
    if not exists(path) and str(name) in shipped:
        path = shipped[str(name)]
    if not exists(path) and path.suffix != ".toml":
        raise InputError(
            f'grid "{name}" does not exist{nearest(str(name), shipped)}: expected a path to a '
            f"TOML file or one of {', '.join(shipped)}"
        )
    return parse_grids(read_toml(path), str(path), path.parent)


def parse_grids(data: dict[str, Any], source: str, folder: Path | None = None) -> tuple[Grid, ...]:
    """Make grids of the content of a grid file, one a model.

    A model of several leaves out the axes of inputs that it does not have.

    Parameters
    ----------
    data : dict
        The parsed file.
    source : str
        Name of the file in messages.
    folder : Path, optional
        Folder that a relative path of a model starts from.

    Raises
    ------
    InputError
        When it is not valid.
    """
    if misplaced := next((key for key in data if key in AXES), ""):
        raise InputError(f"{source}: {misplaced}: an axis: expected it in the table [axes]")
    try:
        file = GridFile.model_validate(data)
    except ValidationError as error:
        raise from_validation(source, error, GridFile.model_fields) from None
    if MODEL_AXIS not in file.axes:
        return (_grid_of(file, file.model, file.axes, source, f"{source}: model", folder),)
    if "model" in file.model_fields_set:
        raise InputError(f"{source}: model: expected no model beside axes.model")
    place = f"{source}: axes.{MODEL_AXIS}"
    names = listed(place, file.axes[MODEL_AXIS])
    axes = {key: value for key, value in file.axes.items() if key != MODEL_AXIS}
    models = []
    for i, name in enumerate(names):
        if not isinstance(name, str):
            raise InputError(f"{place}[{i}] = {name!r}: expected the name or path of a model")
        models.append(_model_of(name, f"{place}[{i}]", folder))
    titles = [model.name for model in models]
    if twice := next((name for i, name in enumerate(titles) if name in titles[:i]), ""):
        raise InputError(f"{place}: {twice} stands there twice")
    of_none = [key for key in axes if key in AXES and not any(_has(m, key, file) for m in models)]
    grids = []
    for i, (name, model) in enumerate(zip(names, models, strict=True)):
        own = {
            key: value for key, value in axes.items()
            if key not in AXES or key in of_none or _has(model, key, file)
        }  # fmt: skip
        grids.append(_grid_of(file, name, own, source, f"{place}[{i}]", folder))
    return tuple(grids)


def _has(model: Model, axis: str, file: GridFile) -> bool:
    """Whether a model has the inputs of an axis; that of devices stands in the file."""
    needs = INPUTS[AXES[axis].columns[0]].needs
    return "device" in file.axes if needs == "device" else model.has[needs]


def _model_of(name: str, place: str, folder: Path | None) -> Model:
    if folder is not None and name.endswith((".toml", ".json")) and exists(folder / name):
        name = str(folder / name)
    try:
        return load_model(name)
    except InputError as error:
        raise InputError(f"{place}: {error}") from None


def parse_grid(data: dict[str, Any], source: str, folder: Path | None = None) -> Grid:
    """As `parse_grids`, of a file with one model."""
    (grid,) = parse_grids(data, source, folder)
    return grid


def _grid_of(
    file: GridFile,
    name: str,
    written: dict[str, Any],
    source: str,
    place: str,
    folder: Path | None,
) -> Grid:
    """The grid of one model of a file.

    Parameters
    ----------
    file : GridFile
        Content of the file.
    name : str
        Of the model.
    written : dict
        Its axes.
    source, place : str
        Name of the file, and of the model in it, in messages.
    folder : Path, optional
        Folder that a relative path of the model starts from.
    """
    model = _model_of(name, place, folder)
    phases = phases_of(model)
    report = phases if file.report is None else file.report
    if not report or not set(report) <= set(phases):
        raise InputError(f"{source}: report: expected some of {', '.join(phases)}")
    model = _timed(source, _drafted(source, model, file), file)
    axes = read_axes(source, model, written)
    grid = Grid(file.name, model, axes, source, report, file.description, file.targets,
                cost=file.cost or "")  # fmt: skip
    if file.lengths is None:
        return grid
    lengths = f"{source}: lengths"
    return with_lengths(grid, lengths_of(lengths, model, rows_of(lengths, file.lengths)))


def _drafted(source: str, model: Model, file: GridFile) -> Model:
    """The model with the models of the axis `draft`, if there is one."""
    place = f"{source}: axes.draft"
    drafted, _ = with_drafts(model, listed(place, file.axes.get("draft", list(DRAFTS))), place)
    return drafted


def _timed(source: str, model: Model, file: GridFile) -> Model:
    """The model with the devices of the axis `device`, if there is one."""
    if "device" not in file.axes:
        if file.times is not None:
            raise InputError(f"{source}: times: expected an axis `device` too")
        return model
    names: list[str] = []
    for i, name in enumerate(listed(f"{source}: axes.device", file.axes["device"])):
        if not isinstance(name, str):
            raise InputError(f"{source}: axes.device[{i}] = {name!r}: expected a device's name")
        names.append(name)
    try:
        return on_devices(model, names, file.times or "")
    except InputError as error:
        raise InputError(f"{source}: axes.device: {error}") from None
