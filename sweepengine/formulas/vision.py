"""The vision phase: the blocks and joins of towers on each view of an image.

A fold over `Towers.blocks` and `Towers.joins`, which plain Python and the kernel make alike.
"""

from typing import NamedTuple

from sweepengine.formulas.architecture import Convention, Counts
from sweepengine.formulas.blocks import (
    block,
    join_cost,
    patch_rows,
    peak_of_block,
)
from sweepengine.formulas.cost import (
    NOTHING,
    Cost,
    CountedOperator,
    add,
    counted,
    formula,
    scaled,
    total,
)
from sweepengine.formulas.figures import Phase, phase_of
from sweepengine.formulas.layout import NO_TRAFFIC
from sweepengine.formulas.phases import activation
from sweepengine.formulas.towers import Blocks, Join, Towers
from sweepengine.formulas.views import ImageViews, View


class Encoded(NamedTuple):
    """Views that have run through some parts of towers."""

    cost: Cost
    view_peak: int
    """Values alive at once while one view is encoded."""
    tile_peak: int
    joined_peak: int
    """While the features of all views are joined."""


NOT_ENCODED = Encoded(NOTHING, 0, 0, 0)


@formula
def encoded_by_blocks(
    blocks: Blocks, counts: tuple[CountedOperator, ...], image: ImageViews, flash: int
) -> Encoded:
    """All views of an image through a group of blocks; they share the weights.

    Parameters
    ----------
    blocks, counts : Blocks, tuple of CountedOperator
        A group of blocks, and what is counted of its operators.
    image : ImageViews
        Views of the image.
    flash : int
        1: flash attention; 0: eager.
    """
    layers, present = blocks.layers, min(blocks.layers, 1)
    seen, tile = block(blocks, image.views, flash), block(blocks, image.tiles, flash)
    of_views = scaled(total(seen, counts), layers * image.views.count, layers)
    of_tiles = scaled(total(tile, counts), layers * image.tiles.count, 0)
    return Encoded(
        cost=add(of_views, of_tiles),
        view_peak=present * peak_of_block(seen, blocks, image.views, flash),
        tile_peak=present * peak_of_block(tile, blocks, image.tiles, flash),
        joined_peak=0,
    )


@formula
def encoded_by_join(join: Join, counts: CountedOperator, image: ImageViews) -> Encoded:
    """All views of an image through a join, one by one or their features together.

    Parameters
    ----------
    join, counts : Join, CountedOperator
        A join, and what is counted of it.
    image : ImageViews
        Views of the image.
    """
    seen = counted(join_cost(join, image.views, image.joined), counts)
    if join.whole > 0:
        return Encoded(seen, 0, 0, seen.activation_peak)
    tile = counted(join_cost(join, image.tiles, image.joined), counts)
    return Encoded(
        cost=add(scaled(seen, image.views.count, 1), scaled(tile, image.tiles.count, 0)),
        view_peak=seen.activation_peak,
        tile_peak=tile.activation_peak,
        joined_peak=0,
    )


@formula
def both_encoded(first: Encoded, second: Encoded) -> Encoded:
    """Two parts of towers together."""
    return Encoded(
        cost=add(first.cost, second.cost),
        view_peak=max(first.view_peak, second.view_peak),
        tile_peak=max(first.tile_peak, second.tile_peak),
        joined_peak=max(first.joined_peak, second.joined_peak),
    )


class VisionPhase(NamedTuple):
    """Vision of one image."""

    counts: Phase
    read_bytes: int
    """Weights that a pass reads once."""
    held_bytes: int


@formula
def features_of_view(view: View, merge: int) -> int:
    """Features that a view becomes: its queries, or one for `merge x merge` patches."""
    return view.queries if view.queries > 0 else patch_rows(view, merge)


@formula
def vision_phase(
    convention: Convention, merge: int, width: int, image: ImageViews, found: Encoded
) -> VisionPhase:
    """Counts of vision of one image; towers are not split, each device sees its own images.

    The peak is that of all tiles at once, or of the views beside the tiles' features.

    Parameters
    ----------
    convention : Convention
        Of the accounting.
    merge, width : int
        Patches an edge of a feature, and its channels.
    image : ImageViews
        Views of the image.
    found : Encoded
        All parts of the towers together.
    """
    size, tiles = convention.dtype_bytes, image.tiles
    kept = tiles.count * features_of_view(tiles, merge) * width
    alive = max(
        tiles.count * found.tile_peak,
        kept + image.views.count * found.view_peak,
        found.joined_peak,
    )
    peak = activation(convention, found.cost, alive)
    return VisionPhase(
        counts=phase_of(convention, found.cost, NO_TRAFFIC, found.cost.kv_io * size, 0, peak),
        read_bytes=found.cost.weight_io * size,
        held_bytes=found.cost.weights * size,
    )


def of_images(one: VisionPhase, images: int) -> VisionPhase:
    """Vision of so many images, counts or columns of them; they share the weights of a pass."""
    return VisionPhase(
        Phase(*(images * count for count in one.counts)),
        (images > 0) * one.read_bytes,
        one.held_bytes,
    )


def vision_of(
    convention: Convention, towers: Towers, counts: Counts, image: ImageViews, flash: int
) -> VisionPhase:
    """Vision of one image.

    Check, tensor, DeepSeek-OCR: 1,139,967,033,344 without tiles; each 640 px tile adds
    388,149,837,824.

    Parameters
    ----------
    convention : Convention
        Of the accounting.
    towers, counts : Towers, Counts
        Of the model, and what is counted of them.
    image : ImageViews
        Views of the image.
    flash : int
        1: flash attention; 0: eager.
    """
    found = encoded(towers, counts, image, flash)
    return vision_phase(convention, towers.merge, towers.width, image, found)


def encoded(
    towers: Towers, counts: Counts, image: ImageViews, flash: int, tower: str = ""
) -> Encoded:
    """All views of an image through all parts of the towers, or of one by its prefix.

    Parameters
    ----------
    towers, counts : Towers, Counts
        Of the model, and what is counted of them.
    image : ImageViews
        Views of the image.
    flash : int
        1: flash attention; 0: eager.
    tower : str
        Prefix of a tower's operators, such as "sam"; empty: all towers.
    """
    found = NOT_ENCODED
    for name, blocks, roles in zip(towers.block_names, towers.blocks, counts.blocks, strict=True):
        if tower in ("", name.tower):
            found = both_encoded(found, encoded_by_blocks(blocks, roles, image, flash))
    for name, join, role in zip(towers.join_names, towers.joins, counts.joins, strict=True):
        if tower in ("", name.tower):
            found = both_encoded(found, encoded_by_join(join, role, image))
    return found
