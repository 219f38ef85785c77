"""Groups of a quantisation table: which modules, with which weights and activations."""

import json
from collections.abc import Collection
from functools import cache
from typing import Any, NamedTuple

from sweepengine.data.configs import Config, families
from sweepengine.data.files import shipped_table
from sweepengine.data.module_patterns import ModuleList
from sweepengine.formulas.formats import FORMAT_NAMES

LINEAR = "Linear"
"""Target that stands for all matrices that no other target names."""


class UnknownFormatError(ValueError):
    """An unknown format or key; the message names the key and the allowed values."""


class Group(NamedTuple):
    """Modules of one format."""

    targets: ModuleList
    """By name."""
    linear: bool
    """Also those that no group names."""
    format: str
    activation: str
    """Format of activations that they take."""


def methods() -> dict[str, Config]:
    """What is known of each `quant_method` whose keys state the format."""
    known: dict[str, Config] = _tables()["methods"]
    return known


@cache
def _tables() -> Config:
    return shipped_table("quantization.toml")


def check_keys(method: str, config: Config, stating: Collection[str]) -> None:
    """Refuse a key that is not known, or a value that would change bytes.

    Parameters
    ----------
    method : str
        Row of `quantization.toml`.
    config : dict
        The table with these keys.
    stating : collection of str
        Keys that are read.

    Raises
    ------
    UnknownFormatError
        The message names the key.
    """
    known = methods().get(method) or _tables()["described"][method]
    neutral = known.get("neutral", {})
    for key, value in config.items():
        if key not in {*stating, *neutral, *known["keys"], "quant_method"}:
            raise UnknownFormatError(f"{key}: unknown key of {method}")
        if key in neutral and value is not None and value not in neutral[key]:
            allowed = " or ".join(json.dumps(each) for each in [*neutral[key], None])
            raise UnknownFormatError(f"{key} = {json.dumps(value)}: expected {allowed}")


def groups_of(config: Config) -> tuple[Group, ...]:
    """Groups of a `quantization_config`, as compressed-tensors and ModelOpt write them.

    Raises
    ------
    UnknownFormatError
        When a group has a key or weights that are not known, or two groups take the same modules.
    """
    groups = []
    for title, group in (config.get("config_groups") or {}).items():
        check_keys("group", group, ("targets", "weights", "input_activations"))
        targets = group.get("targets") or [LINEAR]
        if not isinstance(targets, list) or not all(isinstance(each, str) for each in targets):
            raise UnknownFormatError(f"{title}: targets: expected a list of modules")
        weights = group.get("weights") or {}
        check_keys("weights", weights, STATING)
        named = ModuleList.of([each for each in targets if each != LINEAR])
        activation = _activation(group.get("input_activations"))
        groups.append(Group(named, LINEAR in targets, _weights(weights), activation))
    if sum(group.linear for group in groups) > 1:
        formats = ", ".join(group.format for group in groups)
        raise UnknownFormatError(f'config_groups: {formats}: expected one group of "{LINEAR}"')
    return tuple(groups)


STATING = ("num_bits", "type", "group_size", "symmetric", "strategy", "block_structure")
"""Keys of weights that their format follows from."""


def _weights(weights: Config) -> str:
    """Format of weights of compressed-tensors."""
    strategy = "group" if weights.get("group_size") else "tensor"
    given = {key: value for key, value in weights.items() if value is not None}
    stated = {"symmetric": True, "strategy": strategy} | given
    for known in families()["checkpoints"]["weights"]:
        required = {"group_size": None} | known
        if all(stated.get(key) == value for key, value in required.items() if key != "format"):
            return str(known["format"])
    raise UnknownFormatError(
        f"weights of {weights.get('num_bits')} bits, {weights.get('type')}, groups of "
        f"{weights.get('group_size')}: expected one of {', '.join(FORMAT_NAMES)}"
    )


def _activation(taken: Any) -> str:
    if not taken:
        return "bf16"
    if taken.get("num_bits") == 4:
        return "nvfp4"
    return "fp8" if taken.get("type") == "float" else "int8"
