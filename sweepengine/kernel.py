"""The compiled sweep: a table of workloads, then one `prange` loop over points.

What varies with crops, sizes, text, heads and attention is computed once for each workload
(`tabulate`). The loop over points (`fill`) decodes the linear index itself, finds each point's
workload, decode steps and batch size, and scales the workload's figures. It calls the same
functions as plain Python does: `sweepengine.stages`.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, Final

import numba
import numpy as np
from numba.core import config
from numba.extending import register_jitable
from numpy.typing import NDArray

from sweepengine import architecture, schema, stages
from sweepengine.architecture import (
    Accounting,
    Architecture,
    Clip,
    Decoder,
    Image,
    Projector,
    Sam,
)
from sweepengine.cost import FORMULAS, Cost
from sweepengine.geometry import image_tokens, vision_workload
from sweepengine.layers.decoder import Heads
from sweepengine.schema import OUTPUTS

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

RUN: Final = 512
"""Points handled together: their index arrays stay in the first-level cache."""

for _formula in FORMULAS:
    register_jitable(_formula)

# Fields of the workload table. Counts are those of one image; I/O and memory are in bytes.
IMAGE_TOKENS, CONTEXT, KV_TOKEN_BYTES, PREFILL_CACHE = range(4)
VISION = 4  # tensor, CUDA, activation I/O, KV I/O, activation
PREFILL = 9  # likewise
FIRST = 14  # first decode step: tensor, CUDA, activation I/O, KV I/O
GROWTH = 18  # what each further step adds: likewise
STEP = 22  # activation values of a step: the four figures of StepActivation
VISION_WEIGHTS, PREFILL_WEIGHTS, STEP_WEIGHTS, EXPERT_WEIGHTS = range(26, 30)
FIELDS = 30

# How a column follows from its field of the table.
AS_IS, PER_IMAGE, OVER_STEPS, LAST_ACTIVATION, CACHE_AFTER = range(5)
VISION_READS, PREFILL_READS, DECODE_READS = range(5, 8)

_COUNTED = ("tensor_flops", "cuda_flops", "activation_io_bytes", "kv_io_bytes", "activation_bytes")
PLAN: dict[str, tuple[int, int]] = {
    "image_tokens": (AS_IS, IMAGE_TOKENS),
    "context_tokens": (AS_IS, CONTEXT),
    **{f"vision_{name}": (PER_IMAGE, VISION + i) for i, name in enumerate(_COUNTED)},
    **{f"prefill_{name}": (PER_IMAGE, PREFILL + i) for i, name in enumerate(_COUNTED)},
    **{f"decode_{name}": (OVER_STEPS, FIRST + i) for i, name in enumerate(_COUNTED[:4])},
    "decode_activation_bytes": (LAST_ACTIVATION, 0),
    "vision_weight_io_bytes": (VISION_READS, 0),
    "prefill_weight_io_bytes": (PREFILL_READS, 0),
    "decode_weight_io_bytes": (DECODE_READS, 0),
    "prefill_kv_cache_bytes": (PER_IMAGE, PREFILL_CACHE),
    "decode_kv_cache_bytes": (CACHE_AFTER, 0),
}
"""Output column to the way it is filled and its field of the workload table."""


@register_jitable
def _store(table: Integers, row: int, field: int, arch: Architecture, cost: Cost) -> None:
    size = arch.accounting.dtype_bytes
    table[field, row] = cost.tensor_flops
    table[field + 1, row] = cost.cuda_flops
    table[field + 2, row] = cost.activation_io * size
    table[field + 3, row] = cost.kv_io * size


def _tabulate(
    image: Image,
    sam: Sam,
    clip: Clip,
    projector: Projector,
    decoder: Decoder,
    accounting: Accounting,
    workloads: Integers,
    table: Integers,
) -> None:
    # A parallel loop takes tuples of numbers from outside, not tuples of tuples.
    for row in numba.prange(table.shape[1]):
        arch = Architecture(image, sam, clip, projector, decoder, accounting)
        size = arch.accounting.dtype_bytes
        view, tile, rows, cols, text, query_heads, kv_heads, attention = workloads[row]
        heads = Heads(query_heads, kv_heads, attention)
        workload = vision_workload(arch, view, tile, rows, cols)
        context = image_tokens(workload) + text
        seen = stages.vision(arch, workload, attention)
        filled = stages.prefill(arch, context, heads)
        attended = stages.attended_in_step(arch, context, 0)
        first = stages.decode_step(arch, attended, heads)
        second = stages.decode_step(arch, attended + 1, heads)
        table[IMAGE_TOKENS, row] = image_tokens(workload)
        table[CONTEXT, row] = context
        lines = stages.step_activation(arch, heads)
        for line in range(4):
            table[STEP + line, row] = lines[line]
        per_token = stages.cache_bytes_per_token(arch, heads)
        table[KV_TOKEN_BYTES, row] = per_token
        table[PREFILL_CACHE, row] = per_token * context
        _store(table, row, VISION, arch, seen)
        table[VISION + 4, row] = stages.activation(arch, seen) * size
        _store(table, row, PREFILL, arch, filled)
        table[PREFILL + 4, row] = stages.activation(arch, filled) * size
        _store(table, row, FIRST, arch, first)
        _store(table, row, GROWTH, arch, second)
        for count in range(GROWTH - FIRST):
            table[GROWTH + count, row] -= table[FIRST + count, row]
        table[VISION_WEIGHTS, row] = seen.weight_io * size * arch.accounting.weight_io
        table[PREFILL_WEIGHTS, row] = filled.weight_io
        table[STEP_WEIGHTS, row] = first.weight_io
        table[EXPERT_WEIGHTS, row] = filled.expert_io


@register_jitable
def _locate(start: int, axes: Integers, lengths: Integers, found: Integers) -> None:
    """Decode `found.shape[1]` linear indices from `start` on: workload, decode steps, batch size.

    Each axis value adds its part to the three; the last axis is fastest.
    """
    last = len(lengths) - 1
    fastest = lengths[last]
    first_of_last = lengths[:last].sum()
    position = 0
    while position < found.shape[1]:
        index = start + position
        digit = index % fastest
        index //= fastest
        workload, steps, batch = 0, 0, 0
        offset = first_of_last
        for axis in range(last - 1, -1, -1):
            offset -= lengths[axis]
            value = offset + index % lengths[axis]
            index //= lengths[axis]
            workload += axes[0, value]
            steps += axes[1, value]
            batch += axes[2, value]
        count = min(fastest - digit, found.shape[1] - position)
        for step in range(count):
            value = first_of_last + digit + step
            found[0, position + step] = workload + axes[0, value]
            found[1, position + step] = steps + axes[1, value]
            found[2, position + step] = batch + axes[2, value]
        position += count


@register_jitable
def _integer_column(
    arch: Architecture, table: Integers, kind: int, field: int, found: Integers, out: Integers
) -> None:
    figures = table[field]
    if kind == AS_IS:
        for i in range(len(out)):
            out[i] = figures[found[0, i]]
    elif kind == PER_IMAGE:
        for i in range(len(out)):
            out[i] = found[2, i] * figures[found[0, i]]
    elif kind == OVER_STEPS:
        growth = table[field + GROWTH - FIRST]
        for i in range(len(out)):
            workload = found[0, i]
            out[i] = found[2, i] * stages.over_steps(
                figures[workload], growth[workload], found[1, i]
            )
    elif kind == LAST_ACTIVATION:
        for i in range(len(out)):
            workload = found[0, i]
            lines = stages.StepActivation(
                table[STEP, workload],
                table[STEP + 1, workload],
                table[STEP + 2, workload],
                table[STEP + 3, workload],
            )
            values = stages.last_step_activation(arch, lines, table[CONTEXT, workload], found[1, i])
            out[i] = found[2, i] * arch.accounting.dtype_bytes * values
    else:
        for i in range(len(out)):
            workload = found[0, i]
            tokens = stages.cached_tokens(arch, table[CONTEXT, workload], found[1, i])
            out[i] = found[2, i] * table[KV_TOKEN_BYTES, workload] * tokens


@register_jitable
def _float_column(
    arch: Architecture, table: Integers, kind: int, found: Integers, out: Floats
) -> None:
    if kind == VISION_READS:
        for i in range(len(out)):
            out[i] = table[VISION_WEIGHTS, found[0, i]]
        return
    known_workload, known_tokens, read = -1, -1, 0.0
    for i in range(len(out)):
        workload = found[0, i]
        prefill = kind == PREFILL_READS
        tokens = found[2, i] * table[CONTEXT, workload] if prefill else found[2, i]
        if workload != known_workload or tokens != known_tokens:
            field = PREFILL_WEIGHTS if prefill else STEP_WEIGHTS
            read = stages.weight_io_bytes(
                arch, table[field, workload], table[EXPERT_WEIGHTS, workload], tokens
            )
            known_workload, known_tokens = workload, tokens
        out[i] = read if prefill else found[1, i] * read


def _fill(
    image: Image,
    sam: Sam,
    clip: Clip,
    projector: Projector,
    decoder: Decoder,
    accounting: Accounting,
    table: Integers,
    axes: Integers,
    lengths: Integers,
    plan: Integers,
    integers: Integers,
    floats: Floats,
) -> None:
    rows = integers.shape[1]
    for run in numba.prange((rows + RUN - 1) // RUN):
        arch = Architecture(image, sam, clip, projector, decoder, accounting)
        low = run * RUN
        high = min(rows, low + RUN)
        found = np.empty((3, high - low), np.int64)
        _locate(low, axes, lengths, found)
        whole, real = 0, 0
        for column in range(len(plan)):
            kind, field = plan[column]
            if kind < VISION_READS:
                _integer_column(arch, table, kind, field, found, integers[whole, low:high])
                whole += 1
            else:
                _float_column(arch, table, kind, found, floats[real, low:high])
                real += 1


def _cache_folder(parallel: bool) -> Path:
    """Per-user folder of compiled kernels, one for each state of the sources they come from.

    Numba's key leaves out whether loops are parallel, so each kind has a folder of its own.
    """
    kind = "parallel" if parallel else "serial"
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    sources = {__file__, architecture.__file__, schema.__file__}
    sources |= {formula.__code__.co_filename for formula in FORMULAS}
    digest = hashlib.sha256(b"".join(Path(path).read_bytes() for path in sorted(sources)))
    return Path(home) / "sweepengine" / f"{digest.hexdigest()[:16]}-{kind}"


@contextmanager
def _compiled_into(folder: Path) -> Iterator[None]:
    """Numba looks its cache folder up when a function is decorated: name ours for that while.

    Its own check sees a change of this file only, not of the formulas it calls.
    """
    before = config.CACHE_DIR  # type: ignore[attr-defined]
    config.CACHE_DIR = str(folder)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        config.CACHE_DIR = before  # type: ignore[attr-defined]


def _compile(function: Callable[..., None], parallel: bool) -> Callable[..., None]:
    try:
        with _compiled_into(_cache_folder(parallel)):
            compiled = numba.njit(parallel=parallel, nogil=True, cache=True)(function)
    except (OSError, RuntimeError):
        compiled = numba.njit(parallel=parallel, nogil=True)(function)
    return compiled


_SERIAL = (_compile(_tabulate, False), _compile(_fill, False))
_PARALLEL = (_compile(_tabulate, True), _compile(_fill, True))
_ONE_AT_A_TIME = Lock()
"""Numba's plain threading layer admits one parallel call at a time."""

