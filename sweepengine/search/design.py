"""Hardware as an axis: which figures a device should have for a mix of requests, and at what cost.

A grid over the four figures of a device (`DESIGN`), beside layouts, formats and batches. Each set
of figures is a design; of its candidates the one that serves most within the targets counts.
"""

from typing import Any, NamedTuple

import polars as pl

from sweepengine.data.devices import GIGA, TERA, Device
from sweepengine.data.errors import InputError
from sweepengine.data.speeds import basis, timing_target
from sweepengine.formulas.points import INPUTS
from sweepengine.formulas.serving import CONTINUOUS
from sweepengine.formulas.speeds import FRAMEWORKS
from sweepengine.grid.axes import Axis
from sweepengine.grid.grid import Grid, with_lengths
from sweepengine.grid.lengths import lengths_of
from sweepengine.query.reading import told
from sweepengine.query.sql import condition
from sweepengine.search.declarations import checked
from sweepengine.search.options import LatencyTargets, ServingAssumptions
from sweepengine.search.steady_state import ASSUMED, FITS, served_frames
from sweepengine.search.targets import meets_tpot, meets_ttft

DESIGN = {
    "device_tensor_tflops": "tensor peak, TFLOP/s",
    "device_bandwidth_gbs": "memory bandwidth, GB/s",
    "device_memory_gb": "memory, GB",
    "link_bandwidth_gbs": "links one way, GB/s",
}
"""Figures of a device that a grid may vary, in words."""
DESIGN_FIGURES = tuple(DESIGN)
EACH = "device_requests_per_s"
SHOWN_COLUMNS = (
    "batch_size",
    "devices",
    "device_tokens_per_s",
    "requests_per_s",
    "ttft_s",
    "tpot_s",
)
"""Of the candidate that stands for a design."""


class Doubled(NamedTuple):
    """What twice as much of one figure does to the cheapest design."""

    figure: str
    value: float
    """Twice its own."""
    throughput: float
    """Requests a second of a device, as a multiple."""
    latency: float
    """Seconds of a request at least, as a multiple."""
    cost: float | None
    """As a multiple."""


class Designs(NamedTuple):
    """The answer of a grid over designs."""

    grid: Grid
    device: Device
    targets: LatencyTargets
    candidates: int
    designs: pl.DataFrame
    """A row a design: `DESIGN` (the base's figure where none is asked), `latency_s`, the least that
    a request takes of all candidates that fit; `SHOWN_COLUMNS` of the one that serves most within
    the targets (null where none does), `cost` and `cost_per_request`."""
    cheapest: dict[str, Any] | None
    """Meets the targets at the least cost."""
    best_value: dict[str, Any] | None
    """Meets the targets and costs least for what it serves."""
    sensitivity: list[Doubled]
    """Of the best value; most throughput for its cost first."""
    basis: str

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            "grid": self.grid.name,
            "model": self.grid.model.name,
            "device": self.device.name,
            "targets": self.targets._asdict(),
            "candidates": self.candidates,
            "designs": self.designs.to_dicts(),
            "cheapest": self.cheapest,
            "best_value": self.best_value,
            "sensitivity": [doubled._asdict() for doubled in self.sensitivity],
            "basis": self.basis,
        }


def find_designs(
    grid: Grid, targets: LatencyTargets, serving: ServingAssumptions = ASSUMED
) -> Designs:
    """Fold a grid over designs.

    Parameters
    ----------
    grid : Grid
        On one device, whose rates stand for those of all designs as shares of their figures, with
        an axis of at least one of `DESIGN`; `cost` and `lengths` as its file has them.
    targets : LatencyTargets
    serving : ServingAssumptions

    Raises
    ------
    InputError
        When the grid is none of designs, or its cost is no number above 0.
    """
    device = _checked(grid)
    if grid.lengths is None:
        grid = with_lengths(grid, lengths_of(grid.source, grid.model, {}))
    checked("design", serving)
    designs, candidates = _designs(grid, device, targets, serving)
    meeting = designs.filter(pl.col("device_tokens_per_s").is_not_null())
    cheapest = meeting.sort("cost", "device_tokens_per_s", descending=[False, True])
    value = meeting.sort("cost_per_request")
    best = value.row(0, named=True) if value.height else None
    place = timing_target(device, _framework(grid), grid.model.times or None)
    return Designs(
        grid=grid,
        device=device,
        targets=targets,
        candidates=candidates,
        designs=designs,
        cheapest=cheapest.row(0, named=True) if cheapest.height else None,
        best_value=best,
        sensitivity=_sensitivity(grid, device, targets, serving, best) if best else [],
        basis=basis(grid.model.architecture, place, True),
    )


def _checked(grid: Grid) -> Device:
    """The grid's device."""
    source, varied = grid.source, [axis.name for axis in grid.axes if len(axis.values) > 1]
    if not set(varied) & set(DESIGN):
        raise InputError(f"{source}: axes: expected one of {', '.join(DESIGN)} with several values")
    if len(grid.model.devices) != 1:
        raise InputError(f"{source}: axes.device: expected one, whose figures the others replace")
    values = {name: a.values[:, i] for a in grid.axes for i, name in enumerate(a.columns)}
    if (values["serving"] != CONTINUOUS).any():
        raise InputError(f'{source}: axes.serving: expected "continuous"')
    if len(values["framework"]) > 1:
        raise InputError(f"{source}: axes.framework: expected one")
    if not grid.cost:
        expected = f"expected an SQL expression of {', '.join(DESIGN_FIGURES)}"
        raise InputError(f"{source}: cost: required key is missing: {expected}")
    return grid.model.devices[0]


