"""Layers that each have sizes of their own: `block_configs` of Nemotron-NAS (DeciLM)."""

from typing import Any, NamedTuple

from sweepengine.data.configs import Config, ConfigValues

KEY = "block_configs"
ATTENTION = ("n_heads_in_group", "no_op")
"""Keys of a block's attention that are read; of others any value that is not empty is refused."""
FFN = ("ffn_mult", "no_op")
WIDTH_MULTIPLE = 256
"""Channels that the width of an MLP is rounded up to a multiple of."""


class Block(NamedTuple):
    """Sizes of one layer; 0: the layer does not have the part."""

    key_value_heads: int
    width: int
    """Of its MLP."""


def blocks_of(reader: ConfigValues, layers: int) -> list[Block] | None:
    """Sizes of each layer; None for models whose layers are alike.

    The MLP is `2/3*ffn_mult*hidden` wide, rounded up to a multiple of 256. Source:
    modeling_decilm.py of Llama-3_3-Nemotron-Super-49B-v1.

    Raises
    ------
    InputError
        When an entry is missing, or has something that is not known.
    """
    if KEY not in reader.family.get("keys", ()):
        return None
    blocks = reader.value(KEY)
    if not isinstance(blocks, list) or len(blocks) < layers:
        raise reader.fail(KEY, f"expected a list of {layers} entries, one per layer")
    return [_block(reader, f"{KEY}[{i}]", block) for i, block in enumerate(blocks[:layers])]


def _block(reader: ConfigValues, where: str, block: Any) -> Block:
    attention, ffn = (_part(reader, where, block, name) for name in ("attention", "ffn"))
    heads, width = 0, 0
    if not attention.get("no_op"):
        key = f"{where}.attention.n_heads_in_group"
        group = reader.whole(key, attention.get("n_heads_in_group"))
        if reader.size("heads") % group:
            raise reader.fail(key, f"= {group} does not divide {reader.size('heads')} heads")
        heads = reader.size("heads") // group
    if not ffn.get("no_op"):
        factor = ffn.get("ffn_mult")
        if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 < factor < 1000:
            raise reader.fail(f"{where}.ffn.ffn_mult", f"= {factor!r}: expected a number above 0")
        whole = int(2 * factor * reader.size("hidden") / 3)
        width = -(-whole // WIDTH_MULTIPLE) * WIDTH_MULTIPLE
    return Block(heads, width)


def _part(reader: ConfigValues, where: str, block: Any, name: str) -> Config:
    part = block.get(name) if isinstance(block, dict) else None
    if not isinstance(part, dict):
        raise reader.fail(where, f"expected a table with a table {name}")
    for key, value in part.items():
        if key not in {"attention": ATTENTION, "ffn": FFN}[name] and value:
            raise reader.fail(f"{where}.{name}.{key}", f"= {value!r}: expected false or null")
    return part
