"""The cards at the top of a report: needs of a model, answers of devices, and bounds."""

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
    """A card of a report."""

    title: str
    lines: list[tuple[str, str]]
    """Title and text of each line."""
    note: str = ""


def cards_of(source: Source, devices: Sequence[Device], at: Device) -> list[Card]:
    """Return the cards of a source.

    Parameters
    ----------
    source : Source
    devices : sequence of Device
        Devices that answer the targets.
    at : Device
        Device whose roofline bounds the phases.
    """
    summed = source.loaded.architecture.convention.sums_activations
    answers = _required(source) if summed else _meets(source, devices)
    return [card for card in (_needs(source), answers, _bounds(source, at)) if card.lines]


def _span(low: Any, high: Any, unit: str) -> str:
    """Format a range; one number if both ends read alike."""
    first, last = figure(float(low)), figure(float(high))
    return f"{first} {unit}" if first == last else f"{first} to {last} {unit}"


def _spans(source: Source, of: dict[str, tuple[pl.Expr, str]]) -> list[tuple[str, str]]:
    """Format the range of each expression over all points."""
    folds = [
        Fold(f"{name}:{how}", measure, how)
        for name, (measure, _) in of.items()
        for how in ("min", "max")
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
        of["weights per device"] = (pl.col("weight_bytes") / GIGA, "GB")
        of["KV cache per device"] = (pl.col("decode_kv_cache_bytes") / GIGA, "GB")
        lines = [
            ("parameters", f"{model.parameter_count / 1e9:,.2f} billion"),
            ("KV cache per token", f"{model.kv_bytes_per_token:,} bytes"),
        ]
    note = f"{source.point_count:,} points of {source.name}; each point is a whole batch"
    return Card(f"Needs of {model.name}", lines + _spans(source, of), note)


def _required(source: Source) -> Card:
    """Return the rates that the targets require, for an accounting without weights."""
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
    return Card("Required rates", _spans(source, of) if of else [],
                "this accounting has no weights, so memory of devices is not checked")  # fmt: skip


def _meets(source: Source, devices: Sequence[Device]) -> Card:
    ttft, tpot = source.targets.ttft_s, source.targets.tpot_s
    title = "Highest throughput"
    if ttft is None or tpot is None:
        return Card(title, [])
    try:
        answers = find_answers(source, devices, LatencyTargets(ttft, tpot))
    except InputError as error:  # points state their devices, or need links that one lacks
        return Card(title, [("", str(error).removeprefix("slo: "))])
    notes = "; ".join(dict.fromkeys(note for a in answers for note in (a.basis, *a.assumed)))
    lines = [(answer.device.name, _answer_text(answer)) for answer in answers]
    return Card(f"{title} within TTFT {ttft:g} s and TPOT {tpot * 1000:g} ms", lines, notes)


def _answer_text(answer: Answer) -> str:
    if answer.best is None:
        return f"none of {answer.points:,} points; {answer.fitting:,} fit in memory"
    rate = answer.best["device_tokens_per_s"] or 0.0
    return (
        f"{answer.meeting:,} of {answer.points:,} points; {rate:,.0f} tokens/s/device "
        f"at {point_text(answer.best)}"
    )


def _bounds(source: Source, at: Device) -> Card:
    folds = []
    for stage in source.stages_there:
        runs = pl.col("decode_steps") > 0 if stage == "decode" else pl.lit(True)
        bound, intensity = metrics.bound(at, stage), metrics.arithmetic_intensity((stage,))
        folds += [
            Fold(f"{stage}:{roof}", ((bound == roof) & runs).cast(pl.Int64), "sum")
            for roof in metrics.BOUNDS
        ]
        folds += [Fold(f"{stage}:{how}", pl.when(runs).then(intensity), how)
                  for how in ("min", "max")]  # fmt: skip
    row = folded(source, [], folds).row(0, named=True)
    lines = []
    for stage in source.stages_there:
        counted = {roof: row[f"{stage}:{roof}"] for roof in metrics.BOUNDS}
        total = sum(counted.values())
        if not total:
            continue
        ordered = sorted(counted.items(), key=lambda item: -item[1])
        parts = ", ".join(f"{roof} {points / total:.0%}" for roof, points in ordered if points)
        span = _span(row[f"{stage}:min"], row[f"{stage}:max"], "FLOP/byte")
        lines.append((stage, f"{parts}; {span}"))
    ridge = at.tensor_flops_per_s / at.bytes_per_s
    note = f"shares of points at the peaks of the data sheet; ridge at {ridge:,.0f} FLOP/byte"
    return Card(f"Bound on {at.name}", lines, note)
