"""Errors of predicted times against measurements, as tables: in a terminal and as Markdown."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sweepengine.data.error_classes import (
    BASES,
    COLLECTIONS,
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


def tables(silicon: "Silicon") -> list[Table]:
    """Return all tables; errors are in percent."""
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
    result: list[Table] = [
        _collections(silicon),
        _classes(silicon),
        (
            "Operators: errors on held-out rows in %, means over devices",
            ("operator", "format", "framework", "devices", "rows", *errors),
            operators,
        ),
        (
            "Steps: errors against the sum of measured operators in %",
            ("model", "phase", "cases", "median", "90th percentile"),
            _steps(silicon),
        ),
    ]
    for names in ((), ("engine",), ("engine", "system"), ("engine", "model", "precision")):
        title = f"Serving, held-out rows{', by ' + ', '.join(names) if names else ''}: errors in %"
        errors_of = sorted(silicon.served_errors(*names), key=_engine_first)
        rows = [_serving_row(errors, names) for errors in errors_of]
        result.append((title, (*names, *SERVING_COLUMNS), rows))
    result.append(
        (
            "Serving, held-out rows, with rows that queue for a full engine: errors in %",
            SERVING_COLUMNS,
            [_serving_row(silicon.served_errors(full=True)[0], ())],
        )
    )
    reasons: list[tuple[str, ...]]
    reasons = [(reason, f"{count:,}") for reason, count in silicon.served.reasons.most_common()]
    reasons.append(("duplicate measurement", f"{silicon.served.doubles:,}"))
    result.append(("Rows that are not predicted", ("reason", "rows"), reasons))
    published: list[tuple[str, ...]] = [
        (t.what, t.unit, f"{t.published:,.0f}", f"{t.ours:,.0f}", f"{t.ratio:.2f}", t.source)
        for t in silicon.published
    ]
    columns: tuple[str, ...] = ("published", "unit", "theirs", "predicted", "ratio", "source")
    result.append(("Published throughputs, not used in any fit", columns, published))
    columns = ("device", "framework", "operator", "format", "rows", *errors)
    result.append(("Operators, by device: errors in %", columns, single))
    return result


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
    for title, columns, rows in tables(silicon):
        print_table(title, rows, columns)
        say()
    say(summary(silicon))
    for problem in silicon.problems:
        say(f"worse than recorded: {problem}")
    say(f"{len(silicon.problems)} errors worse than recorded by more than a percentage point")


def as_markdown(silicon: "Silicon", charts: Sequence[str]) -> str:
    """Write a page: charts, a sentence and the tables.

    Parameters
    ----------
    silicon : Silicon
    charts : sequence of str
        Names of collections whose chart lies beside the page.
    """
    pictures = "\n\n".join(f"![{COLLECTIONS[name]}]({name}.svg)" for name in charts)
    note = "An error is |predicted / measured - 1|; `make silicon` writes this page."
    opening = f"{pictures}\n\n{summary(silicon)} {note}"
    return page_of("Predicted times against measurements", opening, tables(silicon))


def page_of(title: str, note: str, shown: list[Table]) -> str:
    """A page of tables in Markdown.

    Parameters
    ----------
    title, note : str
        Its heading, and the paragraph below it.
    shown : list of Table
    """
    lines = [f"# {title}", "", note]
    for heading, columns, rows in shown:
        lines += [
            "",
            f"## {heading}",
            "",
            f"| {' | '.join(columns)} |",
            "|---" * len(columns) + "|",
        ]
        lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines) + "\n"
