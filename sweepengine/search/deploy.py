"""Search for a deployment: layout, formats, batch size and serving mode, from one sweep.

A candidate is a layout, a precision and a batch size of one replica. Aggregated plans repeat a
replica; disaggregated plans combine prefill workers and decode workers in every ratio.
"""

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from sweepengine.data.basis import basis
from sweepengine.data.devices import Device, load_device
from sweepengine.data.error_classes import Case, error_class
from sweepengine.data.errors import InputError
from sweepengine.data.models import Model, load_model
from sweepengine.data.speeds import TimingTarget, timing_target
from sweepengine.engine import progress
from sweepengine.formulas.formats import CACHE_FORMATS
from sweepengine.formulas.formats import own_cache as own_cache_of
from sweepengine.formulas.speeds import ROOFLINE
from sweepengine.grid.lengths import Lengths, condensed
from sweepengine.grid.shorthand import layout_name
from sweepengine.search.candidate_plans import Space, search_plans, space_of
from sweepengine.search.declarations import checked
from sweepengine.search.disaggregated import MAX_BUSY
from sweepengine.search.engine_arguments import ENGINE_COMMANDS, Launch, launches
from sweepengine.search.known_errors import with_errors
from sweepengine.search.load import Load, load_of, replica_of
from sweepengine.search.margins import margin_of
from sweepengine.search.money import energy_notes, price_source, prices_of
from sweepengine.search.options import DISAGGREGATED, DeployOptions
from sweepengine.search.placements import ANY
from sweepengine.search.plans import PLAN, MoneyInputs, ServedPlan, priced, served_plan
from sweepengine.search.ranking import BEST, ranked
from sweepengine.search.reasons import Reason, reason_of
from sweepengine.search.requests import latencies, longest_tokens, mean_tokens, percentiles
from sweepengine.search.speculation import Speculation, speculating

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
    """Points of these candidates: each length of each."""
    best: dict[str, Any] | None
    """A row of `plans`."""
    reason: Reason | None
    """Why no plan meets the targets; None where one does."""
    plans: pl.DataFrame
    """The best plan of each device, framework, precision and mode, best first, those of measured
    times before others (`search.ranking`); columns are `PLAN`, `MONEY` and `RANKED`."""
    front: pl.DataFrame
    """Pareto fronts in tokens/s/user and tokens/s/device of the plans that fit and meet the TTFT,
    one of each device, framework and mode; columns are `PLAN` and `MONEY`."""
    requests: pl.DataFrame
    """Latency percentiles of the best plan over all lengths (`requests.percentiles`)."""
    launches: tuple[Launch, ...]
    """Commands that start the best plan of each serving engine, on the basis of the best plan."""
    bases: tuple[str, ...]
    """Source of the times, and their expected error."""
    assumed: tuple[str, ...]
    """Assumptions."""
    load: Load | None = None
    """The best plan under requests over time; None where the lengths have no timestamps."""

    def as_dict(self) -> dict[str, Any]:
        """All fields, for JSON."""
        options = self.options._asdict()
        del options["prices"]
        targets, serving = options.pop("targets"), options.pop("serving")
        options["energy"] = options["energy"]._asdict()
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
            "launches": [run.as_dict() for run in self.launches],
            "bases": self.bases,
            "assumed": self.assumed,
            "load": self.load.as_dict() if self.load else None,
        }  # fmt: skip


