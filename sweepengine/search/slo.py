"""Points that meet latency targets on each device, and their highest throughput."""

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, NamedTuple

import polars as pl

from sweepengine.costs.device_memory import memory_on
from sweepengine.costs.device_times import AT_PEAK, MEASURES, Achievable, slowed, times_on
from sweepengine.data.basis import basis
from sweepengine.data.devices import Device, load_devices
from sweepengine.data.error_classes import Case
from sweepengine.data.errors import InputError
from sweepengine.data.speeds import TimingTarget, timing_target
from sweepengine.engine.memory import memory_counts
from sweepengine.formulas.serving import CONTINUOUS, SERVING
from sweepengine.formulas.speeds import FRAMEWORKS, ROOFLINE
from sweepengine.query.sources import Source
from sweepengine.search.declarations import checked
from sweepengine.search.engine_settings import engine_values
from sweepengine.search.known_errors import error_values, with_errors
from sweepengine.search.money import prices_of, usd_per_million
from sweepengine.search.options import LatencyTargets, SloOptions
from sweepengine.search.targets import (
    meets_tpot,
    meets_ttft,
    pareto_front,
)

FRONT_COLUMNS = ("ttft_s", "tpot_s", "user_tokens_per_s", "device_tokens_per_s", "memory_bytes",
            "largest_batch")  # fmt: skip
MEMORY_STRUCT, TIMES_STRUCT = "memory", "times"
"""Columns of what a device holds (`costs.device_memory.memory_on`), and of what requests see
(`costs.device_times.times_on`)."""
RATE = "device_tokens_per_s"
_PREFER = [RATE, "user_tokens_per_s"]


class Answer(NamedTuple):
    """Points of a source on one device, against latency targets."""

    device: Device
    points: int = 0
    fitting: int = 0
    """Points that fit in the memory of the device under its serving engine."""
    meeting: int = 0
    """Points that fit and meet both targets."""
    largest_batch: int = 0
    """Largest batch size of a point that fits and meets both targets; 0 where none does."""
    best: dict[str, Any] | None = None
    """Inputs and measures of the point with the highest tokens/s/device within the targets."""
    front: pl.DataFrame = pl.DataFrame()
    """Pareto front in tokens/s/user and tokens/s/device of the points that fit and meet the TTFT,
    highest tokens/s/user first; columns are the inputs, `FRONT_COLUMNS` and `columns.ERRORS`."""
    price_per_hour: float | None = None
    """USD per hour of the device."""
    basis: str = ""
    """Source of the times, and their expected error."""
    assumed: tuple[str, ...] = ()
    """What points assume of tokens that drafts have accepted."""

    @property
    def usd_per_million_tokens(self) -> float | None:
        """USD per million output tokens at the best point; None without a price or tokens."""
        if self.price_per_hour is None or self.best is None or not self.best[RATE]:
            return None
        return float(usd_per_million(self.price_per_hour, self.best[RATE]))

    def as_dict(self) -> dict[str, Any]:
        """All fields, for JSON; the device by its name."""
        return {
            **self._asdict(),
            "device": self.device.name,
            "usd_per_million_tokens": self.usd_per_million_tokens,
            "front": self.front.to_dicts(),
        }


