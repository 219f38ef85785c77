"""Times of the vision phase: towers as GEMMs, attention that is not causal, and moves.

Towers run as released, in PyTorch without compiled kernels of their own: norms, residual adds and
activations are kernels each, and SAM's relative positions are a bias that is written out and read.
Times are in microseconds.
"""

from typing import NamedTuple

from sweepengine.formulas.cost import formula
from sweepengine.formulas.seconds import element_wise, encoder_attention, gemm
from sweepengine.formulas.speeds import VALUE, Speeds
from sweepengine.formulas.tokens import (
    ImageTokens,
    ceil_div,
    patches_per_edge,
)
from sweepengine.formulas.towers import Clip, Encoder, Image, Sam, Towers
from sweepengine.formulas.vision import (
    Repeats,
    clip_tokens,
    encoder_tokens,
    projected_tokens,
    repeats,
)


class ViewTimes(NamedTuple):
    """Microseconds of each kind of layers of views, all of a kind together, as `vision.View`."""

    sam_ends: float
    global_blocks: float
    windowed_blocks: float
    clip_ends: float
    clip_blocks: float
    encoder_ends: float
    encoder_blocks: float


@formula
def block_us(
    rows: float,
    attended: float,
    width: int,
    mlp_width: int,
    matrices: int,
    keys: int,
    speeds: Speeds,
) -> float:
    """GEMMs, norms, activation and residual adds of a block; `keys` is the width of its keys.

    Attention is projected for `attended` rows, padded ones of windows included.
    """
    host, launch = speeds.host, speeds.host.pass_launch
    found = gemm(attended, width + 2 * keys, width, speeds.plain)
    found += gemm(attended, width, width, speeds.plain)
    found += gemm(rows, (matrices - 1) * mlp_width, width, speeds.plain)
    found += gemm(rows, width, mlp_width, speeds.plain)
    found += 2.0 * element_wise(2.0 * VALUE * rows * width, launch, host.moved)
    found += 2.0 * element_wise(3.0 * VALUE * rows * width, launch, host.moved)
    return found + element_wise(matrices * VALUE * rows * mlp_width, launch, host.moved)


@formula
def sam_block_us(sam: Sam, edge: int, window_edge: int, images: float, speeds: Speeds) -> float:
    """A block of SAM over a grid of patches, whole (`window_edge` 0) or in padded windows."""
    side = window_edge if window_edge > 0 else edge
    across = ceil_div(edge, side)
    windows = images * across * across
    tokens = side * side
    rows, attended = images * edge * edge, windows * tokens
    found = block_us(rows, attended, sam.width, sam.mlp_width, 2, sam.width, speeds)
    found += encoder_attention(windows, sam.heads, sam.width / sam.heads, tokens, speeds.encoder)
    bias = 2.0 * VALUE * windows * sam.heads * tokens * tokens
    moved = bias * min(sam.relative_position_flops, 1)
    return found + element_wise(moved, speeds.host.pass_launch, speeds.host.moved)


@formula
def sam_ends_us(image: Image, sam: Sam, edge: int, images: float, speeds: Speeds) -> float:
    """Patches and the convolutions of the neck, each a GEMM over its taps; us."""
    patches = images * edge * edge
    half = ceil_div(edge, 2)
    quarter = ceil_div(half, 2)
    rates, neck = speeds.plain, sam.neck_width
    fan_in = image.patch_size * image.patch_size * image.channels
    found = gemm(patches, sam.width, fan_in, rates) + gemm(patches, neck, sam.width, rates)
    found += gemm(patches, neck, 9 * neck, rates)
    found += gemm(images * half * half, sam.downsample_width, 9 * neck, rates)
    taps = 9 * sam.downsample_width
    found += gemm(images * quarter * quarter, sam.output_width, taps, rates)
    normed = 4.0 * VALUE * patches * neck
    return found + 2.0 * element_wise(normed, speeds.host.pass_launch, speeds.host.moved)


@formula
def clip_block_us(clip: Clip, tokens: int, images: float, speeds: Speeds) -> float:
    """A block of CLIP."""
    rows = images * tokens
    found = block_us(rows, rows, clip.width, clip.mlp_width, 2, clip.width, speeds)
    width = clip.width / clip.heads
    return found + encoder_attention(images, clip.heads, width, tokens, speeds.encoder)


@formula
def encoder_block_us(encoder: Encoder, tokens: int, images: float, speeds: Speeds) -> float:
    """A layer of an encoder of queries."""
    width = encoder.width / encoder.heads
    keys = encoder.key_value_heads * encoder.width // encoder.heads
    rows = images * tokens
    found = block_us(rows, rows, encoder.width, encoder.mlp_width, 3, keys, speeds)
    return found + encoder_attention(images, encoder.heads, width, tokens, speeds.encoder)


@formula
def view_times(towers: Towers, side: int, images: float, speeds: Speeds) -> ViewTimes:
    """All layers over `images` views of `side` pixels in one pass; us."""
    if images <= 0.0:
        return ViewTimes(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    times: Repeats = repeats(towers)
    sam, edge = towers.sam, patches_per_edge(towers.image, side)
    host, launch = speeds.host, speeds.host.pass_launch
    tokens, seen = clip_tokens(towers, side), encoder_tokens(towers, side)
    embedded = 2.0 * VALUE * images * tokens * towers.clip.width
    normed = 2.0 * VALUE * images * seen * towers.encoder.width
    clip, encoder = 0.0, 0.0
    if times.clip_blocks > 0:
        clip = times.clip_blocks * clip_block_us(towers.clip, tokens, images, speeds)
    if times.encoder_blocks > 0:
        layer = encoder_block_us(towers.encoder, seen, images, speeds)
        encoder = times.encoder_blocks * layer
    return ViewTimes(
        sam_ends_us(towers.image, sam, edge, images, speeds),
        times.global_blocks * sam_block_us(sam, edge, 0, images, speeds),
        times.windowed_blocks * sam_block_us(sam, edge, sam.window, images, speeds),
        2.0 * element_wise(embedded, launch, host.moved),
        clip,
        element_wise(normed, launch, host.moved),
        encoder,
    )


@formula
def projector_us(towers: Towers, image: ImageTokens, images: float, speeds: Speeds) -> float:
    """Projector over the features of all views."""
    projector, rows = towers.projector, images * projected_tokens(towers, image)
    found = gemm(rows, projector.output_width, projector.input_width, speeds.plain)
    further = gemm(rows, projector.output_width, projector.output_width, speeds.plain)
    return found + (projector.layers - 1) * further


@formula
def vision_us(towers: Towers, image: ImageTokens, images: float, speeds: Speeds) -> float:
    """Vision of so many images: their global views in one pass, all their tiles in another."""
    views = view_times(towers, image.view_size, images, speeds)
    tiles = view_times(towers, image.tile_size, images * image.tiles, speeds)
    found = projector_us(towers, image, images, speeds)
    for index in range(len(views)):
        found += views[index] + tiles[index]
    return found
