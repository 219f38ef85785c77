"""A report of several models on the same requests: one chart, and a table of costs."""

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import altair as alt
import polars as pl

from sweepengine.data.devices import GIGA, TERA
from sweepengine.data.machine import TO_DRAW, require_addresses
from sweepengine.data.outputs import KINDS, OutputFolder
from sweepengine.grid.columns import SCHEMA_VERSION
from sweepengine.grid.shorthand import (
    MILLIMETRES_PER_INCH,
    images_text,
    paper_sizes,
    read_page,
)
from sweepengine.query.sources import Source
from sweepengine.search.model_costs import (
    ModelComparison,
    ModelCost,
    Workload,
    compare_models,
)
from sweepengine.search.money import price_source
from sweepengine.show.look import COLOURS, GREY, WIDTH, Chart, figure, styled
from sweepengine.show.rendering import drawn, render, specification_of
from sweepengine.show.report_cards import Card
from sweepengine.show.tables import Table, csv_text, markdown, markdown_text

METHOD = (
    ("FLOPs", "Of tensor cores: GEMMs, convolutions and attention; a multiply-add is 2 FLOPs. "
     "Counts of one request; 1 TFLOP is 1e12 FLOPs."),
    ("Tokens", "Prompt tokens that a model makes of the image, by the rule of its image "
     "processor."),
    ("Memory", "Weights, and KV cache of one request with its complete answer; 1 GB is 1e9 bytes."),
    ("A day", "Requests of one device in steady state: batch / (mean TTFT + time of all decode "
     "steps), at the batch size of the grid that fits in memory and serves most."),
)  # fmt: skip
LABEL_WIDTH = 155
"""Pixels that the label of the longest bar needs."""
WHOLE_PAGE = (
    "Each model sees a whole page in one pass: pipelines that cut it into parts first are not "
    "modelled."
)


def write_model_comparison(
    sources: Sequence[Source],
    out: Path,
    prices: Mapping[str, float] = {},
    price_list: str | None = None,
) -> None:
    """Write `index.html`, `README.md`, `models.csv` and a chart as SVG, PNG and offline HTML.

    Parameters
    ----------
    sources : sequence of Source
        Points of each model of one grid.
    out : Path
        Directory; created if missing.
    prices : mapping of str to float
        USD an hour by device.
    price_list : str, optional
        Shipped list that has the prices of the other devices.

    Raises
    ------
    InputError
        As `search.model_costs.compare_models`, or when `out` cannot be written.
    """
    require_addresses(TO_DRAW)
    folder = OutputFolder(out)
    folder.claim(("index.html", "README.md"))
    comparison = compare_models(sources, prices, price_list)
    chart = flops_chart(comparison)
    tables = [costs_table(comparison, workload) for workload in comparison.workloads]
    shown = specification_of(chart.drawn)
    files = {f"charts/{chart.name}{kind}": file for kind, file in drawn(shown, KINDS).items()}
    files["models.csv"] = csv_text(_all_rows(tables)).encode()
    files["README.md"] = _readme(comparison, chart, tables).encode()
    files["index.html"] = _page(comparison, chart, shown, tables).encode()
    folder.write(files)


def unit_of(comparison: ModelComparison) -> str:
    """What a request is called: a page where it is one image."""
    one_image = all(source.loaded.has_vision for source in comparison.sources) and all(
        "images" not in workload.inputs for workload in comparison.workloads
    )
    return "page" if one_image else "request"


def cheapest_first(comparison: ModelComparison, workload: Workload) -> list[ModelCost]:
    """Models by requests per USD on their best device; without prices by requests a day."""

    def rate(cost: ModelCost) -> float:
        paid = [comparison.requests_per_usd(cost, device) or 0.0 for device in comparison.prices]
        days = [cost.rates[device].requests_per_day for device in comparison.devices]
        return max(paid or days)

    return sorted(workload.costs, key=rate, reverse=True)


