"""The sections of a model file that describe the encoder of DeepSeek-OCR 1 and 2."""

from typing import Annotated, NamedTuple

from sweepengine.formulas.quantities import (
    Blocks,
    Channels,
    Heads,
    No,
    NoBlocks,
    Patches,
    Pixels,
    Quantity,
    Scores,
    Widths,
    Yes,
)


class Image(NamedTuple):
    """How an image becomes patches and tokens."""

    patch_size: Pixels
    channels: Annotated[int, Quantity("values a pixel")]
    patches_per_token: Patches
    few_queries: Annotated[int, Quantity("tokens", 0, 0)]
    """Queries that become the tokens of a view of at most as many features; 0: features do."""
    many_queries: Annotated[int, Quantity("tokens", 0, "few_queries")]
    """Of larger views."""
    least_tiles: Annotated[int, Quantity("tiles", 1, 2)]
    """Fewest tiles that an image is cut into, where a point gives its size."""
    most_tiles: Annotated[int, Quantity("tiles", 1, 9)]


class Sam(NamedTuple):
    """SAM encoder (ImageEncoderViT)."""

    width: Channels
    heads: Heads
    mlp_width: Channels
    blocks: Blocks
    global_blocks: NoBlocks
    window: Patches
    neck_width: Channels
    downsample_width: Channels
    output_width: Channels
    position_edge: Patches
    relative_position_flops: Annotated[int, Quantity("FLOPs a score and edge position", 0)]
    eager_io_scores: Scores
    """What eager attention moves beside its widths; scores are written and read once a head."""
    bias: Yes


class Clip(NamedTuple):
    """CLIP transformer (VitModel)."""

    width: Channels
    heads: Heads
    mlp_width: Channels
    blocks: Blocks
    image_size: Pixels
    patch_size: Pixels
    flash_io_widths: Widths
    eager_io_widths: Widths
    eager_io_scores: Scores
    embedding_io_per_token: Widths
    embedding_io_tokens: Annotated[int, Quantity("widths", 0)]
    bias: Yes


class Encoder(NamedTuple):
    """Layers of a language model that see features and queries (DeepSeek-OCR 2)."""

    width: Channels
    heads: Heads
    key_value_heads: Heads
    mlp_width: Channels
    layers: Annotated[int, Quantity("layers")]


NO_CLIP = Clip(**dict.fromkeys(Clip._fields, 0))._replace(heads=1, image_size=1, patch_size=1)
NO_ENCODER = Encoder(**dict.fromkeys(Encoder._fields, 0))._replace(heads=1)
"""What stands for a tower that a model has not got."""


class Projector(NamedTuple):
    """MlpProjector between the encoder and the decoder."""

    input_width: Channels
    output_width: Channels
    layers: Annotated[int, Quantity("layers")]
    separators: Annotated[int, Quantity("embeddings", 1, 2)]
    """A newline and a view separator, or the latter alone."""
    gelu: No
    newline_tokens: No
    repeats_tiles: No
    bias: Yes


class OcrParts(NamedTuple):
    """What makes tokens of an image in DeepSeek-OCR."""

    image: Image
    sam: Sam
    clip: Clip
    encoder: Encoder
    projector: Projector
