"""The kernel beside what a user would write: NumPy, Polars, numexpr and plain Python.

All ways get the same table of figures a workload (crops, heads, attention), which takes a moment,
and compute the same columns of every point from it: one for each way that columns follow from
figures. Results are compared before they are timed.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

import numexpr
import numpy as np
import polars as pl

from benchmarks.measure import Measurement, measure
from sweepengine.engine.compute import fill_columns, product_of
from sweepengine.engine.records import paths
from sweepengine.engine.tables import tabulate
from sweepengine.engine.threads import cores, in_order
from sweepengine.formulas.architecture import Architecture
from sweepengine.formulas.figures import Figures, KeyGrowth
from sweepengine.formulas.points import Point
from sweepengine.grid.columns import OUTPUT_NAMES
from sweepengine.grid.counted import point_columns
from sweepengine.grid.files import load_grid, parse_grid
from sweepengine.grid.grid import Grid
from sweepengine.grid.points import output_names
from sweepengine.grid.products import expand

GROUP = "kernel"
POINTS = 2_000_000
PYTHON_POINTS = 2_000
TEXT_MODELS = ("qwen3-32b", "gpt-oss-20b")
"""One kind of attention, and two, of which one looks back a window."""
COLUMNS = (
    "context_tokens", "prefill_tensor_flops", "decode_tensor_flops", "decode_activation_bytes",
    "decode_kv_cache_bytes", "vision_weight_io_bytes", "prefill_weight_io_bytes",
    "decode_weight_io_bytes",
)  # fmt: skip
NAMED = {
    "context_tokens": "tokens.context",
    "table_rows": "weights.table_rows",
    "table_row_bytes": "weights.table_row_bytes",
    "pass_weight_io_bytes": "weights.read_bytes",
    "vision_weight_io_bytes": "weights.vision_read_bytes",
    "prefill_tensor_flops": "prefill.tensor_flops",
    "decode_tensor_flops": "decode.tensor_flops",
    "key_decode_tensor_flops": "counts.tensor_flops",
    "key_cache_bytes": "counts.cache_bytes",
    "key_attention_bytes": "peak.attention_bytes",
    "key_attention_growth": "peak.attention_growth",
    "key_other_bytes": "peak.other_bytes",
    "key_other_growth": "peak.other_growth",
}
"""Figures that all ways take."""
Table = dict[str, np.ndarray]


DENSE = ["tp1", "tp2", "tp4", "tp8", "tp2-pp2", "tp4-pp2", "tp8-pp2", "pp2", "pp4", "dp2",
         "tp2-dp2", "tp4-dp2"]  # fmt: skip
SMALL = ["tp1", "tp2", "tp4", "tp4-ep4", "tp2-pp2", "ep8", "tp2-ep8", "tp4-ep8", "pp4", "dp2",
         "ep4", "ep16"]  # fmt: skip
LARGE = ["tp8", "tp16", "tp8-ep8", "tp8-pp2", "ep8", "ep16", "ep32", "ep64", "tp2-ep16",
         "tp4-ep32", "dp8-ep64", "tp8-ep32"]  # fmt: skip
SERVED = {"llama-3.1-8b": DENSE, "qwen3-32b": DENSE, "qwen3-30b-a3b": SMALL,
          "gpt-oss-120b": SMALL, "deepseek-v3": LARGE, "deepseek-v4-pro": LARGE}  # fmt: skip
"""Models and 12 layouts of each."""


def figures_table(arch: Architecture, workloads: Table) -> Table:
    """Figures of each workload by name."""
    figures, growth, experts = tabulate(arch, workloads)
    by_path = dict(zip(paths(Figures), figures, strict=True))
    by_path |= dict(zip(paths(KeyGrowth), growth[0], strict=True))
    return {name: by_path[path] for name, path in NAMED.items()} | {"expert": experts[0, 0]}


def by_numpy(arch: Architecture, table: Table, w: Any, k: Any, b: Any) -> dict[str, Any]:
    """The point's arithmetic in NumPy."""
    experts, per_token = arch.routings[0]

    def weights(tokens: Any) -> Any:
        rows = np.minimum(tokens, table["table_rows"][w]) * table["table_row_bytes"][w]
        activated = experts * (1.0 - (1.0 - per_token / experts) ** tokens.astype(np.float64))
        return (table["pass_weight_io_bytes"][w] + rows) + activated * table["expert"][w]

    context = table["context_tokens"][w]
    met = k * (context + 1) + k * (k - 1) // 2
    last = context + k
    attending = table["key_attention_bytes"][w] + table["key_attention_growth"][w] * last
    beside = table["key_other_bytes"][w] + table["key_other_growth"][w] * last
    steps = k * table["decode_tensor_flops"][w] + met * table["key_decode_tensor_flops"][w]
    return {
        "context_tokens": context,
        "prefill_tensor_flops": b * table["prefill_tensor_flops"][w],
        "decode_tensor_flops": b * steps,
        "decode_activation_bytes": b * np.maximum(attending, beside) * np.minimum(k, 1),
        "decode_kv_cache_bytes": b * table["key_cache_bytes"][w] * last,
        "vision_weight_io_bytes": table["vision_weight_io_bytes"][w].astype(np.float64),
        "prefill_weight_io_bytes": weights(b * context),
        "decode_weight_io_bytes": k * weights(b),
    }


