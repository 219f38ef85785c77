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
from sweepengine.data.speeds import SERVED, Place, basis, place_of
from sweepengine.formulas.layout import devices as devices_of
from sweepengine.formulas.speeds import FRAMEWORKS, SILICON
from sweepengine.grid.grid import Grid
from sweepengine.grid.lengths import Lengths, condensed
from sweepengine.grid.shorthand import read_layout
from sweepengine.search.disaggregated import BUSY, Groups, combined
from sweepengine.search.engine_arguments import Launch, launches
from sweepengine.search.placements import (
    BATCHES,
    batches_of,
    group_limit,
    layouts_of,
    precisions_of,
    search_grid,
)
from sweepengine.search.plans import (
    AGGREGATED,
    DISAGGREGATED,
    MODES,
    PLAN,
    Goal,
    Kept,
    aggregated,
    priced,
)
from sweepengine.search.reasons import Reason, Tally, reason_of
from sweepengine.search.requests import longest_tokens, percentiles
from sweepengine.search.steady_state import DEFAULT, FITS, Setting, served_frames
from sweepengine.search.targets import Objectives, check_prices


class Asked(NamedTuple):
    """What a deployment must do, and what may be tried for it."""

    targets: Objectives
    devices: int | None = None
    """Of one kind that there are; None: a node of them, or as many as a rate takes."""
    rate: float | None = None
    """Requests a second; None: as many as devices make."""
    frameworks: tuple[str, ...] = FRAMEWORKS[:1]
    modes: tuple[str, ...] = MODES
    precisions: tuple[str, ...] = ()
    """Empty: those that a device has the peaks for."""
    layouts: tuple[str, ...] = ()
    """Empty: all that a model can have."""
    most_batch: int = BATCHES
    times: str | None = None
    setting: Setting = DEFAULT


class Deployment(NamedTuple):
    """The answer of a search."""

    model: str
    asked: Asked
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
        asked = self.asked._asdict()
        return {
            "model": self.model,
            "asked": asked | {"targets": self.asked.targets._asdict(),
                              "setting": self.asked.setting._asdict()},
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
    model: str | Path,
    devices: Sequence[str | Path],
    lengths: Lengths,
    asked: Asked,
    prices: Mapping[str, float] | None = None,
) -> Deployment:
    """Search layouts, formats, batches and modes of serving.

    With a rate the best plan takes fewest devices (least USD an hour where devices are priced);
    else it serves most requests a second on the devices that there are (most for each USD).

    Parameters
    ----------
    model : str or Path
        Name of a shipped model, or a file.
    devices : sequence of str or Path
        Kinds of devices, by name or file; all devices of a plan are of one kind.
    lengths : Lengths
        Of requests; of many a search sees at most `grid.lengths.CLASSES` classes.
    asked : Asked
    prices : mapping of str to float, optional
        USD an hour of a device, by name: of all kinds, or of none.

    Raises
    ------
    InputError
        When something that is asked for is not valid.
    """
    loaded, seen, prices = load_model(model), condensed(lengths), prices or {}
    kinds = [load_device(name) for name in devices]
    _check(asked, kinds, prices)
    found, bases, tried = _Found(), list[str](), list[tuple[str, ...]]()
    limits: dict[str, int] = {}
    goal = Goal(asked.targets, asked.devices, asked.rate, prices)
    for name, device in zip(devices, kinds, strict=True):
        limit = limits[device.name] = _limit(loaded, device, asked)
        precisions = asked.precisions or tuple(precisions_of(loaded, device))
        layouts = asked.layouts or layouts_of(loaded, limit if device.links else 1)
        tried.append(precisions)
        for framework in asked.frameworks:
            place = place_of(device, framework, asked.times)
            bases += _bases(loaded, place, asked)
            grid = search_grid(str(model), str(name), framework, precisions, layouts,
                               batches_of(asked.most_batch, seen), seen, asked.times)  # fmt: skip
            here = goal if asked.rate is not None else goal._replace(most=limit)
            found = _searched(found, grid, place, seen, asked, here, limit)
    kept, tally = found.kept, found.tally
    plans, front = (
        priced(goal.ordered(frame) if frame.width else pl.DataFrame(schema=_EMPTY),
               {kind.name: kind for kind in kinds}, prices)
        for frame in (kept.best, kept.front)
    )  # fmt: skip
    best = plans.row(0, named=True) if plans.height else None
    share = asked.setting.memory_share
    apart = AGGREGATED not in asked.modes
    reason = None if best else reason_of(tally, goal, loaded, kinds, tried, share, apart)
    requests, started = pl.DataFrame(), list[Launch]()
    if best:
        at = next(i for i, kind in enumerate(kinds) if kind.name == best["device"])
        used = (str(model), str(devices[at]))
        place = place_of(kinds[at], best["framework"], asked.times)
        requests = percentiles(loaded, best, place, used, lengths, asked.setting)
        longest = longest_tokens(used, lengths)
        started = launches(best, loaded, asked.setting, longest)
    return Deployment(
        loaded.name, asked, lengths, found.looked, found.points, best, reason, plans,
        front.sort("user_tokens_per_s", descending=True), requests, tuple(started),
        tuple(dict.fromkeys(bases)), _assumed(asked, lengths, seen, limits),
    )  # fmt: skip


