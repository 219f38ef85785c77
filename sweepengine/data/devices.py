"""A device's peaks: TOML file -> validated -> frozen `Device`."""

from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sweepengine.data.errors import from_validation
from sweepengine.data.files import DEVICE_SCHEMA_VERSION, find, read_toml

_STRICT = ConfigDict(extra="forbid", frozen=True)
_Text = Annotated[str, Field(min_length=1, strict=True)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]
TERA = 1e12
GIGA = 1e9


class _Figure(BaseModel):
    model_config = _STRICT
    value: _Positive
    source: _Text


class _Rate(_Figure):
    unit: Literal["TFLOP/s"]


class _Bandwidth(_Figure):
    unit: Literal["GB/s"]


class _Memory(_Figure):
    unit: Literal["GB"]


class DeviceFile(BaseModel):
    """A device file as written: every figure with its unit and source."""

    model_config = _STRICT
    schema_version: Annotated[
        int, Field(ge=DEVICE_SCHEMA_VERSION, le=DEVICE_SCHEMA_VERSION, strict=True)
    ]
    name: _Text
    description: Annotated[str, Field(strict=True)] = ""
    tensor_bf16: _Rate
    cuda_fp32: _Rate
    bandwidth: _Bandwidth
    memory: _Memory


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
    sources: dict[str, str]
    """Figure to where it comes from."""


def load_device(name: str | Path) -> Device:
    """Load a device by the name it is shipped under, or from a TOML file.

    Parameters
    ----------
    name : str or Path
        A stem under ``sweepengine/devices`` or a path to a TOML file.

    Raises
    ------
    InputError
        When there is no such device (the message names the known ones) or its file is not valid.
    """
    path = find("devices", name)
    try:
        file = DeviceFile.model_validate(read_toml(path))
    except ValidationError as error:
        raise from_validation(path, error) from None
    figures = ("tensor_bf16", "cuda_fp32", "bandwidth", "memory")
    return Device(
        file.name,
        file.description,
        file.tensor_bf16.value * TERA,
        file.cuda_fp32.value * TERA,
        file.bandwidth.value * GIGA,
        int(file.memory.value * GIGA),
        {figure: getattr(file, figure).source for figure in figures},
    )
