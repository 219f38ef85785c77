"""Rates of operators: TOML files of what kernels reach on a device under a framework."""

import hashlib
import math
from collections.abc import Iterator
from functools import cache, cached_property, lru_cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from sweepengine.data.devices import Device, load_device
from sweepengine.data.errors import InputError, from_validation
from sweepengine.data.files import parsed_toml, read_text
from sweepengine.data.texts import Name, Source
from sweepengine.formulas import operator_rates
from sweepengine.formulas.formats import BY_NAME, row_of
from sweepengine.formulas.operator_rates import A_BYTE, A_PROCESSOR, BANDWIDTH, LINK, PEAK, Rate
from sweepengine.formulas.speeds import FRAMEWORKS

RATES_SCHEMA_VERSION = 1
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
    "all-reduce": operator_rates.AllReduceRates,
    "nccl": operator_rates.AllReduceRates,
}
"""Kind of operator to the rates of its form: the sections of a rates file."""
A_MICROSECOND = 1e-6
_STRICT = ConfigDict(extra="forbid", frozen=True)
_Percent = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Fit(BaseModel):
    """Rates of one kind of operator in one format, and how well they foretell rows unseen."""

    model_config = _STRICT
    version: Name
    """Of the framework or library that was measured."""
    rows: Annotated[int, Field(ge=1, strict=True)]
    judged: Annotated[int, Field(ge=1, strict=True)]
    """Of them those that the fit did not see."""
    median: _Percent
    """Of |predicted / measured - 1| on those, %."""
    p90: _Percent
    roofline_median: _Percent
    """The same of the data sheet: peaks, no launch."""
    roofline_p90: _Percent
    rates: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]]


class RatesFile(BaseModel):
    """A rates file as written."""

    model_config = _STRICT
    schema_version: Annotated[
        int, Field(ge=RATES_SCHEMA_VERSION, le=RATES_SCHEMA_VERSION, strict=True)
    ]
    device: Name
    framework: Name
    source: Source
    fits: dict[str, dict[str, Fit]]
    """By kind, then by format."""

    @cached_property
    def digest(self) -> str:
        """Of all that it holds."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    @field_validator("fits")
    @classmethod
    def _known(cls, fits: dict[str, dict[str, Fit]]) -> dict[str, dict[str, Fit]]:
        for kind, by_format in fits.items():
            if kind not in FORMS:
                raise ValueError(f"{kind}: expected one of {', '.join(FORMS)}")
            for name, fit in by_format.items():
                wanted = {*fields_of(FORMS[kind])} - {"weight_bytes"}
                if set(fit.rates) != wanted:
                    odd = sorted(wanted ^ set(fit.rates))[0]
                    raise ValueError(f"{kind}.{name}.rates.{odd}: expected {sorted(wanted)}")
        return fits


@cache
def fields_of(form: type) -> dict[str, Rate]:
    """The rates of a form, as declared."""
    hints = get_type_hints(form, include_extras=True)
    return {name: hints[name].__metadata__[0] for name in form._fields}  # type: ignore[attr-defined]


@cache
def shipped_rates() -> dict[tuple[str, str], Path]:
    """Rates files that come with the package, by device and framework."""
    folder = Path(str(resources.files("sweepengine.data") / "rates"))
    found = {}
    for path in sorted(folder.glob("*.toml")):
        device, _, framework = path.stem.rpartition("-")
        found[device, framework] = path
    return found


@cache
def load_rates(path: Path) -> RatesFile:
    """Read a rates file that ships; `own_rates` once."""
    return own_rates(path)


def own_rates(path: Path) -> RatesFile:
    """Read a rates file, which may change at any time.

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
    """Rates files to look in: the device's own, then those of the device that it is like.

    Of each first those of the framework, and its own files before those that ship.

    Raises
    ------
    InputError
        When a file of its own cannot be read or is not valid.
    """
    shipped = shipped_rates()
    ordered = dict.fromkeys((framework, *FRAMEWORKS))
    seen: set[str] = set()
    while device.name not in seen:
        seen.add(device.name)
        own = [_of_framework(path) for path in device.rates]
        for name in ordered:
            yield from (file for file in own if file.framework == name)
            if (path := shipped.get((device.name, name))) is not None:
                yield load_rates(path)
        if device.like is None:
            return
        device = load_device(device.like)


def _of_framework(path: Path) -> RatesFile:
    file = own_rates(path)
    if file.framework not in FRAMEWORKS:
        raise InputError(
            f'{path}: framework = "{file.framework}": expected one of {", ".join(FRAMEWORKS)}'
        )
    return file


class Scales(NamedTuple):
    """Data-sheet figures that rates are shares of, a microsecond."""

    peak: float
    """FLOP/us of tensor cores."""
    bandwidth: float
    """Byte/us."""
    link: float
    """Byte/us one way."""
    multiprocessors: float

    def of(self, what: str) -> float:
        """The figure that a rate is a share of."""
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
"""Byte/us where a device has none: several of them are refused before."""


def scales_of(device: Device, operand: str) -> Scales:
    """Figures of a device for products of a format of activations.

    One whose file does not say how many multiprocessors it has is one: it has no rates for them.
    """
    peak = device.peaks.get(row_of(operand).get("peak", "bf16"), device.tensor_flops_per_s)
    link = NO_LINKS if device.links is None else device.links.bytes_per_s * A_MICROSECOND
    return Scales(
        peak * A_MICROSECOND,
        device.bytes_per_s * A_MICROSECOND,
        link,
        float(device.multiprocessors or 1),
    )


def weight_bytes(name: str) -> float:
    """Bytes of a weight in a format, with its part of the scales."""
    kept = BY_NAME[name]
    block = max(kept.rows, 1) * kept.columns if kept.columns else math.inf
    return (kept.bits + kept.scale_bits / block) / 8


def operands(name: str) -> tuple[str, str]:
    """Formats of weights and activations that a name of rates stands for: "mxfp4-fp8"."""
    if name in BY_NAME:
        return name, row_of(name).get("activations", name)
    weights, _, activations = name.rpartition("-")
    return weights, activations


def resolved(form: type, rates: dict[str, float], scales: Scales, weights: float) -> Any:
    """Rates of a form in absolute figures, as formulas take them."""
    return form(
        *(
            weights if name == "weight_bytes" else rates[name] * scales.of(rate.of)
            for name, rate in fields_of(form).items()
        )
    )


def ideal(form: type) -> dict[str, float]:
    """Rates of the data sheet: peaks are reached, nothing is launched, all is hidden."""
    figures = dict.fromkeys(fields_of(form), 0.0)
    for name, rate in fields_of(form).items():
        if rate.of in (PEAK, BANDWIDTH, LINK) or name in ("activations", "warm_bytes"):
            figures[name] = 1.0
    return figures | {n: v for n, v in {"wide": 1.125, "wider": 1.25}.items() if n in figures}
