"""Tokens: how many an image becomes, and how many keys the tokens of a pass meet."""

from typing import NamedTuple

from sweepengine.formulas.architecture import Attention, Span
from sweepengine.formulas.cost import formula
from sweepengine.formulas.towers import Image


class Pass(NamedTuple):
    """Sequences that run through a model together, each with new tokens behind cached ones.

    Prefill, a chunk of it, a decode step and a verification step of several drafted tokens are
    passes alike.
    """

    sequences: float
    tokens: int
    """New tokens of each sequence."""
    cached: int
    """Tokens of each that the KV cache holds already."""
    decode: int
    """1: kernels of decode steps run, which absorb latents; 0: those of prefill."""


class LayerPass(NamedTuple):
    """A pass of one sequence as a layer sees it."""

    tokens: int
    """T, that run through the layer."""
    cached: int
    """C, before them."""
    keys: int
    """L, that each of them meets, its own among them."""
    entries: int
    """E, compressed KV entries that each of them meets beside the keys."""
    flash: int
    """1: scores are never written out; 0: eager attention."""
    absorbed: int
    """1: latents are absorbed, as engines decode; 0: expanded."""


class ImageTokens(NamedTuple):
    """One image as the encoder sees it: a global view and `tiles` tiles."""

    view_size: int
    """Side of the global view, pixels."""
    tile_size: int
    """Side of a tile, pixels."""
    tiles: int
    """Number of tiles, rows x columns."""
    view_tokens: int
    """Tokens of the global view with a newline a row and one separator."""
    tile_tokens: int
    """Tokens of all tiles with a newline a row; 0 without tiles."""


NO_IMAGE = ImageTokens(view_size=0, tile_size=0, tiles=0, view_tokens=0, tile_tokens=0)
"""Of a model without vision."""


@formula
def ceil_div(numerator: int, denominator: int) -> int:
    """`numerator / denominator`, rounded up."""
    return (numerator + denominator - 1) // denominator


@formula
def patches_per_edge(image: Image, side: int) -> int:
    """Patches along the edge of a view: `g = s/16`."""
    return side // image.patch_size


@formula
def tokens_per_edge(image: Image, side: int) -> int:
    """Projected tokens along the edge of a view: `q = ceil(g/4)`."""
    return ceil_div(patches_per_edge(image, side), image.patches_per_token)


@formula
def queries_of_view(image: Image, side: int) -> int:
    """Queries that become a view's tokens, few where they are enough for its features; or none."""
    edge = tokens_per_edge(image, side)
    return image.few_queries if edge * edge <= image.few_queries else image.many_queries


@formula
def features_of_view(image: Image, side: int) -> int:
    """Tokens of a view that go through the projector: one a query, or a feature `q*q`."""
    edge = tokens_per_edge(image, side)
    queries = queries_of_view(image, side)
    return queries if queries > 0 else edge * edge


@formula
def image_tokens(
    image: Image, view_size: int, tile_size: int, crop_rows: int, crop_cols: int
) -> ImageTokens:
    """Geometry of one image (docs/vision.md, "Image geometry and tokens").

    The global view gives `q_G*(q_G+1) + 1` tokens and the tiles `r*q_T * (c*q_T + 1)`, which is
    0 without tiles. Tokens of queries have no newlines: `view + 1` and `r*c*tile`.
    """
    if image.many_queries > 0:
        tiles = crop_rows * crop_cols
        return ImageTokens(
            view_size=view_size,
            tile_size=tile_size,
            tiles=tiles,
            view_tokens=queries_of_view(image, view_size) + 1,
            tile_tokens=tiles * queries_of_view(image, tile_size),
        )
    view_edge = tokens_per_edge(image, view_size)
    tile_edge = tokens_per_edge(image, tile_size)
    return ImageTokens(
        view_size=view_size,
        tile_size=tile_size,
        tiles=crop_rows * crop_cols,
        view_tokens=view_edge * (view_edge + 1) + 1,
        tile_tokens=crop_rows * tile_edge * (crop_cols * tile_edge + 1),
    )


@formula
def keys_of_pass(tokens: int, cached: int, window: int) -> int:
    """Keys that each of T tokens of a pass meets on C cached ones: `L = T + min(C, W-1)`.

    The full rectangle, as torch counts: no causal or banded saving within a pass.
    """
    return tokens + cached if window == 0 else tokens + min(cached, window - 1)


@formula
def entries_of_pass(tokens: int, cached: int, stride: int) -> int:
    """Entries that each of T tokens of a pass on C cached ones meets: `(C+T)//m`, m the stride."""
    return 0 if stride == 0 else (cached + tokens) // stride


@formula
def seen_by(attention: Attention, tokens: int, cached: int, flash: int, absorbed: int) -> LayerPass:
    """What a layer of one kind of attention sees of T tokens behind C cached ones.

    Parameters
    ----------
    attention : Attention
        Of the layer.
    tokens, cached : int
        T and C.
    flash, absorbed : int
        As `LayerPass` has them.
    """
    return LayerPass(
        tokens=tokens,
        cached=cached,
        keys=keys_of_pass(tokens, cached, attention.window),
        entries=entries_of_pass(tokens, cached, attention.stride),
        flash=flash,
        absorbed=absorbed,
    )


@formula
def entries_up_to(tokens: int, stride: int) -> int:
    """Entries that steps at contexts of 1 to N tokens meet in all: `sum n//m`, in closed form.

    `m*q*(q-1)/2 + q*(N - m*q + 1)`, `q = N//m`.
    """
    whole = tokens // stride
    return stride * whole * (whole - 1) // 2 + whole * (tokens - stride * whole + 1)


@formula
def keys_of_steps(cached: int, steps: int, span: Span) -> int:
    """Keys that K one-token steps meet in all, the first one C cached ones and its own.

    `S(C, K, W) = n*(C+1) + n*(n-1)/2 + (K-n)*W`, `n = min(K, max(0, W-C))` steps that the window
    does not cut; without a window n = K. Entries: `E(C+K) - E(C)`, E being `entries_up_to`.
    """
    if span.stride > 0:
        return entries_up_to(cached + steps, span.stride) - entries_up_to(cached, span.stride)
    window = span.window
    uncut = steps if window == 0 else min(steps, max(0, window - cached))
    return uncut * (cached + 1) + uncut * (uncut - 1) // 2 + (steps - uncut) * window


@formula
def keys_of_last_step(cached: int, steps: int, span: Span) -> int:
    """Keys that the last of K steps meets, which are the most."""
    keys = cached + max(steps, 1)
    if span.stride > 0:
        return keys // span.stride
    return keys if span.window == 0 else min(keys, span.window)


@formula
def held_tokens(tokens: int, span: Span) -> int:
    """Tokens of N that a layer's KV cache holds: a window keeps W-1, the next is the W-th.

    Of entries `N//m`, and beside them values and gates of tokens that none stands for yet,
    `2*s*(N mod m)` in their width; two series (s) also keep those of the last m tokens that have
    one, `2*m`.
    """
    if span.stride == 0:
        return tokens if span.window == 0 else min(tokens, span.window - 1)
    entries = tokens // span.stride
    waiting = 2 * span.series * (tokens - entries * span.stride)
    return entries + waiting + (span.series - 1) * 2 * span.stride * min(entries, 1)
