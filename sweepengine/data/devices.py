"""A device's peaks: TOML file -> validated -> frozen `Device`."""

from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sweepengine.data.errors import InputError, from_validation
from sweepengine.data.files import DEVICE_SCHEMA_VERSION, find, known, read_toml
from sweepengine.data.texts import Name, Source, Text

_STRICT = ConfigDict(extra="forbid", frozen=True)
_Positive = Annotated[float, Field(ge=1e-9, le=1e12, allow_inf_nan=False, strict=True)]
"""Figures in their units; beyond these lies no device, and floats that vanish or overflow."""
TERA = 1e12
GIGA = 1e9
MICRO = 1e-6


class _Figure(BaseModel):
    model_config = _STRICT
    value: _Positive
    source: Source


class _Rate(_Figure):
    unit: Literal["TFLOP/s"]


class _Integers(_Figure):
    unit: Literal["TOP/s"]


class _Bandwidth(_Figure):
    unit: Literal["GB/s"]


class _Memory(_Figure):
    unit: Literal["GB"]


class _Latency(_Figure):
    unit: Literal["us"]


class _Count(_Figure):
    unit: Literal["devices"]


class _Power(_Figure):
    unit: Literal["W"]


class _Processors(_Figure):
    unit: Literal["SMs"]


class _Rates(BaseModel):
    """Where a device's rates come from."""

    model_config = _STRICT
    measured: Name | None = None
    """What the measured tables call it."""
    like: Name | None = None
    """The device whose rates stand in, as shares of its own data sheet."""
    files: list[Source] = []
    """Rates that `calibrate` made, by path from the device's file; before all others."""


class DeviceFile(BaseModel):
    """A device file as written: every figure with its unit and source."""

    model_config = _STRICT
    schema_version: Annotated[
        int, Field(ge=DEVICE_SCHEMA_VERSION, le=DEVICE_SCHEMA_VERSION, strict=True)
    ]
    name: Name
    description: Text = ""
    tensor_bf16: _Rate
    cuda_fp32: _Rate
    bandwidth: _Bandwidth
    memory: _Memory
    tensor_fp8: _Rate | None = None
    tensor_fp4: _Rate | None = None
    tensor_int8: _Integers | None = None
    link: _Bandwidth | None = None
    link_latency: _Latency | None = None
    devices_a_node: _Count | None = None
    network: _Bandwidth | None = None
    network_latency: _Latency | None = None
    watts: _Power | None = None
    multiprocessors: _Processors | None = None
    rates: _Rates = _Rates()


class Links(NamedTuple):
    """What connects devices, one way, a device."""

    devices_a_node: int
    bytes_per_s: float
    """Within a node."""
    latency_s: float
    """Of a collective within a node."""
    network_bytes_per_s: float | None
    """Beyond a node; None: it has no network."""
    network_latency_s: float


class Device(NamedTuple):
    """One accelerator. Peaks are those of the data sheet, dense, reached by no real kernel."""

    name: str
    description: str
    tensor_flops_per_s: float
    """Tensor cores, bf16 with fp32 accumulation, without sparsity."""
    cuda_flops_per_s: float
    """CUDA cores (vector units), fp32."""
    bytes_per_s: float
    """Memory bandwidth."""
    memory_bytes: int
    """Memory, a GB taken as 1e9 bytes."""
    peaks: dict[str, float]
    """FLOP/s of tensor cores by what products take: "bf16", and "fp8", "fp4", "int8" as far as
    the device has them; others run at bf16's."""
    links: Links | None
    watts: float | None
    sources: dict[str, str]
    """Figure to where it comes from."""
    multiprocessors: int | None
    measured: str | None
    """What the measured tables of operators call it; None: nobody measured it."""
    like: str | None
    """The device whose rates stand in where it has none of its own."""
    rates: tuple[Path, ...] = ()
    """Files of rates of its own, beside those that ship."""


_SHIPPED: dict[Path, Device] = {}


def load_device(name: Device | str | Path) -> Device:
    """Load a device by the name it is shipped under, or from a TOML file; a `Device` is returned.

    Parameters
    ----------
    name : str, Path or Device
        A stem under ``sweepengine/data/devices``, a path to a TOML file, or a device itself.

    Raises
    ------
    InputError
        When there is no such device (the message names the known ones) or its file is not valid.
    """
    if isinstance(name, Device):
        return name
    path = find("devices", name)
    if (shipped := _SHIPPED.get(path)) is not None:
        return shipped
    try:
        file = DeviceFile.model_validate(read_toml(path))
    except ValidationError as error:
        raise from_validation(path, error, DeviceFile.model_fields) from None
    named = {name: getattr(file, name) for name in DeviceFile.model_fields}
    figures = {name: figure for name, figure in named.items() if isinstance(figure, _Figure)}
    beside = ("link_latency", "devices_a_node")
    if file.link is None and any(name in figures for name in (*beside, "network")):
        raise InputError(f"{path}: link: required key is missing beside other links")
    if file.link is not None and (missing := next((n for n in beside if n not in figures), "")):
        raise InputError(f"{path}: {missing}: required key is missing beside link")
    device = Device(
        name=file.name,
        description=file.description,
        tensor_flops_per_s=file.tensor_bf16.value * TERA,
        cuda_flops_per_s=file.cuda_fp32.value * TERA,
        bytes_per_s=file.bandwidth.value * GIGA,
        memory_bytes=int(file.memory.value * GIGA),
        peaks={
            kind: figures[f"tensor_{kind}"].value * TERA
            for kind in ("bf16", "fp8", "fp4", "int8")
            if f"tensor_{kind}" in figures
        },
        links=_links(figures),
        watts=figures["watts"].value if "watts" in figures else None,
        sources={name: figure.source for name, figure in figures.items()},
        multiprocessors=int(figures["multiprocessors"].value)
        if "multiprocessors" in figures
        else None,
        measured=file.rates.measured,
        like=file.rates.like,
        rates=tuple(path.parent / name for name in file.rates.files),
    )
    if path in known("devices").values():
        _SHIPPED[path] = device
    return device


def _links(figures: dict[str, _Figure]) -> Links | None:
    if "link" not in figures:
        return None
    latency = figures["link_latency"].value * MICRO
    beyond = figures.get("network")
    further = figures.get("network_latency")
    return Links(
        int(figures["devices_a_node"].value),
        figures["link"].value * GIGA,
        latency,
        beyond.value * GIGA if beyond else None,
        further.value * MICRO if further else latency,
    )
