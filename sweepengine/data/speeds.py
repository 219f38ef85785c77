"""Speeds of a timing target (device and serving engine): its rates as absolute figures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sweepengine.data import serving_engines
from sweepengine.data.devices import GIGA, STORED_BYTES, TERA, Device, load_devices
from sweepengine.data.errors import InputError
from sweepengine.data.kernels import ModelKernels, Shapes, shapes_of
from sweepengine.data.models import Model
from sweepengine.data.rates import RatesFile, measured_devices, rates_of, shipped_rates
from sweepengine.data.serving_engines.memory import stated_memory
from sweepengine.formulas.architecture import Architecture
from sweepengine.formulas.drafts import drafted
from sweepengine.formulas.figures import QUARTERS
from sweepengine.formulas.formats import CACHE_FORMATS, FORMAT_NAMES, cache_bits, role_names, row_of
from sweepengine.formulas.operator_rates import ExchangeRates
from sweepengine.formulas.points import Point
from sweepengine.formulas.speeds import (
    FRAMEWORKS,
    MODEL,
    ROOFLINE,
    SILICON,
    TIMES,
    Speeds,
)

MILLI = 1000.0
"""Points hold device figures in thousandths; also microseconds per millisecond."""
BF16 = FORMAT_NAMES[0]
FP8 = "fp8"
EXPERTS = "mixture"
"""Kind of operator in rates files: routed experts."""
EXCHANGED = 0.7
"""Share of the links that an exchange reaches in steps, and on devices without measured ones."""
_ATTENTION_KINDS = ("decode", "decode_wide", "decode_window", "prefill", "prefill_wide",
                    "prefill_window", "latent_decode", "latent_prefill")  # fmt: skip
"""Fields of `Speeds` whose rates depend on the format of the KV cache."""
_PLAIN_KINDS = ("convolution", "convolution_step", "delta_chunks", "kimi_chunks", "state_step",
                "top_k")  # fmt: skip
_INDEX_KINDS = ("index_logits", "index_step")
"""Fields of `Speeds` whose kernels score keys in fp8."""


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
        named = (self.device.name, measured_devices().get(self.device.measured or ""))
        return "" if source in named else source

    @property
    def slower(self) -> float:
        """How many times as long its kernels take as the rates that it borrows; 1: as long."""
        return self.device.slower_under(self.framework) if self.borrowed else 1.0


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
        When a device is unknown, or has no rates for "silicon", or two have one name.
    """
    devices = load_devices(names, "devices")
    for device in devices:
        timing_target(device, times=times or None)
    return model._replace(devices=tuple(devices), times=times)


def target_of_point(model: Model, point: Point, several: int = 1) -> TimingTarget:
    """The timing target of a point.

    Parameters
    ----------
    model : Model
        With `devices`.
    point : Point
    several : int
        Devices of its layout: several need links, more than a node has a network.

    Raises
    ------
    InputError
        When the device has no rates for the times of the model, or cannot be joined so.
    """
    device = model.devices[point.device]
    refuse_unjoined(device, several)
    return timing_target(device, FRAMEWORKS[point.framework], model.times or None)


def refuse_unjoined(device: Device, count: int) -> None:
    """Refuse layouts of more devices than links, or a network, join.

    Raises
    ------
    InputError
        Naming the key that the file of the device lacks.
    """
    if count == 1:
        return
    if device.links is None:
        raise InputError(
            f"{device.name}: link: required key is missing, as points use several devices"
        )
    if count > device.links.devices_a_node and device.links.network_bytes_per_s is None:
        raise InputError(
            f"{device.name}: network: required key is missing, as a layout of {count:,} devices "
            f"needs more than a node of {device.links.devices_a_node}"
        )


def with_figures(device: Device, point: Point) -> Device:
    """The device with the figures that a point sets; a memory that it sets is usable as a whole."""
    tensor = point.device_tensor_tflops / MILLI * TERA or device.tensor_flops_per_s
    ratio = tensor / device.tensor_flops_per_s
    bandwidth = point.device_bandwidth_gbs / MILLI * GIGA or device.bytes_per_s
    links = device.links
    if links is not None and point.link_bandwidth_gbs:
        links = links._replace(bytes_per_s=point.link_bandwidth_gbs / MILLI * GIGA)
    return device._replace(
        tensor_flops_per_s=tensor,
        peaks={name: peak * ratio for name, peak in device.peaks.items()},
        bytes_per_s=bandwidth,
        memory_bytes=point.device_memory_gb * STORED_BYTES or device.memory_bytes,
        usable_bytes=device.usable_where(point.device_memory_gb),
        usable_assumed=device.usable_assumed and not point.device_memory_gb,
        links=links,
    )


def _candidates(kind: str, weights: str, operand: str) -> tuple[str, ...]:
    """Format names of rates for a kind of GEMMs of these weights and activations, best first."""
    row = row_of(weights)
    if operand == row.get("activations", weights):
        return tuple(row.get("expert_rates", row["rates"]) if kind == EXPERTS else row["rates"])
    if operand == BF16 and "weight_only_rates" in row:
        return tuple(row["weight_only_rates"])
    return (f"{weights}-{operand}", *row_of(operand)["rates"])


