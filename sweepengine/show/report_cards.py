"""What a report opens with: what a model needs, what devices make of it, and what binds."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import polars as pl

from sweepengine.costs import metrics
from sweepengine.data.devices import GIGA, TERA, Device
from sweepengine.data.errors import InputError
from sweepengine.query.folds import Fold, folded
from sweepengine.query.sources import Source
from sweepengine.search.options import LatencyTargets
from sweepengine.search.slo import Answer, find_answers
from sweepengine.show.look import figure
from sweepengine.show.terminal import point_text


class Card(NamedTuple):
    """A card: a line each of what is said, and of what."""

    title: str
    lines: list[tuple[str, str]]
    note: str = ""


def cards_of(source: Source, devices: Sequence[Device], at: Device) -> list[Card]:
    """Cards of a source: needs of its points, answers of devices, what binds on one of them."""
    found = [_needs(source)]
    if source.loaded.architecture.convention.sums_activations:
        found.append(_required(source))
    else:
        found.append(_serves(source, devices))
    found.append(_binds(source, at))
    return [card for card in found if card.lines]


def _span(low: Any, high: Any, unit: str) -> str:
    """A range in words, one figure where both ends read alike."""
    first, last = figure(float(low)), figure(float(high))
    return f"{first} {unit}" if first == last else f"{first} to {last} {unit}"


def _spans(source: Source, of: dict[str, tuple[pl.Expr, str]]) -> list[tuple[str, str]]:
    """Least and largest value of expressions over all points, in words."""
    folds = [
        Fold(f"{name}:{how}", one, how) for name, (one, _) in of.items() for how in ("min", "max")
    ]
    row = folded(source, [], folds).row(0, named=True)
    return [
        (name, _span(row[f"{name}:min"], row[f"{name}:max"], unit))
        for name, (_, unit) in of.items()
        if row[f"{name}:min"] is not None
    ]


def _needs(source: Source) -> Card:
    model, stages = source.loaded, source.stages_there
    of = {stage: (metrics.flops((stage,)) / TERA, "TFLOP") for stage in stages}
    lines = []
    if not model.architecture.convention.sums_activations:
        of["memory of a device"] = (metrics.memory_needed_bytes(stages) / GIGA, "GB")
        lines = [
            ("parameters", f"{model.parameter_count / 1e9:,.2f} billion"),
            ("cache of a token", f"{model.kv_bytes_per_token:,} bytes"),
        ]
    said = f"{source.point_count:,} points of {source.name}; a point is a whole batch"
    return Card(f"What {model.name} needs", lines + _spans(source, of), said)


def _required(source: Source) -> Card:
    """Of an accounting whose memory none would hold: the rates that targets take."""
    ttft, tpot = source.targets.ttft_s, source.targets.tpot_s
    first = tuple(stage for stage in source.stages_there if stage != "decode")
    of = {}
    if ttft is not None:
        of[f"first token after {ttft:g} s"] = (
            metrics.required_tflops_for_ttft(ttft, first), "TFLOP/s")  # fmt: skip
    if tpot is not None:
        steps = pl.col("decode_steps") > 0
        of[f"a token every {tpot * 1000:g} ms"] = (
            pl.when(steps).then(metrics.required_tflops_for_tpot(tpot)), "TFLOP/s")  # fmt: skip
    return Card("What its targets take", _spans(source, of) if of else [],
                "this accounting holds no weights, so no device's memory is asked")  # fmt: skip


def _serves(source: Source, devices: Sequence[Device]) -> Card:
    ttft, tpot = source.targets.ttft_s, source.targets.tpot_s
    title = "What it serves"
    if ttft is None or tpot is None:
        return Card(title, [])
    try:
        answers = find_answers(source, devices, LatencyTargets(ttft, tpot))
    except InputError as error:  # points on devices of their own, or that no link holds
        return Card(title, [("", str(error).removeprefix("slo: "))])
    notes = "; ".join(dict.fromkeys(answer.basis for answer in answers))
    lines = [(answer.device.name, _served(answer)) for answer in answers]
    return Card(f"{title} within TTFT {ttft:g} s and TPOT {tpot * 1000:g} ms", lines, notes)


def _served(answer: Answer) -> str:
    if answer.best is None:
        return f"none of {answer.points:,} points; {answer.fitting:,} fit the memory"
    made = answer.best["device_tokens_per_s"] or 0.0
    return (
        f"{answer.meeting:,} of {answer.points:,} points; most {made:,.0f} tokens/s "
        f"at {point_text(answer.best)}"
    )


def _binds(source: Source, at: Device) -> Card:
    folds = []
    for stage in source.stages_there:
        there = pl.col("decode_steps") > 0 if stage == "decode" else pl.lit(True)
        bound, intensity = metrics.bound(at, stage), metrics.arithmetic_intensity((stage,))
        folds += [
            Fold(f"{stage}:{one}", ((bound == one) & there).cast(pl.Int64), "sum")
            for one in metrics.BOUNDS
        ]
        folds += [Fold(f"{stage}:{how}", pl.when(there).then(intensity), how)
                  for how in ("min", "max")]  # fmt: skip
    row = folded(source, [], folds).row(0, named=True)
    lines = []
    for stage in source.stages_there:
        counted = {one: row[f"{stage}:{one}"] for one in metrics.BOUNDS}
        whole = sum(counted.values())
        if not whole:
            continue
        ordered = sorted(counted.items(), key=lambda item: -item[1])
        parts = ", ".join(f"{one} {points / whole:.0%}" for one, points in ordered if points)
        span = _span(row[f"{stage}:min"], row[f"{stage}:max"], "FLOP/byte")
        lines.append((stage, f"{parts}; {span}"))
    ridge = at.tensor_flops_per_s / at.bytes_per_s
    note = f"shares of the points, at the data sheet's peaks, whose ridge is {ridge:,.0f} FLOP/byte"
    return Card(f"What binds on {at.name}", lines, note)
