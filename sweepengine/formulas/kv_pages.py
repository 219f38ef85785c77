"""Pages of the KV cache, as vLLM allots them (docs/memory.md, "Pages of the KV cache").

One pool of blocks of one size serves all layers. Layers that keep alike are a page group: it has a
table of blocks for each sequence, and one block holds a page of each of its layers. The rules are
those of `vllm/v1/core/kv_cache_utils.py`, 0.10 to 0.25, and 0.28 for entries that stand for
several tokens. `pages_of` decides once for a device's share of a model; what follows
takes tokens and bytes as integers or as integer arrays of numpy.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sweepengine.formulas.architecture import Attention, Group, Recurrent
from sweepengine.formulas.attention import feature_values
from sweepengine.formulas.cached import ROTATED_BYTES, index_bytes, token_quarters
from sweepengine.formulas.figures import QUARTERS
from sweepengine.formulas.gemms import convolved_width
from sweepengine.formulas.tokens import ceil_div, larger, smaller

BLOCK_TOKENS = 16
"""Tokens of a page, by default in vLLM and SGLang."""
LATENT_BLOCK_TOKENS = 64
"""Tokens of a page of latents: what FlashMLA's kernels take."""
WINDOW_BLOCK_TOKENS = 64
ENTRY_BLOCK_TOKENS = 256
"""Of layers with entries: tokens of a page of the window, and tokens that a page of entries stands
for."""
PARTIAL_BLOCK_TOKENS = 8
"""Tokens of a page of partial entries, over the values that a token gives to entries."""
PARTIAL_BYTES = 4
"""Of a value of a partial entry, fp32."""
ENTRY_SCALED_VALUES = 64
"""Values of a token or an entry in 8 bits that one byte of scale is for."""
BYTE_ALIGNMENT = 576
WIDE_ALIGNMENT = 512
"""Bytes that a page of such a layer is a multiple of: cached in 8 bits, and wider."""


class Pages(NamedTuple):
    """Pages of one kind of cache, of layers that are alike."""

    page_bytes: int
    block_tokens: int
    window: int
    """Tokens that a query meets; 0: all."""
    state: int
    """1: a page is a recurrent state, which does not grow."""


class PageGroup(NamedTuple):
    """Page groups that are alike: each has a table of blocks for every sequence."""

    groups: int
    block_tokens: int
    window: int
    state: int


NO_PAGES = PageGroup(groups=0, block_tokens=1, window=0, state=1)
"""A group without pages, which changes no pool."""
_NO_PAGE = 1 << 40
"""Tokens beyond those of any page."""


class Pool(NamedTuple):
    """How a device's share of a model lies in the pool."""

    block_bytes: int
    groups: tuple[PageGroup, ...]
    split: int
    """Devices that share the tokens of a sequence (decode context parallelism)."""
    feature_bytes: int = 0
    """Of a page of 16 features of images, which cross attention keeps beside the blocks."""


