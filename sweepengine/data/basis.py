"""What times are based on, and their expected error."""

from typing import Any, Final

from sweepengine.data.family_factors import FAMILY_FACTORS, was_measured
from sweepengine.data.files import shipped_table
from sweepengine.data.speeds import TimingTarget
from sweepengine.formulas.architecture import Architecture
from sweepengine.formulas.speeds import ROOFLINE

SERVING_ERRORS: Final[dict[str, dict[str, Any]]] = shipped_table("measured", "served.toml")
"""Errors of serving times on held-out rows, %, by serving engine, recorded by
`validate --silicon`."""


def kinds_of(arch: Architecture) -> tuple[str, ...]:
    """Kinds of operators in the decoder of a model."""
    kinds = ["gemm"]
    if any(group.feed_forward.experts for group in arch.groups):
        kinds.append("mixture")
    if any(attention.latent for attention in arch.attentions):
        kinds += ["latent-decode", "latent-prefill"]
    if any(attention.heads and not attention.latent for attention in arch.attentions):
        kinds += ["decode", "prefill"]
    return tuple(kinds)


def operator_error(arch: Architecture, target: TimingTarget) -> float:
    """Mean over the kinds of operators of a model of the median error on held-out rows, %."""
    medians = []
    for kind in kinds_of(arch):
        fits = next((file.fits[kind] for file in target.rates if kind in file.fits), {})
        medians += [next(iter(fits.values())).median] if fits else []
    return sum(medians) / len(medians)


def basis(arch: Architecture, target: TimingTarget, served: bool, weights: int = 0) -> str:
    """One line that states the source of times and their expected error.

    Parameters
    ----------
    arch : Architecture
    target : TimingTarget
    served : bool
        Whether the times are those of a serving engine in steady state.
    weights : int
        Value of the column `weight_format`; by default the checkpoint's.

    Returns
    -------
    str
        With the median errors of operators on held-out shapes and, if `served`, of TPOT on
        held-out serving rows.
    """
    device, framework = target.device.name, target.framework
    if target.times == ROOFLINE:
        return f"{device}, data sheet: a lower bound; measured passes take 1.3 to 2 times as long"
    version = next(iter(target.rates[0].fits["gemm"].values())).version
    text = f"{device}, {framework} {version}: median error {operator_error(arch, target):.0f} %"
    text += " (operators)"
    if served:
        text += f", {_served(arch, weights, target)}"
    if target.borrowed:
        text += f"; {_borrowed(target)}"
    if target.rates[0].framework != framework:
        text += f"; measured under {target.rates[0].framework}"
    return text


def _borrowed(target: TimingTarget) -> str:
    """Whose rates a device takes, and what was measured of it itself."""
    slower = target.device.slower_under(target.framework)
    if slower == 1.0:
        return f"rates borrowed from {target.borrowed}, which adds 2 to 7 points of error"
    return (
        f"rates borrowed from {target.borrowed} as shares of the data sheet, kernels {slower:.2g} "
        "times as long, as its public runs under SGLang say"
    )


def _served(arch: Architecture, weights: int, target: TimingTarget) -> str:
    """The expected error of TPOT in serving, and whether it is one with a factor of a family."""
    if was_measured(arch, weights, target):
        return f"{SERVING_ERRORS[target.framework]['tpot_median']:.0f} % (TPOT in serving)"
    left_out = FAMILY_FACTORS["left_out"][target.framework]["tpot_median"]
    return f"{left_out:.0f} % (TPOT in serving), without a factor of its family"
