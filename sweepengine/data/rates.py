"""Rates of operators: TOML files of what kernels reach on a device under a serving engine."""

import hashlib
import math
from collections.abc import Iterator
from functools import cache, cached_property, lru_cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_type_hints

from pydantic import BaseModel, Field, ValidationError, field_validator

from sweepengine.data.devices import Device, load_device
from sweepengine.data.errors import InputError, from_validation
from sweepengine.data.files import parsed_toml, read_text
from sweepengine.data.fits import STRICT, Fit
from sweepengine.data.texts import Name, Source
from sweepengine.formulas import operator_rates
from sweepengine.formulas.formats import BY_NAME, row_of
from sweepengine.formulas.operator_rates import A_BYTE, A_PROCESSOR, BANDWIDTH, LINK, PEAK, Rate
from sweepengine.formulas.speeds import FRAMEWORKS

RATES_SCHEMA_VERSION = 4
FORMS: dict[str, type] = {
    "gemm": operator_rates.GemmRates,
    "decode": operator_rates.DecodeRates,
    "decode-wide": operator_rates.DecodeRates,
    "decode-window": operator_rates.DecodeRates,
    "prefill": operator_rates.PrefillRates,
    "prefill-wide": operator_rates.PrefillRates,
    "prefill-window": operator_rates.PrefillRates,
    "encoder": operator_rates.EncoderRates,
    "mixture": operator_rates.MoeRates,
    "latent-decode": operator_rates.LatentDecodeRates,
    "latent-prefill": operator_rates.LatentPrefillRates,
    "index-logits": operator_rates.IndexRates,
    "index-step": operator_rates.IndexStepRates,
    "top-k": operator_rates.TopKRates,
    "sparse-prefill": operator_rates.SparseRates,
    "convolution": operator_rates.ConvolutionRates,
    "convolution-step": operator_rates.ConvolutionRates,
    "delta-chunks": operator_rates.ChunkRates,
    "kimi-chunks": operator_rates.ChunkRates,
    "state-step": operator_rates.StateRates,
    "exchange": operator_rates.ExchangeRates,
    "all-reduce": operator_rates.AllReduceRates,
    "nccl": operator_rates.AllReduceRates,
}
"""Kind of operator, a section of a rates file, to the record of its rates."""
A_MICROSECOND = 1e-6
_ONE = ("activations", "warm_bytes", "resident_bytes")
"""Rates of no data-sheet figure that are 1 at the peaks; others are 0."""


