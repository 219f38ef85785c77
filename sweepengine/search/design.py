"""Design study: which peak, bandwidth, memory and link a device needs for a mix of requests.

A grid varies the four figures of a device (`DESIGN`), and layouts, formats and batch sizes. A set
of figures is a design; its best candidate has the highest throughput within the targets.
"""

from typing import Any, NamedTuple

import polars as pl

from sweepengine.data.basis import basis
from sweepengine.data.devices import GIGA, TERA, Device
from sweepengine.data.error_classes import Case
from sweepengine.data.errors import InputError
from sweepengine.data.speeds import timing_target
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
    "link_bandwidth_gbs": "link bandwidth per direction, GB/s",
}
"""Figures of a device that a grid may vary, and their titles."""
DESIGN_FIGURES = tuple(DESIGN)
EACH = "device_requests_per_s"
SHOWN_COLUMNS = ("batch_size", "devices", "device_tokens_per_s", "requests_per_s", "ttft_s",
                 "tpot_s")  # fmt: skip
"""Columns of a design's best candidate."""


class Doubled(NamedTuple):
    """Effect of doubling one figure of the design with the lowest cost per request."""

    figure: str
    value: float
    """The doubled figure."""
    throughput: float
    """Requests/s per device, as a multiple of the design's."""
    latency: float
    """Least seconds of a request, as a multiple of the design's."""
    cost: float | None
    """As a multiple of the design's."""


class Designs(NamedTuple):
    """The result of a design study."""

    grid: Grid
    device: Device
    targets: LatencyTargets
    candidates: int
    designs: pl.DataFrame
    """A row per design: `DESIGN`; `latency_s`, the least seconds of a request of all candidates
    that fit; `SHOWN_COLUMNS` of its best candidate (null where none meets the targets); `cost` and
    `cost_per_request`."""
    cheapest: dict[str, Any] | None
    """The design that meets the targets at the lowest cost."""
    best_value: dict[str, Any] | None
    """The design that meets the targets at the lowest cost per request."""
    sensitivity: list[Doubled]
    """Of `best_value`; sorted by throughput gain per cost, highest first."""
    basis: str
    assumed: tuple[str, ...]
    """What points assume of tokens that drafts have accepted."""

    def as_dict(self) -> dict[str, Any]:
        """All fields, for JSON."""
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
            "assumed": self.assumed,
        }


def find_designs(
    grid: Grid, targets: LatencyTargets, serving: ServingAssumptions = ASSUMED
) -> Designs:
    """Evaluate a grid of designs.

    Parameters
    ----------
    grid : Grid
        With one device, whose kernel efficiencies hold for all designs, and an axis of at least one
        of `DESIGN`; `cost` and `lengths` as in its file.
    targets : LatencyTargets
    serving : ServingAssumptions

    Raises
    ------
    InputError
        When the grid varies no figure of `DESIGN`, or its cost is not a number above 0.
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
    timing = timing_target(device, _framework(grid), grid.model.times or None)
    return Designs(
        grid=grid,
        device=device,
        targets=targets,
        candidates=candidates,
        designs=designs,
        cheapest=cheapest.row(0, named=True) if cheapest.height else None,
        best_value=best,
        sensitivity=_sensitivity(grid, device, targets, serving, best) if best else [],
        basis=basis(grid.model.architecture, timing, True, Case(speculative=bool(grid.assumed))),
        assumed=grid.assumed,
    )


def _checked(grid: Grid) -> Device:
    """The grid's device, once the grid has been checked."""
    source, varied = grid.source, [axis.name for axis in grid.axes if len(axis.values) > 1]
    if not set(varied) & set(DESIGN):
        raise InputError(f"{source}: axes: expected one of {', '.join(DESIGN)} with several values")
    if len(grid.model.devices) != 1:
        raise InputError(f"{source}: axes.device: expected one device")
    values = {name: a.values[:, i] for a in grid.axes for i, name in enumerate(a.columns)}
    if (values["serving"] != CONTINUOUS).any():
        raise InputError(f'{source}: axes.serving: expected "continuous"')
    if len(values["framework"]) > 1:
        raise InputError(f"{source}: axes.framework: expected one serving engine")
    if not grid.cost:
        expected = f"expected an SQL expression of {', '.join(DESIGN_FIGURES)}"
        raise InputError(f"{source}: cost: required key is missing: {expected}")
    return grid.model.devices[0]


def _framework(grid: Grid) -> str:
    axis = next(axis for axis in grid.axes if "framework" in axis.columns)
    return FRAMEWORKS[int(axis.values[0, axis.columns.index("framework")])]


def device_figures(device: Device) -> dict[str, float]:
    """Figures of a device, by the names of `DESIGN`."""
    links = device.links.bytes_per_s if device.links else 0.0
    figures = (device.tensor_flops_per_s / TERA, device.bytes_per_s / GIGA,
               device.memory_bytes / GIGA, links / GIGA)  # fmt: skip
    return dict(zip(DESIGN, figures, strict=True))


