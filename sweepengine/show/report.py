"""A report: one page of charts and tables, each also a file, and comparisons."""

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import altair as alt
import polars as pl

from sweepengine.answers.accountings import Cause, Figure, causes, figures
from sweepengine.answers.sources import Source, open_source
from sweepengine.data.devices import load_device
from sweepengine.data.errors import InputError
from sweepengine.data.measurements import measured_stages
from sweepengine.data.models import Model, load_model
from sweepengine.grid.columns import SCHEMA_VERSION
from sweepengine.grid.points import checked_point
from sweepengine.show.charts import heat_map, parameters_chart, roofline_chart, weight_traffic_chart
from sweepengine.show.curves import chart_frame, line_chart
from sweepengine.show.layouts import layout_table
from sweepengine.show.look import Chart
from sweepengine.show.map_chart import report_map
from sweepengine.show.plans import plans
from sweepengine.show.rendering import render, save_chart
from sweepengine.show.tables import (
    MOST_ROWS,
    Comparison,
    Table,
    compare,
    markdown,
    stage_tables,
    write_csv,
)
from sweepengine.store.storage import LocalFolder

METHOD = (
    ("FLOPs", "A multiply-add is 2. Tensor cores do matrix products and convolutions, CUDA cores "
     "element-wise work and reductions. Counts are exact integers; 1 TFLOP is 1e12."),
    ("Activation I/O", "Values that layers read and write, inside of fused layers left out, times "
     "2 bytes. 1 Tb is 1e12 bits."),
    ("Arithmetic intensity", "Tensor and CUDA FLOPs for each bit moved: activations, and weights "
     "and key-value cache where the model's accounting counts them."),
    ("Activation memory", "The largest set of activations alive at once; in the published "
     "accounting a sum over layers. 1 GiB is 2^30 bytes."),
    ("Stages", "Vision is SAM, CLIP and projector over the global view and all tiles. Prefill is "
     "decoder and head over the context. Decode is the sum over all K steps."),
    ("Required TFLOP/s", "Vision + prefill FLOPs / TTFT; decode FLOPs / K / TPOT."),
    ("Roofline", "A stage takes the longer of tensor FLOPs / tensor peak + CUDA FLOPs / CUDA peak "
     "and bytes moved / bandwidth, at the full peaks of the data sheet, and behind it what links "
     "take."),
    ("Measured by torch", "FLOPs that torch's counter sees in modules of transformers with the "
     "released model's shapes; `sweepengine validate` repeats it."),
)  # fmt: skip
ROOFLINE_DEVICE = "h100-sxm"
MAPPED = ("a100-40gb", ROOFLINE_DEVICE)
"""Devices of a limits map."""


class Section(NamedTuple):
    """What a report shows of one source."""

    source: Source
    charts: list[Chart]
    tables: list[Table]


def write_report(
    places: Sequence[str],
    out: Path,
    reference: Path | None = None,
    against: str | None = None,
) -> list[Comparison]:
    """Write `index.html`, and each chart and table as files of its own.

    Charts are SVG, PNG and offline HTML under `charts`; tables are Markdown and CSV. Sources with
    more than `MOST_ROWS` points have no tables, as nobody reads them; their charts aggregate.

    Parameters
    ----------
    places : sequence of str
        Grid files, stems of shipped grids, or datasets. Each shows the stages its grid names.
    out : Path
        Directory; made if missing.
    reference : Path, optional
        Directory of published tables to compare with, ``NAME.csv`` for each table.
    against : str, optional
        A model whose accounting is laid beside that of the sources.

    Returns
    -------
    list of Comparison
        One for each table; empty without a reference.

    Raises
    ------
    InputError
        When a source, model or reference is not there or not valid, or `out` cannot be written to.
    """
    sources = [open_source(place) for place in places]
    laid_beside = None if against is None else load_model(against)
    sections = _named([_section(source) for source in sources])
    tables = [table for section in sections for table in section.tables]
    compared = [compare(table, reference) for table in tables] if reference else []
    beside = None if laid_beside is None else _accountings(sections, laid_beside)
    for folder in (out, out / "charts"):
        LocalFolder(folder).prepare()
    for section in sections:
        for table in section.tables:
            write_csv(table, out / f"{table.name}.csv")
            page = f"# {table.title}\n\n{_provenance(section.source)}\n\n"
            page += markdown(table.columns, table.rows)
            (out / f"{table.name}.md").write_text(page, encoding="utf-8")
        for chart in section.charts:
            for kind in ("svg", "png", "html"):
                save_chart(chart.drawn, out / "charts" / f"{chart.name}.{kind}")
    if compared:
        (out / "comparison.md").write_text(_comparison_page(compared), encoding="utf-8")
    if beside is not None:
        (out / "accountings.md").write_text(_accountings_page(beside), encoding="utf-8")
    (out / "README.md").write_text(_index(sections, compared, beside), encoding="utf-8")
    (out / "index.html").write_text(_page(sections, compared, beside), encoding="utf-8")
    return compared


