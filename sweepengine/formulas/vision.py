"""The vision phase: SAM and CLIP, or an encoder, on each view and tile, and the projector."""

from typing import NamedTuple

from sweepengine.formulas.architecture import Convention, Counts
from sweepengine.formulas.clip import (
    ClipBlock,
    ClipEnds,
    clip_block,
    clip_block_peak,
    clip_ends,
    mlp_projector,
)
from sweepengine.formulas.cost import Cost, add, formula, scaled, total, with_peak
from sweepengine.formulas.encoder import (
    EncoderBlock,
    EncoderEnds,
    encoder_block,
    encoder_block_peak,
    encoder_ends,
)
from sweepengine.formulas.figures import Phase, phase_of
from sweepengine.formulas.layout import NO_TRAFFIC
from sweepengine.formulas.operators import table
from sweepengine.formulas.phases import activation
from sweepengine.formulas.sam import SamBlock, SamEnds, sam_block, sam_block_peak, sam_ends
from sweepengine.formulas.tokens import (
    ImageTokens,
    features_of_view,
    patches_per_edge,
    queries_of_view,
    tokens_per_edge,
)
from sweepengine.formulas.towers import Projector, Towers


class View(NamedTuple):
    """What encodes one view: one of each kind of layers."""

    sam_ends: SamEnds
    global_blocks: SamBlock
    windowed_blocks: SamBlock
    clip_ends: ClipEnds
    clip_blocks: ClipBlock
    encoder_ends: EncoderEnds
    encoder_blocks: EncoderBlock


class Repeats(NamedTuple):
    """How many of each kind of layers a view goes through, in the order of `View`."""

    sam_ends: int
    global_blocks: int
    windowed_blocks: int
    clip_ends: int
    clip_blocks: int
    encoder_ends: int
    encoder_blocks: int


class Joins(NamedTuple):
    """What joins encoded views to the decoder."""

    projector: Cost
    separators: Cost
    """Newline and view separator, embeddings of the decoder's width."""


@formula
def repeats(towers: Towers) -> Repeats:
    """4 global and 8 windowed blocks of SAM, 24 blocks of CLIP, or as many layers of an encoder."""
    windowed = towers.sam.blocks - towers.sam.global_blocks
    blocks, layers = towers.clip.blocks, towers.encoder.layers
    return Repeats(1, towers.sam.global_blocks, windowed, 1, blocks, 1, layers)


@formula
def clip_tokens(towers: Towers, side: int) -> int:
    """Tokens that CLIP sees of a view: `S = q*q + 1`, the class token included."""
    edge = tokens_per_edge(towers.image, side)
    return edge * edge + 1


@formula
def encoder_tokens(towers: Towers, side: int) -> int:
    """Tokens that the encoder sees of a view: its features and its queries."""
    edge = tokens_per_edge(towers.image, side)
    return edge * edge + queries_of_view(towers.image, side)


@formula
def view(towers: Towers, side: int, flash: int) -> View:
    """SAM and CLIP, or the encoder, on a view of `side` pixels.

    Check, tensor: SAM of 1024 px 976,909,172,736, of 640 px 325,620,793,344; CLIP of S=257
    161,715,683,328, of S=101 62,004,756,480.
    """
    edge = patches_per_edge(towers.image, side)
    tokens, seen = clip_tokens(towers, side), encoder_tokens(towers, side)
    return View(
        sam_ends(towers.image, towers.sam, side),
        sam_block(towers.sam, edge, 0, flash),
        sam_block(towers.sam, edge, towers.sam.window, flash),
        clip_ends(towers.image, towers.clip, tokens),
        clip_block(towers.clip, tokens, flash),
        encoder_ends(towers.image, towers.encoder, seen),
        encoder_block(towers.encoder, seen, flash),
    )


@formula
def view_total(seen: View, times: Repeats, counts: Counts) -> Cost:
    """All layers of a view together."""
    whole = total(seen.global_blocks, counts.sam_block)
    windowed = total(seen.windowed_blocks, counts.sam_block)
    block = total(seen.clip_blocks, counts.clip_block)
    sam = add(
        scaled(whole, times.global_blocks, times.global_blocks),
        scaled(windowed, times.windowed_blocks, times.windowed_blocks),
    )
    clip = scaled(block, times.clip_blocks, times.clip_blocks)
    layer = total(seen.encoder_blocks, counts.encoder_block)
    encoder = scaled(layer, times.encoder_blocks, times.encoder_blocks)
    ends = add(total(seen.sam_ends, counts.sam_ends), total(seen.clip_ends, counts.clip_ends))
    ends = add(ends, total(seen.encoder_ends, counts.encoder_ends))
    return add(add(ends, encoder), add(sam, clip))


