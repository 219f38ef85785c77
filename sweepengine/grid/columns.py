"""Output columns: name, type, unit, meaning, and the reduction from a figure to the column.

Columns are declared only here. Schema, kernel, Arrow metadata, plain Python, limits and
documentation read these declarations.
"""

from typing import Any, Final, NamedTuple

from sweepengine.formulas.points import INPUTS
from sweepengine.formulas.tokens import larger
from sweepengine.grid.axes import JOINT

SCHEMA_VERSION: Final = 4
"""Version of the schema of datasets that are written."""
READ_VERSIONS: Final = (3, SCHEMA_VERSION)
"""Versions of datasets that are read."""
PHASES: Final = ("vision", "prefill", "decode")

AS_IS, PER_SEQUENCE, OVER_STEPS, LAST_STEP, CACHE_AFTER = range(5)
READ_ONCE, PREFILL_READS, STEP_READS = range(5, 8)
SECONDS, DEVICE_MEMORY, ERROR_CLASS, RATE = 8, 9, 10, 11
"""Reductions from figures to columns: the figure itself; times sequences of the batch; summed over
all steps; of the last step, which is the largest; the KV cache after decoding; expected bytes of
weights read by a phase, by prefill, by all steps; seconds, which sum operator times; what a
device holds under a serving engine; how far times were off on measured runs like the point; and
output tokens by seconds."""
WITHOUT_STEPS: Final = (AS_IS, PER_SEQUENCE, READ_ONCE, PREFILL_READS)
"""Reductions of columns that are the same for any number of decode steps."""


class DataType(NamedTuple):
    """Range of a type; Polars has a type of this name, Arrow one of this name in lower case."""

    size: int
    """Bytes of a value in memory."""
    largest: float
    """Largest value; infinite for floats."""


DTYPES: Final = {
    "Int32": DataType(4, 2**31 - 1),
    "Int64": DataType(8, 2**63 - 1),
    "Float64": DataType(8, float("inf")),
    "Enum": DataType(1, 127),
    "Boolean": DataType(1, 1),
    "String": DataType(4, float("inf")),
}


class AxisText(NamedTuple):
    """A column of the texts of a joint axis, which stands beside the inputs that the axis sets."""

    name: str
    """A key of `JOINT`."""
    meaning: str
    dtype: str = "String"
    unit: str = ""


AXIS_TEXTS: Final = tuple(
    AxisText(name, f"{JOINT[name].meaning}, such as {JOINT[name].example}")
    for name in ("mode", "crops", "precision", "layout")
)


class Column(NamedTuple):
    """One output column."""

    name: str
    dtype: str
    """A key of `DTYPES`."""
    unit: str
    meaning: str
    reduction: int
    figure: str
    """Field of `Figures`, such as "decode.tensor_flops"; of times a field of `Seconds`, of memory
    one of `memory.MemoryFigures`."""
    vision: bool = False
    """Whether only models that see images have it."""
    timed: bool = False
    """Whether only points on a device have it."""

    @property
    def drafted(self) -> bool:
        """Whether a draft adds to it: not to tokens, devices and vision."""
        return self.figure.split(".")[0] in ("prefill", "decode", "weights")

    def together(self, of_model: Any, of_draft: Any) -> Any:
        """Values of a model and its draft together: sums; the larger activations of the two."""
        if self.figure.endswith(".activation_bytes"):
            return larger(of_model, of_draft)
        return of_model + of_draft


