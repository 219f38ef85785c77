"""What a config.json says of its checkpoint's number formats: `quantization_config`.

Spellings of fp8 (transformers), mxfp4, GPTQ, AWQ, compressed-tensors and ModelOpt are read. The
format of a role is that of most of its layers; where some stay as they are, it is said. Names of
modules, algorithms and formats are in `families.toml`.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import accumulate
from typing import NamedTuple

from sweepengine.data.configs import Config, families
from sweepengine.formulas.formats import FORMAT_NAMES, row_of


class Quantized(NamedTuple):
    """What was understood."""

    formats: dict[str, str]
    """Role, "activation" and "cache" to the name of a format; what is bf16 is left out."""
    said: tuple[str, ...]


class UnknownFormatError(ValueError):
    """A format that is not known; the message says which key, and what is."""


def read_quantization(
    config: Config, part: Config, roles: Mapping[str, Sequence[int]], modules: Config
) -> Quantized:
    """Formats of the checkpoint that a config.json describes.

    Parameters
    ----------
    config : dict
        Its `quantization_config`.
    part : dict
        The part that describes the decoder.
    roles : mapping of str to sequence of int
        Which layers have a role; one that none has is no key.
    modules : dict
        Role to the modules that stand for it, where those of every family do not.

    Raises
    ------
    UnknownFormatError
        When its format is not one that is known.
    """
    base = _base(config)
    named = config.get("quantized_layers") or {}
    # Lists beside fp8 are of what was quantised anew; the rest is as it was.
    patterns = [] if named and config.get("quant_method") == "fp8" else _ignored(config)
    ignored = _Ignored.of(patterns)
    known = families()["checkpoints"]["modules"]
    found: dict[str, str] = {}
    said = []
    for role, layers in roles.items():
        names = tuple(modules.get(role) or known[role])
        each = (_of_layer(layer, names, base, ignored, named) for layer in layers)
        votes = Counter(vote for vote in each if vote)
        chosen, most = votes.most_common(1)[0] if votes else ("bf16", 0)
        if most < votes.total():
            said.append(
                f"{votes.total() - most} of {votes.total()} layers have other formats of {role}; "
                f"all are taken as {chosen}"
            )
        if chosen != "bf16":
            found[role] = chosen
    if part.get("expert_dtype") == "fp4" and found.get("experts") == base == "fp8":
        found["experts"] = "mxfp4"
    kept = config.get("kv_cache_scheme") or config.get("kv_cache_quant_algo")
    if kept:
        bits = kept.get("num_bits") if isinstance(kept, dict) else kept
        if bits not in (8, "FP8"):
            raise UnknownFormatError(f"kv_cache_scheme = {kept!r}: expected 8 bits")
        found["cache"] = "fp8"
    if found:
        activation = _activation(config, base)
        if activation != "bf16":
            found["activation"] = activation
    return Quantized(found, tuple(said))


def _base(config: Config) -> str:
    """The format of a linear layer that nothing else is said of."""
    method = str(config.get("quant_method", "modelopt"))
    if method == "mxfp4":
        return "mxfp4"
    if method in ("gptq", "awq"):
        if (config.get("bits"), config.get("group_size")) != (4, 128):
            raise UnknownFormatError("bits, group_size: expected 4 bits in groups of 128")
        return "int4" if method == "gptq" and config.get("sym", True) else "int4-zeros"
    if method == "fp8":
        block = config.get("weight_block_size")
        if block not in (None, [128, 128]):
            raise UnknownFormatError(f"weight_block_size = {block}: expected [128, 128]")
        return "fp8-tensor" if block is None else "fp8"
    if method not in ("compressed-tensors", "modelopt"):
        raise UnknownFormatError(
            f'quant_method = "{method}": expected fp8, mxfp4, gptq, awq, compressed-tensors '
            "or modelopt"
        )
    algorithm = config.get("quant_algo")
    known: dict[str, str] = families()["checkpoints"]["algorithms"]
    if algorithm in known:
        return known[algorithm]
    if algorithm == "MIXED_PRECISION":
        return "bf16"
    groups = config.get("config_groups") or {}
    if not groups:
        raise UnknownFormatError("config_groups: required key is missing")
    return _weights(next(iter(groups.values())).get("weights") or {})


def _weights(said: Config) -> str:
    """Format of a group of compressed-tensors."""
    stated = {"symmetric": True} | said
    for known in families()["checkpoints"]["weights"]:
        wanted = {"group_size": None} | known
        if all(stated.get(key) == value for key, value in wanted.items() if key != "format"):
            return str(known["format"])
    raise UnknownFormatError(
        f"weights of {said.get('num_bits')} bits, {said.get('type')}, groups of "
        f"{said.get('group_size')}: expected one of {', '.join(FORMAT_NAMES)}"
    )


def _activation(config: Config, base: str) -> str:
    groups = config.get("config_groups") or {}
    if groups:
        taken = next(iter(groups.values())).get("input_activations")
        if not taken:
            return "bf16"
        if taken.get("num_bits") == 4:
            return "nvfp4"
        return "fp8" if taken.get("type") == "float" else "int8"
    taken = row_of(base).get("activations", base)
    return str(taken)


def _ignored(config: Config) -> list[str]:
    found: list[str] = []
    for key in ("modules_to_not_convert", "ignore", "ignored_layers", "exclude_modules"):
        listed = config.get(key) or []
        if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
            raise UnknownFormatError(f"{key}: expected a list of modules")
        found += listed
    return found


class _Ignored(NamedTuple):
    """What a list leaves in bf16: plain names, thousands of them in some files, and patterns."""

    plain: frozenset[str]
    """Paths of modules, or single names in them."""
    expressions: tuple[str, ...]
    wildcards: tuple[str, ...]

    @classmethod
    def of(cls, patterns: Sequence[str]) -> "_Ignored":
        """Sort a list."""
        expressions = tuple(one.removeprefix("re:") for one in patterns if one.startswith("re:"))
        others = [one for one in patterns if not one.startswith("re:")]
        plain = frozenset(one for one in others if "*" not in one)
        wildcards = tuple(pattern for one in others if "*" in one for pattern in (one, f"{one}.*"))
        return cls(plain, expressions, wildcards)

    def has(self, name: str) -> bool:
        """Whether it names a module or one that holds it."""
        steps = name.split(".")
        return (
            not self.plain.isdisjoint(steps)
            or not self.plain.isdisjoint(accumulate(steps, "{}.{}".format))
            or any(re.match(one, name) for one in self.expressions)
            or any(
                fnmatchcase(name, one) or fnmatchcase(name, f"{one}.*") for one in self.wildcards
            )
        )


def _of_layer(
    layer: int, modules: tuple[str, ...], base: str, ignored: _Ignored, named: Config
) -> str:
    """Format of a role in one layer; empty where a list of all that is quantised has it not."""
    known = families()["checkpoints"]
    algorithms: dict[str, str] = known["algorithms"]
    names = [f"{prefix}{layer}.{module}" for prefix in known["prefixes"] for module in modules]
    for name in names:
        for key in (name, name.rsplit(".", 1)[0], name.rsplit(".", 2)[0]):
            if key in named and not key.endswith("."):
                algorithm = str(named[key].get("quant_algo"))
                if algorithm not in algorithms:
                    raise UnknownFormatError(
                        f'quant_algo = "{algorithm}" of {key}: expected one of '
                        f"{', '.join(algorithms)}"
                    )
                return algorithms[algorithm]
    if named and base == "bf16":
        return ""
    return "bf16" if any(map(ignored.has, names)) else base
