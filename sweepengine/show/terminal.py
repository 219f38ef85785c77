"""Terminal output: tables, and charts drawn in characters."""

import json
import math
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING

import click

from sweepengine.data.errors import printable
from sweepengine.engine import interrupts, progress

if TYPE_CHECKING:
    from sweepengine.costs.cost_lines import CostLine
    from sweepengine.query.sources import Source
    from sweepengine.search.options import LatencyTargets
    from sweepengine.search.slo import Answer

PIPED_WIDTH = 200
"""Width of tables in a file or a pipe, in characters, where `COLUMNS` is not set."""
NARROW = 100
"""Columns of a terminal of fewer characters than this are one blank apart, others two."""
NO_BREAK = "\u00a0"
"""Stands for a blank at which no line breaks."""
WORD = re.compile(r"""(?:[^\s'"]|'[^']*'|"[^"]*")+""")
"""A word of a shell command, quoted or not."""


def line_width() -> int | None:
    """Characters of a line: as `COLUMNS` says, else of the terminal; None in a file or a pipe."""
    stated = os.environ.get("COLUMNS", "")
    if stated.isdecimal() and int(stated) > 0:
        return int(stated)
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def say(text: str = "", error: bool = False) -> None:
    """Write a line to the terminal, whose progress ends; commands print through this alone.

    Raises
    ------
    KeyboardInterrupt
        When a signal has asked the command to end.
    """
    progress.stop()
    if not error:
        interrupts.check()
    click.echo(printable(text, keep="\n"), err=error)


def say_text(text: str, start: str = "", most: int | None = None) -> None:
    """Print prose, in lines that break between words where the width is known.

    Parameters
    ----------
    text : str
        One paragraph.
    start : str
        What each line begins with.
    most : int, optional
        Characters of the longest line, wherever it is printed; by default the width of the
        terminal, and one line in a file or a pipe.
    """
    width = min(filter(None, (line_width(), most)), default=0)
    if not width:
        say(f"{start}{text}")
        return
    whole = text.replace(" %", f"{NO_BREAK}%")
    lines = wrap(whole, max(width - len(start), 1), break_on_hyphens=False, break_long_words=False)
    for line in lines or [""]:
        say(f"{start}{line}".replace(NO_BREAK, " "))


def say_command(text: str) -> None:
    """Print a shell command; where it is wider than the terminal, its lines end in a backslash.

    An option and its value stay on one line where they fit it.
    """
    width, parts = line_width(), [""]
    for word in WORD.findall(text):
        pair = f"{parts[-1]} {word}"
        option = parts[-1].startswith("-") and " " not in parts[-1] and not word.startswith("-")
        if option and not (width and len(pair) + len("     \\") > width):
            parts[-1] = pair
        else:
            parts.append(word)
    line = ""
    for part in filter(None, parts):
        if width and line.strip() and len(line) + len(part) + 3 > width:
            say(f"{line} \\")
            line = "   "
        line += f" {part}" if line else part
    say(line)


def say_json(facts: object) -> None:
    """Write facts as one line of JSON; numbers that are not finite are null."""
    say(json.dumps(_finite(facts), allow_nan=False))


def _finite(facts: object) -> object:
    if isinstance(facts, float):
        return facts if math.isfinite(facts) else None
    if isinstance(facts, Mapping):
        return {name: _finite(value) for name, value in facts.items()}
    return [_finite(value) for value in facts] if isinstance(facts, list | tuple) else facts


def three_digits(value: float) -> str:
    """Format a number with three significant digits and no exponent."""
    rounded = float(f"{value:.2e}")
    if not rounded or not math.isfinite(rounded):
        return f"{rounded:.0f}"
    behind = 2 - math.floor(math.log10(abs(rounded)))
    return f"{rounded:,.{max(behind, 0)}f}"


def print_table(title: str, rows: Sequence[tuple[str, ...]], columns: tuple[str, ...]) -> None:
    """Print a table that fits the terminal (`text_tables.table_lines`).

    Parameters
    ----------
    title : str
        Line above it.
    rows : sequence of tuple of str
        Texts of each row.
    columns : tuple of str
        Titles, the most important first; empty texts: none.
    """
    from sweepengine.show.text_tables import table_lines

    width = line_width() or PIPED_WIDTH
    cells = [tuple(printable(text) for text in row) for row in (columns, *rows)]
    say_text(title)
    for line in table_lines(cells, width, 1 if width < NARROW else 2):
        say(line)


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
                _amount(part.tensor_flops / 1e12),
                _amount(part.cuda_flops / 1e12),
                f"{part.flops / total.flops:.1%}",
                _amount(part.activation_io_bytes / 1e9),
                _amount(part.weight_io_bytes / 1e9),
                _amount(part.kv_io_bytes / 1e9),
                f"{part.moved_bytes / total.moved_bytes:.1%}",
                *([_amount(part.link_bytes / 1e9)] if total.link_bytes else []),
                *([part.formula] if formulas else []),
            )
        )
    columns = ("layer", "tensor TFLOP", "CUDA TFLOP", "share", "activations GB", "weights GB",
               "KV cache GB", "share", *(["links GB"] if total.link_bytes else []))  # fmt: skip
    print_table(title, rows, (*columns, "formula") if formulas else columns)


def _amount(value: float) -> str:
    """Format an amount of a tree, whose smallest need not be read."""
    return "<0.001" if 0 < value < 0.001 else three_digits(value)


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
    priced = [
        (price, answer.device.name)
        for answer in answers
        if (price := answer.usd_per_million_tokens) is not None
    ]
    print_table(
        f"{source.name}, model {source.model}: TTFT {targets.ttft_s:g} s, "
        f"TPOT {targets.tpot_s * 1000:g} ms; by default {formats}",
        [_answer_row(answer)[: None if priced else -1] for answer in answers],
        ("device", "points", "fit memory", "meet targets", "largest batch", "tokens/s/device",
         "highest throughput at", *(["USD/1M tokens"] if priced else [])),
    )  # fmt: skip
    for note in dict.fromkeys(note for a in answers for note in (a.basis, *a.assumed)):
        say_text(note)
    if priced:
        price, name = min(priced)
        say(f"cheapest: {name}, {three_digits(price)} USD per million tokens")
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
        three_digits(best["device_tokens_per_s"]) if best and best["device_tokens_per_s"] else "",
        point_text(best) if best else "",
        "" if price is None else three_digits(price),
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
            three_digits(point["user_tokens_per_s"]),
            three_digits(point["device_tokens_per_s"]),
            three_digits(point["ttft_s"]),
            three_digits(point["tpot_s"] * 1000),
            three_digits(point["memory_bytes"] / 1e9),
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