def _phase(
    phase: str, reduction: int, reads: int, peak: int, what: str, large: str = ""
) -> list[Column]:
    """Columns of one phase.

    Parameters
    ----------
    phase : str
    reduction, reads, peak : int
        Reductions of counts, of weight bytes and of activation memory.
    what : str
        What the phase runs.
    large : str
        Text that ends the meaning of activation memory.
    """
    vision = phase == "vision"
    counted = (
        ("tensor_flops", "FLOP", "tensor-core work"),
        ("cuda_flops", "FLOP", "CUDA-core work"),
        ("activation_io_bytes", "byte", "activations read and written"),
        ("kv_io_bytes", "byte", "KV cache read and written"),
        ("link_bytes", "byte", "bytes sent to other devices"),
    )
    columns = [
        Column(f"{phase}_{field}", "Int64", unit, f"{meaning}: {what}", reduction,
               f"{phase}.{field}", vision)
        for field, unit, meaning in counted
    ]  # fmt: skip
    read = f"weights read once a pass, expected: {what}"
    figure = {"vision": "weights.vision_read_bytes", "prefill": "weights.prefill_read_bytes"}.get(
        phase, "weights.read_bytes"
    )
    weights = Column(f"{phase}_weight_io_bytes", "Float64", "byte", read, reads, figure, vision)
    memory = f"activation memory: {what}{large}"
    activation = Column(f"{phase}_activation_bytes", "Int64", "byte", memory, peak,
                        f"{phase}.activation_bytes", vision)  # fmt: skip
    return [*columns[:3], weights, *columns[3:], activation]


OUTPUTS: Final = (
    Column("image_tokens", "Int32", "tokens", "tokens of all images in the context", AS_IS,
           "tokens.image", True),
    Column("image_features", "Int32", "rows", "rows of all images that enter the decoder", AS_IS,
           "tokens.features", True),
    Column("context_tokens", "Int32", "tokens", "cached, image and text tokens", AS_IS,
           "tokens.context"),
    *_phase("vision", PER_SEQUENCE, READ_ONCE, PER_SEQUENCE,
            "vision towers and projector over all views of the images"),
    *_phase("prefill", PER_SEQUENCE, PREFILL_READS, PER_SEQUENCE,
            "decoder and head over the context"),
    *_phase("decode", OVER_STEPS, STEP_READS, LAST_STEP,
            "decoder and head, summed over all decode steps", " (largest step)"),
    Column("prefill_kv_cache_bytes", "Int64", "byte",
           "KV cache after prefill: context tokens, at most a layer's window", PER_SEQUENCE,
           "prefill.cache_bytes"),
    Column("decode_kv_cache_bytes", "Int64", "byte",
           "KV cache after decoding: context + K tokens (modelmeter: context + K - 1)", CACHE_AFTER,
           "decode.cache_bytes"),
    Column("weight_bytes", "Int64", "byte", "weights held in memory", AS_IS, "weights.held_bytes"),
    Column("prefill_exchange_bytes", "Int64", "byte",
           "part of prefill_link_bytes: to experts of other tensor groups and back", PER_SEQUENCE,
           "prefill.exchange_bytes"),
    Column("decode_exchange_bytes", "Int64", "byte",
           "part of decode_link_bytes: to experts of other tensor groups and back", OVER_STEPS,
           "decode.exchange_bytes"),
    Column("prefill_collectives", "Int32", "", "collectives and sends of a prefill", AS_IS,
           "prefill.collectives"),
    Column("decode_collectives", "Int32", "", "collectives and sends of one decode step", AS_IS,
           "decode.collectives"),
    Column("devices", "Int32", "devices", "of the layout; other columns are of the busiest device",
           AS_IS, "devices.devices"),
)  # fmt: skip


def _seconds(name: str, meaning: str, vision: bool = False) -> Column:
    return Column(f"{name}_seconds", "Float64", "s", meaning, SECONDS, name, vision,
                  True)  # fmt: skip


TIMED: Final = (
    _seconds("vision", "towers over all images of the batch; continuous: of one request", True),
    _seconds("prefill", "decoder over the contexts of the batch; continuous: of one request"),
    _seconds("decode", "all decode steps, including the prefills that they wait for"),
    _seconds("ttft", "time to the first token"),
    _seconds("tpot", "mean time per further token; 0 without decode steps"),
    _seconds("step", "mean decode step, no prefill in between; 0 without decode steps"),
    _seconds("refill", "vision and prefills of all sequences of a batch, in chunks"),
)
"""Columns of points on a device."""


