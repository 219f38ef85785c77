"""Memory of points on a device: what a serving engine holds there, and the requests that fit."""

from functools import lru_cache
from typing import NamedTuple

from sweepengine.data.models import Model
from sweepengine.data.serving_engines.memory import settings_of, version_names, version_of
from sweepengine.formulas.architecture import Architecture
from sweepengine.formulas.drafts import draft_layout, draft_of
from sweepengine.formulas.formats import cache_bits
from sweepengine.formulas.kv_pages import Pool, pages_of
from sweepengine.formulas.layout import Layout, share_of
from sweepengine.formulas.memory import (
    EngineSettings,
    MemoryFigures,
    Request,
    Resident,
    forward_rate,
    memory_figures,
    most_requests,
    runtime_bytes,
)
from sweepengine.formulas.points import Point
from sweepengine.formulas.speeds import FRAMEWORKS
from sweepengine.formulas.tokens import ceil_div
from sweepengine.grid.axes import AXES

RESIDENT_COLUMNS = ("device", "device_memory_gb", "framework", "framework_version",
                    "memory_share", "max_sequences", "chunk_tokens", *AXES["layout"].columns,
                    *AXES["heads"].columns, "cache_format", "draft_tokens", "draft")  # fmt: skip
"""Inputs that decide what a device holds beside weights and the KV cache of requests."""
MAX_CACHED = 1 << 14


class Placed(NamedTuple):
    """A model on a device under a serving engine."""

    resident: Resident
    """But for weights, which are 0."""
    pool: Pool


def placed(model: Model, values: tuple[int, ...]) -> Placed:
    """A model on a device under a serving engine.

    Parameters
    ----------
    model : Model
        With devices.
    values : tuple of int
        Values of `RESIDENT_COLUMNS`.

    Raises
    ------
    InputError
        When the serving engine has no such version.
    """
    device, memory_gb, framework, version, *given = values
    chosen = model.devices[device]
    return _placed(
        model.architecture,
        chosen.product,
        chosen.usable_where(memory_gb),
        chosen.links.bytes_per_s if chosen.links else 0.0,
        FRAMEWORKS[framework],
        version_names()[version],
        EngineSettings(*given[:3]),
        Layout(*given[3:-5]),
        *given[-5:],
    )


@lru_cache(MAX_CACHED)
def _placed(
    arch: Architecture,
    device: str,
    usable: int,
    link: float,
    framework: str,
    version: str,
    given: EngineSettings,
    layout: Layout,
    heads: int,
    key_value_heads: int,
    cache: int,
    drafted: int,
    draft: int,
) -> Placed:
    """As `placed`, from values that a cache can take; `cache` is a code of `cache_format`.

    Layers of a draft have KV cache in the same pool, and CUDA graphs.
    """
    engine = version_of(framework, version)
    settings = settings_of(engine, device, usable, layout, given)
    share, size = share_of(arch, heads, key_value_heads, layout), arch.convention.dtype_bytes
    groups = share.groups
    if drafted:
        own = draft_of(arch, draft)
        groups += share_of(own, 0, 0, draft_layout(arch, draft, layout)).groups
    memory = engine.memory
    resident = Resident(
        usable=usable,
        weights=0,
        runtime=runtime_bytes(memory, layout.tensor * layout.data, link),
        forward_rate=forward_rate(memory, share, size),
        layers=sum(group.layers for group in groups),
        vocabulary=arch.backbone.vocabulary,
        sequences_given=int(given.max_sequences > 0),
        **settings._asdict(),
        **{name: getattr(memory, name) for name in Resident._fields if hasattr(memory, name)},
    )
    bits = cache_bits(arch, cache)
    return Placed(resident, pages_of(groups, bits, size, memory.page_tokens))


def point_figures(
    model: Model, point: Point, weights: int, context: int, features: int
) -> MemoryFigures:
    """Memory of a device at one point.

    Parameters
    ----------
    model : Model
        With devices.
    point : Point
    weights : int
        Bytes of weights of a device.
    context, features : int
        Tokens of a request before its answer, and features of its images.
    """
    found = placed(model, tuple(getattr(point, name) for name in RESIDENT_COLUMNS))
    resident = found.resident._replace(weights=weights)
    request = Request(
        context + point.decode_steps + point.draft_tokens,
        model.architecture.crossed_rows(features),
        point.shared_tokens,
    )
    sequences = ceil_div(point.batch_size, point.data_parallel)
    most = most_requests(resident, found.pool, request)
    return memory_figures(resident, found.pool, request, sequences, point.data_parallel, most)