class RatesFile(BaseModel):
    """A rates file as written."""

    model_config = STRICT
    schema_version: Annotated[
        int, Field(ge=RATES_SCHEMA_VERSION, le=RATES_SCHEMA_VERSION, strict=True)
    ]
    device: Name
    framework: Name
    source: Source
    fits: dict[str, dict[str, Fit]]
    """Fits by kind of operator, then by format."""

    @cached_property
    def digest(self) -> str:
        """Hash of the content."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    @field_validator("fits")
    @classmethod
    def _known(cls, fits: dict[str, dict[str, Fit]]) -> dict[str, dict[str, Fit]]:
        for kind, by_format in fits.items():
            if kind not in FORMS:
                raise ValueError(f"{kind}: expected one of {', '.join(FORMS)}")
            fields = fields_of(FORMS[kind])
            for name, fit in by_format.items():
                expected = {*fields} - {"weight_bytes"}
                for rates in (rates for kernel in fit.kernels for rates in kernel.all_rates):
                    wrong = sorted(expected ^ set(rates))
                    if wrong:
                        named = f"{kind}.{name}.rates.{wrong[0]}"
                        raise ValueError(f"{named}: expected {sorted(expected)}")
                    for rate in (rate for rate in rates if rates[rate] > fields[rate].most):
                        raise ValueError(
                            f"{kind}.{name}.rates.{rate}: {rates[rate]:g}: "
                            f"expected at most {fields[rate].most:g}"
                        )
        return fits


@cache
def fields_of(form: type) -> dict[str, Rate]:
    """The declared rates of a form, by name."""
    hints = get_type_hints(form, include_extras=True)
    return {name: hints[name].__metadata__[0] for name in form._fields}  # type: ignore[attr-defined]


@cache
def shipped_rates() -> dict[tuple[str, str], Path]:
    """Shipped rates files by device and serving engine."""
    folder = Path(str(resources.files("sweepengine.data") / "rates"))
    paths = {}
    for path in sorted(folder.glob("*.toml")):
        device, _, framework = path.stem.rpartition("-")
        paths[device, framework] = path
    return paths


@cache
def measured_devices() -> dict[str, str]:
    """Shipped devices with rates of their own, by their name in the measured tables."""
    names = dict.fromkeys(device for device, _ in shipped_rates())
    return {str(load_device(name).measured): name for name in names}


@cache
def load_rates(path: Path) -> RatesFile:
    """Read a shipped rates file, once."""
    return read_rates(path)


def read_rates(path: Path) -> RatesFile:
    """Read a rates file whose content may change at any time.

    Raises
    ------
    InputError
        When it cannot be read or is not valid.
    """
    return _parsed(path, read_text(path))


@lru_cache(maxsize=64)
def _parsed(path: Path, text: str) -> RatesFile:
    try:
        return RatesFile.model_validate(parsed_toml(path, text))
    except ValidationError as error:
        raise from_validation(path, error, RatesFile.model_fields) from None


def rates_of(device: Device, framework: str) -> Iterator[RatesFile]:
    """Rates files to search: those of the device, then those of the device that it is `like`.

    For each device those of `framework` come first, and files of the user before shipped ones. What
    a file states as `measured` decides which shipped ones, and its name does not.

    Raises
    ------
    InputError
        When a file of the user cannot be read or is not valid.
    """
    shipped = shipped_rates()
    ordered = dict.fromkeys((framework, *FRAMEWORKS))
    seen: set[tuple[str | None, ...]] = set()
    while (stated := (device.name, device.measured, device.like)) not in seen:
        seen.add(stated)
        files = [_checked_rates(path) for path in device.rates]
        own = measured_devices().get(device.measured or "", "")
        for name in ordered:
            yield from (file for file in files if file.framework == name)
            if (path := shipped.get((own, name))) is not None:
                yield load_rates(path)
        if device.like is None:
            return
        device = load_device(device.like)


def _checked_rates(path: Path) -> RatesFile:
    file = read_rates(path)
    if file.framework not in FRAMEWORKS:
        raise InputError(
            f'{path}: framework = "{file.framework}": expected one of {", ".join(FRAMEWORKS)}'
        )
    return file


class Scales(NamedTuple):
    """Data-sheet figures per microsecond, which rates are shares of."""

    peak: float
    """FLOP/us of tensor cores."""
    bandwidth: float
    """Memory bandwidth, byte/us."""
    link: float
    """Link bandwidth one way, byte/us."""
    multiprocessors: float

    def of(self, what: str) -> float:
        """The figure that a rate is a share of, by the name in its declaration."""
        return {
            "": 1.0,
            PEAK: self.peak,
            BANDWIDTH: self.bandwidth,
            LINK: self.link,
            A_BYTE: 1.0 / self.bandwidth,
            A_PROCESSOR: 1.0 / self.multiprocessors,
            "1/link": 1.0 / self.link,
        }[what]


NO_LINKS = 1.0
"""Byte/us for a device without links; layouts of several such devices are errors."""


def scales_of(device: Device, operand: str) -> Scales:
    """Figures of a device for GEMMs with activations in format `operand`.

    A device without a number of multiprocessors has no rates; its number is taken as 1.
    """
    link = NO_LINKS if device.links is None else device.links.bytes_per_s * A_MICROSECOND
    return Scales(
        device.peak_of(operand) * A_MICROSECOND,
        device.bytes_per_s * A_MICROSECOND,
        link,
        float(device.multiprocessors or 1),
    )


def weight_bytes(name: str) -> float:
    """Bytes per weight in a format, including its share of the scales."""
    row = BY_NAME[name]
    block = max(row.rows, 1) * row.columns if row.columns else math.inf
    return (row.bits + row.scale_bits / block) / 8


def operands(name: str) -> tuple[str, str]:
    """Formats of weights and activations from the format name of rates, such as "mxfp4-fp8"."""
    if name in BY_NAME:
        return name, row_of(name).get("activations", name)
    weights, _, activations = name.rpartition("-")
    return weights, activations


def resolved(
    form: type, rates: dict[str, float], scales: Scales, weights: float, slower: float = 1.0
) -> Any:
    """Rates in absolute figures, as formulas take them.

    Parameters
    ----------
    form : type
        Record of the rates, a value of `FORMS`.
    rates : dict
        Rates as shares of data-sheet figures, by name.
    scales : Scales
        These figures, per microsecond.
    weights : float
        Bytes per weight.
    slower : float
        How many times as long everything takes.
    """
    return form(
        *(
            weights
            if name == "weight_bytes"
            else rates[name] * scales.of(rate.of) * slower ** power_of_time(rate.unit)
            for name, rate in fields_of(form).items()
        )
    )


def power_of_time(unit: str) -> int:
    """Power of time in a unit: 1 of "us a key", -1 of "byte/us", 0 of "keys"."""
    return int(unit.startswith("us")) - int(unit.endswith("/us"))


def ideal(form: type) -> dict[str, float]:
    """Rates of the data sheet: peaks reached, no launch time, everything overlapped."""
    figures = dict.fromkeys(fields_of(form), 0.0)
    for name, rate in fields_of(form).items():
        if rate.of in (PEAK, BANDWIDTH, LINK) or name in _ONE:
            figures[name] = 1.0
    return figures | {n: v for n, v in {"wide": 1.125, "wider": 1.25}.items() if n in figures}