def costs_table(comparison: ModelComparison, workload: Workload) -> Table:
    """The costs of one request, a row for each model, the cheapest first."""
    unit, devices = unit_of(comparison), comparison.devices
    phases = list(dict.fromkeys(phase for cost in workload.costs for phase in cost.flops))
    priced = [device for device in devices if device in comparison.prices]
    columns = (
        "model", "parameters, billion", f"tokens/{unit}",
        *(f"{phase}, TFLOP" for phase in phases),
        "weights, GB", f"KV cache/{unit}, GB",
        *(f"{unit}s/day, {device}" for device in devices),
        f"batch, {' / '.join(devices)}",
        *(f"{unit}s/USD, {device}" for device in priced),
    )  # fmt: skip
    rows = [
        (
            cost.model.name,
            f"{cost.model.parameter_count / 1e9:.2f}",
            f"{cost.tokens:,}",
            *(f"{cost.flops.get(phase, 0) / TERA:.2f}" for phase in phases),
            f"{cost.weight_bytes / GIGA:.2f}",
            f"{cost.kv_cache_bytes / GIGA:.3f}",
            *(_rounded(cost.rates[device].requests_per_day) for device in devices),
            " / ".join(f"{cost.rates[device].batch_size or 'none'}" for device in devices),
            *(_rounded(comparison.requests_per_usd(cost, device) or 0.0) for device in priced),
        )
        for cost in cheapest_first(comparison, workload)
    ]  # fmt: skip
    return Table("models", workload_text(workload), columns, rows, len(columns) - 1)


def workload_text(workload: Workload) -> str:
    """Name of a workload: what distinguishes it from the others of its grid."""
    inputs = dict(workload.inputs)
    parts = []
    if "image_height" in inputs or "images" in inputs:
        page = _page_name(inputs.get("image_height", 0), inputs.get("image_width", 0))
        parts += [page] if page else []
        parts.append(images_text(inputs))
        for name in ("image_height", "image_width", "images"):
            inputs.pop(name, None)
    parts += [f"{name.replace('_', ' ')} {value:,}" for name, value in inputs.items()]
    return ", ".join(parts) or "every request"


def _page_name(height: int, width: int) -> str:
    """Name of a scanned page of so many pixels, such as "a4@200dpi"; empty where none has them."""
    for paper, (_, longer) in paper_sizes().items():
        name = f"{paper}@{round(height * MILLIMETRES_PER_INCH / longer)}dpi"
        if height and read_page(name) == (height, width):
            return name
    return ""


def findings(comparison: ModelComparison, workload: Workload) -> list[str]:
    """The model of the highest rate on each device, and what one USD pays for at most."""
    unit, lines = unit_of(comparison), []
    for device in comparison.devices:
        best = max(workload.costs, key=lambda cost: cost.rates[device].requests_per_day)
        rate = best.rates[device].requests_per_day
        if not rate:
            lines.append(f"No model fits on {device}.")
            continue
        lines.append(f"Most {unit}s a day on {device}: {best.model.name}, {_rounded(rate)}.")
    offers = [
        (comparison.requests_per_usd(cost, device) or 0.0, cost.model.name, device)
        for cost in workload.costs
        for device in comparison.prices
    ]
    if offers:
        paid, name, device = max(offers)
        lines.append(f"Most {unit}s a USD: {name} on {device}, {_rounded(paid)}.")
    return lines


def flops_chart(comparison: ModelComparison) -> Chart:
    """Draw the FLOPs of the first workload of a grid, by model and phase, fewest first."""
    workload, unit = comparison.workloads[0], unit_of(comparison)
    ordered = sorted(workload.costs, key=lambda cost: cost.total_flops)
    names = [cost.model.name for cost in ordered]
    phases = list(dict.fromkeys(phase for cost in ordered for phase in cost.flops))
    rows = pl.DataFrame(
        [
            {"model": cost.model.name, "phase": phase, "order": i, "TFLOP": flops / TERA}
            for cost in ordered
            for i, (phase, flops) in enumerate(cost.flops.items())
        ]
    )
    labels = pl.DataFrame(
        [
            {
                "model": cost.model.name,
                "TFLOP": cost.total_flops / TERA,
                "label": f"{figure(cost.total_flops / TERA)} TFLOP, {cost.tokens:,} tokens",
            }
            for cost in ordered
        ]
    )
    first, last = ordered[0], ordered[-1]
    title = (
        f"A {unit} costs {first.model.name} {figure(first.total_flops / TERA)} TFLOP, "
        f"{last.model.name} {figure(last.total_flops / TERA)}: "
        f"{last.total_flops / first.total_flops:.0f} times as many"
    )
    y = alt.Y("model:N", sort=names, title=None)
    room = f"{last.total_flops / TERA} / max(1 - {LABEL_WIDTH} / width, 0.3)"
    bars = alt.Chart(rows).mark_bar().encode(
        x=alt.X("TFLOP:Q", title=f"TFLOP/{unit}, tensor cores",
                scale=alt.Scale(domainMax=alt.ExprRef(room)),
                axis=alt.Axis(format=",~f", gridOpacity=0.4, tickCount=8)),
        y=y,
        color=alt.Color("phase:N", title=None, sort=phases, legend=alt.Legend(orient="top"),
                        scale=alt.Scale(domain=phases, range=[COLOURS[p] for p in phases])),
        order=alt.Order("order:Q"),
        tooltip=["model", "phase", alt.Tooltip("TFLOP:Q", format=",.4~g")],
    )  # fmt: skip
    text = alt.Chart(labels).mark_text(align="left", dx=5, color=GREY).encode(
        x="TFLOP:Q", y=y, text="label:N"
    )  # fmt: skip
    picture = alt.layer(bars, text).properties(width=WIDTH - 160, height=26 * len(ordered))
    note = f"{workload_text(workload)}; {_answer_text(comparison)}; accuracy is not modelled"
    return Chart("flops", title, styled(picture, title, note, WIDTH))


