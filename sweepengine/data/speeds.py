"""Speeds of a timing target (device and serving engine): its rates as absolute figures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sweepengine.data import serving_engines
from sweepengine.data.devices import GIGA, TERA, Device, load_device
from sweepengine.data.errors import InputError
from sweepengine.data.models import Model
from sweepengine.data.rates import (
    FORMS,
    RatesFile,
    ideal,
    rates_of,
    resolved,
    scales_of,
    shipped_rates,
    weight_bytes,
)
from sweepengine.data.serving_engines import ENGINES
from sweepengine.formulas.architecture import Architecture
from sweepengine.formulas.figures import QUARTERS
from sweepengine.formulas.formats import CACHE_FORMATS, FORMAT_NAMES, cache_bits, role_names, row_of
from sweepengine.formulas.points import Point
from sweepengine.formulas.speeds import (
    FRAMEWORKS,
    MODEL,
    ROOFLINE,
    SILICON,
    TIMES,
    Speeds,
)

HOST_BOUND_US = 30.0
"""Launch time of a GEMM, us, above which the table measured the host, not the device."""
MILLI = 1000.0
"""Points hold device figures in thousandths; also microseconds per millisecond."""
STEADY, BURSTS = "steady", "bursts"
"""Kinds of load: far more requests than run at once, or few, which arrive in waves."""
BF16 = FORMAT_NAMES[0]
_ATTENTION_KINDS = ("decode", "decode_wide", "decode_window", "prefill", "prefill_wide",
                    "prefill_window", "latent_decode", "latent_prefill")  # fmt: skip
"""Fields of `Speeds` whose rates depend on the format of the KV cache."""


class TimingTarget(NamedTuple):
    """A device, a serving engine, and the rates of its operators."""

    device: Device
    framework: str
    times: str
    """One of `TIMES`."""
    rates: tuple[RatesFile, ...]
    """Files searched for a kind of operator, in this order; empty: roofline times."""

    @property
    def borrowed(self) -> str:
        """The other device whose rates are used; empty where none are borrowed."""
        source = self.rates[0].device if self.rates else ""
        return "" if source == self.device.name else source


def timing_target(
    device: Device, framework: str = "vllm", times: str | None = None
) -> TimingTarget:
    """Make a timing target.

    Parameters
    ----------
    device : Device
    framework : str
        A serving engine, one of `FRAMEWORKS`.
    times : str, optional
        One of `TIMES`; by default "silicon" where the device has rates, else "roofline".

    Raises
    ------
    InputError
        When `framework` or `times` is unknown, or the device has no rates for "silicon".
    """
    if framework not in FRAMEWORKS:
        raise InputError(f'framework = "{framework}": expected one of {", ".join(FRAMEWORKS)}')
    if times not in (None, *TIMES):
        raise InputError(f'times = "{times}": expected one of {", ".join(TIMES)}')
    rates = tuple(rates_of(device, framework)) if times != ROOFLINE else ()
    if times in (SILICON, MODEL) and not rates:
        measured = ", ".join(dict.fromkeys(name for name, _ in shipped_rates()))
        raise InputError(
            f'{device.name}: has no rates: expected times = "roofline", a device of {measured}, '
            "or rates.like in its file"
        )
    if rates and device.multiprocessors is None:
        raise InputError(f"{device.name}: multiprocessors: required for silicon times")
    return TimingTarget(device, framework, (times or SILICON) if rates else ROOFLINE, rates)


def on_devices(model: Model, names: Sequence[Device | str | Path], times: str = "") -> Model:
    """The model with devices to time it on.

    Parameters
    ----------
    model : Model
    names : sequence of Device, str or Path
        Devices, or what `load_device` takes.
    times : str
        One of `TIMES`, or empty for the default of each device.

    Raises
    ------
    InputError
        When a device is unknown, or has no rates for "silicon".
    """
    devices = {device.name: device for device in map(load_device, names)}
    for device in devices.values():
        timing_target(device, times=times or None)
    return model._replace(devices=tuple(devices.values()), times=times)


def target_of_point(model: Model, point: Point, several: bool = False) -> TimingTarget:
    """The timing target of a point.

    Parameters
    ----------
    model : Model
        With `devices`.
    point : Point
    several : bool
        Whether the point uses several devices, which need links.

    Raises
    ------
    InputError
        When the device has no rates for the times of the model, or no links but needs them.
    """
    device = model.devices[point.device]
    if several and device.links is None:
        raise InputError(
            f"{device.name}: link: required key is missing, as points use several devices"
        )
    return timing_target(device, FRAMEWORKS[point.framework], model.times or None)


def with_figures(device: Device, point: Point) -> Device:
    """The device with the figures that a point sets."""
    tensor = point.device_tensor_tflops / MILLI * TERA or device.tensor_flops_per_s
    ratio = tensor / device.tensor_flops_per_s
    bandwidth = point.device_bandwidth_gbs / MILLI * GIGA or device.bytes_per_s
    memory = int(point.device_memory_gb / MILLI * GIGA) or device.memory_bytes
    links = device.links
    if links is not None and point.link_bandwidth_gbs:
        links = links._replace(bytes_per_s=point.link_bandwidth_gbs / MILLI * GIGA)
    return device._replace(
        tensor_flops_per_s=tensor,
        peaks={name: peak * ratio for name, peak in device.peaks.items()},
        bytes_per_s=bandwidth,
        memory_bytes=memory,
        links=links,
    )


def _candidates(weights: str, operand: str) -> tuple[str, ...]:
    """Format names of rates for GEMMs of these weights and activations, best first."""
    usual = row_of(weights).get("activations", weights)
    if operand == usual:
        return tuple(row_of(weights)["rates"])
    return (f"{weights}-{operand}", *row_of(operand)["rates"])


def _taken(target: TimingTarget, kind: str, names: tuple[str, ...]) -> tuple[str, dict[str, float]]:
    """Format name and rates of the first match for a kind of operator.

    GEMM rates with a launch time above `HOST_BOUND_US` are skipped: they were measured while the
    host was the bottleneck, which no serving engine lets happen.
    """
    for file in target.rates:
        fits = file.fits.get(kind, {})
        for name in names:
            if name in fits and not (kind == "gemm" and fits[name].rates["launch"] > HOST_BOUND_US):
                return name, fits[name].rates
    return "", ideal(FORMS[kind])


def _rates(
    target: TimingTarget, kind: str, names: tuple[str, ...], operand: str, weights: str
) -> Any:
    """Rates of a kind of operator in absolute figures, with cold caches as in serving."""
    name, rates = _taken(target, kind, names)
    if name in ENGINES[target.framework]["fused"] and kind == "gemm":
        _, plain = _taken(target, kind, (BF16,))
        before = ("launch", "depth", "depth_cap")
        rates = rates | {"quantise": 0.0} | {name: plain[name] for name in before}
    if "warm" in rates:
        rates = rates | {"warm": 0.0}
    size = weight_bytes(weights)
    return resolved(FORMS[kind], rates, scales_of(target.device, operand), size)


def speeds_of(arch: Architecture, point: Point, target: TimingTarget) -> Speeds:
    """Speeds of all operators of a point.

    Parameters
    ----------
    arch : Architecture
    point : Point
        Its formats and device figures count.
    target : TimingTarget
    """
    return _speeds(
        arch,
        point.weight_format,
        point.activation_format,
        point.cache_format,
        point.serving,
        target._replace(device=with_figures(target.device, point)),
    )


def stated_device(device: Device) -> list[Any]:
    """Figures of a device and its rates that change times, for hashes."""
    figures = [device.name, device.peaks, device.bytes_per_s, device.links, device.multiprocessors]
    rates = [
        file.model_dump()
        for framework in FRAMEWORKS
        for file in timing_target(device, framework, None).rates
    ]
    return [*figures, rates, serving_engines.stated()]


_SPEEDS: dict[tuple[Any, ...], Speeds] = {}
_MAX_SPEEDS = 1 << 12


def _speeds(
    arch: Architecture, weights: int, operand: int, cache: int, serving: int, target: TimingTarget
) -> Speeds:
    device = target.device
    key = (arch.checkpoint, arch.convention.dtype_bytes, weights, operand, cache, serving,
           device.name, device.tensor_flops_per_s, tuple(device.peaks.items()), device.bytes_per_s,
           device.multiprocessors, device.links, target.framework, target.times,
           tuple(file.digest for file in target.rates))  # fmt: skip
    if (speeds := _SPEEDS.get(key)) is None:
        if len(_SPEEDS) >= _MAX_SPEEDS:
            _SPEEDS.clear()
        speeds = _SPEEDS[key] = _resolved(arch, weights, operand, cache, serving, target)
    return speeds


def _resolved(
    arch: Architecture, weights: int, operand: int, cache: int, serving: int, target: TimingTarget
) -> Speeds:
    device = target.device
    attention, mlp, experts = role_names(arch, weights)
    activations = FORMAT_NAMES[operand]

    def quantised(kind: str, name: str) -> Any:
        taken = activations if name != BF16 else BF16
        return _rates(target, kind, _candidates(name, taken), taken, name)

    cache_names = ("bf16",) if CACHE_FORMATS[cache] in ("bf16", "fp16") else ("fp8", "bf16")

    plain = (BF16,)
    return Speeds(
        attention=quantised("gemm", attention),
        mlp=quantised("gemm", mlp),
        plain=_rates(target, "gemm", plain, BF16, BF16),
        encoder=_rates(target, "encoder", plain, BF16, BF16),
        experts=quantised("mixture", experts),
        reduce=_rates(target, "all-reduce", plain, BF16, BF16),
        nccl=_rates(target, "nccl", plain, BF16, BF16),
        host=serving_engines.host_of(device, target.framework, target.times, serving),
        wires=serving_engines.wires_of(device, target.times),
        cached=cache_bits(arch, cache) / QUARTERS,
        **{
            name: _rates(target, name.replace("_", "-"), cache_names, BF16, BF16)
            for name in _ATTENTION_KINDS
        },
    )