def _designs(
    grid: Grid, device: Device, targets: LatencyTargets, serving: ServingAssumptions
) -> tuple[pl.DataFrame, int]:
    """A row per design, reduced chunk by chunk, and the number of candidates."""
    timing = timing_target(device, _framework(grid), grid.model.times or None)
    first = {name: a.values[0, i] for a in grid.axes for i, name in enumerate(a.columns)}
    folded, count = pl.DataFrame(), 0
    for frame in served_frames(grid, timing, serving):
        figures = []
        for name, value in device_figures(device).items():
            constant = pl.lit(INPUTS[name].shown(int(first[name])))
            given = pl.col(name) if name in frame.columns else constant
            figures.append(pl.when(given > 0).then(given).otherwise(value).alias(name))
        count += frame.height
        part = _folded(frame.with_columns(figures), targets)
        folded = _merged(pl.concat([folded, part])) if folded.width else part
    with told(f"{grid.source}: cost"):
        formula = condition(f"{grid.source}: cost", grid.cost)
        cost = folded.with_columns(formula.alias("cost"))["cost"]
    valid = cost.dtype.is_numeric()
    if valid:
        numbers = cost.cast(pl.Float64)
        valid = bool(((numbers > 0) & numbers.is_finite()).fill_null(False).all())
    if not valid:
        raise InputError(f"{grid.source}: cost: expected numbers above 0 for every design")
    per_request = (pl.col("cost") / pl.col(EACH)).alias("cost_per_request")
    return folded.with_columns(cost.cast(pl.Float64)).with_columns(per_request), count


def _folded(served: pl.DataFrame, targets: LatencyTargets) -> pl.DataFrame:
    """For each design: the least latency of what fits, and its best candidate."""
    fitting = served.with_columns(
        (pl.col("requests_per_s") / pl.col("devices")).alias(EACH)
    ).filter(FITS)
    meeting = fitting.filter(meets_tpot(targets), meets_ttft(targets))
    # Little's law: latency of a request = concurrent requests / throughput.
    latency = (pl.col("batch_size") / pl.col("requests_per_s")).alias("latency_s")
    least = (
        fitting.select(*DESIGN_FIGURES, latency).group_by(DESIGN_FIGURES, maintain_order=True).min()
    )
    most = meeting.select(*DESIGN_FIGURES, EACH, *SHOWN_COLUMNS).sort(
        EACH, descending=True, maintain_order=True
    )
    all_designs = served.select(DESIGN_FIGURES).unique(maintain_order=True)
    best = most.unique(DESIGN_FIGURES, keep="first", maintain_order=True)
    joined = all_designs.join(least, on=DESIGN_FIGURES, how="left", maintain_order="left")
    return joined.join(best, on=DESIGN_FIGURES, how="left", maintain_order="left")


def _merged(parts: pl.DataFrame) -> pl.DataFrame:
    """Merge designs that several chunks hold."""
    least = parts.group_by(DESIGN_FIGURES, maintain_order=True).agg(pl.col("latency_s").min())
    most = parts.drop("latency_s").sort(EACH, descending=True, nulls_last=True, maintain_order=True)
    best = most.unique(DESIGN_FIGURES, keep="first", maintain_order=True)
    return least.join(best, on=DESIGN_FIGURES, how="left", maintain_order="left")


def _sensitivity(
    grid: Grid,
    device: Device,
    targets: LatencyTargets,
    serving: ServingAssumptions,
    base: dict[str, Any],
) -> list[Doubled]:
    """Double each figure of a design alone; the highest throughput gain per cost comes first."""
    doubled = []
    for name in DESIGN:
        if name == "link_bandwidth_gbs" and device.links is None:
            continue
        figures = {figure: base[figure] for figure in DESIGN} | {name: 2 * base[name]}
        single, _ = _designs(_of_design(grid, figures), device, targets, serving)
        (row,) = single.to_dicts()
        doubled.append(
            Doubled(
                name,
                figures[name],
                row[EACH] / base[EACH],
                row["latency_s"] / base["latency_s"],
                row["cost"] / base["cost"],
            )
        )
    return sorted(doubled, key=lambda row: -row.throughput / (row.cost or 1.0))


def _of_design(grid: Grid, figures: dict[str, float]) -> Grid:
    """The grid of one design."""
    axes: list[Axis] = []
    for axis in grid.axes:
        values = axis.values.copy()
        for i, name in enumerate(axis.columns):
            if name in figures:
                values = values[:1].copy()
                values[:, i] = min(round(figures[name] * INPUTS[name].scale), INPUTS[name].maximum)
        axes.append(axis._replace(values=values))
    return grid._replace(axes=tuple(axes))
