"""What times are based on, and their expected error."""

from sweepengine.data.error_classes import Case, error_class
from sweepengine.data.speeds import TimingTarget
from sweepengine.formulas.architecture import (
    GATED_DELTA_NET,
    KIMI_DELTA_ATTENTION,
    MAMBA_2,
    Architecture,
)
from sweepengine.formulas.attention import chooses
from sweepengine.formulas.formats import role_names, row_of
from sweepengine.formulas.speeds import ROOFLINE

MEASURED_MIXERS = {
    GATED_DELTA_NET: ("delta-chunks", "state-step"),
    KIMI_DELTA_ATTENTION: ("kimi-chunks", "state-step"),
    MAMBA_2: ("convolution",),
}
"""Kinds of operators that tables hold of a recurrent mixer."""


def kinds_of(arch: Architecture) -> tuple[str, ...]:
    """Kinds of operators in the decoder of a model."""
    kinds = ["gemm"]
    if any(group.feed_forward.experts for group in arch.groups):
        kinds.append("mixture")
    if any(attention.latent for attention in arch.attentions):
        kinds += ["latent-decode", "latent-prefill"]
    if any(attention.heads and not attention.latent for attention in arch.attentions):
        kinds += ["decode", "prefill"]
    if any(chooses(attention) for attention in arch.attentions):
        kinds += ["index-logits", "index-step", "top-k", "sparse-prefill"]
    mixers = {group.recurrent.kind for group in arch.groups if group.recurrent.heads}
    for kind in sorted(mixers & set(MEASURED_MIXERS)):
        kinds += MEASURED_MIXERS[kind]
    return tuple(dict.fromkeys(kinds))


def operator_error(arch: Architecture, target: TimingTarget) -> float:
    """Mean over the kinds of operators of a model of the median error on held-out rows, %."""
    medians = []
    for kind in kinds_of(arch):
        fits = next((file.fits[kind] for file in target.rates if kind in file.fits), {})
        medians += [next(iter(fits.values())).median] if fits else []
    return sum(medians) / len(medians)


def basis(
    arch: Architecture,
    target: TimingTarget,
    served: bool,
    case: Case = Case(),  # noqa: B008 -- immutable
) -> str:
    """One line that states the source of times and how far they were off on runs like it.

    Parameters
    ----------
    arch : Architecture
    target : TimingTarget
    served : bool
        Whether the times are those of a serving engine in steady state.
    case : Case
        What else decides the class of errors.

    Returns
    -------
    str
        With the median error of operators on held-out shapes, and the class of errors
        (`error_classes.error_class`).
    """
    device, framework = target.device.name, target.framework
    known = error_class(arch, target, case._replace(continuous=served))
    assumed = known.text + _multiplied_text(arch, target, case.weights)
    if target.times == ROOFLINE:
        return f"{device}, data sheet: {assumed}"
    version = next(iter(target.rates[0].fits["gemm"].values())).version
    text = f"{device}, {framework} {version}: {_operators(arch, target)}; {assumed}"
    if target.borrowed:
        text += f"; {borrowed_text(target)}"
    if target.rates[0].framework != framework:
        text += f"; measured under {target.rates[0].framework}"
    return text


def _multiplied_text(arch: Architecture, target: TimingTarget, weights: int) -> str:
    """Formats whose GEMMs run in another one on a device; empty where there are none."""
    taken = {row_of(name).get("activations", name) for name in role_names(arch, weights)}
    slow = sorted(name for name in taken if target.device.multiplies_in(name) != name)
    return "".join(
        f"; GEMMs of {name} weights in bf16, as no peak for {name} is faster" for name in slow
    )


def _operators(arch: Architecture, target: TimingTarget) -> str:
    """How far times of operators were off, where they were timed on the device or its sibling."""
    if target.slower != 1.0:
        return "no kernel of it was measured"
    return f"operators +-{operator_error(arch, target):.0f} %"


def borrowed_text(target: TimingTarget) -> str:
    """Whose rates a device takes, and what was measured of it itself."""
    if target.slower == 1.0:
        return f"rates borrowed from {target.borrowed}, which adds 2 to 7 points of error"
    return (
        f"rates borrowed from {target.borrowed} as shares of the data sheet, kernels "
        f"{target.slower:.2g} times as long, as its public runs under SGLang say"
    )
