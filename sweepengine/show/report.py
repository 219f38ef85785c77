"""Reports: a page of charts and tables, each of which is also a file, and comparisons."""

import platform
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import altair as alt
import polars as pl

from sweepengine.data.errors import InputError
from sweepengine.data.files import read_toml
from sweepengine.data.machine import TO_DRAW, require_addresses
from sweepengine.data.models import load_model
from sweepengine.data.outputs import KINDS, OutputFolder
from sweepengine.engine import progress
from sweepengine.grid.columns import SCHEMA_VERSION
from sweepengine.query.sources import Source, open_source
from sweepengine.show.drawing import Drawing, painting
from sweepengine.show.rendering import render
from sweepengine.show.report_cards import Card
from sweepengine.show.report_sections import Gallery, Names, Section, section_of
from sweepengine.show.side_by_side import (
    Accountings,
    accountings_page,
    accountings_tables,
    compare_accountings,
)
from sweepengine.show.tables import (
    MOST_ROWS,
    Comparison,
    compare,
    csv_text,
    markdown,
    markdown_text,
)

METHOD = (
    ("FLOPs", "A multiply-add is 2 FLOPs. Tensor cores run GEMMs and convolutions, CUDA cores "
     "element-wise work and reductions. Counts are exact integers; 1 TFLOP is 1e12 FLOPs."),
    ("Activation I/O", "Values that layers read and write, times 2 bytes; values inside fused "
     "layers are not counted. 1 TB is 1e12 bytes, 1 Tb 1e12 bits, as published figures have it."),
    ("Arithmetic intensity", "Tensor and CUDA FLOPs per byte moved, or per bit where published. "
     "Moved are activations, and weights and KV cache if the model's accounting counts them."),
    ("Activation memory", "The peak of activations alive at once; in the published accounting, "
     "their sum over layers. 1 GB is 1e9 bytes; 1 GiB, in published figures, 2^30 bytes."),
    ("Phases", "Vision is SAM, CLIP and projector over the global view and all tiles. Prefill is "
     "decoder and head over the context. Decode is the sum over all K steps."),
    ("Required TFLOP/s", "Vision + prefill FLOPs / TTFT; decode FLOPs / K / TPOT."),
    ("Roofline", "A lower bound at the peaks of the data sheet. A phase takes the larger of "
     "tensor FLOPs / tensor peak + CUDA FLOPs / CUDA peak, and bytes moved / bandwidth; then the "
     "time of the links is added."),
    ("Measured by torch", "FLOPs that torch counts in modules of transformers with the shapes of "
     "the released model; `sweepengine validate` repeats the measurement."),
)  # fmt: skip
MOST_OPEN = 20
"""Most charts that a page shows at once; the others are drawn on demand."""
NOTES = "notes.toml"
"""File of a reference with a sentence for charts, by name."""


STAGES = {"times": "Times and throughput", "vision": "Vision", "prefill": "Prefill",
          "decode": "Decode", "": "Model and devices"}  # fmt: skip
"""Headings of the charts of a page, by phase."""


def write_report(
    places: Sequence[str],
    out: Path,
    reference: Path | None = None,
    against: str | None = None,
) -> list[Comparison]:
    """Write `index.html`, and each chart and table as files of its own.

    Charts are SVG, PNG and offline HTML under `charts`; tables are Markdown and CSV. Sources with
    more than `MOST_ROWS` points have charts only.

    Parameters
    ----------
    places : sequence of str
        Grid files, names of shipped grids, or datasets. Each shows the phases its grid names.
    out : Path
        Directory; created if missing.
    reference : Path, optional
        Directory of published tables to compare with, ``NAME.csv`` for each table. A file
        `NOTES` in it may have a sentence for charts, by their names.
    against : str, optional
        Another accounting of the model, to compare with that of the first source. Its FLOPs are
        drawn in the charts of FLOPs.

    Returns
    -------
    list of Comparison
        One for each table; empty without a reference.

    Raises
    ------
    InputError
        When a source, model or reference is missing or not valid, or `out` cannot be written.
    """
    require_addresses(TO_DRAW)
    folder = OutputFolder(out)
    folder.claim(("index.html", "README.md"))
    sources = [open_source(place) for place in places]
    large = next((source for source in sources if source.point_count > MOST_ROWS), None)
    if reference is not None and large is not None:
        raise InputError(
            f"report: --reference: {large.place} has {large.point_count:,} points: expected at "
            f"most {MOST_ROWS:,}, as larger grids have no tables"
        )
    other = None if against is None else load_model(against)
    notes = {} if reference is None else _notes(reference / NOTES)
    with painting(KINDS) as painter:
        gallery = Gallery(painter)
        sections = _named([section_of(source, other, notes, gallery) for source in sources])
        tables = [table for section in sections for table in section.tables]
        compared = [compare(table, reference) for table in tables] if reference else []
        pair = None if other is None else compare_accountings(sections[0].source, other)
        files = {name: file for one in sections for name, file in _table_files(one).items()}
        charts = [chart for section in sections for chart in section.charts]
        progress.begin("files of charts", len(charts) * len(KINDS))
        for chart in charts:
            files |= {
                f"charts/{chart.name}{kind}": file for kind, file in chart.files(KINDS).items()
            }
    if compared:
        files["comparison.md"] = _comparison_page(compared).encode()
    if pair is not None:
        files["accountings.md"] = accountings_page(pair).encode()
    files["README.md"] = _index(sections, compared, pair).encode()
    files["index.html"] = _page(sections, compared, pair).encode()
    folder.write(files)
    return compared


