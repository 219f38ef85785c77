"""How to run a model on devices: layout, formats, batch and mode of serving, from one sweep.

A candidate is a layout, a precision and a batch of one copy of a model. Aggregated, copies are
repeated; disaggregated, groups that prefill and groups that decode are combined in every ratio.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from sweepengine.data.devices import Device, load_device
from sweepengine.data.errors import InputError
from sweepengine.data.models import Model, load_model
from sweepengine.data.speeds import SERVING_ERRORS, TimingTarget, basis, timing_target
from sweepengine.formulas.layout import Layout
from sweepengine.formulas.layout import devices as devices_of
from sweepengine.formulas.speeds import SILICON
from sweepengine.grid.grid import Grid
from sweepengine.grid.lengths import Lengths, condensed
from sweepengine.grid.shorthand import layout_name
from sweepengine.search.declarations import checked
from sweepengine.search.disaggregated import BUSY, Groups, combined
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
from sweepengine.search.plans import PLAN, Kept, aggregated, ordered, priced, served_plan
from sweepengine.search.reasons import Reason, Tally, reason_of
from sweepengine.search.requests import longest_tokens, percentiles
from sweepengine.search.steady_state import FITS, served_frames
from sweepengine.search.targets import check_prices


class Deployment(NamedTuple):
    """The answer of a search."""

    model: Model
    options: DeployOptions
    lengths: Lengths
    candidates: int
    """That were looked at, combinations of groups included."""
    points: int
    """Of the sweep, which has each length of a candidate."""
    best: dict[str, Any] | None
    """A row of `plans`."""
    reason: Reason | None
    """Why there is no best."""
    plans: pl.DataFrame
    """The best of each device, framework, precision and mode, best first: `PLAN` and `MONEY`."""
    front: pl.DataFrame
    """Of all plans that fit and meet the TTFT those that no other beats in tokens/s for a user and
    for a device; the same columns."""
    requests: pl.DataFrame
    """Of the best, what requests see: `requests.percentiles` over all lengths."""
    launches: tuple[Launch, ...]
    """How to start the best."""
    bases: tuple[str, ...]
    """What times rest on, and how far off they are expected to be."""
    assumed: tuple[str, ...]
    """What nobody said."""

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        options = self.options._asdict()
        del options["prices"]
        targets, serving = options.pop("targets"), options.pop("serving")
        return {
            "model": self.model.name,
            "asked": {"targets": targets._asdict()} | options | {"setting": serving._asdict()},
            "candidates": self.candidates,
            "points": self.points,
            "best": self.best,
            "reason": self.reason._asdict() if self.reason else None,
            "plans": self.plans.to_dicts(),
            "front": self.front.to_dicts(),
            "requests": self.requests.to_dicts(),
            "launches": [one._asdict() | {"command": one.command} for one in self.launches],
            "bases": self.bases,
            "assumed": self.assumed,
        }  # fmt: skip


def find_deployment(
    model: Model | str | Path,
    devices: Sequence[Device | str | Path],
    lengths: Lengths,
    options: DeployOptions = DeployOptions(),  # noqa: B008 -- immutable
) -> Deployment:
    """Search layouts, formats, batches and modes of serving.

    With a rate the best plan takes fewest devices (least USD an hour where devices are priced);
    else it serves most requests a second on the devices that there are (most for each USD).

    Parameters
    ----------
    model : Model, str or Path
        A model, or its name or file.
    devices : sequence of Device, str or Path
        Kinds of devices, or their names or files; all devices of a plan are of one kind.
    lengths : Lengths
        Of requests; of many a search sees at most `grid.lengths.CLASSES` classes.
    options : DeployOptions
        With prices of all kinds of devices, or of none.

    Raises
    ------
    InputError
        When an option is not valid.
    """
    loaded, seen = load_model(model), condensed(lengths)
    kinds = [load_device(name) for name in devices]
    _check(options, kinds)
    asked = list(dict.fromkeys(read_layouts("deploy", loaded, options.layouts)))
    formats = read_precisions("deploy", loaded, options.precisions)
    found, bases, tried, names = (
        _Found(),
        list[str](),
        list[dict[Precision, str]](),
        dict[str, Layout](),
    )
    limits: dict[str, int] = {}
    for device in kinds:
        limit = limits[device.name] = _limit(loaded, device, options, asked)
        tried.append(formats or precisions_of(loaded, device))
        layouts = asked or layouts_of(loaded, limit if device.links else 1)
        names |= {layout_name(layout): layout for layout in layouts}
        axes = {"precision": list(tried[-1]), "layout": layouts,
                "batch_size": batches_of(options.most_batch, seen)}  # fmt: skip
        for framework in options.frameworks:
            place = timing_target(device, framework, options.times)
            bases += _bases(loaded, place, options)
            here = options if options.rate is not None else options._replace(devices=limit)
            found = _searched(found, search_grid(loaded, place, axes, seen), place, here, limit)
    plans, front = (
        priced(ordered(frame, options) if frame.width else pl.DataFrame(schema=_EMPTY),
               {kind.name: kind for kind in kinds}, options.prices)
        for frame in found.kept
    )  # fmt: skip
    best = plans.row(0, named=True) if plans.height else None
    reason = None if best else reason_of(found.tally, options, loaded, kinds, tried)
    requests, started = pl.DataFrame(), list[Launch]()
    if best:
        device = next(kind for kind in kinds if kind.name == best["device"])
        place, plan = (
            timing_target(device, best["framework"], options.times),
            served_plan(best, names),
        )
        requests = percentiles(loaded, plan, place, lengths, options.serving)
        longest = longest_tokens(loaded, place, lengths)
        started = launches(plan, best["replicas"], loaded, options.serving, longest)
    return Deployment(
        model=loaded,
        options=options,
        lengths=lengths,
        candidates=found.looked,
        points=found.points,
        best=best,
        reason=reason,
        plans=plans,
        front=front.sort("user_tokens_per_s", descending=True),
        requests=requests,
        launches=tuple(started),
        bases=tuple(dict.fromkeys(bases)),
        assumed=_assumed(options, lengths, seen, limits),
    )


class _Found(NamedTuple):
    """What a search found so far."""

    kept: Kept = Kept()
    tally: Tally = Tally()
    points: int = 0
    looked: int = 0


def _searched(
    found: _Found, grid: Grid, place: TimingTarget, options: DeployOptions, limit: int
) -> _Found:
    """With the sweep of one device and framework more; a copy has at most `limit` devices."""
    assert grid.lengths is not None
    kept, tally, groups = found.kept, found.tally, Groups()
    output, looked = grid.lengths.mean("decode_steps", grid.model), 0
    named = {"device": place.device.name, "framework": place.framework}
    for frame in served_frames(grid, place, options.serving):
        candidates = frame.filter(pl.col("devices") <= limit).with_columns(
            pl.lit(value).alias(name) for name, value in named.items()
        )
        looked += candidates.height
        tally = tally.beside(candidates, options.targets)
        fitting = candidates.filter(FITS)
        if AGGREGATED in options.modes:
            kept = kept.beside(aggregated(fitting, options), options)
        if DISAGGREGATED in options.modes:
            groups = groups.beside(fitting, output)
    plans, combinations = combined(groups, output, options)
    looked += found.looked + combinations
    return _Found(kept.beside(plans, options), tally, found.points + grid.points, looked)


def _limit(model: Model, device: Device, options: DeployOptions, asked: Sequence[Layout]) -> int:
    """Devices of a copy at most; `asked` are the layouts that may be taken, if any are named."""
    if options.devices is not None:
        return options.devices
    limit = group_limit(model, device, options.serving.memory_share)
    return max(limit, *map(devices_of, asked), 1)


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
        raise InputError(f"deploy: --device {twice}: is named twice")
    check_prices("deploy", options.prices, names)
    missing = next((name for name in names if name not in options.prices), "")
    if options.prices and missing:
        raise InputError(f"deploy: {missing} has no price beside others: expected --price of all")


def _bases(model: Model, place: TimingTarget, options: DeployOptions) -> list[str]:
    found = [basis(model.architecture, place, True)]
    if DISAGGREGATED in options.modes and place.times == SILICON:
        split = SERVING_ERRORS["disaggregated"]
        found.append(
            f"disaggregated: TPOT +-{split['tpot_median']:.0f} %; its TTFT is not foretold "
            f"(+-{split['ttft_median']:.0f} %), groups that prefill are taken as queues at most "
            f"{BUSY:.0%} busy"
        )
    return found


def _assumed(
    options: DeployOptions, lengths: Lengths, seen: Lengths, limits: Mapping[str, int]
) -> tuple[str, ...]:
    serving = options.serving
    found = [
        f"engines may take {serving.memory_share:.0%} of the memory and prefill "
        f"{serving.chunk_tokens:,} tokens at once"
    ]
    if seen is not lengths:
        found.append(f"{lengths.requests:,} lengths are searched as {seen.requests} classes")
    if options.devices is None:
        what = "devices" if options.rate is None else "devices of a copy, at most"
        found.append(f"{what}: " + ", ".join(f"{many} {name}" for name, many in limits.items()))
    if not options.precisions:
        found.append("formats beside the checkpoint's own were tried: what they cost in quality "
                     "is not in here (--precision checkpoint leaves them out)")  # fmt: skip
    return tuple(found)
