"""Terminal output: tables, and charts drawn in characters."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NoReturn

import click

from sweepengine.data.errors import printable
from sweepengine.engine import interrupts

if TYPE_CHECKING:
    from sweepengine.costs.cost_lines import CostLine
    from sweepengine.query.sources import Source
    from sweepengine.search.options import LatencyTargets
    from sweepengine.search.slo import Answer
    from sweepengine.validation.summary import Validation

PIPED_WIDTH = 200
"""Width of tables in a file or a pipe, in characters; they do not wrap."""
NARROW = 100
"""Columns of a terminal of fewer characters than this are one blank apart, others two."""


def say(text: str = "", error: bool = False) -> None:
    """Write a line to the terminal; commands print through this function only.

    Raises
    ------
    KeyboardInterrupt
        When a signal has asked the command to end.
    """
    if not error:
        interrupts.check()
    click.echo(printable(text, keep="\n"), err=error)


def say_json(facts: object) -> None:
    """Write facts as one line of JSON; numbers that are not finite are null."""
    say(json.dumps(_finite(facts), allow_nan=False))


def _finite(facts: object) -> object:
    if isinstance(facts, float):
        return facts if math.isfinite(facts) else None
    if isinstance(facts, Mapping):
        return {name: _finite(value) for name, value in facts.items()}
    return [_finite(value) for value in facts] if isinstance(facts, list | tuple) else facts


def four_digits(value: float) -> str:
    """Format a number with four significant digits, or all digits of its whole part."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def print_table(title: str, rows: Sequence[tuple[str, ...]], columns: tuple[str, ...]) -> None:
    """Print a table; columns of numbers are aligned to the right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from sweepengine.show.table_widths import column_widths

    console = Console()
    console.on_broken_pipe = _broken_pipe  # type: ignore[method-assign]
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    narrow = console.width < NARROW
    table = Table(box=None, pad_edge=False, show_header=any(columns), collapse_padding=narrow)
    cells = [tuple(printable(text) for text in row) for row in (columns, *rows)]
    widths = column_widths(cells, console.width, 1 if narrow else 2)
    for i, column in enumerate(cells[0]):
        numbers = sum(row[i][:1].isdigit() for row in rows)
        right = numbers == len(rows) or (i > 0 and numbers > len(rows) / 2)
        table.add_column(Text(column), overflow="fold", justify="right" if right else "left",
                         width=widths[i] if widths else None)  # fmt: skip
    for row in cells[1:]:
        table.add_row(*map(Text, row))
    say(title)
    console.print(table)


def _broken_pipe() -> NoReturn:
    """Raise, so that the command ends as at any closed pipe; rich would exit with 1."""
    raise BrokenPipeError


def show_explanation(title: str, total: "CostLine", formulas: bool) -> None:
    """Print the cost of one workload as a tree, with the share of each layer; JSON has all digits.

    Parameters
    ----------
    title : str
        Line above the table.
    total : CostLine
        Root of the tree.
    formulas : bool
        Whether to add a column of formulas.
    """
    rows = []
    for depth, part in total.walk():
        times = f" x {part.copies:,}" if part.copies != 1 else ""
        rows.append(
            (
                "  " * depth + part.name + times,
                four_digits(part.tensor_flops / 1e12),
                four_digits(part.cuda_flops / 1e12),
                f"{part.flops / total.flops:.1%}",
                four_digits(part.activation_io_bytes / 1e9),
                four_digits(part.weight_io_bytes / 1e9),
                four_digits(part.kv_io_bytes / 1e9),
                f"{part.moved_bytes / total.moved_bytes:.1%}",
                *([four_digits(part.link_bytes / 1e9)] if total.link_bytes else []),
                *([part.formula] if formulas else []),
            )
        )
    columns = ("layer", "tensor TFLOP", "CUDA TFLOP", "share", "activations GB", "weights GB",
               "KV cache GB", "share", *(["links GB"] if total.link_bytes else []))  # fmt: skip
    print_table(title, rows, (*columns, "formula") if formulas else columns)


def show_validation(validation: "Validation") -> None:
    """Print formulas against torch: layers, phases, activation memory, and how many agree."""
    layers = [
        (
            row.group,
            row.layer,
            row.reference_class,
            f"{row.measured_flops or row.measured_elementwise:,}",
            f"{row.analytic_flops or row.analytic_elementwise:,}",
            f"{row.relative_difference:.4%}",
            f"{validation.published[row.layer]:.4f}%",
            row.status,
        )
        for row in validation.layers
    ]
    layer_columns = ("group", "layer", "reference class", "measured", "analytic", "difference",
                     "published", "status")  # fmt: skip
    print_table("Layer by layer, FLOPs", layers, layer_columns)
    say()
    figures = [
        (check.what, f"{check.measured:,}", f"{check.analytic:,}", check.unit, check.status)
        for check in validation.end_to_end
    ]
    print_table("End to end", figures, ("figure", "measured", "analytic", "unit", "status"))
    say()
    peaks = [
        (
            peak.what,
            peak.attention,
            f"{peak.measured_bytes:,}",
            f"{peak.analytic_bytes:,}",
            f"{peak.relative_difference:+.1%}",
            f"{peak.tolerance:.0%}",
            peak.status,
        )
        for peak in validation.activation_memory
    ]
    peak_columns = ("layer", "attention", "measured", "analytic", "difference", "tolerance",
                    "status")  # fmt: skip
    print_table("Peak of activation memory at reduced widths, bytes", peaks, peak_columns)
    say(validation.verdict)


def show_answers(
    answers: "Sequence[Answer]", targets: "LatencyTargets", source: "Source", top: int
) -> None:
    """Print a line for each device, the cheapest, the Pareto fronts, and a chart of them.

    Parameters
    ----------
    answers : sequence of Answer
        One for each device.
    targets : LatencyTargets
        In seconds.
    source : Source
        Where the points come from.
    top : int
        Most rows of each front.
    """
    from sweepengine.costs.spec_sheet import checkpoint_text

    formats = checkpoint_text(source.loaded.architecture)
    print_table(
        f"{source.name}, model {source.model}: TTFT {targets.ttft_s:g} s, "
        f"TPOT {targets.tpot_s * 1000:g} ms; by default {formats}",
        [_answer_row(answer) for answer in answers],
        ("device", "points", "fit memory", "meet targets", "largest batch", "tokens/s/device",
         "highest throughput at", "USD/1M tokens"),
    )  # fmt: skip
    priced = [
        (price, answer.device.name)
        for answer in answers
        if (price := answer.usd_per_million_tokens) is not None
    ]
    for note in dict.fromkeys(note for a in answers for note in (a.basis, *a.assumed)):
        say(note)
    if priced:
        price, name = min(priced)
        say(f"cheapest: {name}, {price:.4f} USD per million tokens")
    for answer in answers:
        if answer.front.height:
            say()
            _show_front(answer, top)
    if any(answer.front.height for answer in answers):
        from sweepengine.show.front_picture import front_picture

        say()
        fronts = {answer.device.name: answer.front for answer in answers}
        chosen = [answer.best for answer in answers if answer.best]
        say(front_picture(fronts, targets.tpot_s, chosen))


def _answer_row(answer: "Answer") -> tuple[str, ...]:
    best = answer.best
    price = answer.usd_per_million_tokens
    return (
        answer.device.name,
        f"{answer.points:,}",
        f"{answer.fitting:,}",
        f"{answer.meeting:,}",
        f"{answer.largest_batch:,}" if best else "none in targets",
        f"{best['device_tokens_per_s']:,.0f}" if best and best["device_tokens_per_s"] else "",
        point_text(best) if best else "",
        "" if price is None else f"{price:.4f}",
    )


def _images(point: dict[str, object]) -> str:
    """Describe the images of a point: their size, and how many if not one."""
    from sweepengine.grid.shorthand import image_size_text

    count = point.get("images", 1)
    times = "" if count == 1 else f"{count} of "
    return f"{times}{image_size_text(point).removesuffix(' crops') if count else 'no image'}"


def point_text(point: dict[str, object]) -> str:
    """Describe a point: images or prompt, steps, batch, heads, attention, layout and formats."""
    from sweepengine.grid.shorthand import layout_text

    seen = "prompt_tokens" not in point
    texts = [_images(point) if seen else f"prompt {point['prompt_tokens']}"]
    texts += [f"K {point['decode_steps']}", f"B {point['batch_size']}"]
    if "attention_heads" in point:
        texts.append(f"heads {point['attention_heads']}/{point['key_value_heads']}")
    texts.append(str(point["attention"]))
    texts += [layout] if (layout := layout_text(point)) else []
    if point.get("weight_format", "checkpoint") != "checkpoint":
        texts.append(f"weights {point['weight_format']}, GEMMs {point['activation_format']}")
    if point.get("cache_format", "bf16") != "bf16":
        texts.append(f"KV cache {point['cache_format']}")
    if point.get("draft_tokens"):
        texts.append(f"{point['draft_tokens']} drafted by {point.get('draft', 'mtp')}")
    texts += [
        f"{value:,g} {unit}"
        for column, unit in (("device_tensor_tflops", "TFLOP/s"), ("device_bandwidth_gbs", "GB/s"),
                             ("device_memory_gb", "GB"), ("link_bandwidth_gbs", "GB/s links"))
        if isinstance(value := point.get(column, 0.0), float) and value
    ]  # fmt: skip
    return ", ".join(texts)


def _show_front(answer: "Answer", top: int) -> None:
    front = answer.front
    rows = [
        (
            f"{point['user_tokens_per_s']:,.1f}",
            f"{point['device_tokens_per_s']:,.1f}",
            f"{point['ttft_s']:,.4g}",
            f"{point['tpot_s'] * 1000:,.4g}",
            f"{point['memory_bytes'] / 1e9:,.2f}",
            f"{point['largest_batch']:,}",
            point_text(point),
        )
        for point in front[evenly(front.height, top)].to_dicts()
    ]
    shown = f", {top} of {front.height}" if front.height > top else ""
    print_table(
        f"{answer.device.name}: Pareto front of points that fit and meet the TTFT{shown}",
        rows,
        ("tokens/s/user", "tokens/s/device", "TTFT s", "TPOT ms", "memory GB",
         "largest batch that fits", "point"),
    )  # fmt: skip


def evenly(count: int, top: int) -> list[int]:
    """Return at most `top` of `count` positions, evenly spaced, with both ends."""
    if count <= top:
        return list(range(count))
    if top == 1:
        return [count - 1]
    return sorted({round(i * (count - 1) / (top - 1)) for i in range(top)})
