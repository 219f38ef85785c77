"""Power of devices under load, where it was measured."""

from functools import cache
from typing import NamedTuple

from sweepengine.data.files import shipped_table


class PowerCurve(NamedTuple):
    """Average power of a device as a share of rated power, a table of `power.toml`."""

    idle: float
    """Share without load."""
    slope: float
    loads: tuple[float, float]
    """Least and largest load of the fit."""
    rows: int
    error_median: float
    error_most: float
    source: str

    @property
    def stated(self) -> str:
        """How well the curve is known, in one sentence."""
        return (
            f"power by load, fitted to {self.rows} runs, median error {self.error_median:g} %, "
            f"largest {self.error_most:g} %"
        )


@cache
def power_curves() -> dict[str, PowerCurve]:
    """Curves by device."""
    return {
        name: PowerCurve(**{**row, "loads": tuple(row["loads"])})
        for name, row in shipped_table("power.toml").items()
    }
