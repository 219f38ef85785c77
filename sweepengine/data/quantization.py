"""Number formats of a checkpoint, from the `quantization_config` of a config.json.

It reads the methods of `quantization.toml` (fp8, fbgemm_fp8, mxfp4, GPTQ, AWQ, bitsandbytes),
compressed-tensors and ModelOpt. The format of a weight role is that of most of its layers; layers
in bf16 stay so, and a note reports them and those with another format. Names of modules, algorithms
and formats are in `families.toml`.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from itertools import accumulate
from typing import NamedTuple

from sweepengine.data.configs import Config, families
from sweepengine.data.files import shipped_table
from sweepengine.formulas.formats import FORMAT_NAMES, row_of

LISTS_OF_MODULES = ("modules_to_not_convert", "ignore", "ignored_layers", "exclude_modules",
                    "llm_int8_skip_modules")  # fmt: skip
"""Keys that list modules which stay as they are."""


class Quantized(NamedTuple):
    """Formats that were read."""

    formats: dict[str, str]
    """Weight role, "activation" or "cache" to the name of its format; bf16 is left out."""
    notes: tuple[str, ...]
    """Layers that are modelled in another format than they have."""
    plain: dict[str, frozenset[int]] = {}
    """Weight role to the layers of which its matrices stay in bf16."""


class UnknownFormatError(ValueError):
    """An unknown format; the message names the key and the allowed values."""


def read_quantization(
    config: Config, part: Config, roles: Mapping[str, Sequence[int]], modules: Config
) -> Quantized:
    """Formats of the checkpoint that a config.json describes.

    Parameters
    ----------
    config : dict
        Its `quantization_config`.
    part : dict
        The part of the config that describes the decoder.
    roles : mapping of str to sequence of int
        Weight role to the layers that have it; roles without layers are left out.
    modules : dict
        Weight role to its modules, where they differ from `[checkpoints.modules]`.

    Raises
    ------
    UnknownFormatError
        When a format is unknown.
    """
    base = _base(config)
    named = config.get("quantized_layers") or {}
    # With fp8, `quantized_layers` lists the layers quantised again; the others stay fp8.
    patterns = [] if named and config.get("quant_method") == "fp8" else _ignored(config)
    ignored = _Ignored.of(patterns)
    known = families()["checkpoints"]["modules"]
    formats: dict[str, str] = {}
    plain: dict[str, frozenset[int]] = {}
    notes = []
    for role, layers in roles.items():
        names = tuple(modules.get(role) or known[role])
        of_layers = {layer: _of_layer(layer, names, base, ignored, named) for layer in layers}
        votes = Counter(vote for vote in of_layers.values() if vote)
        chosen, most = votes.most_common(1)[0] if votes else ("bf16", 0)
        stays = 0
        if chosen != "bf16":
            formats[role] = chosen
            plain[role] = frozenset(n for n, vote in of_layers.items() if vote == "bf16")
            stays = len(plain[role])
        others = votes.total() - most - stays
        if stays:
            notes.append(
                f"{role}: bf16 in {stays} of {votes.total()} layers, whose times are those of "
                f"{chosen}"
            )
        if others:
            notes.append(
                f"{role}: another format in {others} of {votes.total()} layers, which are modelled "
                f"as {chosen}"
            )
    if part.get("expert_dtype") == "fp4" and formats.get("experts") == base == "fp8":
        formats["experts"] = "mxfp4"
    cache = config.get("kv_cache_scheme") or config.get("kv_cache_quant_algo")
    if cache:
        bits = cache.get("num_bits") if isinstance(cache, dict) else cache
        if bits not in (8, "FP8"):
            raise UnknownFormatError(f"kv_cache_scheme = {cache!r}: expected 8 bits")
        formats["cache"] = "fp8"
    if formats:
        activation = _activation(config, base)
        if activation != "bf16":
            formats["activation"] = activation
    return Quantized(formats, tuple(notes), plain)


def _base(config: Config) -> str:
    """Format of a linear layer without a setting of its own."""
    method = str(config.get("quant_method", "modelopt"))
    if method in _methods():
        return _of_method(method, config)
    if method not in ("compressed-tensors", "modelopt"):
        raise UnknownFormatError(
            f'quant_method = "{method}": expected one of {", ".join(_methods())}, '
            "compressed-tensors, modelopt"
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
    formats = [_weights(group.get("weights") or {}) for group in groups.values()]
    if len(set(formats)) > 1 and method == "compressed-tensors":
        raise UnknownFormatError(f"config_groups: {', '.join(formats)}: expected one format")
    return formats[0]


@cache
def _methods() -> dict[str, Config]:
    """Return what is known of each `quant_method`, from `quantization.toml`."""
    methods: dict[str, Config] = shipped_table("quantization.toml")["methods"]
    return methods


def _of_method(method: str, config: Config) -> str:
    """Return the format that the keys of a method state.

    Raises
    ------
    UnknownFormatError
        When their values have no format, or a key is unknown or has a value that changes bytes.
    """
    known = _methods()[method]
    neutral = known.get("neutral", {})
    stating = list(dict.fromkeys(key for row in known["formats"] for key in row))
    stating.remove("format")
    understood = {*stating, *neutral, *known["keys"], *LISTS_OF_MODULES, "quant_method"}
    for key, value in config.items():
        if key not in understood:
            raise UnknownFormatError(f"{key}: unknown key of {method}")
        if key in neutral and value is not None and value not in neutral[key]:
            allowed = " or ".join(json.dumps(each) for each in [*neutral[key], None])
            raise UnknownFormatError(f"{key} = {json.dumps(value)}: expected {allowed}")
    given = {key: value for key, value in config.items() if value is not None}
    stated = known.get("defaults", {}) | given
    for row in known["formats"]:
        if all(stated.get(key) == row.get(key) for key in stating):
            return str(row["format"])
    shown = ", ".join(f"{key} = {json.dumps(stated.get(key))}" for key in stating)
    raise UnknownFormatError(f"{shown}: expected {known['expected']}")


def _weights(group: Config) -> str:
    """Format of a group of compressed-tensors."""
    stated = {"symmetric": True} | group
    for known in families()["checkpoints"]["weights"]:
        required = {"group_size": None} | known
        if all(stated.get(key) == value for key, value in required.items() if key != "format"):
            return str(known["format"])
    raise UnknownFormatError(
        f"weights of {group.get('num_bits')} bits, {group.get('type')}, groups of "
        f"{group.get('group_size')}: expected one of {', '.join(FORMAT_NAMES)}"
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
    return str(row_of(base).get("activations", base))


def _ignored(config: Config) -> list[str]:
    patterns: list[str] = []
    for key in LISTS_OF_MODULES:
        listed = config.get(key) or []
        if not isinstance(listed, list) or not all(isinstance(entry, str) for entry in listed):
            raise UnknownFormatError(f"{key}: expected a list of modules")
        patterns += listed
    return patterns


class _Ignored(NamedTuple):
    """A list of modules that stay in bf16: names, in some files thousands, and patterns."""

    plain: frozenset[str]
    """Paths of modules, or single components of paths."""
    expressions: tuple[str, ...]
    wildcards: tuple[str, ...]

    @classmethod
    def of(cls, patterns: Sequence[str]) -> "_Ignored":
        """Split a list by the kind of its entries."""
        expressions = tuple(e.removeprefix("re:") for e in patterns if e.startswith("re:"))
        names = [entry for entry in patterns if not entry.startswith("re:")]
        plain = frozenset(name for name in names if "*" not in name)
        wildcards = tuple(pattern for n in names if "*" in n for pattern in (n, f"{n}.*"))
        return cls(plain, expressions, wildcards)

    def has(self, name: str) -> bool:
        """Whether the list names a module or a parent of it."""
        steps = name.split(".")
        return (
            not self.plain.isdisjoint(steps)
            or not self.plain.isdisjoint(accumulate(steps, "{}.{}".format))
            or any(re.match(expression, name) for expression in self.expressions)
            or any(fnmatchcase(name, wildcard) for wildcard in self.wildcards)
        )


def _of_layer(
    layer: int, modules: tuple[str, ...], base: str, ignored: _Ignored, named: Config
) -> str:
    """Format of a role in one layer; empty if only listed layers are quantised, and it is not."""
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
