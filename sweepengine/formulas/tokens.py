"""Passes, and how many keys their tokens meet."""

from typing import NamedTuple

from sweepengine.formulas.architecture import Attention, FeedForward, Group, Span
from sweepengine.formulas.cost import formula


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
    features: int = 0
    """S, rows of images that layers of each sequence meet (`points.rows_of_images`)."""


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
    features: int = 0
    """S, rows of images: cross attention meets them instead of keys, or they take own experts."""
    made: int = 0
    """Of them those that run through the pass: all in a prefill, none in a step."""


@formula
def ceil_div(numerator: int, denominator: int) -> int:
    """`numerator / denominator`, rounded up."""
    return (numerator + denominator - 1) // denominator


def smaller(one: int, other: int) -> int:
    """The smaller of two numbers, or columns of numbers."""
    return other - (other - one) * (one < other)


def larger(one: int, other: int) -> int:
    """The larger of two numbers, or columns of numbers."""
    return one + other - smaller(one, other)


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
def seen_by(
    attention: Attention, tokens: int, cached: int, flash: int, absorbed: int, features: int
) -> LayerPass:
    """What a layer of one kind of attention sees of T tokens behind C cached ones.

    Parameters
    ----------
    attention : Attention
        Of the layer.
    tokens, cached : int
        T and C.
    flash, absorbed : int
        As `LayerPass` has them.
    features : int
        S, of the images among the new tokens.
    """
    return LayerPass(
        tokens=tokens,
        cached=cached,
        keys=keys_of_pass(tokens, cached, attention.window),
        entries=entries_of_pass(tokens, cached, attention.stride),
        flash=flash,
        absorbed=absorbed,
        features=features,
        made=features,
    )


@formula
def layers_run(group: Group, features: int) -> int:
    """Layers of a group that a pass runs: those of cross attention only where there are features.

    Source: transformers 5.23, `MllamaTextModel.forward`; a decoder with an encoder always has them.
    """
    if group.attention.crossed > 0 and features == 0:
        return 0
    return group.layers


@formula
def image_tokens_run(forward: FeedForward, tokens: int, made: int) -> int:
    """Of T tokens of a pass with S of images, those that take the experts for images; else 0."""
    return min(forward.image_width, 1) * min(tokens, made)


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
