"""A device's peaks: TOML file -> validated -> frozen `Device`."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sweepengine.data.errors import InputError, from_validation
from sweepengine.data.files import DEVICE_SCHEMA_VERSION, find, known, read_toml
from sweepengine.data.texts import Name, Source, Text
from sweepengine.formulas.formats import row_of

_STRICT = ConfigDict(extra="forbid", frozen=True)
_Positive = Annotated[float, Field(ge=1e-9, le=1e12, allow_inf_nan=False, strict=True)]
"""A figure in its unit, within limits that keep products of figures finite and above 0."""
TERA = 1e12
GIGA = 1e9
STORED_BYTES = 1_000_000
"""Points hold `device_memory_gb` in thousandths of 1e9 bytes."""
MICRO = 1e-6
GIBI = 1 << 30


_Unit = TypeVar("_Unit")


class _Figure(BaseModel, Generic[_Unit]):
    """A figure, its unit and its source."""

    model_config = _STRICT
    value: _Positive
    unit: _Unit
    source: Source


_Rate = _Figure[Literal["TFLOP/s"]]
_Bandwidth = _Figure[Literal["GB/s"]]
_Latency = _Figure[Literal["us"]]


class _Bytes(_Figure[Literal["byte"]]):
    """A whole number of bytes and its source."""

    value: Annotated[int, Field(ge=1, le=1 << 50, strict=True)]


class _Rates(BaseModel):
    """Sources of the rates of a device."""

    model_config = _STRICT
    measured: Name | None = None
    """Name of the device in the measured tables, whatever this file is called."""
    like: Name | None = None
    """The device whose rates are used, as shares of the data sheet."""
    slower: dict[str, Annotated[float, Field(ge=0.01, le=100, strict=True)]] = {}
    """By serving engine: how many times as long its kernels take as those rates say."""
    files: list[Source] = []
    """Rates files of `calibrate`, relative to the device file; they precede all others."""


class DeviceFile(BaseModel):
    """Schema of a device file: every figure has a unit and a source."""

    model_config = _STRICT
    schema_version: Annotated[
        int, Field(ge=DEVICE_SCHEMA_VERSION, le=DEVICE_SCHEMA_VERSION, strict=True)
    ]
    name: Name
    description: Text = ""
    maker: Literal["NVIDIA", "AMD", "Intel"] = "NVIDIA"
    generation: Text = ""
    tensor_bf16: _Rate
    cuda_fp32: _Rate
    bandwidth: _Bandwidth
    memory: _Figure[Literal["GB"]]
    usable: _Bytes | None = None
    """The bytes that the driver reports."""
    tensor_fp8: _Rate | None = None
    tensor_fp4: _Rate | None = None
    tensor_int8: _Figure[Literal["TOP/s"]] | None = None
    link: _Bandwidth | None = None
    link_latency: _Latency | None = None
    devices_a_node: _Figure[Literal["devices"]] | None = None
    network: _Bandwidth | None = None
    network_latency: _Latency | None = None
    watts: _Figure[Literal["W"]] | None = None
    multiprocessors: _Figure[Literal["SMs", "CUs"]] | None = None
    rates: _Rates = _Rates()


class Links(NamedTuple):
    """Links between devices; bandwidths are one way, per device."""

    devices_a_node: int
    bytes_per_s: float
    """Bandwidth within a node."""
    latency_s: float
    """Latency of a collective within a node."""
    network_bytes_per_s: float | None
    """Bandwidth between nodes; None: there is no network."""
    network_latency_s: float


class Device(NamedTuple):
    """One accelerator. Peaks are dense figures of the data sheet, which kernels do not reach."""

    name: str
    description: str
    tensor_flops_per_s: float
    """Peak of tensor cores, bf16 with fp32 accumulation, without sparsity."""
    cuda_flops_per_s: float
    """Peak of CUDA cores (vector units), fp32."""
    bytes_per_s: float
    """Memory bandwidth."""
    memory_bytes: int
    """Memory capacity of the data sheet; 1 GB is 1e9 bytes."""
    usable_bytes: int
    """The bytes that the driver reports, of which a serving engine takes a share. Without `usable`
    in the file they are assumed: the data sheet's figure in GiB (2**30 bytes), since makers say GB
    and mean GiB, of HBM and of other memories; measured cards report up to 9 % less."""
    usable_assumed: bool
    """Whether `usable_bytes` is assumed, as nobody measured the device."""
    peaks: dict[str, float]
    """FLOP/s of tensor cores by format of the GEMM: "bf16", and "fp8", "fp4", "int8" where the
    device supports them; other formats run at the bf16 peak."""
    links: Links | None
    watts: float | None
    sources: dict[str, str]
    """Name of a figure to its source."""
    multiprocessors: int | None
    measured: str | None
    """Name of the device in the measured tables; None: it was not measured."""
    like: str | None
    """The device whose rates are used where this device has none."""
    rates: tuple[Path, ...] = ()
    """Rates files of the user, in addition to shipped ones."""
    slower: dict[str, float] = {}
    """By serving engine: how many times as long its kernels take as rates of `like` say."""
    maker: str = "NVIDIA"
    """Decides which serving engines and container images run on it."""
    generation: str = ""
    """Key of data/measured/generations.toml; empty: that of the device whose rates it takes."""
    data: dict[str, Any] = {}
    """Content of its file, with whole paths of rates files; a dataset keeps it."""

    def multiplies_in(self, operand: str) -> str:
        """Format that GEMMs with activations in `operand` run in.

        bf16 where the device has no peak of `operand`, or one below bf16's, as INT8's is on
        Blackwell Ultra: serving engines turn the weights of such a GEMM into bf16 (weight-only
        kernels).
        """
        kind = row_of(operand).get("peak", "bf16")
        usual = kind == "bf16" or self.peaks.get(kind, 0.0) >= self.tensor_flops_per_s
        return operand if usual else "bf16"

    def peak_of(self, operand: str) -> float:
        """FLOP/s of GEMMs with activations in format `operand`; bf16's without a peak of it."""
        kind = row_of(self.multiplies_in(operand)).get("peak", "bf16")
        return self.peaks.get(kind, self.tensor_flops_per_s)

    def slower_under(self, framework: str) -> float:
        """How many times as long kernels take as borrowed rates say.

        Of another serving engine where this one was not measured, of the device that it is `like`
        where itself was not, and 1 where neither was.
        """
        if self.slower:
            return self.slower.get(framework, next(iter(self.slower.values())))
        return load_device(self.like).slower_under(framework) if self.like else 1.0

    @property
    def product(self) -> str:
        """Name of the product: the description up to its first comma or colon, or the name."""
        return re.split("[,:]", self.description)[0] or self.name

    @property
    def node_size(self) -> int:
        """Devices of a node; 1 where a device has no links."""
        return self.links.devices_a_node if self.links else 1

    def usable_where(self, memory_gb: int) -> int:
        """Usable bytes at a point that states its memory, `device_memory_gb`, or does not: 0."""
        return memory_gb * STORED_BYTES or self.usable_bytes