def speeds_of(arch: Architecture, point: Point, target: TimingTarget) -> Speeds:
    """Speeds of all operators of a point.

    Parameters
    ----------
    arch : Architecture
    point : Point
        Its formats and device figures count.
    target : TimingTarget
    """
    asked = _Asked(
        arch,
        point.weight_format,
        point.activation_format,
        point.cache_format,
        point.serving,
        target._replace(device=with_figures(target.device, point)),
        shapes_of(arch, point.expert_parallel > 1),
    )
    key = asked.key()
    if (speeds := _SPEEDS.get(key)) is None:
        if len(_SPEEDS) >= _MAX_SPEEDS:
            _SPEEDS.clear()
        speeds = _SPEEDS[key] = _resolved(asked)
    return speeds


def drafting_speeds(arch: Architecture, point: Point, target: TimingTarget) -> Speeds | None:
    """Speeds of the draft of a point; None where it drafts nothing. Parameters as `speeds_of`."""
    if not point.draft_tokens:
        return None
    own, seen = drafted(arch, point)
    return speeds_of(own, seen, target)


def stated_device(device: Device) -> list[Any]:
    """Figures of a device, its rates and serving engines that change outputs, for hashes."""
    figures = [device.name, device.peaks, device.bytes_per_s, device.links, device.multiprocessors]
    targets = (timing_target(device, framework, None) for framework in FRAMEWORKS)
    rates = [file.model_dump() for target in targets for file in target.rates]
    figures.append([device.slower_under(framework) for framework in FRAMEWORKS])
    return [*figures, device.usable_bytes, rates, serving_engines.stated(), stated_memory()]


_SPEEDS: dict[tuple[Any, ...], Speeds] = {}
_MAX_SPEEDS = 1 << 12


class _Asked(NamedTuple):
    """What the speeds of a point follow from."""

    arch: Architecture
    weights: int
    operand: int
    cache: int
    serving: int
    target: TimingTarget
    shapes: Shapes

    def key(self) -> tuple[Any, ...]:
        """All of it that changes a speed."""
        arch, device, target = self.arch, self.target.device, self.target
        return (arch.checkpoint, arch.convention.dtype_bytes, self.weights, self.operand,
                self.cache, self.serving, device.name, device.tensor_flops_per_s,
                tuple(device.peaks.items()), device.bytes_per_s, device.multiprocessors,
                device.links, device.slower_under(target.framework), target.framework,
                target.times, tuple(file.digest for file in target.rates),
                self.shapes)  # fmt: skip


def _resolved(asked: _Asked) -> Speeds:
    arch, weights, operand, cache, serving, target, shapes = asked
    device = target.device
    attention, mlp, experts = role_names(arch, weights)
    activations = FORMAT_NAMES[operand]
    kernels = ModelKernels(target.rates, target.framework, target.device, shapes)

    def quantised(kind: str, name: str) -> tuple[Any, Any]:
        taken = device.multiplies_in(activations) if name != BF16 else BF16
        return kernels.speeds(kind, _candidates(kind, name, taken), taken, name)

    def unquantised(kind: str, names: tuple[str, ...] = (BF16,)) -> Any:
        return kernels.speeds(kind, names, BF16, BF16)[0]

    wires = serving_engines.wires_of(device, target.times)

    exchange, assumed = unquantised("exchange"), ExchangeRates(wires.latency, wires.link)
    if wires.latency > 0.0:
        assumed = ExchangeRates(launch=wires.latency, link=EXCHANGED * wires.link)
    if exchange.launch == 0.0:
        exchange = assumed
    cache_names = ("bf16",) if CACHE_FORMATS[cache] in ("bf16", "fp16") else ("fp8", "bf16")
    chosen = kernels.taken("sparse-prefill", cache_names)[0] or BF16
    few, many = quantised(EXPERTS, experts)
    return Speeds(
        attention=quantised("gemm", attention)[0],
        mlp=quantised("gemm", mlp)[0],
        plain=unquantised("gemm"),
        encoder=unquantised("encoder"),
        experts=few,
        experts_many=many,
        **{name: unquantised(name.replace("_", "-")) for name in _PLAIN_KINDS},
        **{
            name: kernels.speeds(name.replace("_", "-"), (FP8,), FP8, FP8)[0]
            for name in _INDEX_KINDS
        },
        sparse_prefill=kernels.speeds("sparse-prefill", (chosen,), chosen, chosen)[0],
        exchange=exchange,
        exchange_step=assumed,
        reduce=unquantised("all-reduce"),
        nccl=unquantised("nccl"),
        host=serving_engines.host_of(device, target.framework, target.times, serving),
        wires=wires,
        cached=cache_bits(arch, cache) / QUARTERS,
        **{name: unquantised(name.replace("_", "-"), cache_names) for name in _ATTENTION_KINDS},
    )
