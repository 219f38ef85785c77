"""The numbers of what sees images: a tower is groups of blocks and joins around them.

Records of integers, which Numba accepts, and the names that people know their parts by
(docs/vision.md, "A tower is data").
"""

from typing import Annotated, NamedTuple

from sweepengine.formulas.crops import CropRule
from sweepengine.formulas.ocr_parts import OcrParts
from sweepengine.formulas.quantities import Channels, No, Quantity, Yes
from sweepengine.formulas.views import ImageRule

Merge = Annotated[int, Quantity("patches an edge", 1, 1)]
Rows = Annotated[int, Quantity("rows", 0, 0)]
Widths = Annotated[int, Quantity("widths a token", 0, 0)]
Weights = Annotated[int, Quantity("weights", 0, 0)]
Values = Annotated[int, Quantity("values a value", 0, 1)]


class Blocks(NamedTuple):
    """Like pre-norm blocks of attention and an MLP; either may be absent (width 0)."""

    layers: Annotated[int, Quantity("blocks", 0)]
    width: Channels
    heads: Annotated[int, Quantity("heads", 0)]
    key_value_heads: Annotated[int, Quantity("heads", 0, "heads")]
    head_width: Channels
    mlp_width: Annotated[int, Quantity("channels", 0)]
    matrices: Annotated[int, Quantity("matrices", 2, 2)]
    """Of the MLP: 3 gated, 2 plain."""
    activation_flops: Annotated[int, Quantity("FLOPs a hidden value", 0, 4)]
    input_bias: Yes
    key_bias: Yes
    """Whether keys have one where queries and values have."""
    output_bias: Yes
    mlp_bias: Yes
    norms: Annotated[int, Quantity("norms a block", 0, 2)]
    norm_weights: Annotated[int, Quantity("weights a channel", 0, 2)]
    """2 a LayerNorm, 1 an RMSNorm."""
    scales: Annotated[int, Quantity("scales a block", 0, 0)]
    """Layer scales, a weight a channel each."""
    head_norm: Weights
    """Weights of norms of queries and keys, a block."""
    rotary: No
    window: Annotated[int, Quantity("patches an edge", 0, 0)]
    """Windows that attention is cut to; 0: all patches of a view."""
    padded: No
    """Windows at the edge are padded to full size."""
    relative_flops: Annotated[int, Quantity("FLOPs a query and edge position", 0, 0)]
    """Of decomposed relative positions, a head."""
    tables: Weights
    """Weights of position tables and gates, a block."""
    merge: Merge
    """Patches an edge that one row stands for."""
    extra: Rows
    """Class and register tokens of a view."""
    queries: No
    """Learned queries of a view run beside its rows."""
    rows: Rows
    """Rows of a view, whatever its size: latents, or padding; 0: those of its patches."""
    source: Annotated[int, Quantity("", 0, 0)]
    """What keys are made of: 0 its rows; 1 the patches of the view; 2 both."""
    source_extra: Rows
    source_rows: Rows
    """Rows of the source, whatever the view; 0: its patches and `source_extra`."""
    source_width: Annotated[int, Quantity("channels", 0, "width")]
    channel_groups: Annotated[int, Quantity("groups", 0, 0)]
    """Groups of channels that attend to each other instead of tokens; 0: tokens do."""
    convolutions: Annotated[int, Quantity("convolutions a block", 0, 0)]
    """Depthwise, with biases."""
    taps: Annotated[int, Quantity("taps", 0, 9)]
    flash_widths: Annotated[int, Quantity("widths a token", -5, 0)]
    """What flash attention moves beside queries, keys and values."""
    eager_widths: Annotated[int, Quantity("widths a token", -5, 0)]
    eager_scores: Annotated[int, Quantity("values a token pair", 0, 0)]
    """What eager attention moves beside `eager_head_scores`."""
    eager_head_scores: Annotated[int, Quantity("values a head and token pair", 0, 2)]
    """Scores that eager attention moves: written and read."""
    summed_widths: Widths
    """What the published sum holds of attention; 0: what it moves."""


class Join(NamedTuple):
    """A linear layer, convolution, norm or table before, between or behind blocks."""

    inputs: Annotated[int, Quantity("channels", 0, 0)]
    """Width of a row that it reads; 0: a norm or a table."""
    outputs: Annotated[int, Quantity("channels", 0, 0)]
    taps: Annotated[int, Quantity("rows", 1, 1)]
    """Rows that each output reads: those of a convolution's kernel."""
    matrices: Annotated[int, Quantity("matrices", 1, 1)]
    bias: Annotated[int, Quantity("biases an output", 0, 0)]
    weightless: No
    """A product with constants."""
    activation_flops: Annotated[int, Quantity("FLOPs an output", 0, 0)]
    norm_weights: Annotated[int, Quantity("weights a channel", 0, 0)]
    """Of a norm: 2 LayerNorm, 1 RMSNorm."""
    merge: Merge
    reads_merge: Annotated[int, Quantity("patches an edge", 0, 0)]
    """Patches an edge of a row that it reads; 0: as of those it writes."""
    extra: Rows
    queries: No
    alone: No
    """Learned queries run alone."""
    line: Rows
    """Rows more a line of the view, such as newlines."""
    rows: Rows
    whole: No
    """Runs over the features of all views of an image at once."""
    tables: Weights
    """Weights of tables that a pass reads."""
    unread: Weights
    """Weights held in memory that no pass reads."""
    moves: Annotated[int, Quantity("values a value", 0, 2)]
    """Of a norm."""
    fixed_moves: Widths
    """Moved whatever the view."""
    moves_in: Values
    moves_out: Values
    sums_in: Values
    """Of what it reads, in the published sum."""
    sums_out: Values


class PartName(NamedTuple):
    """What a group of blocks, or a join, is known by."""

    part: str
    """Of the parameter table, such as "SAM"."""
    tower: str
    """Prefix of its operators in accountings, such as "sam"."""
    kind: str
    """Kind of layers that it is shown with; empty: it stands behind all views."""
    operator: str
    """Of a join; empty: all operators of a block."""


class Towers(NamedTuple):
    """What makes tokens of an image."""

    rule: ImageRule | None
    """From an image's size to views; None: a point states views and tiles."""
    blocks: tuple[Blocks, ...]
    joins: tuple[Join, ...]
    block_names: tuple[PartName, ...]
    join_names: tuple[PartName, ...]
    merge: int
    """Patches an edge of a view that become one feature."""
    width: int
    """Of a feature that enters the decoder."""
    crops: CropRule | None = None
    """How views and tiles that a point states become features and tokens."""
    ocr: OcrParts | None = None
    """Sections of a model file that they were made of."""
