"""Errors of predicted times against measurements, as tables: in a terminal and as Markdown."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sweepengine.data.error_classes import (
    BASES,
    ENGINE_TITLES,
    KINDS,
    LAYOUT_KINDS,
    LOADS,
    MODES,
    TIMES,
    Recorded,
)
from sweepengine.data.generations import GENERATION_TITLES
from sweepengine.formulas.speeds import FRAMEWORKS
from sweepengine.show.terminal import print_table, say

if TYPE_CHECKING:
    from sweepengine.validation.silicon import Silicon

Table = tuple[str, tuple[str, ...], list[tuple[str, ...]]]
"""Title, columns and rows."""
SERVING_COLUMNS = (
    "rows", "TPOT mean", "median", "TTFT mean", "median", "without factors TPOT mean", "median",
    "without factors TTFT mean", "median", "zero-shot TPOT mean", "median",
    "zero-shot TTFT mean", "median", "TPOT ratio", "TTFT ratio",
)  # fmt: skip
FIGURES = ("TPOT median", "90th percentile", "measured / predicted, 90 %", "TTFT median",
           "90th percentile", "measured / predicted, 90 %")  # fmt: skip
ERROR_KEYS = tuple(
    f"{kind}{what}_{how}"
    for kind in ("", "model_", "plain_")
    for what in ("tpot", "ttft")
    for how in ("mean", "median")
)


PAGE_NOTE = "An error is |predicted / measured - 1|; `make silicon` writes this page."
MOST_SHOWN = 24
"""Rows of the longest table that a page shows at once."""
OPERATORS = "operators"
"""Name of the chart of operators."""


def groups(silicon: "Silicon") -> dict[str, list[Table]]:
    """Return all tables by what they are of; errors are in percent."""
    operators: list[tuple[str, ...]] = [
        (
            row["kind"],
            row["format"],
            row["framework"],
            f"{row['devices']}",
            f"{row['rows']:,}",
            *(f"{row[n]:.1f}" for n in ("median", "p90", "roofline_median", "roofline_p90")),
        )
        for row in sorted(silicon.operators_by_kind(), key=_engine_first)
    ]
    single: list[tuple[str, ...]] = [
        (e.device, e.framework, e.kind, e.format, f"{e.rows:,}", f"{e.median:.1f}", f"{e.p90:.1f}",
         f"{e.roofline_median:.1f}", f"{e.roofline_p90:.1f}")
        for e in sorted(silicon.operators, key=lambda e: (e.device, FRAMEWORKS.index(e.framework)))
    ]  # fmt: skip
    errors = ("median", "90th percentile", "data sheet median", "90th percentile")
    servers = [_collections(silicon)]
    for names in ((), ("engine",), ("engine", "system"), ("engine", "model", "precision")):
        title = f"Serving, held-out rows{', by ' + ', '.join(names) if names else ''}: errors in %"
        errors_of = sorted(silicon.served_errors(*names), key=_engine_first)
        rows = [_serving_row(errors, names) for errors in errors_of]
        servers.append((title, (*names, *SERVING_COLUMNS), rows))
    full = "Serving, held-out rows, with rows that queue for a full engine: errors in %"
    servers.append((full, SERVING_COLUMNS, [_serving_row(silicon.served_errors(full=True)[0], ())]))
    reasons: list[tuple[str, ...]]
    reasons = [(reason, f"{count:,}") for reason, count in silicon.served.reasons.most_common()]
    reasons.append(("duplicate measurement", f"{silicon.served.doubles:,}"))
    servers.append(("Rows that are not predicted", ("reason", "rows"), reasons))
    servers.append(_classes(silicon))
    published: list[tuple[str, ...]] = [
        (t.what, t.unit, f"{t.published:,.0f}", f"{t.ours:,.0f}", f"{t.ratio:.2f}", t.source)
        for t in silicon.published
    ]
    return {
        "Servers": servers,
        "Operators": [
            ("Operators: errors on held-out rows in %, means over devices",
             ("operator", "format", "framework", "devices", "rows", *errors), operators),
            ("Steps: errors against the sum of measured operators in %",
             ("model", "phase", "cases", "median", "90th percentile"), _steps(silicon)),
            ("Operators, by device: errors in %",
             ("device", "framework", "operator", "format", "rows", *errors), single),
        ],
        "Public pages": [
            ("Published throughputs, not used in any fit",
             ("published", "unit", "theirs", "predicted", "ratio", "source"), published),
        ],
    }  # fmt: skip


def _engine_first(row: dict[str, Any]) -> int:
    """Position of the serving engine of a row, the default one first."""
    engine = row.get("framework", row.get("engine"))
    return FRAMEWORKS.index(engine) if engine else -1


def _collections(silicon: "Silicon") -> Table:
    rows: list[tuple[str, ...]] = [
        (collection, KINDS[kind], ENGINE_TITLES[engine], GENERATION_TITLES[generation], MODES[mode],
         f"{errors.runs:,}", *_figures(errors))
        for (collection, mode, kind, engine, generation), errors in silicon.collections.items()
    ]  # fmt: skip
    engines = list(ENGINE_TITLES.values())
    rows.sort(key=lambda row: (row[0] != "wheel", row[0], row[4], engines.index(row[2])))
    columns = ("collection", "models", "engine", "generation", "mode", "runs", *FIGURES)
    return "Held-out runs of each collection, as predicted by default: errors in %", columns, rows


def _classes(silicon: "Silicon") -> Table:
    rows: list[tuple[str, ...]] = [
        (KINDS[key.kind], ENGINE_TITLES.get(key.engine, "all"),
         GENERATION_TITLES.get(key.generation, "all"), LAYOUT_KINDS.get(key.layout, "all"),
         LOADS.get(key.load, "all"), MODES[key.mode], f"{key.basis}", f"{errors.runs:,}",
         *_figures(errors))
        for key, errors in silicon.classes.items()
    ]  # fmt: skip
    engines = [*ENGINE_TITLES.values(), "all"]
    rows.sort(key=lambda row: (row[5], list(BASES).index(row[6]), engines.index(row[1])))
    columns = ("models", "engine", "generation", "layout", "load", "mode", "predicted with", "runs",
               *FIGURES)  # fmt: skip
    return "Classes of errors, as points look them up: errors in %", columns, rows


def _figures(errors: "Recorded") -> tuple[str, ...]:
    """Errors of TPOT, then of TTFT, and the range of measured over predicted times."""
    texts: list[str] = []
    for figures in (errors.tpot, errors.ttft):
        if figures is None:
            texts += ["", "", ""]
        else:
            span = f"{figures.low:.2f} to {figures.high:.2f}"
            texts += [f"{figures.median:.1f}", f"{figures.p90:.1f}", span]
    return tuple(texts)


def summary(silicon: "Silicon") -> str:
    """One sentence: errors of the serving rows, with and without their family."""
    known, left_out = silicon.known, silicon.left_out
    texts = []
    for name in TIMES:
        whole, less = getattr(known, name), getattr(left_out, name)
        texts.append(
            f"{name.upper()} is off by {whole.median:.1f} % in the median (90 % within "
            f"{whole.p90:.0f} %), and by {less.median:.1f} % (90 % within {less.p90:.0f} %) where "
            "the family of the run is left out of the fit"
        )
    return f"On {known.runs:,} held-out runs of servers, " + "; ".join(texts) + "."


def _steps(silicon: "Silicon") -> list[tuple[str, ...]]:
    import polars as pl

    cases = pl.DataFrame([(c.model, c.phase, c.error) for c in silicon.steps],
                         schema=["model", "phase", "error"], orient="row")  # fmt: skip
    grouped = cases.group_by("model", "phase").agg(
        pl.len().alias("cases"), pl.median("error"), pl.quantile("error", 0.9).alias("p90")
    )
    return [
        (
            row["model"],
            row["phase"],
            f"{row['cases']:,}",
            f"{row['error']:.1f}",
            f"{row['p90']:.1f}",
        )
        for row in grouped.sort("model", "phase").iter_rows(named=True)
    ]


def _serving_row(errors: dict[str, Any], names: tuple[str, ...]) -> tuple[str, ...]:
    return (
        *(str(errors[name]) for name in names),
        f"{errors['rows']:,}",
        *(f"{errors[key]:.1f}" for key in ERROR_KEYS),
        f"{errors['tpot_ratio']:.2f}",
        f"{errors['ttft_ratio']:.2f}",
    )


def show_silicon(silicon: "Silicon") -> None:
    """Print every table, and the errors that are worse than recorded."""
    for of_group in groups(silicon).values():
        for title, columns, rows in of_group:
            print_table(title, rows, columns)
            say()
    say(summary(silicon))
    for problem in silicon.problems:
        say(f"worse than recorded: {problem}")
    say(f"{len(silicon.problems)} errors worse than recorded by more than a percentage point")


def as_markdown(silicon: "Silicon", charts: Mapping[str, str]) -> str:
    """Write a page: a sentence, then charts and tables by what they are of.

    Parameters
    ----------
    silicon : Silicon
    charts : mapping of str to str
        Title of each chart that lies beside the page, by name; `silicon_chart.OPERATORS` stands
        with the operators, the others with the servers.
    """
    lines = ["# Predicted times against measurements", "", summary(silicon) + " " + PAGE_NOTE]
    for group, of_group in groups(silicon).items():
        lines += ["", f"## {group}"]
        for name, title in charts.items():
            if (name == OPERATORS) == (group == "Operators") and group != "Public pages":
                lines += ["", f"![{title}]({name}.svg)"]
        for table in of_group:
            lines += ["", *_folded(table)]
    return "\n".join(lines) + "\n"


def _folded(table: Table) -> list[str]:
    """A table in Markdown; a long one opens on demand."""
    title, _, rows = table
    if len(rows) <= MOST_SHOWN:
        return [f"### {title}", "", *_lines(table)]
    summary = f"<details><summary>{title} ({len(rows):,} rows)</summary>"
    return [summary, "", *_lines(table), "", "</details>"]


def _lines(table: Table) -> list[str]:
    _, columns, rows = table
    head = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    return head + [f"| {' | '.join(row)} |" for row in rows]


def page_of(title: str, note: str, shown: list[Table]) -> str:
    """A page of tables in Markdown.

    Parameters
    ----------
    title, note : str
        Its heading, and the paragraph below it.
    shown : list of Table
    """
    lines = [f"# {title}", "", note]
    for table in shown:
        lines += ["", f"## {table[0]}", "", *_lines(table)]
    return "\n".join(lines) + "\n"
