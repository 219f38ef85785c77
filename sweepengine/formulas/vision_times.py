"""Times of the vision phase: towers as GEMMs, attention that is not causal, and moves.

Towers run as released, in PyTorch without compiled kernels of their own: norms, residual adds and
activations are kernels each, and SAM's relative positions are a bias that is written out and read.
Times are in microseconds.
"""

from math import sqrt

from sweepengine.formulas.blocks import rows_of_blocks, rows_of_join
from sweepengine.formulas.cost import formula
from sweepengine.formulas.seconds import element_wise, encoder_attention, gemm
from sweepengine.formulas.speeds import VALUE, Speeds
from sweepengine.formulas.towers import Blocks, Join, Towers
from sweepengine.formulas.views import ImageViews, View


@formula
def blocks_us(blocks: Blocks, view: View, images: float, speeds: Speeds) -> float:
    """All blocks of a group over `images` views at once.

    Attention is projected for padded rows of windows too.

    Parameters
    ----------
    blocks, view : Blocks, View
        A group of blocks, and what runs through it.
    images : float
        Views.
    speeds : Speeds
        Rates of the device.
    """
    if images * blocks.layers <= 0.0:
        return 0.0
    launch, moved, plain = speeds.host.pass_launch, speeds.host.moved, speeds.plain
    rows = rows_of_blocks(blocks, view)
    own, attended = images * rows.own, images * rows.attended
    width, mlp_width = blocks.width, blocks.mlp_width
    wide = blocks.heads * blocks.head_width
    keys = 2 * blocks.key_value_heads * blocks.head_width
    found = 0.0
    if blocks.source > 0:
        found += gemm(attended, wide, width, plain)
        found += gemm(images * rows.source, keys, blocks.source_width, plain)
    else:
        found += gemm(attended, wide + keys, width, plain)
    found += gemm(attended, width, wide, plain)
    found += gemm(own, (blocks.matrices - 1) * mlp_width, width, plain)
    found += gemm(own, width, mlp_width, plain)
    branches = min(blocks.heads, 1) + min(mlp_width, 1)
    found += (blocks.norms + blocks.scales) * element_wise(2.0 * VALUE * own * width, launch, moved)
    found += branches * element_wise(3.0 * VALUE * own * width, launch, moved)
    found += element_wise(blocks.matrices * VALUE * own * mlp_width, launch, moved)
    convolved = element_wise(2.0 * VALUE * own * width, launch, moved)
    found += blocks.convolutions * convolved
    tokens = sqrt(rows.pairs / rows.windows)
    sequences = images * rows.windows
    found += encoder_attention(sequences, blocks.heads, blocks.head_width, tokens, speeds.encoder)
    bias = 2.0 * VALUE * images * blocks.heads * rows.pairs * min(blocks.relative_flops, 1)
    return blocks.layers * (found + element_wise(bias, launch, moved))


@formula
def join_us(join: Join, view: View, images: float, features: int, speeds: Speeds) -> float:
    """A join over `images` views, or over the features of so many images.

    Parameters
    ----------
    join, view : Join, View
        A join, and what runs through it.
    images : float
        Views; of a join over whole images, these.
    features : int
        Of an image.
    speeds : Speeds
        Rates of the device.
    """
    if images <= 0.0:
        return 0.0
    rows = images * rows_of_join(join, view, join.merge, features)
    if join.inputs > 0:
        wide = join.matrices * join.outputs
        return gemm(rows, wide, join.taps * join.inputs, speeds.plain)
    moved = max(join.moves, 2) * VALUE * rows * join.outputs
    return element_wise(moved, speeds.host.pass_launch, speeds.host.moved)


@formula
def blocks_of_image_us(blocks: Blocks, image: ImageViews, images: float, speeds: Speeds) -> float:
    """A group of blocks over so many images: their views in one pass, all tiles in another.

    Parameters
    ----------
    blocks : Blocks
        A group of blocks.
    image : ImageViews
        Views of an image.
    images : float
        Images.
    speeds : Speeds
        Rates of the device.
    """
    found = blocks_us(blocks, image.views, images * image.views.count, speeds)
    return found + blocks_us(blocks, image.tiles, images * image.tiles.count, speeds)


@formula
def join_of_image_us(join: Join, image: ImageViews, images: float, speeds: Speeds) -> float:
    """A join over so many images, likewise.

    Parameters
    ----------
    join : Join
        A join.
    image : ImageViews
        Views of an image.
    images : float
        Images.
    speeds : Speeds
        Rates of the device.
    """
    if join.whole > 0:
        return join_us(join, image.views, images, image.joined, speeds)
    views, tiles = images * image.views.count, images * image.tiles.count
    found = join_us(join, image.views, views, image.joined, speeds)
    return found + join_us(join, image.tiles, tiles, image.joined, speeds)


def vision_us(towers: Towers, image: ImageViews, images: float, speeds: Speeds) -> float:
    """Vision of so many images.

    Parameters
    ----------
    towers : Towers
        Of the model.
    image : ImageViews
        Views of an image.
    images : float
        Images.
    speeds : Speeds
        Rates of the device.
    """
    found = 0.0
    for blocks in towers.blocks:
        found += blocks_of_image_us(blocks, image, images, speeds)
    for join in towers.joins:
        found += join_of_image_us(join, image, images, speeds)
    return found
