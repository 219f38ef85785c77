"""The kernel beside what a user would write: NumPy, Polars, numexpr and plain Python.

All ways get the same table of figures a workload (crops, heads, attention), which takes a moment,
and compute the same 22 columns of every point from it. Results are compared before they are timed.
"""

from typing import Any

import numba
import numexpr
import numpy as np
import polars as pl

from benchmarks.measure import Measurement, measure
from sweepengine import stages
from sweepengine.architecture import Architecture
from sweepengine.evaluation import compute_chunk
from sweepengine.grid import Chunk, kernel_inputs, load_grid
from sweepengine.kernel import compute
from sweepengine.layers.decoder import Heads
from sweepengine.layers.residual import ATTENTIONS
from sweepengine.schema import INPUT_NAMES, OUTPUT_NAMES, STAGES
from sweepengine.stages import Point, point_columns

GROUP = "kernel"
POINTS = 2_000_000
PYTHON_POINTS = 2_000
COUNTED = ("tensor_flops", "cuda_flops", "activation_io_bytes", "kv_io_bytes")
Table = dict[str, np.ndarray]


def workload_table(arch: Architecture, workloads: np.ndarray) -> Table:
    """Figures of one image of each workload, from the plain Python formulas."""
    rows = []
    for numbers in workloads.tolist():
        sizes, heads = numbers[:5], Heads(*numbers[5:])
        one, two = (point_columns(arch, Point(*sizes, steps, 1, *heads)) for steps in (1, 2))
        row = {name: value for name, value in one.items() if not name.startswith("decode")}
        for name in COUNTED:
            row[f"first_{name}"] = one[f"decode_{name}"]
            row[f"growth_{name}"] = two[f"decode_{name}"] - 2 * one[f"decode_{name}"]
        lines = stages.step_activation(arch, heads)
        row |= {f"line{i}": value * 2 for i, value in enumerate(lines)}
        row["per_token"] = stages.cache_bytes_per_token(arch, heads)
        filled = stages.prefill(arch, one["context_tokens"], heads)
        row |= {"once": filled.weight_io, "expert": filled.expert_io}
        rows.append(row)
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


PER_IMAGE = [
    f"{stage}_{name}"
    for stage in STAGES[:2]
    for name in (*COUNTED, "activation_bytes")
] + ["prefill_kv_cache_bytes"]  # fmt: skip


def by_numpy(arch: Architecture, table: Table, w: Any, k: Any, b: Any) -> dict[str, Any]:
    """The point's arithmetic in NumPy."""
    decoder = arch.decoder

    def weights(tokens: Any) -> Any:
        rows = np.minimum(tokens, decoder.vocabulary) * decoder.hidden
        share = decoder.experts_per_token / decoder.experts
        touched = decoder.experts * (1.0 - (1.0 - share) ** tokens.astype(np.float64))
        return (table["once"][w] + rows + touched * table["expert"][w]) * 2.0

    context = table["context_tokens"][w]
    attended = context + k
    low = table["line0"][w] + table["line1"][w] * attended
    high = table["line2"][w] + table["line3"][w] * attended
    pairs = k * (k - 1) // 2
    found = {"image_tokens": table["image_tokens"][w], "context_tokens": context}
    found |= {name: b * table[name][w] for name in PER_IMAGE}
    for name in COUNTED:
        steps = k * table[f"first_{name}"][w] + table[f"growth_{name}"][w] * pairs
        found[f"decode_{name}"] = b * steps
    found["decode_activation_bytes"] = b * np.maximum(low, high) * np.minimum(k, 1)
    found["decode_kv_cache_bytes"] = b * table["per_token"][w] * attended
    found["vision_weight_io_bytes"] = table["vision_weight_io_bytes"][w]
    found["prefill_weight_io_bytes"] = weights(b * context)
    found["decode_weight_io_bytes"] = k * weights(b)
    return found


def by_numexpr(arch: Architecture, table: Table, w: Any, k: Any, b: Any) -> dict[str, Any]:
    """The same in numexpr, which takes gathered columns and uses all cores."""
    decoder = arch.decoder
    left = 1.0 - decoder.experts_per_token / decoder.experts

    def value(text: str, **columns: Any) -> Any:
        return numexpr.evaluate(text, local_dict={"k": k, "b": b, **columns}, truediv=False)

    def weights(tokens: str, **columns: Any) -> Any:
        once, expert = table["once"][w], table["expert"][w]
        rows = f"where({tokens} < {decoder.vocabulary}, {tokens}, {decoder.vocabulary})"
        touched = f"{decoder.experts} * (1.0 - {left!r} ** ({tokens} * 1.0))"
        text = f"(once + {rows} * {decoder.hidden} + {touched} * expert) * 2.0"
        return value(text, once=once, expert=expert, **columns)

    context = table["context_tokens"][w]
    found = {"image_tokens": table["image_tokens"][w], "context_tokens": context}
    found |= {name: value("b * t", t=table[name][w]) for name in PER_IMAGE}
    for name in COUNTED:
        first, growth = table[f"first_{name}"][w], table[f"growth_{name}"][w]
        text = "b * (k * first + growth * (k * (k - 1) / 2))"
        found[f"decode_{name}"] = value(text, first=first, growth=growth)
    lines = {f"line{i}": table[f"line{i}"][w] for i in range(4)}
    low, high = "(line0 + line1 * (c + k))", "(line2 + line3 * (c + k))"
    text = f"b * where({low} > {high}, {low}, {high}) * where(k > 0, 1, 0)"
    found["decode_activation_bytes"] = value(text, c=context, **lines)
    cache = value("b * t * (c + k)", t=table["per_token"][w], c=context)
    found["decode_kv_cache_bytes"] = cache
    found["vision_weight_io_bytes"] = table["vision_weight_io_bytes"][w]
    found["prefill_weight_io_bytes"] = weights("(b * c)", c=context)
    found["decode_weight_io_bytes"] = value("k * t", t=weights("b"))
    return found