_SHIPPED: dict[Path, Device] = {}


def load_device(name: Device | str | Path) -> Device:
    """Load a shipped device by name, or a device from a TOML file.

    Parameters
    ----------
    name : str, Path or Device
        A stem under ``sweepengine/data/devices``, a path to a TOML file, or a device, which is
        returned unchanged.

    Raises
    ------
    InputError
        When the device is unknown (the message lists the known ones) or its file is not valid.
    """
    if isinstance(name, Device):
        return name
    path = find("devices", name)
    if (shipped := _SHIPPED.get(path)) is not None:
        return shipped
    data = read_toml(path)
    rates = data.get("rates")
    if isinstance(rates, dict) and isinstance(files := rates.get("files"), list):
        rates["files"] = [str(path.parent.resolve() / str(name)) for name in files]
    device = device_of(data, path)
    if path in known("devices").values():
        _SHIPPED[path] = device
    return device


def load_devices(names: Iterable[Device | str | Path], place: str) -> list[Device]:
    """Load devices (`load_device`), each once.

    Parameters
    ----------
    names : iterable of str, Path or Device
    place : str
        Name of the command or file, for messages.

    Raises
    ------
    InputError
        As `load_device`, and when two different devices have one name.
    """
    devices: dict[str, Device] = {}
    for device in map(load_device, names):
        known_as = devices.setdefault(device.name, device)
        if known_as._replace(data={}) != device._replace(data={}):
            raise InputError(
                f'{place}: device "{device.name}": two different devices have this name: '
                "expected another name in the file of one"
            )
    return list(devices.values())


def device_of(data: dict[str, Any], path: str | Path) -> Device:
    """A device from the content of its file.

    Parameters
    ----------
    data : dict
        The file's tables.
    path : str or Path
        Name of the file in messages.

    Raises
    ------
    InputError
        When the content is not valid.
    """
    try:
        file = DeviceFile.model_validate(data)
    except ValidationError as error:
        raise from_validation(path, error, DeviceFile.model_fields) from None
    named = {name: getattr(file, name) for name in DeviceFile.model_fields}
    figures = {name: figure for name, figure in named.items() if isinstance(figure, _Figure)}
    of_links = ("link_latency", "devices_a_node")
    if file.link is None and any(name in figures for name in (*of_links, "network")):
        raise InputError(f"{path}: link: required key is missing, as other keys of links are given")
    if file.link is not None and (missing := next((n for n in of_links if n not in figures), "")):
        raise InputError(f"{path}: {missing}: required key is missing, as link is given")
    most = int(file.memory.value * GIBI)
    if file.usable is not None and file.usable.value > most:
        raise InputError(
            f"{path}: usable.value: {file.usable.value:,} bytes: expected at most {most:,}, "
            f"which is memory.value = {file.memory.value:g} in GiB"
        )
    return Device(
        name=file.name,
        description=file.description,
        tensor_flops_per_s=file.tensor_bf16.value * TERA,
        cuda_flops_per_s=file.cuda_fp32.value * TERA,
        bytes_per_s=file.bandwidth.value * GIGA,
        memory_bytes=int(file.memory.value * GIGA),
        usable_bytes=file.usable.value if file.usable else most,
        usable_assumed=file.usable is None,
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
        rates=tuple(Path(name) for name in file.rates.files),
        maker=file.maker,
        generation=file.generation,
        slower=file.rates.slower,
        data=data,
    )


def _links(figures: dict[str, _Figure[Any]]) -> Links | None:
    if "link" not in figures:
        return None
    latency = figures["link_latency"].value * MICRO
    network = figures.get("network")
    network_latency = figures.get("network_latency")
    return Links(
        int(figures["devices_a_node"].value),
        figures["link"].value * GIGA,
        latency,
        network.value * GIGA if network else None,
        network_latency.value * MICRO if network_latency else latency,
    )