def _framework(grid: Grid) -> str:
    axis = next(axis for axis in grid.axes if "framework" in axis.columns)
    return FRAMEWORKS[int(axis.values[0, axis.columns.index("framework")])]


def own_figures(device: Device) -> dict[str, float]:
    """A device's own figures, by the names of `DESIGN`."""
    links = device.links.bytes_per_s if device.links else 0.0
    figures = (device.tensor_flops_per_s / TERA, device.bytes_per_s / GIGA,
               device.memory_bytes / GIGA, links / GIGA)  # fmt: skip
    return dict(zip(DESIGN, figures, strict=True))


def _designs(
    grid: Grid, device: Device, targets: LatencyTargets, serving: ServingAssumptions
) -> tuple[pl.DataFrame, int]:
    """A row a design, folded chunk by chunk, and how many candidates there are."""
    place = timing_target(device, _framework(grid), grid.model.times or None)
    held = {name: a.values[0, i] for a in grid.axes for i, name in enumerate(a.columns)}
    folded, count = pl.DataFrame(), 0
    for frame in served_frames(grid, place, serving):
        figures = []
        for name, value in own_figures(device).items():
            said = pl.lit(INPUTS[name].shown(int(held[name])))
            asked = pl.col(name) if name in frame.columns else said
            figures.append(pl.when(asked > 0).then(asked).otherwise(value).alias(name))
        count += frame.height
        part = _folded(frame.with_columns(figures), targets)
        folded = _merged(pl.concat([folded, part])) if folded.width else part
    with told(f"{grid.source}: cost"):
        asked = condition(f"{grid.source}: cost", grid.cost)
        cost = folded.with_columns(asked.alias("cost"))["cost"]
    if not cost.dtype.is_numeric() or not (cost.cast(pl.Float64) > 0).fill_null(False).all():
        raise InputError(f"{grid.source}: cost: expected numbers above 0 for every design")
    whole = folded.with_columns(cost.cast(pl.Float64))
    each = (pl.col("cost") / pl.col(EACH)).alias("cost_per_request")
    return whole.with_columns(each), count


def _folded(served: pl.DataFrame, targets: LatencyTargets) -> pl.DataFrame:
    """Of each design the least latency of what fits, and the candidate that serves most."""
    fitting = served.with_columns(
        (pl.col("requests_per_s") / pl.col("devices")).alias(EACH)
    ).filter(FITS)
    meeting = fitting.filter(meets_tpot(targets), meets_ttft(targets))
    # A request is answered after as long as a batch takes for as many.
    latency = (pl.col("batch_size") / pl.col("requests_per_s")).alias("latency_s")
    least = (
        fitting.select(*DESIGN_FIGURES, latency).group_by(DESIGN_FIGURES, maintain_order=True).min()
    )
    most = meeting.select(*DESIGN_FIGURES, EACH, *SHOWN_COLUMNS).sort(
        EACH, descending=True, maintain_order=True
    )
    all_designs = served.select(DESIGN_FIGURES).unique(maintain_order=True)
    beside = most.unique(DESIGN_FIGURES, keep="first", maintain_order=True)
    joined = all_designs.join(least, on=DESIGN_FIGURES, how="left", maintain_order="left")
    return joined.join(beside, on=DESIGN_FIGURES, how="left", maintain_order="left")


def _merged(parts: pl.DataFrame) -> pl.DataFrame:
    """Designs that chunks have in common, once."""
    least = parts.group_by(DESIGN_FIGURES, maintain_order=True).agg(pl.col("latency_s").min())
    most = parts.drop("latency_s").sort(EACH, descending=True, nulls_last=True, maintain_order=True)
    beside = most.unique(DESIGN_FIGURES, keep="first", maintain_order=True)
    return least.join(beside, on=DESIGN_FIGURES, how="left", maintain_order="left")


def _sensitivity(
    grid: Grid,
    device: Device,
    targets: LatencyTargets,
    serving: ServingAssumptions,
    base: dict[str, Any],
) -> list[Doubled]:
    """Each figure of a design doubled by itself: more throughput for its cost first."""
    found = []
    for name in DESIGN:
        if name == "link_bandwidth_gbs" and device.links is None:
            continue
        figures = {other: base[other] for other in DESIGN}
        figures[name] *= 2
        single, _ = _designs(_of_design(grid, figures), device, targets, serving)
        (row,) = single.to_dicts()
        found.append(
            Doubled(
                name,
                figures[name],
                row[EACH] / base[EACH],
                row["latency_s"] / base["latency_s"],
                row["cost"] / base["cost"],
            )
        )
    return sorted(found, key=lambda one: -one.throughput / (one.cost or 1.0))


def _of_design(grid: Grid, figures: dict[str, float]) -> Grid:
    """The grid with one design."""
    axes: list[Axis] = []
    for axis in grid.axes:
        values = axis.values.copy()
        for i, name in enumerate(axis.columns):
            if name in figures:
                values = values[:1].copy()
                values[:, i] = min(round(figures[name] * INPUTS[name].scale), INPUTS[name].maximum)
        axes.append(axis._replace(values=values))
    return grid._replace(axes=tuple(axes))