def by_numexpr(arch: Architecture, table: Table, w: Any, k: Any, b: Any) -> dict[str, Any]:
    """The same in numexpr, which takes gathered columns and uses all cores."""
    experts, per_token = arch.routings[0]
    left = 1.0 - per_token / experts
    at = {name: values[w] for name, values in table.items()} | {"k": k, "b": b}

    def value(text: str) -> Any:
        return numexpr.evaluate(text, local_dict=at, truediv=False)

    def weights(tokens: str) -> str:
        rows = f"where({tokens} < table_rows, {tokens}, table_rows)"
        activated = f"{experts} * (1.0 - {left!r} ** ({tokens} * 1.0))"
        return f"(pass_weight_io_bytes + {rows} * table_row_bytes) + {activated} * expert"

    met = "(k * (context_tokens + 1) + k * (k - 1) / 2)"
    attending = "(key_attention_bytes + key_attention_growth * (context_tokens + k))"
    beside = "(key_other_bytes + key_other_growth * (context_tokens + k))"
    return {
        "context_tokens": at["context_tokens"],
        "prefill_tensor_flops": value("b * prefill_tensor_flops"),
        "decode_tensor_flops": value(
            f"b * (k * decode_tensor_flops + {met} * key_decode_tensor_flops)"
        ),
        "decode_activation_bytes": value(
            f"b * where({attending} > {beside}, {attending}, {beside}) * where(k > 0, 1, 0)"
        ),
        "decode_kv_cache_bytes": value("b * key_cache_bytes * (context_tokens + k)"),
        "vision_weight_io_bytes": value("vision_weight_io_bytes * 1.0"),
        "prefill_weight_io_bytes": value(weights("(b * context_tokens)")),
        "decode_weight_io_bytes": value(f"k * ({weights('b')})"),
    }


def polars_expressions(arch: Architecture, table: Table) -> list[pl.Expr]:
    """The same as Polars expressions over the columns w, k and b."""
    experts, per_token = arch.routings[0]
    w, k, b = pl.col("w"), pl.col("k"), pl.col("b")

    def at(name: str) -> pl.Expr:
        return pl.lit(pl.Series(table[name])).gather(w)

    def weights(tokens: pl.Expr) -> pl.Expr:
        left = 1.0 - per_token / experts
        activated = experts * (1.0 - pl.lit(left).pow(tokens.cast(pl.Float64)))
        rows = pl.min_horizontal(tokens, at("table_rows")) * at("table_row_bytes")
        return (at("pass_weight_io_bytes") + rows) + activated * at("expert")

    context = at("context_tokens")
    met = k * (context + 1) + k * (k - 1) // 2
    attending = at("key_attention_bytes") + at("key_attention_growth") * (context + k)
    beside = at("key_other_bytes") + at("key_other_growth") * (context + k)
    steps = k * at("decode_tensor_flops") + met * at("key_decode_tensor_flops")
    held = pl.max_horizontal(attending, beside) * pl.min_horizontal(k, pl.lit(1))
    found = {
        "context_tokens": context,
        "prefill_tensor_flops": b * at("prefill_tensor_flops"),
        "decode_tensor_flops": b * steps,
        "decode_activation_bytes": b * held,
        "decode_kv_cache_bytes": b * at("key_cache_bytes") * (context + k),
        "vision_weight_io_bytes": at("vision_weight_io_bytes").cast(pl.Float64),
        "prefill_weight_io_bytes": weights(b * context),
        "decode_weight_io_bytes": k * weights(b),
    }
    return [expression.alias(name) for name, expression in found.items()]


def fill_constant(columns: np.ndarray) -> None:
    """Fill columns with a constant on all cores: the machine's limit."""
    step = 1 << 16

    def work(start: int) -> None:
        columns[:, start : start + step] = 7

    deque(in_order(work, range(0, columns.shape[1], step), cores(), wait=True), 0)


