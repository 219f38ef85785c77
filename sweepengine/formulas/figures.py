"""Figures of one workload: what reductions make output columns of.

A workload is all that a point is but its decode steps and batch size. Counts of a pass add up over
the parts of a model (ends, groups of layers); activation memory is the largest of theirs. The
kernel keeps a table with a row for each field.
"""

from typing import NamedTuple

from sweepengine.formulas.architecture import Convention
from sweepengine.formulas.cost import Cost, formula
from sweepengine.formulas.layout import Layout, Traffic, devices, expert_groups
from sweepengine.formulas.points import Tokens
from sweepengine.formulas.reductions import PeakLines
from sweepengine.formulas.speculation import DecodeStep

QUARTERS = 32
"""Quarter bits of a byte."""
_OF_ONE_PASS = ("cache_bytes", "activation_bytes")
"""Fields of `Phase` that several passes do not add up."""


class Phase(NamedTuple):
    """Counts of one pass of one sequence: of vision, of prefill, or of a decode step."""

    tensor_flops: int
    cuda_flops: int
    activation_io_bytes: int
    kv_io_bytes: int
    link_bytes: int
    """Sent to other devices."""
    exchange_bytes: int
    """Of them those to experts of other tensor groups and back."""
    collectives: int
    cache_bytes: int
    """In the KV cache after the pass; of a step what does not depend on the context."""
    activation_bytes: int
    """The largest of the parts, or their sum where the accounting adds activations up."""


class Weights(NamedTuple):
    """Weights of a device."""

    held_bytes: int
    vision_read_bytes: int
    """Read once by a pass of vision."""
    read_bytes: int
    """Read once by each decode step, beside table and experts."""
    prefill_read_bytes: int
    """Read once by a prefill, beside those: cross attention makes its keys there alone."""
    table_row_bytes: int
    """Of the token table, which is read a row a token."""
    table_rows: int
    position_row_bytes: int
    """Of the table of learned positions, of which `prefill_read_bytes` has one row; 0: none."""


class Devices(NamedTuple):
    """Devices of a layout."""

    devices: int
    data_parallel: int
    expert_groups: int
    """Tensor groups that share experts, which meet the tokens of all of them."""


class Figures(NamedTuple):
    """What a workload costs; of decode, what a step costs that meets no key."""

    tokens: Tokens
    vision: Phase
    prefill: Phase
    decode: Phase
    weights: Weights
    devices: Devices
    step: DecodeStep


class KeyGrowth(NamedTuple):
    """What each key that a step meets adds, of all layers with one attention span."""

    counts: Phase
    """Its cache_bytes are those of a token, or of an entry, in the KV cache."""
    peak: PeakLines


class GroupStep(NamedTuple):
    """A decode step of one sequence through a group of layers."""

    counts: Phase
    """Of a step that meets no key."""
    keys: KeyGrowth
    entries: KeyGrowth
    """Of a layer that compresses: what each entry that a step meets adds."""
    read_bytes: int
    """Weights that each step reads, beside experts."""
    prefill_read_bytes: int
    """Weights that a prefill reads, beside experts."""
    held_bytes: int
    expert_bytes: int
    """Of one expert in all layers of the group."""


def _zeros(record: type[NamedTuple]) -> tuple[int, ...]:
    return (0,) * len(record._fields)


NO_PHASE = Phase(*_zeros(Phase))
NO_GROWTH = KeyGrowth(NO_PHASE, PeakLines(*_zeros(PeakLines)))


@formula
def larger(one: int, other: int, sums: int) -> int:
    """The larger of two parts' activations, or their sum where the accounting adds them up."""
    return max(one, other) + sums * min(one, other)


@formula
def merged(one: Phase, other: Phase, sums: int) -> Phase:
    """Counts of two parts of a model together."""
    return Phase(
        tensor_flops=one.tensor_flops + other.tensor_flops,
        cuda_flops=one.cuda_flops + other.cuda_flops,
        activation_io_bytes=one.activation_io_bytes + other.activation_io_bytes,
        kv_io_bytes=one.kv_io_bytes + other.kv_io_bytes,
        link_bytes=one.link_bytes + other.link_bytes,
        exchange_bytes=one.exchange_bytes + other.exchange_bytes,
        collectives=one.collectives + other.collectives,
        cache_bytes=one.cache_bytes + other.cache_bytes,
        activation_bytes=larger(one.activation_bytes, other.activation_bytes, sums),
    )


@formula
def phase_of(
    convention: Convention,
    cost: Cost,
    traffic: Traffic,
    kv_io_bytes: int,
    cache_bytes: int,
    activation_bytes: int,
) -> Phase:
    """Counts of a part of a model in bytes.

    Parameters
    ----------
    convention : Convention
        Of the accounting.
    cost, traffic : Cost, Traffic
        Of all layers of the part.
    kv_io_bytes, cache_bytes, activation_bytes : int
        As `Phase` has them.
    """
    size = convention.dtype_bytes
    return Phase(
        tensor_flops=cost.tensor_flops,
        cuda_flops=cost.cuda_flops,
        activation_io_bytes=cost.activation_io * size,
        kv_io_bytes=kv_io_bytes,
        link_bytes=traffic.values * size,
        exchange_bytes=traffic.exchanged * size,
        collectives=traffic.collectives,
        cache_bytes=cache_bytes,
        activation_bytes=activation_bytes,
    )


def in_passes(step: Phase, passes: int) -> Phase:
    """Counts of a step of so many passes; each pass holds as much at once, and caches the same."""
    added = {
        name: passes * count for name, count in step._asdict().items() if name not in _OF_ONE_PASS
    }
    return step._replace(**added)


def grown(one: Phase, other: Phase) -> Phase:
    """What the other counts have more than the first."""
    return Phase(*(b - a for a, b in zip(one, other, strict=True)))


def merged_growth(one: KeyGrowth, other: KeyGrowth, sums: int) -> KeyGrowth:
    """What a key adds in two groups of one attention span together."""
    lines = zip(one.peak, other.peak, strict=True)
    return KeyGrowth(
        merged(one.counts, other.counts, sums), PeakLines(*(larger(*two, sums) for two in lines))
    )


def device_counts(layout: Layout) -> Devices:
    """Devices of a layout."""
    return Devices(devices(layout), layout.data, expert_groups(layout))