def pages_of(
    groups: Sequence[Group], cache: int, size: int, block_tokens: int = 0, split: int = 0
) -> Pool:
    """How a device's share of a model lies in the pool of vLLM.

    Parameters
    ----------
    groups : sequence of Group
        Layers of the device, `share_of(...).groups`.
    cache : int
        Quarter bits of a cached value, `cache_bits(arch, code)`.
    size : int
        Bytes of an unquantised value.
    block_tokens : int
        Tokens of a page, `--block-size`; 0: 16, of latents 64.
    split : int
        Devices that share the tokens of a sequence (decode context parallelism); 0: as many as the
        layout of `groups` says. Layers with a window never do.

    Returns
    -------
    Pool
        Bytes of a block, and the page groups.
    """
    groups = [group for group in groups if group.layers]  # a stage may have none of a kind
    split = split or max((group.attention.cache_devices for group in groups), default=1)
    compressed = any(group.attention.stride for group in groups)
    latent = any(group.attention.latent for group in groups)
    tokens = block_tokens or (LATENT_BLOCK_TOKENS if latent else BLOCK_TOKENS)
    layers: Counter[Pages] = Counter()
    for group in groups:
        attention = group.attention
        kinds = [*_states(group.recurrent, size)]
        each = token_quarters(attention, cache) // QUARTERS
        if compressed:
            kinds += _window_and_entries(attention, cache)
        elif each:
            kinds.append(Pages(each * tokens, tokens, attention.window, 0))
        for kind in kinds:
            layers[kind] += group.layers
    if compressed:
        pool = _packed(layers, split)
    elif len({(kind.window, kind.state) for kind in layers}) <= 1:
        pool = _one_group(layers, split)
    else:
        pool = _unified(layers, tokens, split)
    crossed = sum(group.layers * feature_values(group.attention) for group in groups)
    return pool._replace(feature_bytes=crossed * cache * BLOCK_TOKENS // QUARTERS)


def _states(recurrent: Recurrent, size: int) -> Iterable[Pages]:
    """Return the page of a recurrent layer's state, with one column less of its convolution."""
    state = recurrent.heads * recurrent.key_width * recurrent.value_width
    columns = max(recurrent.convolution - 1, 0)
    page = state * (recurrent.state_bytes or size) + convolved_width(recurrent) * columns * size
    if page:
        yield Pages(page, 1, 0, 1)


def _window_and_entries(attention: Attention, cache: int) -> Iterable[Pages]:
    """Return pages of a layer whose entries stand for tokens: its window, entries, partial ones.

    In 8 bits a token or an entry has its rotated part in bf16 and a byte of scale for each 64
    values. What tokens give to entries is in pages of its own, in fp32, for as many tokens as an
    entry is made of. Source: vLLM, `deepseek_v4/attention.py`, `compressor.py`.
    """
    width, rotated = attention.key_width, attention.rotary_width
    entry, aligned = width * cache // QUARTERS, WIDE_ALIGNMENT
    if cache == QUARTERS:
        entry = width - rotated + ROTATED_BYTES * rotated + ceil_div(width, ENTRY_SCALED_VALUES)
        aligned = BYTE_ALIGNMENT

    def page(bytes_each: int, values: int, block_tokens: int, window: int) -> Pages:
        whole = ceil_div(bytes_each * values, aligned) * aligned
        return Pages(whole, block_tokens, window, 0)

    indexed = min(attention.index_heads, 1) * index_bytes(attention.index_width)
    yield page(entry, WINDOW_BLOCK_TOKENS, WINDOW_BLOCK_TOKENS, attention.window)
    if attention.stride == 0:
        return
    series, entries = attention.series, ENTRY_BLOCK_TOKENS // attention.stride
    partial, made_of = PARTIAL_BLOCK_TOKENS // series, series * attention.stride
    for values, each in ((width, entry), (attention.index_width, indexed)):
        if each:
            yield page(each, entries, ENTRY_BLOCK_TOKENS, 0)
            yield page(2 * series * values * PARTIAL_BYTES, partial, partial, made_of)


def _one_group(layers: Counter[Pages], split: int) -> Pool:
    """Return the pool of layers that keep alike, whatever the widths of each."""
    if not layers:
        return Pool(0, (), split)
    any_of = next(iter(layers))
    block = sum(count * kind.page_bytes for kind, count in layers.items())
    return Pool(block, (PageGroup(1, any_of.block_tokens, any_of.window, any_of.state),), split)


def _unified(layers: Counter[Pages], tokens: int, split: int) -> Pool:
    """Return the pool of layers that keep differently: pages of one size, groups of one number.

    Pages of attention grow to that of a state, in steps of a page. Then smaller pages take as many
    tokens as fit evenly, or are padded. The kind with the fewest layers sets how many layers a
    group has, or the one with the most where that is less than half as many again.
    """
    state = max((kind.page_bytes for kind in layers if kind.state), default=0)
    widest = max((kind.page_bytes for kind in layers if not kind.state), default=state)
    times = max(ceil_div(state, widest), 1)
    largest = widest * times
    fewest, most = min(layers.values()), max(layers.values())
    each = most if 2 * most < 3 * fewest else fewest
    page_groups = []
    for kind, count in layers.items():
        page = kind.page_bytes * times
        fits = largest // page if largest % page == 0 else 1
        block = 1 if kind.state else kind.block_tokens * times * fits
        page_groups.append(PageGroup(ceil_div(count, each), block, kind.window, kind.state))
    return Pool(each * largest, tuple(page_groups), split)


def _packed(layers: Counter[Pages], split: int) -> Pool:
    """Return the pool of layers with entries: pages of all sizes side by side in a block.

    Kinds of pages for as many tokens lie in one group. Where each kind has as many layers, groups
    are split into equal numbers of layers, so that least is padded; the widest makes the block.
    """
    buckets: dict[tuple[int, int], dict[int, int]] = {}
    for kind, count in layers.items():
        bucket = buckets.setdefault((kind.block_tokens, kind.window), {})
        bucket[kind.page_bytes] = bucket.get(kind.page_bytes, 0) + count
    even = [bucket for bucket in buckets.values() if len(set(bucket.values())) == 1]
    counts = [max(bucket.values()) for bucket in even]
    least = max((max(bucket.values()) for bucket in even if len(bucket) > 1), default=1)
    each = min(
        range(least, max([*counts, least]) + 1),
        key=lambda size: (sum(-count % size for count in counts), -size),
    )
    page_groups, block = [], 0
    for (tokens, window), bucket in buckets.items():
        number = ceil_div(max(bucket.values()), each) if bucket in even else 1
        page_groups.append(PageGroup(number, tokens, window, 0))
        block = max(block, sum(ceil_div(n, number) * page for page, n in bucket.items()))
    return Pool(block, tuple(page_groups), split)


def sequence_bytes(pool: Pool, tokens: int, features: int = 0) -> int:
    """Bytes of the pool that one decoding sequence of N tokens occupies, in whole blocks.

    A window keeps the blocks that its W - 1 tokens and the new one lie in, at most one more than
    they fill. Cross attention keeps pages of its features beside them.

    Parameters
    ----------
    pool : Pool
        Of `pages_of`.
    tokens, features : int or array of int
        N, those in the KV cache, and rows that cross attention keeps.
    """
    blocks = 0
    for group in pool.groups:
        most = ceil_div(group.window, group.block_tokens) + 1
        within = smaller(ceil_div(tokens, group.block_tokens), most)
        whole = ceil_div(tokens, group.block_tokens * pool.split)
        blocks = blocks + group.groups * _chosen(group, 1, within, whole)
    return blocks * pool.block_bytes + ceil_div(features, BLOCK_TOKENS) * pool.feature_bytes


def shared_bytes(pool: Pool, tokens: int) -> int:
    """Bytes of the pool that sequences share of N equal first tokens: whole blocks without window.

    Parameters
    ----------
    pool : Pool
        Of `pages_of`.
    tokens : int or array of int
        N.
    """
    blocks = 0
    for group in pool.groups:
        whole = tokens // (group.block_tokens * pool.split)
        blocks = blocks + group.groups * _chosen(group, 0, 0, whole)
    return blocks * pool.block_bytes


def request_bytes(pool: Pool, tokens: int, in_flight: int, states: int = 1) -> int:
    """Bytes of the pool that vLLM reserves before it admits a request of N tokens.

    A window counts what a chunk adds to it, and a block in which it may begin.

    Parameters
    ----------
    pool : Pool
        Of `pages_of`.
    tokens : int or array of int
        N, prompt and answer; of the engine's log its `max_model_len`.
    in_flight : int or array of int
        Tokens of a chunk, `max_num_batched_tokens`; twice as many with asynchronous scheduling
        from 0.28 on.
    states : int
        Blocks of recurrent states: 1, or 2 where prefixes are cached (`mamba_cache_mode` align).
    """
    blocks = 0
    for group in pool.groups:
        held = smaller(tokens, group.window - 1 + in_flight)
        within = ceil_div(held, group.block_tokens) + 1
        whole = ceil_div(ceil_div(tokens, pool.split), group.block_tokens)
        blocks = blocks + group.groups * _chosen(group, states, within, whole)
    return blocks * pool.block_bytes


def _chosen(group: PageGroup, state: int, within: int, whole: int) -> int:
    """Return blocks of a group: of a state, of a window, or of all tokens; numbers or arrays."""
    windowed = group.window > 0
    return group.state * state + (1 - group.state) * (windowed * within + (1 - windowed) * whole)


def logged_tokens(pool: Pool, pool_bytes: int, length: int, in_flight: int, states: int = 1) -> int:
    """Tokens of the pool in vLLM's log from 0.21 on: `GPU KV cache size: N tokens`.

    Requests of `max_model_len` tokens that fit, a fraction, times that length.

    Parameters
    ----------
    pool : Pool
        Of `pages_of`.
    pool_bytes : int or array of int
        Bytes of the pool.
    length : int or array of int
        `max_model_len`.
    in_flight, states : int
        As `request_bytes` takes them.
    """
    block = larger(pool.block_bytes, 1)
    reserved = larger(request_bytes(pool, length, in_flight, states) // block, 1)
    return pool_bytes // block * length // reserved


def logged_tokens_by_group(pool: Pool, pool_bytes: int) -> int:
    """Tokens of the pool in vLLM's log up to 0.20: blocks a page group times the smallest page.

    Parameters
    ----------
    pool : Pool
        Of `pages_of`.
    pool_bytes : int or array of int
        Bytes of the pool.
    """
    tables, smallest = 0, _NO_PAGE
    for group in pool.groups:
        tables = tables + group.groups
        smallest = smaller(smallest, group.block_tokens + _NO_PAGE * group.state)
    page = smallest - (smallest - 1) * (smallest >= _NO_PAGE)
    blocks = pool_bytes // larger(pool.block_bytes, 1)
    return blocks // larger(tables, 1) * page * pool.split


def logged(pool: Pool, pool_bytes: int, length: int, in_flight: int, by_length: int) -> int:
    """Tokens of the pool as the log of an engine counts them; 0 for a pool below 0.

    Parameters
    ----------
    pool : Pool
        Of `pages_of`.
    pool_bytes, length, in_flight : int or array of int
        As `logged_tokens` takes them.
    by_length : int or array of int
        1: as `logged_tokens`; 0: as `logged_tokens_by_group`.
    """
    paid = larger(pool_bytes, 0)
    whole = logged_tokens(pool, paid, length, in_flight)
    return by_length * whole + (1 - by_length) * logged_tokens_by_group(pool, paid)
