"""Errors of predicted times against measurements, as tables: in a terminal and as Markdown."""

from typing import TYPE_CHECKING, Any

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
        for row in silicon.operators_by_kind()
    ]
    single: list[tuple[str, ...]] = [
        (e.device, e.framework, e.kind, e.format, f"{e.rows:,}", f"{e.median:.1f}", f"{e.p90:.1f}",
         f"{e.roofline_median:.1f}", f"{e.roofline_p90:.1f}")
        for e in silicon.operators
    ]  # fmt: skip
    errors = ("median", "90th percentile", "data sheet median", "90th percentile")
    result: list[Table] = [
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
        rows = [_serving_row(errors, names) for errors in silicon.served_errors(*names)]
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
    for problem in silicon.problems:
        say(f"worse than recorded: {problem}")
    say(f"{len(silicon.problems)} errors worse than recorded by more than a percentage point")


def as_markdown(silicon: "Silicon") -> str:
    """Write the tables as a page."""
    note = "An error is |predicted / measured - 1|; `make silicon` writes this page."
    return page_of("Predicted times against measurements", note, tables(silicon))


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