@formula
def view_peak(towers: Towers, seen: View, side: int, flash: int) -> int:
    """Values alive at once while a view is encoded: the widest of its layers."""
    sam, edge = towers.sam, patches_per_edge(towers.image, side)
    tokens = clip_tokens(towers, side)
    ends = max(
        seen.sam_ends.patches.activation_peak,
        seen.sam_ends.neck.activation_peak,
        seen.sam_ends.neck_norms.activation_peak,
        seen.clip_ends.embeddings.activation_peak,
    )
    whole = sam_block_peak(seen.global_blocks, sam, edge, 0, flash)
    windowed = sam_block_peak(seen.windowed_blocks, sam, edge, sam.window, flash)
    block = clip_block_peak(seen.clip_blocks, towers.clip, tokens, flash)
    both = encoder_tokens(towers, side)
    layer = encoder_block_peak(seen.encoder_blocks, towers.encoder, both, flash)
    return max(
        ends,
        whole * min(sam.global_blocks, 1),
        windowed * min(sam.blocks - sam.global_blocks, 1),
        block * min(towers.clip.blocks, 1),
        layer * min(towers.encoder.layers, 1),
    )


@formula
def projected_tokens(towers: Towers, image: ImageTokens) -> int:
    """Tokens through the projector: `q_G^2 + n*q_T^2`, or one for each query.

    The published accounting takes them with newlines, `q_G*(q_G+1)`, and takes the tokens of all
    tiles once for each tile, so that they grow with the square of the tiles.
    """
    projector = towers.projector
    if towers.image.many_queries > 0:
        return image.view_tokens - 1 + image.tile_tokens
    view_edge = tokens_per_edge(towers.image, image.view_size)
    tile_edge = tokens_per_edge(towers.image, image.tile_size)
    global_view = view_edge * (view_edge + projector.newline_tokens)
    plain = image.tiles * tile_edge * tile_edge
    tiles = plain + projector.newline_tokens * (image.tile_tokens - plain)
    return global_view + tiles * (1 + projector.repeats_tiles * (max(image.tiles, 1) - 1))


@formula
def joins(projector: Projector, tokens: int) -> Joins:
    """Projector over `tokens` tokens, and the two separators."""
    separators = table(projector.separators * projector.output_width)
    return Joins(mlp_projector(projector, tokens), separators)


@formula
def vision(towers: Towers, counts: Counts, image: ImageTokens, flash: int) -> Cost:
    """Vision phase of one image: towers on the global view and on each tile, projector.

    Views and tiles share the weights, which are read once a pass. The peak is that of all tiles
    of an image at once, or of the global view beside the tiles' projected tokens.
    Check, tensor: 1,139,967,033,344 without tiles; each 640 px tile adds 388,149,837,824.
    """
    times = repeats(towers)
    seen = view(towers, image.view_size, flash)
    tile = view(towers, image.tile_size, flash)
    joined = joins(towers.projector, projected_tokens(towers, image))
    tiles = scaled(view_total(tile, times, counts), image.tiles, 0)
    cost = add(view_total(seen, times, counts), add(tiles, total(joined, counts.joins)))
    tile_features = features_of_view(towers.image, image.tile_size)
    kept = image.tiles * tile_features * towers.projector.output_width
    peak = max(
        image.tiles * view_peak(towers, tile, image.tile_size, flash),
        kept + view_peak(towers, seen, image.view_size, flash),
        joined.projector.activation_peak,
    )
    return with_peak(cost, peak)


class VisionPhase(NamedTuple):
    """Vision of one image."""

    counts: Phase
    read_bytes: int
    """Weights that a pass reads once."""
    held_bytes: int


@formula
def vision_phase(
    towers: Towers, counts: Counts, convention: Convention, image: ImageTokens, flash: int
) -> VisionPhase:
    """Counts of vision of one image; towers are not split, each device sees its own images.

    Parameters
    ----------
    towers : Towers
        Of the model.
    counts, convention : Counts, Convention
        Of the accounting.
    image : ImageTokens
        The image as views and tiles.
    flash : int
        1: flash attention; 0: eager.
    """
    size = convention.dtype_bytes
    cost = vision(towers, counts, image, flash)
    peak = activation(convention, cost, cost.activation_peak)
    return VisionPhase(
        counts=phase_of(convention, cost, NO_TRAFFIC, cost.kv_io * size, 0, peak),
        read_bytes=cost.weight_io * size,
        held_bytes=cost.weights * size,
    )
