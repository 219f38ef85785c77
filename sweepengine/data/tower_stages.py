"""Towers of stages: each stage is blocks of its own width, on a grid that each stage coarsens."""

from collections.abc import Callable
from typing import Any

from sweepengine.data.errors import shown
from sweepengine.data.tower_tables import Config
from sweepengine.data.tower_values import TowerValues

Parts = tuple[list[Config], list[Config]]
"""Blocks and joins of a section `vision`."""
SEEN: Config = {"part": "vision tower", "kind": "patches and norms"}


def davit(values: TowerValues) -> Parts:
    """DaViT: each depth is a block in windows and one of channels, both with two convolutions.

    Source: transformers 5.23, modeling_florence2.py.
    """
    widths = _per_stage(values, "embed_dim")
    heads, groups = _per_stage(values, "num_heads"), _per_stage(values, "num_groups")
    depths, strides = _per_stage(values, "depths"), _per_stage(values, "patch_stride")
    kernels, first = _per_stage(values, "patch_size"), _per_stage(values, "patch_prenorm", bool)
    paddings = _per_stage(values, "patch_padding", least=0)
    if any(2 * padding != kernel - 1 for padding, kernel in zip(paddings, kernels, strict=True)):
        wanted = [(kernel - 1) // 2 for kernel in kernels]
        raise values.wrong(_path(values, "patch_padding"), f"{wanted} for patches of {kernels}")
    blocks, joins, merge = [], [], 1
    for i, width in enumerate(widths):
        coarser = merge * strides[i] if i else 1
        inputs, taps = (widths[i - 1], kernels[i] ** 2) if i else (_pixels(values, kernels[0]), 1)
        reads = merge if i else 0
        normed = {"outputs": width, "merge": coarser}
        if first[i]:
            normed = {"outputs": widths[i - 1] if i else values.number("channels"), "merge": merge}
        joins += [
            {**SEEN, "operator": "patches", "inputs": inputs, "outputs": width, "taps": taps,
             "bias": 1, "merge": coarser, "reads_merge": reads},
            {**SEEN, "operator": "norms", "norm_weights": 2, **normed},
        ]  # fmt: skip
        merge = coarser
        block = {
            "part": "vision tower", "layers": depths[i], "width": width, "merge": merge,
            "mlp_width": _scaled(values, width), "activation_flops": values.number("activation"),
            "input_bias": bool(values.number("bias")), "convolutions": 2,
        }  # fmt: skip
        blocks += [
            {**block, **_heads(values, width, heads[i], "num_heads"), "kind": "blocks, windows",
             "window": values.number("window"), "padded": True},
            {**block, **_heads(values, width, groups[i], "num_groups"), "kind": "blocks, channels",
             "channel_groups": groups[i]},
        ]  # fmt: skip
    return blocks, joins


def swin(values: TowerValues) -> Parts:
    """Swin: blocks in windows with tables of relative positions; 2 x 2 rows become one behind each.

    A window is at most the smaller edge of the grid. Source: transformers 5.23,
    modeling_donut_swin.py.
    """
    depths, heads = _per_stage(values, "depths"), _per_stage(values, "num_heads")
    width, patch = values.number("d"), values.number("patch")
    high, wide = _sides(values)
    placed = width * (high // patch * (wide // patch) + 1)
    joins: list[Config] = [
        {**SEEN, "operator": "patches", "inputs": values.number("pixels"), "outputs": width,
         "bias": 1},
        {**SEEN, "operator": "norms", "outputs": width, "norm_weights": 2},
    ]  # fmt: skip
    if values.number("placed"):
        joins.append({**SEEN, "operator": "positions", "outputs": width, "tables": placed})
    blocks = []
    edge = -(-min(high, wide) // patch)
    for i, depth in enumerate(depths):
        merge = 2**i
        window = values.number("window")
        blocks.append({
            "part": "vision tower", "kind": "blocks, windows", "layers": depth, "width": width,
            **_heads(values, width, heads[i], "num_heads"),
            "mlp_width": _scaled(values, width), "activation_flops": values.number("activation"),
            "input_bias": bool(values.number("bias")), "merge": merge,
            "window": min(window, -(-edge // merge)), "padded": True,
            "tables": (2 * window - 1) ** 2 * heads[i],
        })  # fmt: skip
        if i + 1 < len(depths):
            coarser = {**SEEN, "merge": 2 * merge}
            joins += [
                {**coarser, "operator": "norms", "outputs": 4 * width, "norm_weights": 2},
                {**coarser, "operator": "merger", "inputs": 4 * width, "outputs": 2 * width},
            ]
            width *= 2
    _check_swin(values, width, patch << (len(depths) - 1))
    return blocks, joins


def _check_swin(values: TowerValues, width: int, block: int) -> None:
    """Refuse a width that another projection would follow, and edges without whole last rows.

    Parameters
    ----------
    values : TowerValues
        Of the config.
    width, block : int
        Of the last stage, and the edge of its rows, pixels.
    """
    path = _path(values, "hidden_size")
    stated = values.value(path)
    if stated is not None and values.whole(path) != width:
        raise values.fail(path, f"= {shown(stated)}: expected {width}, of the last stage")
    path = _path(values, "image_size")
    sides = values.value(path)
    if not isinstance(sides, list) or any(side % block for side in _sides(values)):
        raise values.fail(path, f"= {shown(sides)}: expected two multiples of {block}")


def _path(values: TowerValues, key: str) -> str:
    return values.rows[1].path(key)


def _per_stage(values: TowerValues, key: str, kind: type[int] = int, least: int = 1) -> list[Any]:
    """A list of one number, or true or false, a stage.

    Parameters
    ----------
    values : TowerValues
    key : str
        Of the tower.
    kind : type
        Of each entry.
    least : int
        Smallest number.
    """
    path = _path(values, key)
    value, stages = values.value(path), values.value(_path(values, "depths"))
    count = len(stages) if isinstance(stages, list) else 0
    if not isinstance(value, list) or len(value) != count or not 1 <= count <= 16:
        raise values.wrong(path, "a list of one entry a stage, as depths")
    if any(type(one) is not kind or not least * (kind is int) <= one < 2**20 for one in value):
        what = "true or false" if kind is bool else f"integers of at least {least}"
        raise values.wrong(path, f"a list of {what}")
    return value


def _scaled(values: TowerValues, width: int) -> int:
    """Width of an MLP: the key `mlp_ratio` times the width of the stage."""
    path = _path(values, "mlp_ratio")
    ratio = values.value(path)
    if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 0 < ratio <= 64:
        raise values.wrong(path, "a ratio such as 4.0")
    return int(width * ratio)


def _heads(values: TowerValues, width: int, heads: int, key: str) -> Config:
    if width % heads:
        raise values.wrong(_path(values, key), f"divisors of the widths, such as of {width}")
    return {"heads": heads, "key_value_heads": heads, "head_width": width // heads}


def _pixels(values: TowerValues, kernel: int) -> int:
    return kernel * kernel * values.number("channels")


def _sides(values: TowerValues) -> tuple[int, int]:
    """Height and width of an image, pixels; one number for a square."""
    path = _path(values, "image_size")
    value = values.value(path)
    sides = value if isinstance(value, list) else [value, value]
    if len(sides) != 2 or any(type(side) is not int or not 1 <= side < 2**20 for side in sides):
        raise values.wrong(path, "height and width in pixels")
    return sides[0], sides[1]


STAGES: dict[str, Callable[[TowerValues], Parts]] = {"davit": davit, "swin": swin}
"""Functions that a row names in `stages`."""
