"""Compare the memory that a serving engine's start-up log states with ours."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from sweepengine.costs.engine_starts import logged_memory, start_of
from sweepengine.data.devices import GIGA, Device, load_device
from sweepengine.data.errors import InputError
from sweepengine.data.files import known
from sweepengine.data.models import Model, load_model
from sweepengine.formulas.memory import GIB
from sweepengine.formulas.points import INPUTS
from sweepengine.formulas.speeds import FRAMEWORKS
from sweepengine.grid.checks import checked_value
from sweepengine.grid.points import checked_point
from sweepengine.measured.compare import Compared, find_comparison
from sweepengine.measured.engine_logs import FIGURES, StartLog, format_of, read_log
from sweepengine.measured.measured_runs import read_runs
from sweepengine.search.checkpoints import repository
from sweepengine.search.declarations import checked
from sweepengine.search.engine_settings import engine_values
from sweepengine.search.options import CompareOptions, EngineOptions

TABLES = (".csv", ".parquet", ".json", ".jsonl")
"""Endings of files of measured runs; others may be logs."""
DEGREES = ("tensor_parallel", "expert_parallel", "pipeline_parallel", "data_parallel",
           "decode_context_parallel")  # fmt: skip
DEFAULT_LENGTH = 4096
"""Tokens of the longest request where neither log nor model says."""
NUMBERS = {"memory_share": float, "max_sequences": int, "chunk_tokens": int}
"""Settings of `EngineOptions` that are numbers."""
UNITS = {"tokens": "tokens", "requests": "requests of the longest length"}
"""Unit of a figure; others are GiB of one device."""


class ComparedLog(NamedTuple):
    """A log beside ours."""

    model: Model
    device: Device
    engine: str
    figures: pl.DataFrame
    """A row for each of `FIGURES`: figure, unit, logged (null where the log does not say), ours,
    and off_percent, ours over logged - 1."""
    settings: Mapping[str, str]
    """Settings, and where each is from."""
    missing: tuple[str, ...]
    """Figures that the log does not state."""

    def as_dict(self) -> dict[str, Any]:
        """All fields, for JSON."""
        return {
            "model": self.model.name,
            "device": self.device.name,
            "engine": self.engine,
            "figures": self.figures.to_dicts(),
            "settings": dict(self.settings),
            "missing": self.missing,
        }


def compare_file(
    runs: Path | pl.DataFrame,
    device: Device | str | Path,
    model: Model | str | Path | None,
    options: CompareOptions,
) -> Compared | ComparedLog:
    """Compare measured runs, or a start-up log of a serving engine, with ours.

    Parameters
    ----------
    runs : Path or polars.DataFrame
        As `find_comparison` takes them, or a log.
    device, model, options : as `find_comparison`

    Raises
    ------
    InputError
        When the file is neither, or an option is not valid.
    """
    if isinstance(runs, Path) and runs.suffix not in TABLES:
        if (log := read_log(runs)) is not None:
            return find_log_comparison(log, device, model, options)
        try:
            read_runs(runs, load_device(device).name, options.framework)
        except InputError:
            raise InputError(
                f"{runs}: expected a table of measured runs, or a start-up log of vLLM or SGLang, "
                "which states weights, a pool or tokens"
            ) from None
    if options.precision is not None or options.engine != EngineOptions():
        raise InputError(
            "compare: a precision, and settings of the serving engine, are for its log: expected "
            "columns of the runs"
        )
    return find_comparison(runs, device, model, options)


def find_log_comparison(
    log: StartLog,
    device: Device | str | Path,
    model: Model | str | Path | None,
    options: CompareOptions,
) -> ComparedLog:
    """Compare a log with ours; options count where the log does not say.

    Parameters
    ----------
    log : StartLog
    device : Device, str or Path
        The card.
    model : Model, str or Path, optional
        The model, where the log names no shipped one.
    options : CompareOptions

    Raises
    ------
    InputError
        When the model, the device, a setting of the log or an option is not valid.
    """
    checked("compare", options)
    if options.calibrate or options.times is not None or options.serving is not None:
        raise InputError(
            f"{log.source}: a log has no times: remove --calibrate, --times and --serving"
        )
    kind = load_device(device)
    loaded = load_model(model) if model is not None else _model_of(log)
    said, where = log.settings, dict[str, str]()
    engine = EngineOptions(**{
        name: _engine_setting(name, value, said, where)
        for name, value in options.engine._asdict().items()
    })  # fmt: skip
    given = _given(log, loaded, options, where)
    try:
        stored = engine_values("compare", engine, log.engine)
        point = checked_point(loaded, given, "compare")
        stored["framework"] = FRAMEWORKS.index(log.engine)
        if "device_gib" in said:
            where["memory of the card"] = f"{said['device_gib']} GiB (log)"
            memory_gb = round(float(said["device_gib"]) * GIB / GIGA, 3)
            stored["device_memory_gb"] = _checked("device_memory_gb", memory_gb)
        length = int(said.get("length", str(DEFAULT_LENGTH)).replace(",", ""))
        where["longest request"] = f"{length:,} tokens ({_from('length' in said)})"
        start = start_of(loaded, kind, point, stored, _checked("prompt_tokens", length))
    except InputError as error:
        raise InputError(f"{log.source}: {error}") from None
    memory = logged_memory(start)
    ours = {
        "weights": memory.weight_bytes / GIB,
        "activations": memory.activation_bytes / GIB,
        "graphs": memory.graph_bytes / GIB,
        "pool": memory.pool_bytes / GIB,
        "tokens": float(memory.pool_tokens),
        "requests": memory.requests,
    }
    missing = tuple(name for name in FIGURES if name not in log.figures)
    return ComparedLog(loaded, kind, log.engine, _frame(log, ours), where, missing)


def _frame(log: StartLog, ours: Mapping[str, float]) -> pl.DataFrame:
    """`ComparedLog.figures`."""
    names = list(FIGURES)
    frame = pl.DataFrame(
        {
            "figure": names,
            "unit": [UNITS.get(name, "GiB") for name in names],
            "logged": [log.figures.get(name) for name in names],
            "ours": [ours[name] for name in names],
        },
        schema_overrides={"logged": pl.Float64},
    )
    off = 100 * (pl.col("ours") / pl.col("logged") - 1)
    return frame.with_columns(pl.when(pl.col("logged") != 0).then(off).alias("off_percent"))


def _checked(name: str, value: float) -> int:
    """A checked value of an input, as it is stored."""
    return checked_value(INPUTS[name], value, f"{name} = {value}")


def _from(logged: bool, given: bool = False) -> str:
    """Where a setting is from."""
    return "log" if logged else "option" if given else "default"


def _engine_setting(name: str, given: Any, said: Mapping[str, str], where: dict[str, str]) -> Any:
    """A field of `EngineOptions`: that of the log, else the option."""
    text = said.get(name)
    value = given if text is None else NUMBERS.get(name, str)(text)
    shown = "the engine's" if value is None else value
    where[name.replace("_", " ")] = f"{shown} ({_from(text is not None, given is not None)})"
    return value


def _given(
    log: StartLog, model: Model, options: CompareOptions, where: dict[str, str]
) -> dict[str, object]:
    """Layout and precision of a log: what it says, else the options."""
    said = log.settings
    degrees = {name: said[name] for name in DEGREES if name in said}
    given: dict[str, object] = {}
    if options.layout is not None and not degrees:
        given["layout"] = options.layout
        where["layout"] = f"{options.layout} (option)"
    elif degrees:
        sizes = {name: int(text) for name, text in degrees.items() if text.isdigit()}
        if degrees.get("expert_parallel") == "True":  # as vLLM spreads experts over all devices
            sizes["expert_parallel"] = sizes.get("tensor_parallel", 1) * sizes.get(
                "data_parallel", 1
            )
        given |= sizes
        where["layout"] = f"{', '.join(f'{name} {size}' for name, size in sizes.items())} (log)"
    precision, source = options.precision, "option"
    if precision is None:
        precision, source = _precision(log, model)
    where["precision"] = f"{precision} ({source})"
    given["precision"] = precision
    if model.has_vision and not model.has["crops"]:
        given["images"] = 0
    return given


def _precision(log: StartLog, model: Model) -> tuple[str, str]:
    """Precision of a log, and where it is from.

    Raises
    ------
    InputError
        When it names a quantization that the model does not state, and whose formats it leaves
        open.
    """
    method = log.settings.get("quantization", "None")
    cached = "-kv8" if log.settings.get("cache", "auto").startswith("fp8") else ""
    if any(model.architecture.checkpoint) or method == "None":
        return f"checkpoint{cached}", _from("quantization" in log.settings)
    precision = format_of(log.engine, method)
    if precision is None:
        raise InputError(
            f'{log.source}: quantization "{method}" leaves the formats open, and {model.name} '
            "states none: expected --precision, or --model with a config.json that states them"
        )
    return f"{precision}{cached}", f"quantization {method}, log"


def _model_of(log: StartLog) -> Model:
    """The shipped model that a log names, by its repository or the last part of a path."""
    named = log.settings.get("model", "")
    last = named.rstrip("/").split("/")[-1].lower()
    for name in known("models"):
        if last in (name, repository(load_model(name)).split("/")[-1].lower()):
            return load_model(name)
    said = f'"{named}" is not a shipped model' if named else "the log names none"
    raise InputError(f"{log.source}: no --model is given and {said}: expected --model")
