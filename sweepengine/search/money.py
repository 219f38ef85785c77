"""Money and energy: one rule for every command that states a price or joules."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from sweepengine.data.devices import Device
from sweepengine.data.models import Model
from sweepengine.data.power import power_curves
from sweepengine.data.prices import price_lists
from sweepengine.data.units import SECONDS_PER_HOUR
from sweepengine.search.money_options import EnergyOptions
from sweepengine.search.targets import check_prices

MILLION = 1e6


def prices_of(
    command: str, prices: Mapping[str, float], price_list: str | None, names: Sequence[str]
) -> dict[str, float]:
    """USD an hour by device: given prices, and of a shipped list those of the other devices.

    Parameters
    ----------
    command : str
        Name in messages.
    prices : mapping of str to float
        Given prices, which come first.
    price_list : str or None
        Name of a shipped list.
    names : sequence of str
        Devices of the question.

    Raises
    ------
    InputError
        As `check_prices`.
    """
    check_prices(command, prices, names)
    listed = price_lists()[price_list].usd if price_list is not None else {}
    return {name: listed[name] for name in names if name in listed} | dict(prices)


def price_source(price_list: str | None) -> list[str]:
    """Where the prices of a shipped list come from: a sentence, or none without a list."""
    return [] if price_list is None else [price_lists()[price_list].stated]


def usd_per_million(usd_per_hour: Any, tokens_per_s: Any) -> Any:
    """USD per million tokens; numbers, or expressions of columns."""
    return usd_per_hour / SECONDS_PER_HOUR / tokens_per_s * MILLION


def per_usd(usd_per_hour: float, made_per_hour: float) -> float:
    """What one USD buys of what is made in an hour."""
    return made_per_hour / usd_per_hour


def power_share(device: Device, model: Model, tokens_per_s: Any, idle: float | None) -> Any:
    """Average power of a device as a share of rated power: `min(1, idle + slope * load)`.

    Parameters
    ----------
    device : Device
        Without a measured curve the share is 1, an upper bound.
    model : Model
    tokens_per_s : float or polars.Expr
        Tokens of prompts and answers that one device works off a second.
    idle : float or None
        Share without load instead of the curve's.
    """
    curve = power_curves().get(device.name)
    if curve is None:
        return 1.0
    load = 2.0 * model.active_parameter_count * tokens_per_s / device.tensor_flops_per_s
    share = (curve.idle if idle is None else idle) + curve.slope * load
    return share.clip(0.0, 1.0) if isinstance(share, pl.Expr) else min(max(share, 0.0), 1.0)


def joules_per_token(watts: Any, tokens_per_s: Any, pue: float) -> Any:
    """Energy of an output token; numbers, or expressions of columns.

    Parameters
    ----------
    watts : float or polars.Expr
        Of all devices.
    tokens_per_s : float or polars.Expr
    pue : float
        Power usage effectiveness, which multiplies energy.
    """
    return watts * pue / tokens_per_s


def energy_notes(names: Sequence[str], energy: EnergyOptions) -> list[str]:
    """What stands behind joules: a sentence for each device."""
    curves = power_curves()
    notes = [
        f"{name}: {curves[name].stated}"
        if name in curves
        else f"{name}: joules at rated power, an upper bound, as its power was not measured"
        for name in names
    ]
    return [*notes, f"PUE {energy.pue:g}"] if energy.pue != 1.0 else notes