FLOAT_COLUMNS: Final = frozenset(c.name for c in OUTPUTS if c.dtype == "Float64")


def compute(
    arch: Architecture,
    workloads: Integers,
    axes: Integers,
    lengths: Integers,
    rows: int,
    columns: tuple[str, ...],
    parallel: bool = True,
) -> dict[str, NDArray[Any]]:
    """Compute output columns of the first `rows` points of a product of axes.

    Parameters
    ----------
    arch : Architecture
        The model's numbers.
    workloads : int64 array, shape (W, 8)
        View size, tile size, crop rows, crop cols, text tokens, attention heads, key-value
        heads, attention code of each distinct workload.
    axes : int64 array, shape (3, sum of lengths)
        What each value of each axis adds to the workload's index, to decode steps and to the
        batch size; axes one after the other, the last one fastest.
    lengths : int64 array, shape (number of axes,)
        Values of each axis.
    rows : int
        Points to compute, from the first on.
    columns : tuple of str
        Names of output columns.
    parallel : bool
        All cores in this call; without, one core and no lock, for calls from several threads.

    Returns
    -------
    dict of str to int64 or float64 array, shape (rows,)
        In the order of `columns`. Nothing is checked for overflow here.
    """
    plan = np.array([PLAN[name] for name in columns], np.int64).reshape(-1, 2)
    whole = [name for name in columns if name not in FLOAT_COLUMNS]
    real = [name for name in columns if name in FLOAT_COLUMNS]
    integers = np.empty((len(whole), rows), np.int64)
    floats = np.empty((len(real), rows), np.float64)
    table = np.empty((FIELDS, len(workloads)), np.int64)
    tabulate, fill = _PARALLEL if parallel else _SERIAL

    def work() -> None:
        tabulate(*arch, workloads, table)
        fill(*arch, table, axes, lengths, plan, integers, floats)

    if parallel:
        with _ONE_AT_A_TIME:
            work()
    else:
        work()
    by_name: dict[str, NDArray[Any]] = {
        **dict(zip(whole, integers, strict=True)),
        **dict(zip(real, floats, strict=True)),
    }
    return {name: by_name[name] for name in columns}
