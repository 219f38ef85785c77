"""Search for a deployment: layout, formats, batch size and serving mode, from one sweep.

A candidate is a layout, a precision and a batch size of one replica. Aggregated plans repeat a
replica; disaggregated plans combine prefill workers and decode workers in every ratio.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from sweepengine.data.basis import SERVING_ERRORS, basis
from sweepengine.data.devices import Device, load_device
from sweepengine.data.errors import InputError
from sweepengine.data.models import Model, load_model
from sweepengine.data.speeds import TimingTarget, timing_target
from sweepengine.formulas.layout import Layout
from sweepengine.formulas.layout import devices as devices_of
from sweepengine.formulas.speeds import ROOFLINE
from sweepengine.grid.grid import Grid
from sweepengine.grid.lengths import Lengths, condensed
from sweepengine.grid.shorthand import layout_name
from sweepengine.search.declarations import checked
from sweepengine.search.disaggregated import MAX_BUSY, Workers, combined
from sweepengine.search.engine_arguments import Launch, launches
from sweepengine.search.options import AGGREGATED, DISAGGREGATED, DeployOptions
from sweepengine.search.placements import (
    Precision,
    batches_of,
    group_limit,
    layouts_of,
    precisions_of,
    read_layouts,
    read_precisions,
    search_grid,
)
from sweepengine.search.plans import PLAN, KeptPlans, aggregated, ordered, priced, served_plan
from sweepengine.search.reasons import Reason, Tally, reason_of
from sweepengine.search.requests import longest_tokens, percentiles
from sweepengine.search.speculation import (
    Speculation,
    drafting_columns,
    drafting_layouts,
    speculating,
)
from sweepengine.search.steady_state import FITS, served_frames
from sweepengine.search.targets import check_prices

LEAST_CHUNK = 2_048
"""Tokens of a pass that a search tries where no plan meets the targets with the default."""
DRAFTED = (0, 1, 2, 3)
"""Tokens drafted a step that a search tries where a draft is named alone."""


class Deployment(NamedTuple):
    """The result of a search."""

    model: Model
    options: DeployOptions
    lengths: Lengths
    candidates: int
    """Candidates searched, combinations of prefill and decode workers included."""
    points: int
    """Points of the sweep: each length of each candidate."""
    best: dict[str, Any] | None
    """A row of `plans`."""
    reason: Reason | None
    """Why no plan meets the targets; None where one does."""
    plans: pl.DataFrame
    """The best plan of each device, framework, precision and mode, best first; the columns are
    those of `PLAN` and `MONEY`."""
    front: pl.DataFrame
    """Pareto front in tokens/s/user and tokens/s/device of the plans that fit and meet the TTFT;
    the same columns."""
    requests: pl.DataFrame
    """Latency percentiles of the best plan over all lengths (`requests.percentiles`)."""
    launches: tuple[Launch, ...]
    """Commands that start the best plan."""
    bases: tuple[str, ...]
    """Source of the times, and their expected error."""
    assumed: tuple[str, ...]
    """Assumptions."""

    def as_dict(self) -> dict[str, Any]:
        """All fields, for JSON."""
        options = self.options._asdict()
        del options["prices"]
        targets, serving = options.pop("targets"), options.pop("serving")
        engine, speculation = options.pop("engine"), options.pop("speculation")
        return {
            "model": self.model.name,
            "asked": {"targets": targets._asdict()} | options
            | {"setting": serving._asdict() | engine._asdict() | speculation._asdict()},
            "candidates": self.candidates,
            "points": self.points,
            "best": self.best,
            "reason": self.reason._asdict() if self.reason else None,
            "plans": self.plans.to_dicts(),
            "front": self.front.to_dicts(),
            "requests": self.requests.to_dicts(),
            "launches": [run._asdict() | {"command": run.command} for run in self.launches],
            "bases": self.bases,
            "assumed": self.assumed,
        }  # fmt: skip


def find_deployment(
    model: Model | str | Path,
    devices: Sequence[Device | str | Path],
    lengths: Lengths,
    options: DeployOptions = DeployOptions(),  # noqa: B008 -- immutable
) -> Deployment:
    """Search layouts, formats, batch sizes and serving modes.

    With a rate, the best plan uses the fewest devices (the lowest USD per hour where devices have
    prices). Otherwise it has the highest requests/s on the given devices (or per USD).

    Parameters
    ----------
    model : Model, str or Path
        A model, or its name or file.
    devices : sequence of Device, str or Path
        Device types, or their names or files; a plan uses devices of one type.
    lengths : Lengths
        Request lengths; the search condenses them to at most `grid.lengths.MAX_CLASSES` classes.
    options : DeployOptions
        With prices for all device types, or for none.

    Raises
    ------
    InputError
        When an option is not valid.
    """
    kinds = [load_device(name) for name in devices]
    _check(options, kinds)
    loaded, speculation = speculating("deploy", load_model(model), options.speculation, DRAFTED)
    found = _deployment(loaded, kinds, lengths, options, speculation)
    if found.reason is None or options.engine.chunk_tokens is not None:
        return found
    engine = options.engine._replace(chunk_tokens=LEAST_CHUNK)
    shorter = _deployment(loaded, kinds, lengths, options._replace(engine=engine), speculation)
    if shorter.reason is not None:
        return found
    said = f"passes of {LEAST_CHUNK:,} tokens: no plan meets the targets with the engine's default"
    return shorter._replace(assumed=(*shorter.assumed, said))


def _deployment(
    loaded: Model,
    kinds: Sequence[Device],
    lengths: Lengths,
    options: DeployOptions,
    speculation: Speculation,
) -> Deployment:
    """As `find_deployment`, with the chunk of the options or the default of the serving engine."""
    classes = condensed(lengths)
    chosen = list(dict.fromkeys(read_layouts("deploy", loaded, options.layouts)))
    formats = read_precisions("deploy", loaded, options.precisions)
    search, bases = _Search(), list[str]()
    tried: list[dict[Precision, str]] = []
    layouts_by_name: dict[str, Layout] = {}
    limits: dict[str, int] = {}
    for device in kinds:
        first = timing_target(device, options.frameworks[0], options.times)
        limit = limits[device.name] = _limit(loaded, first, options, chosen)
        tried.append(formats or precisions_of(loaded, device))
        layouts = chosen or layouts_of(loaded, limit if device.links else 1)
        layouts = drafting_layouts(loaded, speculation, layouts)
        layouts_by_name |= {layout_name(layout): layout for layout in layouts}
        axes = {**speculation.axes, "precision": list(tried[-1]), "layout": layouts,
                "batch_size": batches_of(options.most_batch, classes)}  # fmt: skip
        for framework in options.frameworks:
            timing = timing_target(device, framework, options.times)
            bases += _bases(loaded, timing, options)
            grid = search_grid(loaded, timing, axes, classes, engine=options.engine)
            here = options if options.rate is not None else options._replace(devices=limit)
            search = _searched(search, grid, timing, here, limit)
    plans, front = (
        priced(ordered(frame, options) if frame.width else pl.DataFrame(schema=_EMPTY),
               {kind.name: kind for kind in kinds}, options.prices)
        for frame in search.plans
    )  # fmt: skip
    best = plans.row(0, named=True) if plans.height else None
    timings = [timing_target(kind, options.frameworks[0], options.times) for kind in kinds]
    reason = None if best else reason_of(search.tally, options, loaded, timings, tried)
    requests, commands = pl.DataFrame(), list[Launch]()
    if best:
        device = next(kind for kind in kinds if kind.name == best["device"])
        timing = timing_target(device, best["framework"], options.times)
        plan = served_plan(best, layouts_by_name, speculation.axes)
        requests = percentiles(loaded, plan, timing, lengths, options.serving)
        longest = longest_tokens(loaded, timing, lengths)
        commands = launches(plan, best["replicas"], loaded, device, options.engine, longest)
    return Deployment(
        model=loaded,
        options=options,
        lengths=lengths,
        candidates=search.candidates,
        points=search.points,
        best=best,
        reason=reason,
        plans=plans,
        front=front.sort("user_tokens_per_s", descending=True),
        requests=requests,
        launches=tuple(commands),
        bases=tuple(dict.fromkeys(bases)),
        assumed=(*_assumed(options, lengths, classes, limits), *speculation.notes),
    )


class _Search(NamedTuple):
    """State of a search."""

    plans: KeptPlans = KeptPlans()
    tally: Tally = Tally()
    points: int = 0
    candidates: int = 0


def _searched(
    search: _Search, grid: Grid, timing: TimingTarget, options: DeployOptions, limit: int
) -> _Search:
    """Add the sweep of one device and framework.

    Parameters
    ----------
    search : _Search
        State before.
    grid : Grid
        With the condensed lengths as its last axis.
    timing : TimingTarget
        The grid's device and framework.
    options : DeployOptions
    limit : int
        Most devices of one replica.
    """
    assert grid.lengths is not None
    plans, tally, workers = search.plans, search.tally, Workers()
    output, candidates = grid.lengths.mean("decode_steps", grid.model), search.candidates
    named = {"device": timing.device.name, "framework": timing.framework}
    for frame in served_frames(grid, timing, options.serving, sized=True):
        rows = frame.filter(pl.col("devices") <= limit).with_columns(
            *(pl.lit(value).alias(name) for name, value in named.items()),
            *drafting_columns(grid, frame.columns),
        )
        candidates += rows.height
        tally = tally.with_candidates(rows, options.targets)
        fitting = rows.filter(FITS)
        if AGGREGATED in options.modes:
            plans = plans.with_plans(aggregated(fitting, options), options)
        if DISAGGREGATED in options.modes:
            workers = workers.with_candidates(fitting, output)
    split, combinations = combined(workers, output, options)
    plans = plans.with_plans(split, options)
    return _Search(plans, tally, search.points + grid.points, candidates + combinations)


def _limit(
    model: Model, timing: TimingTarget, options: DeployOptions, chosen: Sequence[Layout]
) -> int:
    """Most devices of one replica; `chosen` are the layouts of the options, empty for all."""
    if options.devices is not None:
        return options.devices
    limit = group_limit(model, timing, options.engine)
    return max(limit, *map(devices_of, chosen), 1)


_EMPTY = {
    name: pl.Float64 if name.endswith("_s") else pl.Int64 if name.endswith(("s", "size")) else
    pl.String
    for name in PLAN
}  # fmt: skip


def _check(options: DeployOptions, kinds: Sequence[Device]) -> None:
    checked("deploy", options)
    names = [kind.name for kind in kinds]
    if not names:
        raise InputError("deploy: expected at least one device")
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise InputError(f"deploy: --device {twice}: named twice: expected each device once")
    check_prices("deploy", options.prices, names)
    missing = next((name for name in names if name not in options.prices), "")
    if options.prices and missing:
        raise InputError(f"deploy: {missing} has no price: expected --price of all or none")


def _bases(model: Model, timing: TimingTarget, options: DeployOptions) -> list[str]:
    bases = [basis(model.architecture, timing, True)]
    if DISAGGREGATED in options.modes and timing.times != ROOFLINE:
        split = SERVING_ERRORS["disaggregated"]
        bases.append(
            f"disaggregated: TPOT +-{split['tpot_median']:.0f} %; TTFT is not predicted "
            f"(+-{split['ttft_median']:.0f} %): prefill workers are modelled as queues, busy at "
            f"most {MAX_BUSY:.0%} of the time"
        )
    return bases


def _assumed(
    options: DeployOptions, lengths: Lengths, classes: Lengths, limits: Mapping[str, int]
) -> tuple[str, ...]:
    """Assumptions, one sentence each."""
    assumed = ["the serving engine is set to run as many sequences at once as a plan's batch has"]
    if classes is not lengths:
        assumed.append(f"{lengths.requests:,} lengths are searched as {classes.requests} classes")
    if options.devices is None:
        what = "devices" if options.rate is None else "devices per replica, at most"
        assumed.append(f"{what}: " + ", ".join(f"{many} {name}" for name, many in limits.items()))
    if not options.precisions:
        assumed.append("formats other than the checkpoint's were tried: their effect on quality is "
                       "not modelled (--precision checkpoint leaves them out)")  # fmt: skip
    return tuple(assumed)
