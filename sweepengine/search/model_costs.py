"""What the same request costs each of several models, and how many requests devices serve a day."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from sweepengine.data.basis import basis
from sweepengine.data.errors import InputError
from sweepengine.data.models import Model
from sweepengine.data.speeds import TimingTarget, timing_target
from sweepengine.data.units import SECONDS_PER_HOUR
from sweepengine.formulas.points import INPUTS
from sweepengine.grid.axes import AXES
from sweepengine.grid.lengths import lengths_of
from sweepengine.query.sources import Source
from sweepengine.search.money import per_usd, prices_of
from sweepengine.search.options import ServingAssumptions
from sweepengine.search.placements import search_grid
from sweepengine.search.steady_state import FITS, SECONDS_PER_DAY, served_frames

HOURS_PER_DAY = SECONDS_PER_DAY // SECONDS_PER_HOUR
WORKLOAD_COLUMNS = ("image_height", "image_width", "view_size", "tile_size", "crop_rows",
                    "crop_cols", "images", "text_tokens", "prompt_tokens", "cached_tokens",
                    "shared_tokens", "decode_steps")  # fmt: skip
"""Inputs that say what a request is, not how it is served."""
CANDIDATE_AXES = ("precision", "layout", "batch_size")
"""Axes of a grid over which the best rate is taken."""
MOST_POINTS = 100_000
"""Points of the largest grid that models are compared on."""
COMMAND = "report"
"""Name of the command in messages."""
FLOPS = "_tensor_flops"
SERVING = ServingAssumptions()


class DeviceRate(NamedTuple):
    """Requests that one device serves at the best batch size of a grid."""

    requests_per_day: float
    """0 where no batch size fits in the memory of the device."""
    batch_size: int
    """0 where none fits."""


class ModelCost(NamedTuple):
    """What one request costs a model."""

    model: Model
    tokens: int
    """Prompt tokens of its images; of a model without vision all prompt tokens."""
    flops: dict[str, int]
    """FLOPs of tensor cores by phase."""
    weight_bytes: int
    kv_cache_bytes: int
    """KV cache of the request when its answer is complete."""
    rates: dict[str, DeviceRate]
    """By name of a device."""

    @property
    def total_flops(self) -> int:
        """FLOPs of all phases."""
        return sum(self.flops.values())


class Workload(NamedTuple):
    """One request, and what it costs each model."""

    inputs: dict[str, int]
    """Inputs in which requests of the grid differ; a model may lack some."""
    costs: list[ModelCost]
    """In the order of the models."""


class ModelComparison(NamedTuple):
    """Models on the same requests and devices."""

    sources: tuple[Source, ...]
    workloads: list[Workload]
    prices: dict[str, float]
    """USD an hour by device."""
    price_list: str | None
    """Name of the shipped list that prices are of where none was given."""
    answers: tuple[int, ...]
    """Lengths of answers, tokens."""
    bases: tuple[str, ...]
    """Sources of the times, and their expected errors."""
    serving: ServingAssumptions

    @property
    def devices(self) -> tuple[str, ...]:
        """Names of the devices."""
        return self.sources[0].loaded.device_names

    def requests_per_usd(self, cost: ModelCost, device: str) -> float | None:
        """Requests that one USD pays for on a device; None without a price."""
        if device not in self.prices:
            return None
        made = cost.rates[device].requests_per_day / HOURS_PER_DAY
        return per_usd(self.prices[device], made)


def compare_models(
    sources: Sequence[Source],
    prices: Mapping[str, float] = {},
    price_list: str | None = None,
) -> ModelComparison:
    """Compare models on the requests of one grid.

    The FLOPs, weights and KV cache of a request are those of the points of the grid. The requests a
    day are those of a serving engine in steady state (`search.steady_state`), at the batch size,
    layout and precision of the grid that fit in memory and serve most.

    Parameters
    ----------
    sources : sequence of Source
        Points of each model, of one grid with an axis `device`.
    prices : mapping of str to float
        USD an hour by device; a device without a price has no requests per USD.
    price_list : str, optional
        Shipped list that has the prices of the other devices.

    Raises
    ------
    InputError
        When the points have no devices, several serving engines or are too many, when requests
        differ in an input that no model takes together with the others, or when a price is of no
        device.
    """
    place, first = sources[0].place, sources[0].loaded
    if not first.devices:
        raise InputError(
            f"{place}: axes.device: expected at least one device, as models are compared on devices"
        )
    if (points := sum(source.point_count for source in sources)) > MOST_POINTS:
        raise InputError(f"{place}: {points:,} points: expected at most {MOST_POINTS:,}")
    known = prices_of(COMMAND, prices, price_list, first.device_names)
    frames = [_measures(source) for source in sources]
    frameworks = _distinct(frames, "framework")
    if len(frameworks) > 1:
        raise InputError(
            f"{place}: axes.framework: expected one serving engine, found {', '.join(frameworks)}"
        )
    targets = [
        timing_target(device, frameworks[0], first.times or None) for device in first.devices
    ]
    workloads = [
        Workload(inputs, [_cost(source.loaded, _matching(frame, inputs), targets)
                          for source, frame in zip(sources, frames, strict=True)])
        for inputs in _requests(place, frames)
    ]  # fmt: skip
    bases = [
        basis(source.loaded.architecture, target, True) for target in targets for source in sources
    ]
    return ModelComparison(
        tuple(sources),
        workloads,
        known,
        price_list,
        tuple(_distinct(frames, "decode_steps")),
        tuple(dict.fromkeys(bases)),
        SERVING,
    )


def _measures(source: Source) -> pl.DataFrame:
    """Inputs of the points of a model, choices as positions, and what a request costs at each."""
    named = [name for name in WORKLOAD_COLUMNS if name in source.columns]
    candidates = [name for axis in CANDIDATE_AXES for name in AXES[axis].columns]
    tokens = "image_tokens" if "image_tokens" in source.columns else "context_tokens"
    batch = pl.col("batch_size").cast(pl.Int64)
    return source.points.select(
        *named,
        *(pl.col(name).to_physical() if INPUTS[name].choices else name for name in candidates),
        pl.col("framework").cast(pl.String),
        pl.col(tokens).alias("tokens"),
        *(pl.col(f"{stage}_tensor_flops") // batch for stage in source.stages_there),
        "weight_bytes",
        pl.col("decode_kv_cache_bytes") // batch,
    ).pipe(source.collected)


def _distinct(frames: Sequence[pl.DataFrame], name: str) -> list[Any]:
    """Values of a column over all models that have it, in order."""
    values = [value for frame in frames if name in frame.columns for value in frame[name]]
    return list(dict.fromkeys(values))


def _requests(place: str, frames: Sequence[pl.DataFrame]) -> list[dict[str, int]]:
    """Requests of a grid by the inputs in which those of one model differ."""
    names = [
        name for name in WORKLOAD_COLUMNS if any(len(_distinct([f], name)) > 1 for f in frames)
    ]
    if not names:
        return [{}]
    whole = [frame.select(names) for frame in frames if set(names) <= set(frame.columns)]
    if not whole:
        raise InputError(
            f"{place}: requests differ in {', '.join(names)}: expected a model that takes all"
        )
    return pl.concat(whole).unique(maintain_order=True).to_dicts()


def _matching(frame: pl.DataFrame, inputs: Mapping[str, int]) -> pl.DataFrame:
    """Points of a request; a model that lacks an input has one answer for all its values."""
    own = [pl.col(name) == value for name, value in inputs.items() if name in frame.columns]
    return frame.filter(own) if own else frame


def _cost(model: Model, points: pl.DataFrame, targets: Sequence[TimingTarget]) -> ModelCost:
    first = points.sort("batch_size", maintain_order=True).row(0, named=True)
    return ModelCost(
        model,
        first["tokens"],
        {name.removesuffix(FLOPS): first[name] for name in points.columns if name.endswith(FLOPS)},
        first["weight_bytes"],
        first["decode_kv_cache_bytes"],
        {target.device.name: _rate(model, points, target) for target in targets},
    )


def _rate(model: Model, points: pl.DataFrame, target: TimingTarget) -> DeviceRate:
    """The highest rate of one device in steady state."""
    named = [name for name in WORKLOAD_COLUMNS if name in points.columns]
    lengths = lengths_of(COMMAND, model, points.head(1).select(named).to_dict(as_series=False))
    axes = {
        axis: points.select(AXES[axis].columns).unique(maintain_order=True).to_numpy()
        for axis in CANDIDATE_AXES
    }
    grid = search_grid(model, target, axes, lengths, COMMAND)
    states = pl.concat(served_frames(grid, target, SERVING)).filter(FITS)
    rate = pl.col("requests_per_s") * SECONDS_PER_DAY / pl.col("devices")
    best = states.select("batch_size", rate).sort("requests_per_s", descending=True).head(1)
    if best.is_empty():
        return DeviceRate(0.0, 0)
    return DeviceRate(best["requests_per_s"][0], best["batch_size"][0])
