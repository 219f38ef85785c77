"""The cards at the top of a report: needs of a model, answers of devices, and bounds."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from sweepengine.costs import metrics
from sweepengine.data.devices import GIGA, TERA, Device
from sweepengine.data.errors import InputError
from sweepengine.query.folds import Fold, folded
from sweepengine.query.sources import Source
from sweepengine.search.options import LatencyTargets
from sweepengine.search.slo import RATE, Answer, find_answers
from sweepengine.show.charts import phase_weights
from sweepengine.show.look import figure
from sweepengine.show.plans import units_of
from sweepengine.show.slices import Slice
from sweepengine.show.terminal import point_text


class Card(NamedTuple):
    """A card of a report."""

    title: str
    lines: list[tuple[str, str]]
    """Title and text of each line."""
    note: str = ""
    columns: tuple[str, ...] = ()
    """Titles of the columns of a card that is a table; empty: it has lines."""
    rows: Sequence[tuple[str, ...]] = ()


class Verdict(NamedTuple):
    """Answers of devices to latency targets."""

    targets: LatencyTargets
    assumed: bool
    """Whether the targets are the defaults, as the grid has none."""
    answers: list[Answer]
    problem: str = ""
    """Why there are no answers."""


def cards_of(shown: Slice, verdict: Verdict | None, at: Device) -> list[Card]:
    """Return the cards of a source, the verdict of its devices first.

    Parameters
    ----------
    shown : Slice
    verdict : Verdict or None
        None where the accounting has no weights: then the required rates come first.
    at : Device
        Device whose roofline bounds the phases.
    """
    source = shown.source
    if verdict is None:
        cards = [_required(source), _needs(source)]
    else:
        cards = [_meets(verdict), _needs(source), _bounds(shown, at)]
    return [card for card in cards if card.lines or card.rows]


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
    else:
        unit = units_of(model).memory
        lines = [(f"weights, {name}", f"{weight:.4f} {unit}")
                 for name, weight in phase_weights(model).items()]  # fmt: skip
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


def verdict_of(source: Source, devices: Sequence[Device]) -> Verdict | None:
    """Return the answers of devices; None for an accounting without weights."""
    if source.loaded.architecture.convention.sums_activations:
        return None
    ttft, tpot = source.targets.ttft_s, source.targets.tpot_s
    targets = LatencyTargets()
    assumed = ttft is None and tpot is None
    targets = LatencyTargets(targets.ttft_s if ttft is None else ttft,
                             targets.tpot_s if tpot is None else tpot)  # fmt: skip
    try:
        return Verdict(targets, assumed, find_answers(source, devices, targets))
    except InputError as error:  # points need links that a device lacks
        return Verdict(targets, assumed, [], str(error).removeprefix("slo: "))


def _meets(verdict: Verdict) -> Card:
    targets, answers = verdict.targets, verdict.answers
    goal = f"TTFT {targets.ttft_s:g} s and TPOT {targets.tpot_s * 1000:g} ms"
    title = f"Within {goal}" + (" (assumed: the grid has no targets)" if verdict.assumed else "")
    if verdict.problem:
        return Card(title, [("", verdict.problem)])
    notes = "; ".join(dict.fromkeys(note for a in answers for note in (a.basis, *a.assumed)))
    ordered = sorted(answers, key=lambda answer: -((answer.best or {}).get(RATE) or 0.0))
    return Card(title, [], notes, VERDICT_COLUMNS, [_answer_row(answer) for answer in ordered])


VERDICT_COLUMNS = ("device", "within the targets?", "tokens/s/device", "at", "TTFT, ms", "TPOT, ms",
                   "points that meet both")  # fmt: skip


def _answer_row(answer: Answer) -> tuple[str, ...]:
    best, name = answer.best, answer.device.name
    counted = f"{answer.meeting:,} of {answer.points:,}"
    if best is None:
        return name, f"no; {answer.fitting:,} fit in memory", "", "", "", "", counted
    tpot = "" if best["tpot_s"] is None else _milliseconds(best, "tpot")
    rate, at = figure(best[RATE] or 0.0), point_text(best)
    return name, "yes", rate, at, _milliseconds(best, "ttft"), tpot, counted


def _milliseconds(best: Mapping[str, Any], time: str) -> str:
    """Format a time with the range that holds 90 % of measured runs like it, where there is one."""
    low, high = (best[f"{time}_{end}_seconds"] for end in ("low", "high"))
    span = "" if low is None else f" ({figure(low * 1000)} to {figure(high * 1000)})"
    return f"{figure(best[f'{time}_s'] * 1000)}{span}"


def _bounds(shown: Slice, at: Device) -> Card:
    source, folds = shown.source, []
    same = [pl.col(name) == shown.point[name] for name in ("attention",) if shown.varies(name)]
    for stage in source.stages_there:
        runs = pl.col("decode_steps") > 0 if stage == "decode" else pl.lit(True)
        bound, intensity = metrics.bound(at, stage), metrics.arithmetic_intensity((stage,))
        folds += [
            Fold(f"{stage}:{roof}", ((bound == roof) & runs).cast(pl.Int64), "sum")
            for roof in metrics.BOUNDS
        ]
        folds += [Fold(f"{stage}:{how}", pl.when(runs).then(intensity), how)
                  for how in ("min", "max")]  # fmt: skip
    row = folded(source, [], folds, same[0] if same else None).row(0, named=True)
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
    held = shown.text(set(shown.varying) - {"attention"})
    note = f"shares of points at the peaks of the data sheet; ridge at {ridge:,.0f} FLOP/byte"
    note += f"; {held}" if held else ""
    return Card(f"Bound on {at.name}", lines, note)