def find_deployment(
    model: Model | str | Path,
    devices: Sequence[Device | str | Path],
    lengths: Lengths,
    options: DeployOptions = DeployOptions(),  # noqa: B008 -- immutable
) -> Deployment:
    """Search layouts, formats, batch sizes and serving modes.

    With a rate or users, the best plan uses the fewest devices (the lowest USD per hour where
    devices have prices). Otherwise it has the highest requests/s on the given devices (or per USD).
    Plans keep a margin to the targets, and of plans within it of the best the simplest is taken
    (`search.ranking.ranked`).

    Parameters
    ----------
    model : Model, str or Path
        A model, or its name or file.
    devices : sequence of Device, str or Path
        Device types, or their names or files; a plan uses devices of one type, and those of
        `DeployOptions.decode_device` for decode workers.
    lengths : Lengths
        Request lengths; the search condenses them to at most `grid.lengths.MAX_CLASSES` classes.
    options : DeployOptions
        With prices for all device types, or for none.

    Raises
    ------
    InputError
        When an option is not valid.
    """
    progress.begin("candidates")
    kinds = [load_device(name) for name in devices]
    named = [*kinds, *([load_device(options.decode_device)] if options.decode_device else [])]
    names = [kind.name for kind in named]
    prices = prices_of("deploy", options.prices, options.price_list, names)
    options = options._replace(prices=prices)
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
    spaces = [space_of(loaded, device, options, True, speculation) for device in kinds]
    if options.decode_device is not None:
        decode = load_device(options.decode_device)
        spaces.append(space_of(loaded, decode, options, False, speculation))
    devices = {space.device.name: space.device for space in spaces}
    timings = [
        timing_target(device, framework, options.times)
        for device in devices.values()
        for framework in options.frameworks
    ]
    found = search_plans(loaded, spaces, classes, options)
    money = MoneyInputs(loaded, devices, options.prices, options.energy,
                        mean_tokens(loaded, timings[0], lengths))  # fmt: skip
    plans, front = (
        priced(frame if frame.width else pl.DataFrame(schema=_EMPTY), money)
        for frame in found.plans
    )
    by_name = {(timing.device.name, timing.framework): timing for timing in timings}
    plans, front = (
        with_errors(frame, loaded, lambda row: by_name[row["device"], row["framework"]])
        for frame in (plans, front)
    )
    own_cache = CACHE_FORMATS[own_cache_of(loaded.architecture)]
    plans = ranked(plans, devices, timings, options, own_cache)
    best = plans.row(0, named=True) if plans.height else None
    reason, requests, commands, load = None, pl.DataFrame(), list[Launch](), None
    if best:
        layouts = {layout_name(lay): lay for space in spaces for lay in space.layouts}

        def prepared(row: Mapping[str, Any]) -> tuple[ServedPlan, list[TimingTarget]]:
            names = [row["device"], row["prefill_device"] or row["device"]]
            targets = [timing_target(devices[n], row["framework"], options.times) for n in names]
            return served_plan(row, layouts, speculation.axes), targets

        plan, (timing, prefill) = prepared(best)
        each = latencies(loaded, plan, timing, lengths, options.serving, options.engine, prefill)
        requests = percentiles(each, lengths)
        if lengths.arrivals is not None:
            replica = replica_of(best, each, lengths)
            load = load_of(lengths.arrivals, replica, options.targets, options.attainment)
        longest = longest_tokens(loaded, timing, lengths)
        recommended = plans.filter(standing=BEST, basis=best["basis"])
        for row in recommended.rows(named=True):
            plan, (timing, prefill) = prepared(row)
            commands += launches(plan, row, loaded, timing, prefill, options.engine, longest)
    else:
        own = [space for space in spaces if space.alone]
        first = [timing_target(s.device, options.frameworks[0], options.times) for s in own]
        reason = reason_of(found.tally, options, loaded, first, [s.precisions for s in own])
    return Deployment(
        model=loaded,
        options=options,
        lengths=lengths,
        candidates=found.candidates,
        points=found.points,
        best=best,
        reason=reason,
        plans=plans,
        front=front.sort("user_tokens_per_s", descending=True),
        requests=requests,
        launches=tuple(commands),
        bases=tuple(
            dict.fromkeys(
                b
                for t in timings
                for k in speculation.drafted
                for b in _bases(loaded, t, options, k)
            )
        ),
        assumed=(*_assumed(options, lengths, classes, spaces, timings[0]), *speculation.notes),
        load=load,
    )


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
    if options.rate is not None and options.users is not None:
        raise InputError("deploy: --users: remove it, or --rate: each states the load")
    if ANY in options.precisions and len(options.precisions) > 1:
        raise InputError(f"deploy: --precision {ANY}: remove it, or the other precisions")
    if options.decode_device is not None:
        kinds = [*kinds, load_device(options.decode_device)]
        decode = kinds[-1].name
        if decode in names:
            raise InputError(f"deploy: --decode-device {decode}: expected another than --device")
        if DISAGGREGATED not in options.modes:
            raise InputError(f"deploy: --decode-device {decode}: remove it, as no plan has decode "
                             "workers, or let --mode-of-serving be disaggregated")  # fmt: skip
        names.append(decode)
    for framework, kind in product(options.frameworks, kinds):
        if kind.maker not in (makers := ENGINE_COMMANDS[framework]["makers"]):
            raise InputError(
                f"deploy: --framework {framework}: {kind.name} is a device of {kind.maker}: "
                f"expected one of {', '.join(makers)}"
            )
    missing = next((name for name in names if name not in options.prices), "")
    if options.prices and missing:
        raise InputError(f"deploy: {missing} has no price: expected --price of all or none")


def _bases(model: Model, timing: TimingTarget, options: DeployOptions, drafted: int) -> list[str]:
    speculative = Case(speculative=drafted > 0)
    bases = [basis(model.architecture, timing, True, speculative)]
    if DISAGGREGATED in options.modes and timing.times != ROOFLINE:
        known = error_class(model.architecture, timing, speculative._replace(disaggregated=True))
        bases.append(
            f"disaggregated: {known.text}; prefill workers are modelled as queues, busy at most "
            f"{MAX_BUSY:.0%} of the time"
        )
    return bases


def _assumed(
    options: DeployOptions,
    lengths: Lengths,
    classes: Lengths,
    spaces: Sequence[Space],
    timing: TimingTarget,
) -> tuple[str, ...]:
    """Assumptions, one sentence each."""
    assumed = ["the serving engine is set to run as many sequences at once as a plan's batch has"]
    margins = [(mode, margin_of(timing, mode, options)) for mode in options.modes]
    said = [
        f"{margin.tpot:.0%}"
        + (f" ({margin.ttft:.0%} of the TTFT)" if margin.ttft != margin.tpot else "")
        + f" where {mode}"
        for mode, margin in margins
    ]
    assumed.append("margin to the targets and the load: " + ", ".join(said) + " (--margin)")
    if classes is not lengths:
        assumed.append(f"{lengths.requests:,} lengths are searched as {classes.requests} classes")
    if options.devices is None:
        what = "devices per replica, at most" if options.has_load else "devices"
        assumed.append(f"{what}: " + ", ".join(f"{s.limit} {s.device.name}" for s in spaces))
    names = [space.device.name for space in spaces]
    assumed += [*price_source(options.price_list), *energy_notes(names, options.energy)]
    if not options.precisions:
        assumed.append("formats: the checkpoint's and fp8, whose effect on quality is not modelled "
                       "(--precision checkpoint leaves it out, --precision any adds formats that "
                       "need another checkpoint)")  # fmt: skip
    return tuple(assumed)
