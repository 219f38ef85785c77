"""Names, types, units and meanings of all columns: the contract, written once."""

from typing import Final, NamedTuple

SCHEMA_VERSION: Final = 1
"""Of datasets."""
FILE_SCHEMA_VERSION: Final = 1
"""Of model and device files, their `schema_version`."""
STAGES: Final = ("vision", "prefill", "decode")


class Column(NamedTuple):
    """One column of a frame or dataset."""

    name: str
    dtype: str
    """"Int32", "Int64", "Float64" or "Enum"."""
    unit: str
    meaning: str


class InputColumn(NamedTuple):
    """One input column; what is valid is `minimum`..`maximum`, a multiple of `multiple`."""

    name: str
    dtype: str
    unit: str
    meaning: str
    default: int
    """Where an input is missing; the model file's own heads stand in for 0."""
    minimum: int
    maximum: int
    multiple: int = 1

    @property
    def allowed(self) -> str:
        """What is valid, in words."""
        if self.dtype == "Enum":
            return '"eager" or "flash"'
        step = f"a multiple of {self.multiple}, " if self.multiple > 1 else "an integer, "
        return f"{step}{self.minimum:,}..{self.maximum:,}"


INPUTS: Final = (
    InputColumn("view_size", "Int32", "pixels", "side of the global view", 1024, 64, 4096, 64),
    InputColumn("tile_size", "Int32", "pixels", "side of a tile", 640, 64, 4096, 64),
    InputColumn("crop_rows", "Int32", "tiles", "rows of tiles; 0 without tiles", 0, 0, 1000),
    InputColumn("crop_cols", "Int32", "tiles", "columns of tiles; 0 without tiles", 0, 0, 1000),
    InputColumn("text_tokens", "Int32", "tokens", "text tokens of the prompt", 10, 0, 1_000_000),
    InputColumn("decode_steps", "Int32", "steps", "tokens decoded (K)", 100, 0, 1_000_000),
    InputColumn("batch_size", "Int32", "images", "images per step (B)", 1, 1, 65_536),
    InputColumn("attention_heads", "Int32", "heads", "query heads (Nh)", 0, 1, 65_536),
    InputColumn("key_value_heads", "Int32", "heads", "key-value heads (Nkv)", 0, 1, 65_536),
    InputColumn("attention", "Enum", "", "attention implementation: eager or flash", 1, 0, 1),
)
INPUT_NAMES: Final = tuple(column.name for column in INPUTS)

_STAGE_MEANINGS: Final = {
    "vision": "SAM, CLIP and projector over the global view and all tiles",
    "prefill": "decoder and head over the context",
    "decode": "decoder and head, summed over all decode steps",
}
_MEASURES: Final = (
    ("tensor_flops", "Int64", "FLOP", "tensor-core work"),
    ("cuda_flops", "Int64", "FLOP", "CUDA-core work"),
    ("activation_io_bytes", "Int64", "byte", "activations read and written"),
    ("weight_io_bytes", "Float64", "byte", "weights read once a pass, expected"),
    ("kv_io_bytes", "Int64", "byte", "key-value cache read and written"),
    ("activation_bytes", "Int64", "byte", "activation memory"),
)


def _stage_columns() -> list[Column]:
    return [
        Column(
            f"{stage}_{measure}",
            dtype,
            unit,
            f"{meaning}: {_STAGE_MEANINGS[stage]}"
            + (" (largest step)" if (stage, measure) == ("decode", "activation_bytes") else ""),
        )
        for stage in STAGES
        for measure, dtype, unit, meaning in _MEASURES
    ]


OUTPUTS: Final = (
    Column("image_tokens", "Int32", "tokens", "tokens of one image in the context"),
    Column("context_tokens", "Int32", "tokens", "image tokens + text tokens"),
    *_stage_columns(),
    Column("prefill_kv_cache_bytes", "Int64", "byte", "cache after prefill: context tokens"),
    Column("decode_kv_cache_bytes", "Int64", "byte",
           "cache after decoding: context + K tokens (modelmeter: context + K - 1)"),
)  # fmt: skip
COLUMNS: Final = (
    *(Column(column.name, column.dtype, column.unit, column.meaning) for column in INPUTS),
    *OUTPUTS,
)
OUTPUT_NAMES: Final = tuple(column.name for column in OUTPUTS)

INT64_MAX: Final = 2**63 - 1
INT32_MAX: Final = 2**31 - 1
