"""Speeds of a place, which is a device under a framework: rates resolved to absolute figures."""

import math
import tomllib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Final, NamedTuple

from sweepengine.data import serving_engines
from sweepengine.data.devices import GIGA, TERA, Device, load_device
from sweepengine.data.errors import InputError
from sweepengine.data.models import Model
from sweepengine.data.rates import (
    A_MICROSECOND,
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
from sweepengine.formulas.serving import IDEAL_SERVING_ENGINE, ServingEngine
from sweepengine.formulas.speeds import (
    FRAMEWORKS,
    ROOFLINE,
    SILICON,
    TIMES,
    Host,
    Speeds,
    Wires,
)

SERVED: Final[dict[str, dict[str, Any]]] = tomllib.loads(
    (resources.files("sweepengine.data") / "measured" / "served.toml").read_text(encoding="utf-8")
)
"""Errors of served times on rows that no constant saw, by framework, as `validate --silicon`
recorded them."""
EXCHANGE_US = 20.0
"""Latency of an exchange of tokens (docs/times.md, "Exchange with experts elsewhere")."""
HOST_BOUND_US = 30.0
"""Launch of a product beyond which a table shows the host, not the device."""
MILLI = 1000.0
"""Point columns hold device figures in thousandths; microseconds of a millisecond."""
STEADY, BURSTS = "steady", "bursts"
"""Load generators: one that sends many more requests than it keeps open, or few."""
BF16 = FORMAT_NAMES[0]


class TimingTarget(NamedTuple):
    """A device under a framework, and whose rates its operators have."""

    device: Device
    framework: str
    times: str
    """One of `TIMES`."""
    rates: tuple[RatesFile, ...]
    """Where a kind of operator is looked up, the first first; empty: the roofline."""

    @property
    def borrowed(self) -> str:
        """The device whose rates stand in for its own; empty: it has its own."""
        own = not self.rates or self.rates[0].device == self.device.name
        return "" if own else self.rates[0].device


def timing_target(
    device: Device, framework: str = "vllm", times: str | None = None
) -> TimingTarget:
    """A place; its times are silicon's where rates exist, the roofline's elsewhere.

    Raises
    ------
    InputError
        When the framework is not known, or silicon is asked of a device that has no rates.
    """
    if framework not in FRAMEWORKS:
        raise InputError(f'framework = "{framework}": expected one of {", ".join(FRAMEWORKS)}')
    if times not in (None, *TIMES):
        raise InputError(f'times = "{times}": expected one of {", ".join(TIMES)}')
    found = tuple(rates_of(device, framework)) if times != ROOFLINE else ()
    if times == SILICON and not found:
        measured = ", ".join(dict.fromkeys(name for name, _ in shipped_rates()))
        raise InputError(
            f'{device.name}: has no rates: expected times = "roofline", a device of {measured}, '
            "or rates.like in its file"
        )
    if found and device.multiprocessors is None:
        raise InputError(f"{device.name}: multiprocessors: required for times of its kernels")
    return TimingTarget(device, framework, SILICON if found else ROOFLINE, found)


def on_devices(model: Model, names: Sequence[Device | str | Path], times: str = "") -> Model:
    """A model that is timed on devices, which may be given by name or file.

    Raises
    ------
    InputError
        When a device is not known, or has no rates where silicon's are asked.
    """
    devices = {device.name: device for device in map(load_device, names)}
    for device in devices.values():
        timing_target(device, times=times or None)
    return model._replace(devices=tuple(devices.values()), times=times)


def target_of_point(model: Model, point: Point, several: bool = False) -> TimingTarget:
    """Where a model's point runs; with `several`, on devices that must be linked.

    Raises
    ------
    InputError
        When it has no rates, or no links where it needs them.
    """
    device = model.devices[point.device]
    if several and device.links is None:
        raise InputError(
            f"{device.name}: its file has no link: expected one, as points lie on several devices"
        )
    return timing_target(device, FRAMEWORKS[point.framework], model.times or None)


def serving_engine_of(place: TimingTarget, load: str = STEADY) -> ServingEngine:
    """What a serving engine adds, under a load generator of a kind; nothing at the roofline."""
    if place.times == ROOFLINE:
        return IDEAL_SERVING_ENGINE
    own = ENGINES[place.framework]
    return ServingEngine(
        host=own["host_ms"] * MILLI,
        first=own["first_ms"] * MILLI,
        burst=own[load]["burst"],
        interference=own[load]["interference"],
    )


def with_figures(device: Device, point: Point) -> Device:
    """The device with what a point says instead of its own figures."""
    tensor = point.device_tensor_tflops / MILLI * TERA or device.tensor_flops_per_s
    ratio = tensor / device.tensor_flops_per_s
    moved = point.device_bandwidth_gbs / MILLI * GIGA or device.bytes_per_s
    held = int(point.device_memory_gb / MILLI * GIGA) or device.memory_bytes
    links = device.links
    if links is not None and point.link_bandwidth_gbs:
        links = links._replace(bytes_per_s=point.link_bandwidth_gbs / MILLI * GIGA)
    return device._replace(
        tensor_flops_per_s=tensor,
        peaks={name: peak * ratio for name, peak in device.peaks.items()},
        bytes_per_s=moved,
        memory_bytes=held,
        links=links,
    )


def _candidates(weights: str, operand: str) -> tuple[str, ...]:
    """Names of rates that products of such weights and activations may take, best first."""
    usual = row_of(weights).get("activations", weights)
    if operand == usual:
        return tuple(row_of(weights)["rates"])
    return (f"{weights}-{operand}", *row_of(operand)["rates"])


def _taken(place: TimingTarget, kind: str, names: tuple[str, ...]) -> tuple[str, dict[str, float]]:
    """The first rates that a place has of a kind, and the name of their format.

    Products that take longer to launch than any kernel does were measured while the host was
    behind, as no engine runs them: they are passed over.
    """
    for file in place.rates:
        found = file.fits.get(kind, {})
        for name in names:
            if name in found and not (
                kind == "gemm" and found[name].rates["launch"] > HOST_BOUND_US
            ):
                return name, found[name].rates
    return "", ideal(FORMS[kind])


def _rates(
    place: TimingTarget, kind: str, names: tuple[str, ...], operand: str, weights: str
) -> Any:
    """Rates of a kind in absolute figures, as they are in serving: caches are cold."""
    name, rates = _taken(place, kind, names)
    if name in ENGINES[place.framework]["fused"] and kind == "gemm":
        _, plain = _taken(place, kind, (BF16,))
        before = ("launch", "depth", "depth_cap")
        rates = rates | {"quantise": 0.0} | {name: plain[name] for name in before}
    if "warm" in rates:
        rates = rates | {"warm": 0.0}
    size = weight_bytes(weights)
    return resolved(FORMS[kind], rates, scales_of(place.device, operand), size)


def speeds_of(arch: Architecture, point: Point, place: TimingTarget) -> Speeds:
    """All rates of a point's passes at a place."""
    return _speeds(
        arch,
        point.weight_format,
        point.activation_format,
        point.cache_format,
        place._replace(device=with_figures(place.device, point)),
    )


def stated_device(device: Device) -> list[Any]:
    """What of a device and its rates decides times, for hashes."""
    figures = [device.name, device.peaks, device.bytes_per_s, device.links, device.multiprocessors]
    rates = [
        file.model_dump()
        for framework in FRAMEWORKS
        for file in timing_target(device, framework, None).rates
    ]
    return [*figures, rates, serving_engines.stated()]


_KEPT: dict[tuple[Any, ...], Speeds] = {}
_MAX_SPEEDS = 1 << 12


def _speeds(
    arch: Architecture, weights: int, operand: int, cache: int, place: TimingTarget
) -> Speeds:
    device = place.device
    key = (arch.checkpoint, arch.convention.dtype_bytes, weights, operand, cache, device.name,
           device.tensor_flops_per_s, tuple(device.peaks.items()), device.bytes_per_s,
           device.multiprocessors, device.links, place.framework, place.times,
           tuple(file.digest for file in place.rates))  # fmt: skip
    if (found := _KEPT.get(key)) is None:
        if len(_KEPT) >= _MAX_SPEEDS:
            _KEPT.clear()
        found = _KEPT[key] = _resolved(arch, weights, operand, cache, place)
    return found


def _resolved(
    arch: Architecture, weights: int, operand: int, cache: int, place: TimingTarget
) -> Speeds:
    attention, mlp, experts = role_names(arch, weights)
    asked = FORMAT_NAMES[operand]

    def quantised(kind: str, name: str) -> Any:
        taken = asked if name != BF16 else BF16
        return _rates(place, kind, _candidates(name, taken), taken, name)

    kept = cache_bits(arch, cache) / QUARTERS
    held = ("bf16",) if CACHE_FORMATS[cache] in ("bf16", "fp16") else ("fp8", "bf16")

    def attended(kind: str) -> Any:
        return _rates(place, kind, held, BF16, BF16)

    plain = (BF16,)
    return Speeds(
        attention=quantised("gemm", attention),
        mlp=quantised("gemm", mlp),
        plain=_rates(place, "gemm", plain, BF16, BF16),
        decode=attended("decode"),
        decode_wide=attended("decode-wide"),
        decode_window=attended("decode-window"),
        prefill=attended("prefill"),
        prefill_wide=attended("prefill-wide"),
        prefill_window=attended("prefill-window"),
        encoder=_rates(place, "encoder", plain, BF16, BF16),
        experts=quantised("mixture", experts),
        latent_decode=attended("latent-decode"),
        latent_prefill=attended("latent-prefill"),
        reduce=_rates(place, "all-reduce", plain, BF16, BF16),
        nccl=_rates(place, "nccl", plain, BF16, BF16),
        host=_host(place),
        wires=_wires(place),
        cached=kept,
    )


def _host(place: TimingTarget) -> Host:
    moved = place.device.bytes_per_s * A_MICROSECOND
    if place.times == ROOFLINE:
        return Host(step_launch=0.0, pass_launch=0.0, head=0.0, moved=moved, effective_experts=1.0)
    own = ENGINES[place.framework]
    return Host(
        step_launch=own["step_launch_us"],
        pass_launch=own["pass_launch_us"],
        head=own["head_us"],
        moved=own["moved"] * moved,
        effective_experts=own["effective_experts"],
    )


def _wires(place: TimingTarget) -> Wires:
    links = place.device.links
    if links is None:
        return Wires(node=1 << 20, link=1.0, network=1.0, latency=0.0, network_latency=0.0)
    latency = EXCHANGE_US if place.times == SILICON else 0.0
    beyond = links.network_bytes_per_s
    further = links.network_latency_s - links.latency_s if place.times == SILICON else 0.0
    return Wires(
        node=links.devices_a_node,
        link=links.bytes_per_s * A_MICROSECOND,
        network=beyond * A_MICROSECOND if beyond else math.ulp(0.0) * 2**60,
        latency=latency,
        network_latency=further / A_MICROSECOND,
    )


def kinds_of(arch: Architecture) -> tuple[str, ...]:
    """Kinds of operators that a model's decoder runs through."""
    kinds = ["gemm"]
    if any(group.feed_forward.experts for group in arch.groups):
        kinds.append("mixture")
    if any(attention.latent for attention in arch.attentions):
        kinds += ["latent-decode", "latent-prefill"]
    if any(attention.heads and not attention.latent for attention in arch.attentions):
        kinds += ["decode", "prefill"]
    return tuple(kinds)


def operator_error(arch: Architecture, place: TimingTarget) -> float:
    """Mean over a model's kinds of the median error that their rates had on rows unseen, %."""
    medians = []
    for kind in kinds_of(arch):
        found = next((file.fits[kind] for file in place.rates if kind in file.fits), {})
        medians += [next(iter(found.values())).median] if found else []
    return sum(medians) / len(medians)


def basis(arch: Architecture, place: TimingTarget, served: bool) -> str:
    """What times at a place rest on, and how far off they are expected to be.

    Of operators the median error on shapes that no fit saw; of serving that on served rows.
    """
    device, framework = place.device.name, place.framework
    if place.times == ROOFLINE:
        return f"{device}, data sheet: a lower bound, measured steps take 1.3 to 2 times as long"
    version = next(iter(place.rates[0].fits["gemm"].values())).version
    said = f"{device}, {framework} {version}: +-{operator_error(arch, place):.0f} % operators"
    if served:
        said += f", +-{SERVED[framework]['tpot_median']:.0f} % served"
    if place.borrowed:
        said += f"; rates borrowed from {place.borrowed}, which costs 2 to 7 points more"
    if place.rates[0].framework != framework:
        said += f"; measured under {place.rates[0].framework}"
    return said
