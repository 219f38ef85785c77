"""Times beside silicon, as tables: on a terminal and as Markdown."""

from typing import TYPE_CHECKING, Any

from sweepengine.show.terminal import print_table, say

if TYPE_CHECKING:
    from sweepengine.validation.silicon import Silicon

Table = tuple[str, tuple[str, ...], list[tuple[str, ...]]]
"""Title, columns and rows."""
ERRORS = ("rows", "TPOT mean", "median", "TTFT mean", "median", "zero-shot TPOT mean", "median",
          "zero-shot TTFT mean", "median", "TPOT ratio", "TTFT ratio")  # fmt: skip
KEYS = ("tpot_mean", "tpot_median", "ttft_mean", "ttft_median", "plain_tpot_mean",
        "plain_tpot_median", "plain_ttft_mean", "plain_ttft_median")  # fmt: skip


def tables(found: "Silicon") -> list[Table]:
    """All tables of what was found; errors in %."""
    operators: list[tuple[str, ...]] = [
        (
            row["kind"],
            row["format"],
            row["framework"],
            f"{row['devices']}",
            f"{row['rows']:,}",
            *(f"{row[n]:.1f}" for n in ("median", "p90", "roofline_median", "roofline_p90")),
        )
        for row in found.operators_by_kind()
    ]
    single: list[tuple[str, ...]] = [
        (e.device, e.framework, e.kind, e.format, f"{e.rows:,}", f"{e.median:.1f}", f"{e.p90:.1f}",
         f"{e.roofline_median:.1f}", f"{e.roofline_p90:.1f}")
        for e in found.operators
    ]  # fmt: skip
    errors = ("median", "90th", "data sheet median", "90th")
    result: list[Table] = [
        (
            "Operators: errors on rows that no fit saw, means over devices",
            ("operator", "format", "framework", "devices", "rows", *errors),
            operators,
        ),
        (
            "Steps: beside the sum of measured operators",
            ("model", "phase", "cases", "median", "90th"),
            _steps(found),
        ),
    ]
    for names in ((), ("engine",), ("engine", "system"), ("engine", "model", "precision")):
        title = (
            f"Served, the half that no constant saw{', by ' + ', '.join(names) if names else ''}"
        )
        rows = [_served(errors, names) for errors in found.served_errors(*names)]
        result.append((title, (*names, *ERRORS), rows))
    result.append(
        (
            "The same half, rows beyond what the engine runs at once included",
            ERRORS,
            [_served(found.served_errors(full=True)[0], ())],
        )
    )
    reasons: list[tuple[str, ...]]
    reasons = [(reason, f"{count:,}") for reason, count in found.served.reasons.most_common()]
    reasons.append(("the same measurement again", f"{found.served.doubles:,}"))
    result.append(("Rows that are not predicted", ("reason", "rows"), reasons))
    published: list[tuple[str, ...]] = [
        (t.what, t.unit, f"{t.published:,.0f}", f"{t.ours:,.0f}", f"{t.ratio:.2f}", t.source)
        for t in found.published
    ]
    columns: tuple[str, ...] = ("published", "unit", "theirs", "ours", "ratio", "source")
    result.append(("Published throughputs, nothing fitted", columns, published))
    columns = ("device", "framework", "operator", "format", "rows", *errors)
    result.append(("Operators, by device", columns, single))
    return result


def _steps(found: "Silicon") -> list[tuple[str, ...]]:
    import polars as pl

    cases = pl.DataFrame([(c.model, c.phase, c.error) for c in found.steps],
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


def _served(errors: dict[str, Any], names: tuple[str, ...]) -> tuple[str, ...]:
    return (
        *(str(errors[name]) for name in names),
        f"{errors['rows']:,}",
        *(f"{errors[key]:.1f}" for key in KEYS),
        f"{errors['tpot_ratio']:.2f}",
        f"{errors['ttft_ratio']:.2f}",
    )


def show_silicon(found: "Silicon") -> None:
    """Print every table, and what is worse than recorded."""
    for title, columns, rows in tables(found):
        print_table(title, rows, columns)
        say()
    for problem in found.problems:
        say(f"worse than recorded: {problem}")
    say(f"{len(found.problems)} errors worse than recorded by more than a point")


def as_markdown(found: "Silicon") -> str:
    """The tables as a page."""
    lines = ["# Times beside silicon", "",
             "Errors are of |predicted / measured - 1|, in %; made by `make silicon`."]  # fmt: skip
    for title, columns, rows in tables(found):
        lines += ["", f"## {title}", "", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
        lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines) + "\n"