def _held(name: str, dtype: str, unit: str, meaning: str, figure: str) -> Column:
    """A column of the memory of a device under its serving engine."""
    return Column(name, dtype, unit, meaning, DEVICE_MEMORY, figure, timed=True)


MEMORY: Final = (
    _held("device_usable_bytes", "Int64", "byte", "memory that the driver reports", "usable_bytes"),
    _held(
        "runtime_bytes",
        "Int64",
        "byte",
        "context, libraries and buffers of collectives",
        "runtime_bytes",
    ),
    _held(
        "activation_bytes",
        "Int64",
        "byte",
        "activations of the serving engine: a pass of its chunk, or the sampler's warm-up",
        "activation_bytes",
    ),
    _held("graph_bytes", "Int64", "byte", "CUDA graphs of decode steps", "graph_bytes"),
    _held(
        "kv_pool_bytes",
        "Int64",
        "byte",
        "pool of the KV cache; below 0 the serving engine does not start",
        "pool_bytes",
    ),
    _held(
        "kv_pool_tokens",
        "Int64",
        "tokens",
        "of that pool, as the engine's log counts them",
        "pool_tokens",
    ),
    _held(
        "sequence_kv_bytes",
        "Int64",
        "byte",
        "KV cache of one request after its answer, in whole pages, without shared tokens",
        "sequence_bytes",
    ),
    _held("fits", "Boolean", "", "whether the pool holds the batch", "fits"),
    _held("largest_batch", "Int64", "sequences", "largest batch that fits", "largest_batch"),
)
"""Columns of memory of points on a device."""
THROUGHPUT: Final = Column(
    "tokens_per_second", "Float64", "tokens/s",
    "output tokens of all devices, with the batch always full: B*K/(TTFT + decode)", RATE, "",
    timed=True,
)  # fmt: skip


def _bound(time: str, end: str) -> Column:
    """An end of the range of a time on runs like a point."""
    meaning = f"{end} end of the range that holds {time.upper()} of 90 % of measured runs like it"
    return Column(f"{time}_{end}_seconds", "Float64", "s", f"{meaning}; null without such runs",
                  ERROR_CLASS, f"{time}.{end}", timed=True)  # fmt: skip


ERRORS: Final = (
    *(_bound(time, end) for time in ("ttft", "tpot") for end in ("low", "high")),
    Column("error_class", "String", "", "measured runs like it, and how far times were off there",
           ERROR_CLASS, "text", timed=True),
    Column("error_runs", "Int64", "runs", "measured runs like it", ERROR_CLASS, "runs", timed=True),
)  # fmt: skip
"""Columns of the class of errors of points on devices (`data.error_classes`)."""
RANGES: Final = tuple(column.name for column in ERRORS if column.dtype == "Float64")
"""Those of them that are null where no measured run is like a point. Datasets do not store them, as
they follow from times and the class."""
DEVICE_OUTPUTS: Final = (*MEMORY, *TIMED, THROUGHPUT, *ERRORS)
"""Columns that only points on a device have."""
BY_NAME: Final = {column.name: column for column in (*OUTPUTS, *DEVICE_OUTPUTS)}
OUTPUT_NAMES: Final = tuple(column.name for column in OUTPUTS)
COLUMNS: Final = (*INPUTS.values(), *AXIS_TEXTS, *OUTPUTS, *DEVICE_OUTPUTS)
"""Inputs, texts of joint axes, then outputs."""
TYPES: Final = {column.name: column.dtype for column in COLUMNS}


def same_at_any_step(name: str) -> bool:
    """Tell whether a column is the same for any number of decode steps."""
    if name in BY_NAME:
        return BY_NAME[name].reduction in WITHOUT_STEPS
    return name != "decode_steps"