def find_answers(
    source: Source,
    devices: Sequence[Device],
    targets: LatencyTargets,
    options: SloOptions = SloOptions(),  # noqa: B008 -- immutable
) -> list[Answer]:
    """Evaluate each device in one pass over the points, in bounded memory.

    Parameters
    ----------
    source : Source
        Grid or dataset.
    devices : sequence of Device
    targets : LatencyTargets
        Of a request in steady state; where serving is static, of a batch that is filled at once.
    options : SloOptions

    Raises
    ------
    InputError
        For a price of a device that is not given, or without points.
    """
    names = [device.name for device in devices]
    checked("slo", options)
    prices = prices_of("slo", options.prices, options.price_list, names)
    achievable = Achievable(options.compute_fraction, options.bandwidth_fraction)
    load_devices([*source.loaded.devices, *devices], "slo")
    for device in devices:
        timed = source.loaded.device_names
        if timed and device.name not in timed:
            raise InputError(
                f"slo: {device.name}: expected one of {', '.join(timed)}, as in {source.place}"
            )
    timings = [timing_target(device, options.framework, options.times) for device in devices]
    measured = next((timing for timing in timings if timing.times != ROOFLINE), None)
    if achievable != AT_PEAK and measured:
        raise InputError(
            f"slo: fractions of peaks do not apply to measured kernels of {measured.device.name}: "
            "expected --times roofline"
        )
    arch, serves = source.loaded.architecture, options.serving == SERVING[CONTINUOUS]
    answers = [
        Answer(
            timing.device,
            price_per_hour=prices.get(timing.device.name),
            basis=basis(arch, timing, serves, Case(speculative=bool(source.assumed))),
            assumed=source.assumed,
        )
        for timing in timings
    ]
    inputs = source.inputs
    counted = memory_counts(source.loaded)
    settings = {
        "framework": FRAMEWORKS.index(options.framework),
        **engine_values("slo", options.engine, options.framework),
    }
    timings = [timing._replace(device=slowed(timing.device, achievable)) for timing in timings]
    outputs = sorted({"devices", *counted} - set(inputs))
    for batch in source.frames([*inputs, *outputs]):
        for i, timing in enumerate(timings):
            points = _measured(source, batch, timing, options.serving, settings)
            answers[i] = _add(answers[i], targets, points)
    answers = [
        _with_errors(answer, source, timing, options.serving)
        for answer, timing in zip(answers, timings, strict=True)
    ]
    if not answers[0].points:
        raise InputError(f"{source.place}: no points match: expected at least one")
    return answers


def _with_errors(answer: Answer, source: Source, timing: TimingTarget, serving: str) -> Answer:
    """An answer whose best point and front say how far times were off on runs like them."""
    model, given = source.loaded, {"serving": serving}
    best = answer.best and answer.best | error_values(given | answer.best, model, timing)
    return answer._replace(
        best=best, front=with_errors(answer.front, model, lambda _: timing, given)
    )


def _memory_measures() -> list[pl.Expr]:
    memory = pl.col(MEMORY_STRUCT).struct
    return [
        memory.field("needed_bytes").alias("memory_bytes"),
        memory.field("largest_batch"),
        memory.field("fits"),
    ]


def _measured(
    source: Source,
    batch: pl.DataFrame,
    timing: TimingTarget,
    serving: str,
    settings: Mapping[str, int],
) -> pl.DataFrame:
    """Inputs, `FRONT_COLUMNS` and `fits` of points on a timing target."""
    device = timing.device
    names_device = "device" in source.inputs
    if names_device:  # each device gets the points that name it
        batch = batch.filter(pl.col("device").cast(pl.String) == device.name)
    if device.links is None and batch["devices"].max() != 1:
        raise InputError(
            f"slo: {device.name}: its file has no link: expected one, as points use several devices"
        )
    stated = {} if names_device else settings
    memory = memory_on(source.loaded, device, source.columns, stated).alias(MEMORY_STRUCT)
    times = times_on(source.loaded, timing, source.columns, stated, serving).alias(TIMES_STRUCT)
    seen = [pl.col(TIMES_STRUCT).struct.field(name) for name in MEASURES]
    measured = batch.with_columns(memory, times)
    return measured.select(*source.inputs, *seen, *_memory_measures())


def _add(answer: Answer, targets: LatencyTargets, shown: pl.DataFrame) -> Answer:
    """Add points, of which `shown` has inputs and measures."""
    fitting = shown.filter("fits").drop("fits")
    in_ttft = fitting.filter(meets_ttft(targets))
    meeting = in_ttft.filter(meets_tpot(targets))
    candidates = [answer.best] if answer.best else []
    if meeting.height:
        highest = meeting.filter(pl.col(RATE) == pl.col(RATE).max())
        candidates += highest.sort(_PREFER, descending=True, maintain_order=True).head(1).to_dicts()
    best = reduce(_better, candidates) if candidates else None
    largest = max(answer.largest_batch, int(meeting["batch_size"].max() or 0))  # type: ignore[arg-type]
    return answer._replace(
        points=answer.points + shown.height,
        fitting=answer.fitting + fitting.height,
        meeting=answer.meeting + meeting.height,
        largest_batch=largest,
        best=best,
        front=pareto_front(pl.concat([f for f in (answer.front, in_ttft) if f.width])),
    )


def _better(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """The point of more tokens/s/device; where they are equal, of more tokens/s/user."""
    rates, challenger = ([point[name] or 0.0 for name in _PREFER] for point in (first, second))
    return second if challenger > rates else first
