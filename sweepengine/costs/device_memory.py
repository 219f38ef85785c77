"""Memory of points under a serving engine on a device that the points themselves do not name."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from sweepengine.data.devices import Device
from sweepengine.data.models import Model
from sweepengine.engine.memory import (
    MEMORY_INPUTS,
    columns_of_frame,
    figures_for,
    memory_counts,
)
from sweepengine.formulas.memory import MemoryFigures
from sweepengine.grid.points import default_values

FIGURES = ("needed_bytes", "room_bytes", "fits", "largest_batch")
"""Fields of `memory_on`."""
NO_SETTINGS: Mapping[str, int] = {}


def needed_bytes(memory: MemoryFigures, sequences: int) -> int:
    """Bytes of the engine's room that a point takes: all but what the pool leaves free.

    Numbers, or a column each; `sequences` are those of a data-parallel group.
    """
    cache = memory.shared_bytes + sequences * memory.sequence_bytes
    return memory.room_bytes - memory.pool_bytes + cache


def memory_on(
    model: Model,
    device: Device,
    columns: tuple[str, ...],
    settings: Mapping[str, int] = NO_SETTINGS,
    names: Sequence[str] = FIGURES,
) -> pl.Expr:
    """A structure of figures of each point on a device, as columns of memory have them.

    Parameters
    ----------
    model : Model
    device : Device
    columns : tuple of str
        Columns of the points; inputs that they lack have their defaults.
    settings : mapping of str to int
        Stored inputs of all points: the serving engine, its version and its settings.
    names : sequence of str
        Some of `FIGURES`.
    """
    timed = model._replace(devices=(device,))
    varied = [
        name
        for name in MEMORY_INPUTS
        if name in columns and name != "device" and name not in settings
    ]
    counted = memory_counts(model)
    fixed = default_values(timed) | dict(settings) | {"device": 0}

    def memory(points: pl.Series) -> pl.Series:
        frame = points.struct.unnest()
        rows = frame.height
        inputs, counts = columns_of_frame(timed, frame, fixed)
        found = figures_for(names, timed, inputs, counts)
        values: dict[str, Any] = found._asdict()
        if isinstance(found, MemoryFigures):
            sequences: Any = -(-inputs["batch_size"] // inputs["data_parallel"])
            values["needed_bytes"] = needed_bytes(found, sequences)
        return pl.DataFrame(
            {name: np.broadcast_to(np.asarray(values[name]), rows) for name in names},
            schema_overrides={"fits": pl.Boolean} if "fits" in names else None,
        ).to_struct(points.name)

    kinds = pl.Struct({name: pl.Boolean if name == "fits" else pl.Int64 for name in names})
    return pl.struct(*varied, *counted).map_batches(memory, return_dtype=kinds, is_elementwise=True)


def figure_on(model: Model, device: Device, columns: tuple[str, ...], name: str) -> pl.Expr:
    """One of `FIGURES` of each point on a device under its default serving engine.

    Parameters
    ----------
    model, device, columns : as `memory_on`
    name : str
    """
    return memory_on(model, device, columns, names=(name,)).struct.field(name)
