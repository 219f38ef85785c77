"""Formulas against torch, in a terminal."""

from typing import TYPE_CHECKING

from sweepengine.show.terminal import print_table, say

if TYPE_CHECKING:
    from sweepengine.validation.summary import Validation


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
