"""Columns of seconds as arrays: what is served alike is timed once, then every point."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sweepengine.data.models import Model
from sweepengine.data.speeds import engine_of, place_of_code, speeds_of
from sweepengine.engine.threads import in_ranges
from sweepengine.formulas.attention_times import time_reaches
from sweepengine.formulas.layout import Layout, ends_held
from sweepengine.formulas.points import IMAGE_COLUMNS, SERVED_COLUMNS, Point
from sweepengine.formulas.serving import CONTINUOUS
from sweepengine.formulas.tokens import ceil_div, image_tokens
from sweepengine.grid.axes import AXES, Axis
from sweepengine.grid.columns import TIMED
from sweepengine.grid.products import distinct, indexed

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
SETTING = ("device", "framework", "weight_format", "activation_format", "cache_format",
           "device_tensor_tflops", "device_bandwidth_gbs", "device_memory_gb",
           "link_bandwidth_gbs", "latent")  # fmt: skip
"""Inputs that decide which rates a point has."""
LAYOUT = AXES["layout"].columns
FIELDS = tuple(column.name for column in TIMED)


class Served(NamedTuple):
    """A product of axes as times take it: what is served alike, and the steps."""

    columns: dict[str, Integers]
    """Each served row's inputs, but for decode steps."""
    axes: Integers
    """What each value of each axis adds to the served row and to decode steps."""
    lengths: Integers


def served_of(axes: Sequence[Axis]) -> Served:
    """Served rows of a product of axes."""
    return Served(*indexed(axes, SERVED_COLUMNS, ("decode_steps",)))


def served_rows(columns: dict[str, Integers]) -> Served:
    """Served rows of points that are given one by one."""
    rows, codes = distinct([columns[name] for name in SERVED_COLUMNS])
    kept = {name: np.asarray(columns[name][rows], np.int64) for name in SERVED_COLUMNS}
    steps = np.asarray(columns["decode_steps"], np.int64)
    return Served(kept, np.stack([codes, steps]), np.array([len(codes)], np.int64))


class TimeTables(NamedTuple):
    """Times of served rows."""

    table: Floats
    """Shape (fields, S), `kernel_times`."""
    served: Integers
    """Context, batch of a device, stages and way of serving; shape (S, 4)."""
    reaches: Integers
    """Of each kind of lines."""


def _tabulated(model: Model, columns: dict[str, Integers]) -> TimeTables:
    """Vision, prefill and steps of served rows."""
    from sweepengine.engine.kernel_times import LINE, LINES, add_images, add_passes

    arch = model.architecture
    count = len(columns["batch_size"])
    kinds = [time_reaches(attention) for attention in arch.attentions]
    beside = [i for i, a in enumerate(arch.attentions) if a.index_heads or a.stride]
    reaches = [each.attended for each in kinds] + [kinds[i].beside for i in beside]
    table = np.zeros((LINES + LINE * len(reaches), count), np.float64)
    layout = np.stack([columns[name] for name in LAYOUT], axis=1)
    batch = ceil_div(columns["batch_size"], columns["data_parallel"])  # type: ignore[arg-type]
    serving = columns["serving"]
    single = serving == CONTINUOUS
    batches = np.asarray(batch, np.float64)
    filled = np.where(single, 1.0, batches)
    images, image = _images(model, columns)
    tokens = columns["text_tokens"] + columns["prompt_tokens"] + image
    held = _held(model, layout)
    asked = np.column_stack(
        [tokens, columns["cached_tokens"], columns["attention_heads"], columns["key_value_heads"],
         layout, held]
    )  # fmt: skip
    asked = np.ascontiguousarray(asked, np.int64)
    settings, codes = distinct([columns[name] for name in SETTING])
    ends = np.cumsum(np.bincount(codes, minlength=len(settings)))
    groups = np.split(np.argsort(codes, kind="stable"), ends[:-1])
    for setting, rows in zip(settings.tolist(), groups, strict=True):
        point = _point(columns, setting)
        place = place_of_code(model, point, bool((layout[rows].prod(axis=1) > 1).any()))
        speeds = speeds_of(arch, point, place)
        table[3:LINES, rows] = np.array(engine_of(place))[:, None]
        if arch.towers is not None:
            add_images(arch.towers, images, filled, speeds, rows, table)
        for i, group in enumerate(arch.groups):
            kind = arch.attentions.index(group.attention)
            other = len(kinds) + beside.index(kind) if kind in beside else -1
            mine = kind if group.attention.heads else -1
            add_passes(arch.trunk, group, asked, filled, batches, speeds, rows, mine, other,
                       int(i == 0), table)  # fmt: skip
    context = tokens + columns["cached_tokens"]
    served = np.stack([context, batch, layout[:, 2], serving], axis=1)
    return TimeTables(table, np.ascontiguousarray(served, np.int64), np.array(reaches, np.int64))


def _point(columns: dict[str, Integers], row: int) -> Point:
    named = {name: int(values[row]) for name, values in columns.items()}
    return Point(**named, decode_steps=0)


def _images(model: Model, columns: dict[str, Integers]) -> tuple[Integers, Integers]:
    """Image columns of served rows, and tokens of their images."""
    sizes = np.stack([columns[name] for name in IMAGE_COLUMNS], axis=1)
    if model.architecture.towers is None:
        return sizes, np.zeros(len(sizes), np.int64)
    rows, codes = distinct([sizes[:, i] for i in range(sizes.shape[1])])
    found = [image_tokens(model.architecture.vision.image, *sizes[row].tolist()) for row in rows]
    tokens = np.array([image.view_tokens + image.tile_tokens for image in found], np.int64)
    return np.ascontiguousarray(sizes, np.int64), tokens[codes]


def _held(model: Model, layout: Integers) -> Integers:
    rows, codes = distinct([layout[:, i] for i in range(layout.shape[1])])
    groups = model.architecture.groups
    found = [ends_held(groups, Layout(*layout[row].tolist())) for row in rows]
    return np.array(found, np.int64)[codes]


def fill_times(
    model: Model,
    served: Served,
    rows: int,
    names: Sequence[str],
    workers: int = 1,
) -> dict[str, NDArray[Any]]:
    """Seconds of the first `rows` points of a product, on so many threads.

    Raises
    ------
    InputError
        When a device cannot run a point's layout, or has no rates.
    """
    from sweepengine.engine.kernel_times import fill_seconds

    out = np.empty((len(FIELDS), rows), np.float64)

    tables = _tabulated(model, served.columns)

    def work(start: int, stop: int) -> None:
        fill_seconds(model.architecture.convention, *tables, start, stop, served.axes,
                     served.lengths, out)  # fmt: skip

    in_ranges(work, rows, workers)
    return {name: out[FIELDS.index(name)] for name in names}
