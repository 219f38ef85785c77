"""Measurements of a user's device beside predictions: in a terminal and as Markdown."""

from typing import TYPE_CHECKING

from sweepengine.data.basis import borrowed_text
from sweepengine.show.silicon import Table, page_of
from sweepengine.show.terminal import print_table, say

if TYPE_CHECKING:
    from sweepengine.validation.measured_folder import MeasuredFolder

NOTE = (
    "A ratio is predicted / measured, an error |predicted / measured - 1|. Predictions are of "
    "kernels as serving engines run them. Eager torch is no serving engine: it launches every "
    "operator from Python, so short passes measure the host, and it fuses nothing; compiled passes "
    "are closer."
)


def tables(found: "MeasuredFolder") -> list[Table]:
    """Return all tables; errors are in percent."""
    shown: list[Table] = []
    columns: tuple[str, ...]
    if found.passes:
        columns = ("model", "pass", "mode", "batch", "tokens", "cached", "image", "measured us",
                   "predicted us", "ratio")  # fmt: skip
        rows: list[tuple[str, ...]] = []
        for case in found.passes:
            row = case.measured
            image = f"{row.image_height}x{row.image_width}" if row.image_height else ""
            tokens = (f"{row.tokens:,}", f"{row.cached_tokens:,}") if row.tokens else ("", "")
            times = map(_rounded, (row.microseconds, case.predicted))
            rows.append((row.model, row.what, row.mode, f"{row.batch:,}", *tokens, image, *times,
                         f"{case.ratio:.2f}"))  # fmt: skip
        shown.append(("Passes, measured and predicted", columns, rows))
        medians: list[tuple[str, ...]] = [
            (one["model"], one["what"], one["mode"], f"{one['cases']}", f"{one['ratio']:.2f}",
             f"{one['error']:.1f}")
            for one in found.medians()
        ]  # fmt: skip
        columns = ("model", "pass", "mode", "cases", "median ratio", "median error %")
        shown.append(("Passes: medians", columns, medians))
    if found.operators:
        columns = ("operator", "format", "rows", "rates of", "median ratio", "median error %",
                   "90th percentile %", "data sheet median %", "90th percentile %")  # fmt: skip
        operators: list[tuple[str, ...]] = [
            (one.kind, one.format, f"{one.rows:,}", one.rates, f"{one.ratio:.2f}",
             *(f"{e:.1f}" for e in (one.median, one.p90, one.sheet_median, one.sheet_p90)))
            for one in found.operators
        ]  # fmt: skip
        shown.append(("Operators, all measured shapes", columns, operators))
    return shown


def _rounded(microseconds: float) -> str:
    """Three digits of a time."""
    return f"{float(f'{microseconds:.3g}'):,g}" if microseconds < 1e15 else f"{microseconds:.3g}"


def heading(found: "MeasuredFolder") -> str:
    """Return what is compared: folder, device, serving engine and source of times."""
    target = found.target
    measured = dict.fromkeys(case.measured.device for case in found.passes)
    on = f", measured on {', '.join(measured)}" if measured else ""
    by = f"rates of {target.framework}" if target.rates else "the data sheet"
    if target.borrowed:
        by += f"; {borrowed_text(target)}"
    return f"{found.folder}{on}; predicted for {target.device.name} with {by}"


def show_measured_folder(found: "MeasuredFolder") -> None:
    """Print every table."""
    say(heading(found))
    for title, columns, rows in tables(found):
        say()
        print_table(title, rows, columns)
    say()
    say(NOTE)


def as_markdown(found: "MeasuredFolder") -> str:
    """Write a page of all tables."""
    return page_of("Measurements and predictions", f"{heading(found)}. {NOTE}", tables(found))