def _section(source: Source) -> Section:
    model = source.loaded
    chosen = plans(source, model)
    frame = chart_frame(source, chosen)
    measured = measured_stages()
    at = load_device(ROOFLINE_DEVICE)
    drawn = [line_chart(plan, frame, measured, source) for plan in chosen]
    roofs = [load_device(name) for name in ("b200", ROOFLINE_DEVICE, "mi300x", "a100-80gb",
                                            "l40s", "rtx-5090", "h20")]  # fmt: skip
    drawn += [
        parameters_chart(source, model),
        roofline_chart(source, roofs, at),
        weight_traffic_chart(source, model),
        heat_map(source, at),
        report_map(source, MAPPED),
    ]
    laid = layout_table(source, at)
    tables = [] if laid is None else [laid]
    if source.point_count <= MOST_ROWS:
        points = source.points.collect()
        for stage in source.stages:
            ttft, tpot = source.targets.ttft_s, source.targets.tpot_s
            tables += stage_tables(points, stage, ttft, tpot)
    return Section(source, [chart for chart in drawn if chart is not None], tables)


def _named(sections: list[Section]) -> list[Section]:
    """Sections whose charts and tables have names of their own, prefixed by the grid's if need be.

    Of what is the same for several sources, the parameters of a model and the roofline of the
    same points, only the first stays.
    """
    names: set[str] = set()
    shown: set[tuple[str, str]] = set()

    def own(kind: str, name: str, source: Source) -> str:
        chosen = f"{source.name}-{name}" if kind + name in names else name
        names.add(kind + chosen)
        return chosen

    found = []
    for source, charts, tables in sections:
        kept = []
        for chart in charts:
            of = {"parameters": source.model, "roofline": source.grid_hash,
                  "limits": source.model}.get(chart.name)  # fmt: skip
            if of is None or (chart.name, of) not in shown:
                shown.add((chart.name, of or ""))
                kept.append(chart._replace(name=own("chart ", chart.name, source)))
        renamed = [table._replace(name=own("table ", table.name, source)) for table in tables]
        found.append(Section(source, kept, renamed))
    return found


class _Beside(NamedTuple):
    """Two accountings on the smallest, middle and largest image of the sources."""

    first: Model
    second: Model
    figures: list[Figure]
    causes: list[Cause]
    middle: str


