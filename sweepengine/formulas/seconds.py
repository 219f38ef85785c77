"""Seconds of one operator: a closed form for each kind, with rates that were fitted to silicon.

Times are in microseconds. The forms and what each term buys: docs/times.md; their rates
(`operator_rates.py`) are fitted with a Huber loss on the logarithm.
"""

from math import exp
from typing import NamedTuple

from sweepengine.formulas.cost import formula
from sweepengine.formulas.operator_rates import (
    AllReduceRates,
    DecodeRates,
    EncoderRates,
    ExchangeRates,
    GemmRates,
    LatentDecodeRates,
    LatentPrefillRates,
    MoeRates,
    PrefillRates,
)


class Line(NamedTuple):
    """Time of a step as a function of the keys it meets: pieces that are affine each."""

    launch: float
    latency: float
    latency_keys: float
    base: float
    growth: float
    """Of traffic, a key."""
    work: float
    """A key."""


NO_LINE = Line(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


@formula
def warmth(share: float, warm_bytes: float, moved: float) -> float:
    """Part of `moved` bytes that memory delivers: a cache holds them below its size."""
    filled = moved / warm_bytes
    return 1.0 - share * max(0.0, 1.0 - filled * filled * filled * filled)


@formula
def gemm(m: float, n: float, k: float, rates: GemmRates) -> float:
    """GEMM of m x k activations and k x n weights, us.

    `t0 + ck*min(k, k0) + cq*m*(k+kq) + max(C, M) + g*min(C, M)`: work
    `C = 2*m*n*(k+kc)/flops`, longer by `1 + dp*C/(C+500)` as the clock droops; traffic
    `M = (weights + al*(min(wb, 2)*m*k + 2*m*n))/bytes`, wb bytes a weight. Source: docs/times.md,
    "GEMM"; the warm share is ours.
    """
    if m * n * k <= 0.0:
        return 0.0
    work = 2.0 * m * n * (k + rates.pad) / rates.flops
    work *= 1.0 + rates.droop * work / (work + 500.0)
    weights = rates.weight_bytes * n * k
    weights *= warmth(rates.warm, rates.warm_bytes, weights)
    values = min(rates.weight_bytes, 2.0) * m * k + 2.0 * m * n
    moved = (weights + rates.activations * values) / rates.bytes
    before = rates.launch + rates.depth * min(k, rates.depth_cap)
    before += rates.quantise * m * (k + rates.quantise_pad)
    return before + max(work, moved) + rates.overlap * min(work, moved)


@formula
def decode_line(
    sequences: float,
    heads: float,
    key_heads: float,
    width: float,
    value_bytes: float,
    rates: DecodeRates,
    tokens: int = 1,
) -> Line:
    """Attention of b sequences with q new tokens each, n query heads, g heads of h channels.

    `t0 + cs*min(s, s0) + (ct*g + cq*q*n)*b*h/128 + max(M, C)` at s keys: traffic
    `M = (2*b*g*h*kb*s + 4*b*q*n*h)/bytes`, work `C = 4*b*q*n*h*s/flops`. Kernels were measured at
    one token; that several read the keys once is ours.
    """
    if heads <= 0.0:
        return NO_LINE
    single = heads == key_heads
    heads *= tokens
    blocks = (rates.block * key_heads + rates.query * heads) * sequences * width / 128.0
    return Line(
        launch=rates.launch + blocks,
        latency=rates.latency,
        latency_keys=rates.latency_single if single else rates.latency_keys,
        base=4.0 * sequences * heads * width / rates.bytes,
        growth=2.0 * sequences * key_heads * width * value_bytes / rates.bytes,
        work=4.0 * sequences * heads * width / rates.flops,
    )


@formula
def latent_decode_line(
    sequences: float,
    heads: float,
    latent: float,
    rotary: float,
    value_bytes: float,
    rates: LatentDecodeRates,
    tokens: int = 1,
) -> Line:
    """Attention of q new tokens a sequence over latents of c and r channels, absorbed.

    `t0 + cs*min(s, s0) + max(cq*b*q*n + b*s*(c+r)*kb/bytes, 2*b*q*n*s*(2c+r)/flops)` at s keys.
    """
    heads *= tokens
    return Line(
        launch=rates.launch,
        latency=rates.latency,
        latency_keys=rates.latency_keys,
        base=rates.query * sequences * heads,
        growth=sequences * (latent + rotary) * value_bytes / rates.bytes,
        work=2.0 * sequences * heads * (2.0 * latent + rotary) / rates.flops,
    )


@formula
def joined(first: Line, second: Line, layers: int) -> Line:
    """The line of `first` and, behind it, so many layers of `second`.

    Keys from which on latency no longer grows are those of the second; where both are there, the
    kinds of layers that a line stands for have them alike.
    """
    return Line(
        launch=first.launch + layers * second.launch,
        latency=first.latency + layers * second.latency,
        latency_keys=second.latency_keys,
        base=first.base + layers * second.base,
        growth=first.growth + layers * second.growth,
        work=first.work + layers * second.work,
    )


@formula
def at_keys(line: Line, keys: float) -> float:
    """Time of a step that meets so many keys, us."""
    traffic = line.base + line.growth * keys
    return line.launch + line.latency * min(keys, line.latency_keys) + max(
        traffic, line.work * keys
    )  # fmt: skip


@formula
def triangle(count: float) -> float:
    """1 + 2 + ... + n."""
    return count * (count + 1.0) / 2.0


@formula
def up_to(line: Line, keys: int) -> float:
    """Time of steps that meet 1, 2, ... N keys, us: the sum of `at_keys`, piece by piece."""
    count = float(keys)
    filling = min(count, float(int(line.latency_keys)))
    found = line.launch * count + line.latency * triangle(filling)
    found += line.latency * (count - filling) * line.latency_keys
    moved = count
    if line.work > line.growth:
        moved = min(count, float(int(line.base / (line.work - line.growth))))
    found += line.base * moved + line.growth * triangle(moved)
    return found + line.work * (triangle(count) - triangle(moved))


@formula
def filled_width(width: float, rates: PrefillRates) -> float:
    """Channels that a head of h channels costs, `max(h, 128*(h+hx)/(128+hx))`."""
    return max(width, 128.0 * (width + rates.width_pad) / (128.0 + rates.width_pad))


@formula
def prefill_attention(
    sequences: float,
    heads: float,
    key_heads: float,
    width: float,
    tokens: float,
    cached: float,
    window: float,
    value_bytes: float,
    rates: PrefillRates,
) -> float:
    """Causal attention of s new tokens behind c cached ones, us.

    `t0 + cs*s + ct*b*n*h/128 + max(C, M) + o*min(C, M)`: work `C = 4*b*n*pairs*h'/flops`, channels
    `h' = max(h, 128*(h+hx)/(128+hx))`, pairs `s*c + s*(s+pad)/2`, within a window W its band and
    the part `x` of the pairs before it; traffic `M = b*h*(4*n*s + (8+2*kb)*g*s + 2*kb*g*c)/bytes`,
    within a window min(c, W) for c. Cached tokens are our extension of the form.
    """
    if heads <= 0.0 or tokens <= 0.0:
        return 0.0
    uncut = tokens
    if window > 0.0:
        uncut = min(tokens, max(0.0, window - cached))
    pairs = uncut * cached + uncut * (uncut + rates.pad) / 2.0
    cut = tokens - uncut
    pairs += cut * (window + rates.pad / 2.0)
    pairs += rates.outside * cut * (cached + (tokens + uncut) / 2.0 - window)
    seen = cached if window <= 0.0 else min(cached, window)
    work = 4.0 * sequences * heads * pairs * filled_width(width, rates) / rates.flops
    values = (4.0 * heads + (8.0 + 2.0 * value_bytes) * key_heads) * tokens
    values += 2.0 * value_bytes * key_heads * seen
    moved = sequences * width * values
    moved *= warmth(rates.resident, rates.resident_bytes, moved) / rates.bytes
    before = rates.launch + rates.latency * tokens
    before += rates.block * sequences * heads * width / 128.0
    return before + max(work, moved) + rates.overlap * min(work, moved)


@formula
def latent_prefill(
    sequences: float,
    heads: float,
    key_width: float,
    value_width: float,
    tokens: float,
    cached: float,
    rates: LatentPrefillRates,
) -> float:
    """Causal attention of expanded latents, us.

    `t0 + cs*s + max(C, M) + o*min(C, M)`: work `C = 2*b*n*(dk+dv)*pairs/flops`, pairs
    `s*c + s*(s+pad)/2`; traffic `M = 4*b*n*s*(dk+dv)/bytes`.
    """
    both = key_width + value_width
    pairs = tokens * cached + tokens * (tokens + rates.pad) / 2.0
    work = 2.0 * sequences * heads * both * pairs / rates.flops
    moved = 4.0 * sequences * heads * both * tokens / rates.bytes
    before = rates.launch + rates.latency * tokens
    return before + max(work, moved) + rates.overlap * min(work, moved)


@formula
def encoder_attention(
    sequences: float, heads: float, width: float, tokens: float, rates: EncoderRates
) -> float:
    """Attention that is not causal, us.

    `t0 + cs*s + ct*b*n*h/128 + max(C, M) + o*min(C, M)`: work `C = r(h)*256*b*n*s*(s+pad)/flops`,
    traffic `M = 8*b*n*s*h/bytes`; r is 1 up to 64 channels, fitted at 72 and 80, and grows with
    the width beyond.
    """
    if sequences * heads * tokens <= 0.0:
        return 0.0
    wide = 1.0
    if width > 72.0:
        wide = rates.wider * max(width / 80.0, 1.0)
    elif width > 64.0:
        wide = rates.wide
    work = 256.0 * wide * sequences * heads * tokens * (tokens + rates.pad) / rates.flops
    moved = 8.0 * sequences * heads * tokens * width
    moved *= warmth(rates.resident, rates.resident_bytes, moved) / rates.bytes
    before = rates.launch + rates.latency * tokens
    before += rates.block * sequences * heads * width / 128.0
    return before + max(work, moved) + rates.overlap * min(work, moved)


@formula
def moe(
    tokens: float,
    hidden: float,
    width: float,
    pairs: float,
    activated: float,
    matrices: float,
    rates: MoeRates,
) -> float:
    """Routed experts of one device, us: `pairs` of a token and an expert, `activated` experts.

    `t0 + ck*(h+i) + cD*D + cT*T + max(C, M) + g*min(C, M) + O`: work
    `C = 2*m*h*(i+ip)*(pairs + kp*D)/flops`, an expert's last tile being filled up; traffic
    `M = (m*h*i*wb*D + al*2*(2*T*h + pairs*(2h + 4i)))/bytes`; and activations that kernels of
    their own move, `O = 2*(2*a1*T*h + pairs*(2*a2*h + 4*a3*i))`.
    """
    if pairs <= 0.0:
        return 0.0
    work = 2.0 * matrices * hidden * (width + rates.width_pad) * (
        pairs + rates.token_pad * activated
    ) / rates.flops  # fmt: skip
    weights = matrices * hidden * width * rates.weight_bytes * activated
    weights *= warmth(rates.warm, rates.warm_bytes, weights)
    values = 2.0 * tokens * hidden + pairs * (2.0 * hidden + 4.0 * width)
    moved = (weights + 2.0 * rates.activations * values) / rates.bytes
    before = rates.launch + rates.depth * (hidden + width)
    before += rates.expert * activated + rates.token * tokens
    gathered = rates.pair_moves * hidden + 2.0 * rates.inner_moves * width
    before += 4.0 * (rates.token_moves * tokens * hidden + pairs * gathered)
    return before + max(work, moved) + rates.overlap * min(work, moved)


@formula
def all_reduce(sent: float, devices: float, rates: AllReduceRates) -> float:
    """All-reduce of V bytes over n devices, us.

    `t0 + tn*n + 2*V*(n-1)/n/link + cm*min(V, v0)`, the link reached by 2, 4 and more devices.
    """
    if devices <= 1.0:
        return 0.0
    link = rates.more
    if devices <= 2.0:
        link = rates.two
    elif devices <= 4.0:
        link = rates.four
    around = 2.0 * sent * (devices - 1.0) / devices / link
    return rates.launch + rates.device * devices + around + rates.ramp * min(
        sent, rates.ramp_bytes
    )  # fmt: skip


@formula
def exchange(
    tokens: float, hidden: float, chosen: float, ranks: float, rates: ExchangeRates
) -> float:
    """T tokens of each of G ranks to k experts and back, us: `t0 + T*h*3*min(k, G-1)/link`."""
    return rates.launch + tokens * hidden * 3.0 * min(chosen, ranks - 1.0) / rates.link


@formula
def element_wise(moved: float, launch: float, bytes_a_us: float) -> float:
    """Element-wise work that no kernel before or after takes in, us: bytes / bandwidth + launch."""
    return moved / bytes_a_us + launch if moved > 0.0 else 0.0


@formula
def balanced_experts(held: float, pairs: float) -> float:
    """Experts activated by token-expert pairs that a collector deals out in turn."""
    return min(held, pairs)


@formula
def expected_experts(held: float, pairs: float) -> float:
    """Experts activated by token-expert pairs at random: `H*(1 - e^(-pairs/H))`."""
    return held * (1.0 - exp(-pairs / held))
