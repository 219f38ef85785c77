"""How versions of serving engines divide the memory of a device, and their default settings."""

from functools import cache
from typing import Any, NamedTuple

from sweepengine.data.devices import GIGA
from sweepengine.data.errors import InputError
from sweepengine.data.files import shipped_table
from sweepengine.data.serving_engines import order_of
from sweepengine.formulas.layout import Layout
from sweepengine.formulas.memory import GIB, THOUSANDTHS, EngineMemory, EngineSettings
from sweepengine.formulas.speeds import FRAMEWORKS

MIB = 1 << 20
NEWEST = "newest"
WIDE_GROUP = 4
"""Devices of a tensor group from which on the second of `graph_sequences` holds."""


class EngineVersion(NamedTuple):
    """A version of a serving engine."""

    framework: str
    version: str
    """The first version that this holds for."""
    memory: EngineMemory
    memory_share: int
    """Default share of the memory in thousandths; 0: what `reserved` leaves."""
    cards: tuple[dict[str, Any], ...]
    reserved: dict[str, float]


@cache
def _versions(framework: str) -> tuple[EngineVersion, ...]:
    """Versions of a serving engine, oldest first."""
    table = shipped_table("serving_engines", f"{framework}.toml")["memory"]
    stated: dict[str, Any] = {}
    versions = []
    for version in sorted(table["versions"], key=order_of):
        stated |= table["versions"][version]
        memory = EngineMemory(
            forward_factor=round(stated["forward_factor"] * THOUSANDTHS),
            sampler_bytes=round(stated["sampler_bytes"] * THOUSANDTHS),
            graph_layer_bytes=round(stated["graph_layer_mib"] * MIB),
            graph_sequence_bytes=round(stated["graph_sequence_mib"] * MIB),
            graph_sequences=stated["graph_sequences"],
            runtime_bytes=round(stated["runtime_gib"] * GIB),
            fast_link_bytes=round(stated["fast_link_gib"] * GIB),
            slow_link_bytes=round(stated["slow_link_gib"] * GIB),
            fast_link=stated["fast_link_gbs"] * GIGA,
            charges_activations=int(stated["charges_activations"]),
            charges_graphs=int(stated["charges_graphs"]),
            shares_free=int(stated["shares_free"]),
            page_tokens=stated["page_tokens"],
            logs_by_length=int(stated["logs_by_length"]),
        )
        share = round(stated.get("memory_share", 0) * THOUSANDTHS)
        cards = tuple(table["cards"])
        versions.append(
            EngineVersion(framework, version, memory, share, cards, table.get("reserved", {}))
        )
    return tuple(versions)


def stated_memory() -> list[EngineVersion]:
    """All versions of all serving engines, for hashes."""
    return [one for framework in FRAMEWORKS for one in _versions(framework)]


@cache
def version_names() -> tuple[str, ...]:
    """Values of the input `framework_version`: the newest, and the versions of all engines."""
    named = {one.version for framework in FRAMEWORKS for one in _versions(framework)}
    return (NEWEST, *sorted(named, key=order_of))


def version_of(framework: str, version: str = NEWEST) -> EngineVersion:
    """The version of a serving engine that a version number falls under.

    Raises
    ------
    InputError
        When it is older than all known ones.
    """
    versions = _versions(framework)
    if version == NEWEST:
        return versions[-1]
    wanted = order_of(version)
    found = [one for one in versions if order_of(one.version) <= wanted]
    if not wanted or not found:
        raise InputError(
            f'framework_version = "{version}": expected a version of {framework} from '
            f"{versions[0].version} on"
        )
    return found[-1]


def _card(engine: EngineVersion, device: str, usable: int) -> dict[str, Any]:
    """Default settings for a device, by its product and the bytes of its memory."""
    return next(
        card
        for card in engine.cards
        if usable >= card["least_gib"] * GIB
        and not ("except" in card and card["except"] in device.lower())
    )


def chunk_of(framework: str, device: str, usable: int, given: int) -> int:
    """Most tokens of one pass of a serving engine: those given, or its default for the device.

    Parameters
    ----------
    framework : str
        A serving engine.
    device : str
        Its product (`Device.product`).
    usable : int
        Bytes of its memory.
    given : int
        0: the default.
    """
    return given or int(_card(version_of(framework), device, usable)["chunk_tokens"])


def settings_of(
    engine: EngineVersion, device: str, usable: int, layout: Layout, given: EngineSettings
) -> EngineSettings:
    """Settings of a serving engine: those given, and its defaults for the device where 0.

    Parameters
    ----------
    engine : EngineVersion
    device : str
        Its product (`Device.product`).
    usable : int
        Bytes of its memory.
    layout : Layout
    given : EngineSettings
    """
    card = _card(engine, device, usable)
    tokens = given.chunk_tokens or int(card["chunk_tokens"])
    sequences = given.max_sequences or int(card["max_sequences"])
    share = given.memory_share or engine.memory_share
    share = share or _left(engine.reserved, card, usable, layout, tokens)
    return EngineSettings(share, sequences, tokens)


def _left(
    reserved: dict[str, float], card: dict[str, Any], usable: int, layout: Layout, tokens: int
) -> int:
    """Thousandths that activations, CUDA graphs and collectives leave, as SGLang reserves them."""
    total = usable / MIB
    stage = layout.tensor * layout.data
    captured = int(card["graph_sequences"][stage >= WIDE_GROUP])
    taken = reserved["fixed_mib"]
    taken += reserved["chunk_token_mib"] * max(tokens, reserved["least_chunk"])
    taken += reserved["graph_sequence_mib"] * captured
    taken += reserved["device_mib"] * stage * layout.pipeline
    if total > reserved["least_from_gib"] * 1024:
        taken = max(taken, reserved["least_mib"])
    return max(round((total - taken) / total * THOUSANDTHS), 0)