def _accountings(sections: list[Section], first: Model) -> _Beside:
    source = sections[0].source
    second = source.loaded
    if first.inputs != second.inputs:
        raise InputError(
            f"report: --against {first.name}: has other inputs than {second.name}: "
            "expected another accounting of the same model"
        )
    tiles = [pl.col("crop_rows") * pl.col("crop_cols")] if first.has_vision else []
    images = (
        source.points.filter(pl.col("attention") == "flash")
        .select(source.inputs)
        .unique()
        .sort(*source.inputs[:1], *tiles, *source.inputs)
        .collect()
    )
    if images.is_empty():
        raise InputError(
            f"{source.place}: holds no flash points: expected some to lay side by side"
        )
    chosen = [images.row(i, named=True) for i in (0, images.height // 2, images.height - 1)]
    workloads = []
    for row in chosen:
        name = f"{row['crop_rows']}x{row['crop_cols']}" if tiles else f"{row['prompt_tokens']}"
        workloads.append((name, checked_point(first, row)))
    found = [f for name, point in workloads for f in figures(first, second, name, point)]
    middle = workloads[1]
    return _Beside(first, second, found, causes(first, second, *middle), middle[0])


def _sentence(text: str) -> str:
    """A description as a sentence; nothing where there is none."""
    return f"{text}. " if text else ""


def _provenance(source: Source) -> str:
    return (
        f"{_sentence(source.description)}Model {source.model}, grid {source.name} "
        f"({source.grid_hash[:12]}), sweepengine {source.engine_version}."
    )


def _comparison_page(compared: list[Comparison]) -> str:
    rows = [(c.name, f"{c.equal}", f"{c.different}") for c in compared]
    total = ("all", f"{sum(c.equal for c in compared)}", f"{sum(c.different for c in compared)}")
    text = "# Cells against the published tables\n\nEvery printed digit counts.\n\n"
    text += markdown(("table", "cells equal", "cells different"), [*rows, total])
    differences = [line for c in compared for line in c.differences]
    if differences:
        text += "\n" + "\n".join(f"- {line}" for line in differences) + "\n"
    return text


def _figure_rows(beside: _Beside) -> list[tuple[str, ...]]:
    return [
        (f.workload, f.column, f"{f.first:,.0f}", f"{f.second:,.0f}", _percent(f.change))
        for f in beside.figures
        if f.first or f.second
    ]


def _cause_rows(beside: _Beside) -> list[tuple[str, ...]]:
    return [
        (
            cause.key,
            f"{cause.first}",
            f"{cause.second}",
            cause.why,
            "; ".join(f"{f.column} {_percent(f.change)}" for f in cause.effects) or "none alone",
        )
        for cause in beside.causes
    ]


def _percent(change: float | None) -> str:
    if change is None:
        return "from nothing"
    return "equal" if change == 0 else f"{change:+.2%}"


def _figure_columns(beside: _Beside) -> tuple[str, ...]:
    return ("crops", "figure", beside.first.name, beside.second.name, "difference")


def _cause_columns(beside: _Beside) -> tuple[str, ...]:
    return ("number", beside.first.name, beside.second.name, "why",
            f"what it alone changes at {beside.middle}")  # fmt: skip


def _accountings_page(beside: _Beside) -> str:
    text = f"# Two accountings: {beside.first.name} and {beside.second.name}\n\n"
    text += f"{beside.first.description}.\n{beside.second.description}.\n\n## Where they part\n\n"
    text += markdown(_cause_columns(beside), _cause_rows(beside))
    text += "\n## By how much\n\nFlash attention.\n\n"
    return text + markdown(_figure_columns(beside), _figure_rows(beside))


def _index(sections: list[Section], compared: list[Comparison], beside: _Beside | None) -> str:
    text = "# Report\n\nTFLOPs are 1e12 FLOPs; a multiply-add is 2 FLOPs.\n"
    text += "Charts and tables on one page: `index.html`, which `make report` writes.\n\n"
    for section in sections:
        for table in section.tables:
            text += (
                f"- {table.title}: [{table.name}.md]({table.name}.md), "
                f"[{table.name}.csv]({table.name}.csv), {len(table.rows)} rows. "
                f"{_provenance(section.source)}\n"
            )
    if beside is not None:
        text += f"\n{beside.first.name} beside {beside.second.name}: "
        text += "[accountings.md](accountings.md).\n"
    if compared:
        equal = sum(c.equal for c in compared)
        different = sum(c.different for c in compared)
        text += (
            f"\nAgainst the published tables: {equal} cells equal, {different} different "
            "([comparison.md](comparison.md)).\n"
        )
    return text


def _page(sections: list[Section], compared: list[Comparison], beside: _Beside | None) -> str:
    tables = [table for section in sections for table in section.tables]
    notes = [
        f"{section.source.name}: {section.source.point_count:,} points, shown by charts only; "
        "`sweepengine query` lists them."
        for section in sections
        if not section.tables
    ]
    if beside is not None:
        causes_table = Table("causes", "Where the accountings part, and why",
                             _cause_columns(beside), _cause_rows(beside), 0)  # fmt: skip
        figures_table = Table("figures", "By how much the accountings part",
                              _figure_columns(beside), _figure_rows(beside), 0)  # fmt: skip
        tables = [causes_table, figures_table, *tables]
    names = ", ".join(dict.fromkeys(section.source.model for section in sections))
    return render(
        "report.html",
        charts=[(c.name, c.drawn.to_dict()) for section in sections for c in section.charts],
        title=f"What {names} costs",
        description=" ".join(dict.fromkeys(_sentence(s.source.description) for s in sections)),
        tables=tables,
        notes=notes,
        comparison=compared,
        method=METHOD,
        provenance_columns=("grid", "grid hash", "model", "points", "sweepengine",
                            "schema", "Python", "polars", "altair"),
        provenance=[
            (s.source.name, s.source.grid_hash, s.source.model, f"{s.source.point_count:,}",
             s.source.engine_version, SCHEMA_VERSION, platform.python_version(), pl.__version__,
             alt.__version__)
            for s in sections
        ],
    )  # fmt: skip