def notes(comparison: ModelComparison) -> list[str]:
    """What the figures assume, and the source of times and prices, a sentence each."""
    unit = unit_of(comparison)
    lines = [
        f"{_answer_text(comparison).capitalize()}. Real answers differ in length by model and "
        f"{unit}. Accuracy is not modelled.",
        *([WHOLE_PAGE] if unit == "page" else []),
        *_without_tokens(comparison),
        "Requests join a running batch, on one device; the serving engine has its default "
        "settings.",
        *(f"Times: {basis}." for basis in comparison.bases),
    ]
    if comparison.prices:
        given = ", ".join(f"{name} {usd:g} USD/hour" for name, usd in comparison.prices.items())
        origin = (
            ""
            if comparison.price_list is None
            else f", else of --price-list {comparison.price_list}"
        )
        lines.append(f"Prices as given with --price{origin}: {given}.")
        lines += [f"{text[0].upper()}{text[1:]}." for text in price_source(comparison.price_list)]
    else:
        lines.append(f"No prices were given: --price DEVICE=USD adds {unit}s/USD.")
    return lines


def _without_tokens(comparison: ModelComparison) -> list[str]:
    """A note on models that attend to features of images instead of giving them tokens."""
    models = [source.loaded for source in comparison.sources]
    crossed = [model.name for model in models if model.architecture.crossed_rows(1)]
    if not crossed:
        return []
    return [f"Images of {', '.join(crossed)} are no tokens: cross attention meets their features."]


def _answer_text(comparison: ModelComparison) -> str:
    lengths = " or ".join(f"{steps:,}" for steps in comparison.answers)
    return f"every model answers with {lengths} tokens"


def _rounded(rate: float) -> str:
    """A rate to three digits; "does not fit" for 0."""
    return f"{float(f'{rate:.3g}'):,.0f}" if rate else "does not fit"


def _all_rows(tables: Sequence[Table]) -> Table:
    """One table of all workloads, named in its first column; numbers without separators."""
    rows = [
        (table.title, *(cell.replace(",", "") for cell in row))
        for table in tables
        for row in table.rows
    ]
    return tables[0]._replace(columns=("request", *tables[0].columns), rows=rows)


def _title(comparison: ModelComparison) -> str:
    return f"What a {unit_of(comparison)} costs {len(comparison.sources)} models"


def _readme(comparison: ModelComparison, chart: Chart, tables: Sequence[Table]) -> str:
    description = comparison.sources[0].description
    text = f"# {_title(comparison)}\n\n"
    if description:
        text += f"{markdown_text(description)}.\n\n"
    text += f"![{chart.title}](charts/{chart.name}.svg)\n"
    for table, workload in zip(tables, comparison.workloads, strict=True):
        text += f"\n## {table.title}\n\n" + markdown(table.columns, table.rows)
        text += "\n" + "".join(f"- {line}\n" for line in findings(comparison, workload))
    text += "\n## What this assumes\n\n" + "".join(f"- {line}\n" for line in notes(comparison))
    return text + "\nAll rows: [models.csv](models.csv).\n"


def _page(
    comparison: ModelComparison,
    chart: Chart,
    specification: dict[str, Any],
    tables: Sequence[Table],
) -> str:
    cards = [
        Card(workload_text(workload), [("", line) for line in findings(comparison, workload)])
        for workload in comparison.workloads
    ]
    return render(
        "report.html",
        charts=[(chart.name, specification)],
        cards=cards,
        stages=[("model", f"FLOPs of a {unit_of(comparison)}", [chart], [])],
        title=_title(comparison),
        description=comparison.sources[0].description,
        tables=tables,
        notes=notes(comparison),
        comparison=[],
        method=METHOD,
        provenance_columns=("grid", "grid hash", "model", "points", "sweepengine", "schema",
                            "Python"),
        provenance=[
            (source.name, source.grid_hash, source.model, f"{source.point_count:,}",
             source.engine_version, SCHEMA_VERSION, platform.python_version())
            for source in comparison.sources
        ],
    )  # fmt: skip