def require_same(way: str, found: dict[str, Any], kernel: dict[str, Any]) -> None:
    """Stop when a way's columns are not those of the kernel."""
    for name, other in kernel.items():
        one = np.asarray(found[name])
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
    product = product_of(chunk.axes)
    arch = grid.model.architecture
    digits = np.stack(np.unravel_index(np.arange(rows), product.lengths))
    offsets = np.concatenate([[0], np.cumsum(product.lengths)[:-1]])
    w, k, b = (part[digits + offsets[:, None]].sum(axis=0) for part in product.axes)
    table = figures_table(arch, product.workloads)
    frame = pl.DataFrame({"w": w, "k": k, "b": b})
    expressions = polars_expressions(arch, table)
    inputs = expand(chunk.axes)
    few = min(PYTHON_POINTS, rows)
    drawn = [
        Point(*values)
        for values in zip(*(inputs[name][:few].tolist() for name in Point._fields), strict=True)
    ]

    def kernel(columns: tuple[str, ...], workers: int) -> dict[str, Any]:
        tables = tabulate(arch, product.workloads)
        return fill_columns(arch, product, tables, rows, columns, workers)

    def plain() -> list[dict[str, Any]]:
        return [point_columns(arch, point) for point in drawn]

    found = kernel(COLUMNS, cores())
    require_same("NumPy", by_numpy(arch, table, w, k, b), found)
    require_same("numexpr", by_numexpr(arch, table, w, k, b), found)
    require_same("Polars", frame.select(expressions).to_dict(), found)
    whole = kernel(OUTPUT_NAMES, 1)
    if plain() != [{name: whole[name][i] for name in OUTPUT_NAMES} for i in range(few)]:
        raise SystemExit("plain Python and kernel differ")
    shape = (len(OUTPUT_NAMES), rows)
    texts = [text_kernel(name) for name in TEXT_MODELS]
    served_points, served = served_kernel()
    eight = f"{len(COLUMNS)} columns"
    return [
        measure(GROUP, "fill with a constant", rows,
                lambda: fill_constant(np.empty(shape, np.int64))),
        measure(GROUP, "kernel, all cores", rows, lambda: kernel(OUTPUT_NAMES, cores())),
        measure(GROUP, "kernel, one core", rows, lambda: kernel(OUTPUT_NAMES, 1)),
        measure(GROUP, f"kernel, {eight}", rows, lambda: kernel(COLUMNS, cores())),
        measure(GROUP, f"Polars expressions, {eight}", rows, lambda: frame.select(expressions)),
        measure(GROUP, f"numexpr, {eight}", rows, lambda: by_numexpr(arch, table, w, k, b)),
        measure(GROUP, f"NumPy, {eight}", rows, lambda: by_numpy(arch, table, w, k, b)),
        measure(GROUP, "plain Python", few, plain),
        *(measure(GROUP, f"kernel, {name}", rows, work)
          for name, (rows, work) in zip(TEXT_MODELS, texts, strict=True)),
        measure(GROUP, "kernel, 12 layouts, 5 precisions, 6 models", served_points, served),
    ]  # fmt: skip


def served_kernel() -> tuple[int, Callable[[], object]]:
    """Points of how six models may be served, and all their columns, from the grid's text on."""

    def grids() -> list[Grid]:
        return [
            parse_grid(
                {
                    "name": "served",
                    "model": name,
                    "axes": {
                        "layout": layouts,
                        "precision": ["bf16", "fp8", "fp8-kv8", "w4a16", "nvfp4"],
                        "batch_size": [1, 2, *range(4, 256, 14)][:20],
                        "prompt_tokens": {"start": 256, "stop": 5120, "step": 256},
                        "decode_steps": {"start": 100, "stop": 1000, "step": 100},
                    },
                },
                "served",
            )
            for name, layouts in SERVED.items()
        ]

    def work() -> object:
        found = []
        for grid in grids():
            product, arch = product_of(grid.axes), grid.model.architecture
            tables = tabulate(arch, product.workloads)
            outputs = output_names(grid.model)
            found.append(fill_columns(arch, product, tables, grid.points, outputs, cores()))
        return found

    return sum(grid.points for grid in grids()), work


def text_kernel(name: str) -> tuple[int, Callable[[], object]]:
    """Points of a grid of prompts, batches and steps of a text model, and all their columns."""
    axes = {
        "prompt_tokens": [2**power for power in range(5, 15)],
        "batch_size": [1, 4, 16, 64],
        "decode_steps": {"start": 1, "stop": 50_000, "step": 1},
    }
    grid = parse_grid({"name": "text", "model": name, "axes": axes}, "text")
    product, arch = product_of(grid.axes), grid.model.architecture
    outputs = output_names(grid.model)

    def work() -> object:
        tables = tabulate(arch, product.workloads)
        return fill_columns(arch, product, tables, grid.points, outputs, cores())

    return grid.points, work
