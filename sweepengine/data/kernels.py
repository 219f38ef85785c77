"""Which kernels a serving engine runs for a model on a device, and their rates."""

from typing import Any, NamedTuple

from sweepengine.data.devices import Device
from sweepengine.data.fits import Kernel
from sweepengine.data.rates import (
    FORMS,
    RatesFile,
    ideal,
    measured_devices,
    resolved,
    scales_of,
    shipped_rates,
    weight_bytes,
)
from sweepengine.data.serving_engines import ENGINES
from sweepengine.formulas.architecture import Architecture
from sweepengine.formulas.attention_times import WIDE, time_window
from sweepengine.formulas.formats import FORMAT_NAMES
from sweepengine.formulas.speeds import ROOFLINE

HOST_BOUND_US = 30.0
"""Launch time of a GEMM, us, above which the table measured the host, not the device."""


class Shapes(NamedTuple):
    """What decides which kernels a serving engine runs for a model."""

    experts: tuple[int, ...]
    """Hidden width, inner width, experts a token and experts; empty: no MoE."""
    expert_parallel: bool
    """Whether experts are spread over devices."""
    widths: tuple[tuple[str, tuple[int, ...]], ...]
    """Kinds of attention in the model, and the width of a head of each."""

    def of(self, kind: str) -> tuple[int, ...]:
        """The shape that decides the kernel of a kind of operator; empty: none does."""
        return self.experts if kind == "mixture" else dict(self.widths).get(kind, ())


def shapes_of(arch: Architecture, expert_parallel: bool) -> Shapes:
    """Shapes of a model; of layers that differ, those of the first count.

    Parameters
    ----------
    arch : Architecture
    expert_parallel : bool
        Whether experts are spread over devices.
    """
    hidden = arch.backbone.hidden
    experts = (
        (ffn.expert_latent or hidden, ffn.expert_width, ffn.experts_per_token, ffn.experts)
        for ffn in (group.feed_forward for group in arch.groups)
        if ffn.experts
    )
    widths: dict[str, tuple[int, ...]] = {}
    for attention in arch.attentions:
        wide = "-wide" if attention.key_width > WIDE else ""
        suffix = "-window" if time_window(attention) else wide
        for phase in ("decode", "prefill"):
            widths.setdefault(phase + suffix, (attention.key_width,))
    return Shapes(next(experts, ()), expert_parallel, tuple(widths.items()))


class ModelKernels(NamedTuple):
    """Kernels of a model on a device under a serving engine."""

    files: tuple[RatesFile, ...]
    """Searched in this order; empty: roofline times."""
    framework: str
    device: Device
    shapes: Shapes

    def is_borrowed(self, file: RatesFile) -> bool:
        """Whether a file has the shipped rates of a device that this one is like."""
        own = measured_devices().get(self.device.measured or "")
        return file.device != own and (file.device, file.framework) in shipped_rates()

    def taken(self, kind: str, names: tuple[str, ...]) -> tuple[str, Kernel, bool]:
        """Format name and kernel of the first match, and whether it is of another device.

        GEMM rates with a launch time above `HOST_BOUND_US` are skipped: they were measured while
        the host was the bottleneck, which no serving engine lets happen.
        """
        shape = self.shapes.of(kind)
        for file in self.files:
            fits = file.fits.get(kind, {})
            for name in (name for name in names if name in fits):
                kernel = fits[name].kernel_for(shape, self.shapes.expert_parallel)
                if kind != "gemm" or kernel.rates["launch"] <= HOST_BOUND_US:
                    return name, kernel, self.is_borrowed(file)
        return "", Kernel(name=ROOFLINE, rates=ideal(FORMS[kind])), False

    def speeds(
        self, kind: str, names: tuple[str, ...], activations: str, weights: str
    ) -> tuple[Any, Any]:
        """Rates of a kind of operator in absolute figures, with cold caches as in serving.

        Parameters
        ----------
        kind : str
            A key of `FORMS`.
        names : tuple of str
            Format names of rates, best first.
        activations, weights : str
            Formats of the operands.

        Returns
        -------
        tuple
            Rates up to as many tokens as there are experts, and beyond; alike but for MoE kernels.
        """
        name, kernel, borrowed = self.taken(kind, names)
        changed: dict[str, float] = {}
        if name in ENGINES[self.framework]["fused"] and kind == "gemm":
            _, plain, _ = self.taken(kind, FORMAT_NAMES[:1])
            before = ("launch", "depth", "depth_cap")
            changed = {"quantise": 0.0} | {name: plain.rates[name] for name in before}
        if "warm" in kernel.rates:
            changed["warm"] = 0.0
        scales, size = scales_of(self.device, activations), weight_bytes(weights)
        slower = self.device.slower_under(self.framework) if borrowed else 1.0
        few, many = (
            resolved(FORMS[kind], rates | changed, scales, size, slower)
            for rates in kernel.all_rates
        )
        return few, many