def polars_expressions(arch: Architecture, table: Table) -> list[pl.Expr]:
    """The same as Polars expressions over the columns w, k and b."""
    decoder = arch.decoder
    w, k, b = pl.col("w"), pl.col("k"), pl.col("b")

    def figure(name: str) -> pl.Expr:
        return pl.lit(pl.Series(table[name])).gather(w)

    def weights(tokens: pl.Expr) -> pl.Expr:
        left = 1.0 - decoder.experts_per_token / decoder.experts
        touched = decoder.experts * (1.0 - pl.lit(left).pow(tokens.cast(pl.Float64)))
        rows = pl.min_horizontal(tokens, pl.lit(decoder.vocabulary)) * decoder.hidden
        return (figure("once") + rows + touched * figure("expert")) * 2.0

    context = figure("context_tokens")
    low = figure("line0") + figure("line1") * (context + k)
    high = figure("line2") + figure("line3") * (context + k)
    pairs = k * (k - 1) // 2
    found = {"image_tokens": figure("image_tokens"), "context_tokens": context}
    found |= {name: b * figure(name) for name in PER_IMAGE}
    for name in COUNTED:
        steps = k * figure(f"first_{name}") + figure(f"growth_{name}") * pairs
        found[f"decode_{name}"] = b * steps
    held = pl.max_horizontal(low, high) * pl.min_horizontal(k, pl.lit(1))
    found["decode_activation_bytes"] = b * held
    found["decode_kv_cache_bytes"] = b * figure("per_token") * (context + k)
    found["vision_weight_io_bytes"] = figure("vision_weight_io_bytes")
    found["prefill_weight_io_bytes"] = weights(b * context)
    found["decode_weight_io_bytes"] = k * weights(b)
    return [expression.alias(name) for name, expression in found.items()]


@numba.njit(parallel=True)
def fill_constant(columns: np.ndarray) -> None:
    """Fill columns with a constant on all cores: the machine's limit."""
    blocks = (columns.shape[1] + 511) // 512
    for block in numba.prange(blocks):
        for column in range(columns.shape[0]):
            columns[column, block * 512 : (block + 1) * 512] = 7


def require_same(way: str, found: dict[str, Any], kernel: dict[str, Any]) -> None:
    """Stop when a way's columns are not those of the kernel."""
    for name in OUTPUT_NAMES:
        one, other = np.asarray(found[name]), kernel[name]
        same = np.array_equal(one, other)
        if other.dtype == np.float64:
            same = np.allclose(one, other, rtol=1e-12, atol=0)
        if not same:
            raise SystemExit(f"{way} and kernel differ in {name}")


def measurements(points: int = POINTS) -> list[Measurement]:
    """Measure all ways on the first points of the capacity grid."""
    grid = load_grid("capacity")
    chunk = next(iter(grid.chunks(points)))
    rows = chunk.stop - chunk.start
    inputs = kernel_inputs(chunk.axes)
    workloads, parts, lengths = inputs
    arch = grid.model.architecture
    digits = np.stack(np.unravel_index(np.arange(rows), lengths))
    offsets = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    w, k, b = (part[digits + offsets[:, None]].sum(axis=0) for part in parts)
    table = workload_table(arch, workloads)
    frame = pl.DataFrame({"w": w, "k": k, "b": b})
    expressions = polars_expressions(arch, table)

    kernel = compute(arch, *inputs, rows, OUTPUT_NAMES)
    require_same("NumPy", by_numpy(arch, table, w, k, b), kernel)
    require_same("numexpr", by_numexpr(arch, table, w, k, b), kernel)
    require_same("Polars", frame.select(expressions).to_dict(), kernel)
    few = min(PYTHON_POINTS, rows)
    head = compute_chunk(grid.model, Chunk(0, few, chunk.axes))
    drawn = [
        Point(*row[:9], ATTENTIONS.index(row[9])) for row in head.select(INPUT_NAMES).iter_rows()
    ]
    if [point_columns(arch, p) for p in drawn] != head.select(OUTPUT_NAMES).to_dicts():
        raise SystemExit("plain Python and kernel differ")
    shape = (len(OUTPUT_NAMES), rows)
    return [
        measure(GROUP, "fill with a constant", rows,
                lambda: fill_constant(np.empty(shape, np.int64))),
        measure(GROUP, "kernel, all cores", rows,
                lambda: compute(arch, *inputs, rows, OUTPUT_NAMES)),
        measure(GROUP, "kernel, one core", rows,
                lambda: compute(arch, *inputs, rows, OUTPUT_NAMES, parallel=False)),
        measure(GROUP, "Polars expressions", rows, lambda: frame.select(expressions)),
        measure(GROUP, "numexpr", rows, lambda: by_numexpr(arch, table, w, k, b)),
        measure(GROUP, "NumPy", rows, lambda: by_numpy(arch, table, w, k, b)),
        measure(GROUP, "plain Python", few, lambda: [point_columns(arch, p) for p in drawn]),
    ]  # fmt: skip
