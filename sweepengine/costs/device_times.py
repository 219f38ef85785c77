"""What requests see of points on a timing target that the points themselves do not name."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import polars as pl

from sweepengine.data.devices import Device
from sweepengine.data.errors import InputError
from sweepengine.data.models import Model
from sweepengine.data.speeds import TimingTarget
from sweepengine.engine.frames import seconds_of_columns
from sweepengine.engine.memory import stored
from sweepengine.formulas.points import INPUTS
from sweepengine.formulas.serving import CONTINUOUS, SERVING
from sweepengine.formulas.speeds import FRAMEWORKS
from sweepengine.grid.points import default_values

MEASURES = ("ttft_s", "tpot_s", "user_tokens_per_s", "device_tokens_per_s")
"""Fields of `times_on`: seconds, and output tokens/s of one user and of one device. TPOT and what
follows from it are null where nothing is decoded."""
SECONDS = ("ttft_seconds", "tpot_seconds", "decode_seconds")
"""Columns that `measures_of` takes, beside `devices`."""
NO_SETTINGS: Mapping[str, int] = {}
STEADY = SERVING[CONTINUOUS]


class Achievable(NamedTuple):
    """Fractions of a device's peaks that kernels reach; 1.0 is the roofline itself."""

    compute: float = 1.0
    bandwidth: float = 1.0


AT_PEAK = Achievable()


def slowed(device: Device, achievable: Achievable) -> Device:
    """The device with peaks of which kernels reach a fraction.

    Raises
    ------
    InputError
        When a fraction is not above 0 and at most 1.
    """
    for name, value in achievable._asdict().items():
        if not 0 < value <= 1:
            raise InputError(f"achievable {name} = {value}: expected a fraction above 0, at most 1")
    compute = achievable.compute
    return device._replace(
        tensor_flops_per_s=device.tensor_flops_per_s * compute,
        cuda_flops_per_s=device.cuda_flops_per_s * compute,
        peaks={name: peak * compute for name, peak in device.peaks.items()},
        bytes_per_s=device.bytes_per_s * achievable.bandwidth,
    )


def measures_of(batch: pl.Expr, steps: pl.Expr) -> list[pl.Expr]:
    """`MEASURES` of points that have `SECONDS` and `devices`, from their batch and decode steps."""
    tpot = pl.when(steps > 0).then("tpot_seconds")
    whole = pl.col("ttft_seconds") + pl.col("decode_seconds")
    measures = (pl.col("ttft_seconds"), tpot, 1.0 / tpot, batch * steps / pl.col("devices") / whole)
    return [measure.alias(name) for name, measure in zip(MEASURES, measures, strict=True)]


def stored_on(
    timed: Model, timing: TimingTarget, settings: Mapping[str, int], serving: str
) -> dict[str, int]:
    """Stored inputs of points on a timing target, for those that the points do not state.

    Parameters
    ----------
    timed : Model
        With the device.
    timing : TimingTarget
    settings : mapping of str to int
        Stored inputs: settings of the serving engine.
    serving : str
        One of `SERVING`.
    """
    return default_values(timed) | dict(settings) | {
        "device": 0,
        "framework": FRAMEWORKS.index(timing.framework),
        "serving": SERVING.index(serving),
    }  # fmt: skip


def times_on(
    model: Model,
    timing: TimingTarget,
    columns: tuple[str, ...],
    settings: Mapping[str, int] = NO_SETTINGS,
    serving: str = STEADY,
) -> pl.Expr:
    """A structure of `MEASURES` of each point, as `evaluate` times it on that device.

    Parameters
    ----------
    model : Model
    timing : TimingTarget
        Device, serving engine and source of times.
    columns : tuple of str
        Columns of the points; inputs that they lack have their defaults. A point that states a
        serving engine or a kind of serving keeps it.
    settings : mapping of str to int
        Stored inputs of all points: settings of the serving engine.
    serving : str
        One of `SERVING`, of points that state none.
    """
    timed = model._replace(devices=(timing.device,), times=timing.times)
    given = [name for name in timed.inputs if name in columns and name != "device"]
    fixed = stored_on(timed, timing, settings, serving)

    def times(points: pl.Series) -> pl.Series:
        frame = points.struct.unnest()
        columns = {
            name: stored(name, frame[name])
            if name in given
            else np.broadcast_to(np.int64(fixed[name]), frame.height)
            for name in INPUTS
        }
        seconds = seconds_of_columns(columns, timed, SECONDS)
        shown = [
            pl.col(name) if name in frame.columns else pl.lit(fixed[name])
            for name in ("batch_size", "decode_steps")
        ]
        return (
            frame.drop([name for name in seconds.columns if name in frame.columns])
            .hstack(seconds)
            .select(measures_of(*shown))
            .to_struct(points.name)
        )

    kinds = pl.Struct(dict.fromkeys(MEASURES, pl.Float64))
    return pl.struct(*given, "devices").map_batches(times, return_dtype=kinds, is_elementwise=True)