def _table_files(section: Section) -> dict[str, bytes]:
    """Return the CSV and Markdown files of the tables of a section, by name."""
    files = {}
    for table in section.tables:
        page = f"# {table.title}\n\n{_provenance(section.source)}\n\n"
        files[f"{table.name}.csv"] = csv_text(table).encode()
        files[f"{table.name}.md"] = (page + markdown(table.columns, table.rows)).encode()
    return files


def _arranged(sections: list[Section]) -> list[Drawing]:
    """Return all charts in the order of a page; those beyond `MOST_OPEN` are folded."""
    charts = [chart for section in sections for chart in section.charts]
    charts.sort(key=lambda chart: (list(STAGES).index(chart.stage), chart.folded))
    shown = count()
    return [chart._replace(folded=chart.folded or next(shown) >= MOST_OPEN) for chart in charts]


def _named(sections: list[Section]) -> list[Section]:
    """Give all tables distinct names, and cards the grid where there are several.

    Only the first of equal cards stays.
    """
    names, shown = Names(), set()
    renamed = []
    several = len({source.grid_hash for source, *_ in sections}) > 1
    for source, charts, tables, cards in sections:
        if several:
            cards = [card._replace(title=f"{source.name}: {card.title}") for card in cards]
        kept = [] if source.grid_hash in shown else cards
        shown.add(source.grid_hash)
        own = [table._replace(name=names.distinct(table.name, source)) for table in tables]
        renamed.append(Section(source, charts, own, kept))
    return renamed


def _notes(path: Path) -> dict[str, str]:
    """Return sentences by name of the chart; none without the file."""
    if not path.exists():
        return {}
    notes = read_toml(path)
    wrong = next((name for name, text in notes.items() if not isinstance(text, str)), None)
    if wrong is not None:
        raise InputError(f"{path}: {wrong}: expected a text")
    return notes


def _sentence(text: str) -> str:
    """Return a description as a sentence; empty if there is none."""
    return f"{text}. " if text else ""


def _provenance(source: Source) -> str:
    return (
        f"{markdown_text(_sentence(source.description))}Model {markdown_text(source.model)}, "
        f"grid {markdown_text(source.name)} "
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


def _index(sections: list[Section], compared: list[Comparison], pair: Accountings | None) -> str:
    text = "# Report\n\nTFLOPs are 1e12 FLOPs; a multiply-add is 2 FLOPs.\n"
    text += "Charts and tables on one page: `index.html`, which `make report` writes.\n\n"
    for section in sections:
        for table in section.tables:
            text += (
                f"- {table.title}: [{table.name}.md]({table.name}.md), "
                f"[{table.name}.csv]({table.name}.csv), {len(table.rows)} rows. "
                f"{_provenance(section.source)}\n"
            )
    if pair is not None:
        text += f"\n{pair.first.name} compared with {pair.second.name}: "
        text += "[accountings.md](accountings.md).\n"
    if compared:
        equal = sum(c.equal for c in compared)
        different = sum(c.different for c in compared)
        text += (
            f"\nAgainst the published tables: {equal} cells equal, {different} different "
            "([comparison.md](comparison.md)).\n"
        )
    return text


def _page(
    sections: list[Section],
    compared: list[Comparison],
    pair: Accountings | None,
) -> str:
    """Return the page."""
    tables = [table for section in sections for table in section.tables]
    notes = [
        f"{section.source.name}: {section.source.point_count:,} points, shown in charts only; "
        "`sweepengine query` lists them."
        for section in sections
        if not section.tables
    ]
    notes += [f"{s.source.name}: {text}." for s in sections for text in s.source.assumed]
    if pair is not None:
        tables = [*accountings_tables(pair), *tables]
    names = ", ".join(dict.fromkeys(section.source.model for section in sections))
    charts = _arranged(sections)
    headed = [(stage, heading, [c for c in charts if c.stage == stage])
              for stage, heading in STAGES.items()]  # fmt: skip
    facts = [
        (s.source.name, s.source.grid_hash, s.source.model, f"{s.source.point_count:,}",
         s.source.engine_version, f"{SCHEMA_VERSION}", platform.python_version(), pl.__version__,
         alt.__version__)
        for s in sections
    ]  # fmt: skip
    return render(
        "report.html",
        charts=[(c.name, c.specification) for section in sections for c in section.charts],
        cards=[*_equal_cells(compared), *(card for section in sections for card in section.cards)],
        stages=[
            (stage or "model", heading, [c for c in of_stage if not c.folded],
             [c for c in of_stage if c.folded])
            for stage, heading, of_stage in headed
            if of_stage
        ],
        title=f"What {names} costs",
        description=" ".join(dict.fromkeys(_sentence(s.source.description) for s in sections)),
        tables=tables,
        notes=notes,
        comparison=[(c.name, c.equal, c.different) for c in compared],
        method=METHOD,
        provenance_columns=("of", *(f"grid {i + 1}" for i in range(len(sections)))),
        provenance=list(zip(PROVENANCE, *facts, strict=True)),
    )  # fmt: skip


PROVENANCE = ("grid", "grid hash", "model", "points", "sweepengine", "schema", "Python", "polars",
              "altair")  # fmt: skip


def _equal_cells(compared: list[Comparison]) -> list[Card]:
    """Return the card of the published tables, if there is a comparison."""
    if not compared:
        return []
    equal = sum(c.equal for c in compared)
    total = equal + sum(c.different for c in compared)
    lines = [(c.name, f"{c.equal} of {c.equal + c.different} equal") for c in compared]
    note = "every printed digit counts"
    return [Card(f"Published tables: {equal} of {total} cells equal", lines, note)]
