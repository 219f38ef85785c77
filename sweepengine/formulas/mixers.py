"""What sets the kinds of recurrent mixers apart (docs/decoders.md, "Recurrent layers").

Each function stands for one kind: T `tokens` behind C `cached` ones. Its projections, short
convolution and state are the same for all kinds, and stand in `recurrent.py`.
"""

from typing import NamedTuple

from sweepengine.formulas.architecture import Recurrent
from sweepengine.formulas.cost import formula
from sweepengine.formulas.gemms import convolved_width
from sweepengine.formulas.tokens import ceil_div


class Mixing(NamedTuple):
    """What a kind of mixer adds to its projections and its convolution, in one pass."""

    tables: int
    """Weight values of norms, decays and biases, those of projections aside."""
    tensor_flops: int
    cuda_flops: int
    moved: int
    """Values a token that are written or read beside input, channels, gate and output."""


@formula
def is_step(tokens: int, cached: int) -> int:
    """1 where a pass updates the state by one token, 0 where it works in chunks."""
    return 1 if tokens == 1 and cached > 0 else 0


@formula
def gated_delta_net(mixer: Recurrent, tokens: int, cached: int) -> Mixing:
    """Chunks of c tokens `2*Hv*n*c*(2*c*dk + 3*dk*dv + c*dv)`, n = ceil(T/c); c = 64.

    A step is element-wise, CUDA `7*Hv*dk*dv`. Tables `2*Hv + dv`.
    """
    heads, keys, values, chunk = mixer.heads, mixer.key_width, mixer.value_width, mixer.chunk
    step = is_step(tokens, cached)
    padded = ceil_div(tokens, max(chunk, 1)) * chunk
    chunks = 2 * padded * (2 * chunk * keys + 3 * keys * values + chunk * values)
    return Mixing(
        tables=2 * heads + values,
        tensor_flops=(1 - step) * heads * chunks,
        cuda_flops=step * 7 * heads * keys * values,
        moved=0,
    )


@formula
def mamba_2(mixer: Recurrent, tokens: int, cached: int) -> Mixing:
    """Chunks of c tokens `2*H*(n*c*(c*s + c*p + 2*s*p) + (n+1)^2*s*p)`; a step `2*H*s*p`.

    Tables `D + 3*H`, and `H*p` of a norm of mixed values.
    """
    heads, keys, values, chunk = mixer.heads, mixer.key_width, mixer.value_width, mixer.chunk
    chunks = ceil_div(tokens, max(chunk, 1))
    scan = 2 * chunks * chunk * (chunk * keys + chunk * values + 2 * keys * values)
    scan += 2 * (chunks + 1) * (chunks + 1) * keys * values
    flops = 2 * keys * values if is_step(tokens, cached) > 0 else scan
    normed = mixer.inner_norm * heads * values
    return Mixing(convolved_width(mixer) + 3 * heads + normed, heads * flops, 0, 0)


@formula
def mamba_1(mixer: Recurrent, tokens: int, cached: int) -> Mixing:
    """Output `2*T*I*s` of a recurrence that is element-wise, CUDA `6*T*I*s`; a step is alike.

    Tables `I*s + 3*I`: decays, and of a channel two biases and a skip; norms of the R + 2s selected
    values where it has them.
    """
    states = mixer.heads * mixer.key_width
    selected = mixer.rank + 2 * mixer.key_width
    return Mixing(
        tables=states + 3 * mixer.heads + mixer.inner_norm * selected,
        tensor_flops=2 * tokens * states,
        cuda_flops=6 * tokens * states,
        moved=selected + mixer.heads,
    )


@formula
def short_convolution(mixer: Recurrent, tokens: int, cached: int) -> Mixing:
    """A convolution between two gates, CUDA `2*T*h`; tables h where it has a bias."""
    return Mixing(mixer.bias * mixer.heads, 0, 2 * tokens * mixer.heads, mixer.heads)


@formula
def kimi_delta_attention(mixer: Recurrent, tokens: int, cached: int) -> Mixing:
    """Chunks of c = 64 tokens `2*H*n*c*(3*c*d + 3*d*d)`; a step is element-wise, CUDA `7*H*d*d`.

    Scores within a chunk decay channel by channel, so both matrices of them are element-wise, CUDA
    `6*H*n*c*c*d`. Tables `I + H + d`. Source: transformers 5.23, modeling_kimi_linear.py.
    """
    heads, width, chunk = mixer.heads, mixer.key_width, mixer.chunk
    step = is_step(tokens, cached)
    padded = ceil_div(tokens, max(chunk, 1)) * chunk
    state, scores = width * width, chunk * width
    return Mixing(
        tables=heads * width + heads + width,
        tensor_flops=(1 - step) * 6 * heads * padded * (scores + state),
        cuda_flops=heads * (step * 7 * state + (1 - step) * 6 * padded * scores),
        moved=heads * width + 2 * mixer.rank,
    )


@formula
def lightning_attention(mixer: Recurrent, tokens: int, cached: int) -> Mixing:
    """Blocks of up to B tokens, `2*N*(2*t*t*d + 2*t*d*d)` each; behind a cache `4*N*d*d` a token.

    Decay of the state is element-wise, CUDA `N*d*d` a block or token. Tables I.
    """
    heads, width, block = mixer.heads, mixer.key_width, max(mixer.chunk, 1)
    whole, rest = tokens // block, tokens % block
    pairs = whole * block * block + rest * rest
    if cached > 0:
        flops, updates = 4 * tokens * width * width, tokens
    else:
        flops = 4 * (pairs * width + tokens * width * width)
        updates = ceil_div(tokens, block)
    return Mixing(heads * width, heads * flops, heads * updates * width * width, 0)


@formula
def rg_lru(mixer: Recurrent, tokens: int, cached: int) -> Mixing:
    """A recurrence of l channels, CUDA `2*T*l`.

    Where T = 1 its convolution is element-wise as well, `2*w*l`. Tables `4*l`: biases of
    convolution and gates, and decays.
    """
    width = mixer.heads * mixer.value_width
    convolved = 2 * mixer.convolution * width if tokens == 1 else 0
    return Mixing(4 * width, 0, 2 * tokens * width + convolved, 2 * width)