class _Found(NamedTuple):
    """What a search found so far."""

    kept: Kept = Kept()
    tally: Tally = Tally()
    points: int = 0
    looked: int = 0


def _searched(
    found: _Found,
    grid: Grid,
    place: Place,
    lengths: Lengths,
    asked: Asked,
    goal: Goal,
    limit: int,
) -> _Found:
    """With the sweep of one device and framework more; a copy has at most `limit` devices."""
    kept, tally, groups = found.kept, found.tally, Groups()
    output, looked = lengths.mean("decode_steps", grid.model), 0
    named = {"device": place.device.name, "framework": place.framework}
    for frame in served_frames(grid, lengths, place, asked.setting):
        candidates = frame.filter(pl.col("devices") <= limit).with_columns(
            pl.lit(value).alias(name) for name, value in named.items()
        )
        looked += candidates.height
        tally = tally.beside(candidates, asked.targets)
        fitting = candidates.filter(FITS)
        if AGGREGATED in asked.modes:
            kept = kept.beside(aggregated(fitting, goal), goal)
        if DISAGGREGATED in asked.modes:
            groups = groups.beside(fitting, output)
    plans, combinations = combined(groups, output, goal)
    looked += found.looked + combinations
    return _Found(kept.beside(plans, goal), tally, found.points + grid.points, looked)


def _limit(model: Model, device: Device, asked: Asked) -> int:
    """Devices of a copy at most."""
    if asked.devices is not None:
        return asked.devices
    try:
        named = [devices_of(read_layout(layout)) for layout in asked.layouts]
    except ValueError:  # a layout that is none is named when the sweep reads it
        named = []
    return max(group_limit(model, device, asked.setting.memory_share), *named, 1)


_EMPTY = {
    name: pl.Float64 if name.endswith("_s") else pl.Int64 if name.endswith(("s", "size")) else
    pl.String
    for name in PLAN
}  # fmt: skip


def _check(asked: Asked, kinds: Sequence[Device], prices: Mapping[str, float]) -> None:
    for name, value in (("--devices", asked.devices), ("--batch", asked.most_batch)):
        if value is not None and not 1 <= value <= 65_536:
            raise InputError(f"deploy: {name} {value}: expected 1..65,536")
    if asked.rate is not None and not 0 < asked.rate < 1e12:
        raise InputError(f"deploy: --rate {asked.rate:g}: expected requests a second above 0")
    asked.setting.checked("deploy")
    names = [kind.name for kind in kinds]
    if not names:
        raise InputError("deploy: expected at least one device")
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise InputError(f"deploy: --device {twice}: is named twice")
    check_prices("deploy", prices, names)
    if prices and (missing := next((name for name in names if name not in prices), "")):
        raise InputError(f"deploy: {missing} has no price beside others: expected --price of all")


def _bases(model: Model, place: Place, asked: Asked) -> list[str]:
    found = [basis(model.architecture, place, True)]
    if DISAGGREGATED in asked.modes and place.times == SILICON:
        split = SERVED["disaggregated"]
        found.append(
            f"disaggregated: TPOT +-{split['tpot_median']:.0f} %; its TTFT is not foretold "
            f"(+-{split['ttft_median']:.0f} %), groups that prefill are taken as queues at most "
            f"{BUSY:.0%} busy"
        )
    return found


def _assumed(
    asked: Asked, lengths: Lengths, seen: Lengths, limits: Mapping[str, int]
) -> tuple[str, ...]:
    setting = asked.setting
    found = [
        f"engines may take {setting.memory_share:.0%} of the memory and prefill "
        f"{setting.chunk_tokens:,} tokens at once"
    ]
    if seen is not lengths:
        found.append(f"{lengths.requests:,} lengths are searched as {seen.requests} classes")
    if asked.devices is None:
        what = "devices" if asked.rate is None else "devices of a copy, at most"
        found.append(f"{what}: " + ", ".join(f"{many} {name}" for name, many in limits.items()))
    if not asked.precisions:
        found.append("formats beside the checkpoint's own were tried: what they cost in quality "
                     "is not in here (--precision checkpoint leaves them out)")  # fmt: skip
    return tuple(found)
