"""Number formats of a checkpoint, from the `quantization_config` of a config.json.

It reads the methods of `quantization.toml` (fp8, fbgemm_fp8, mxfp4, GPTQ, AWQ, bitsandbytes),
compressed-tensors and ModelOpt; a key that it does not know is refused. The format of a weight role
is that of most of its layers; layers in bf16 stay so, and a note reports them, those with another
format, and matrices that differ from others of their layer. Names of modules, algorithms and
formats are in `families.toml`.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sweepengine.data.configs import Config, families
from sweepengine.data.module_patterns import ModuleList
from sweepengine.data.quantized_groups import (
    Group,
    UnknownFormatError,
    check_keys,
    groups_of,
    methods,
)
from sweepengine.formulas.formats import row_of

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
        When a format or a key is unknown.
    """
    table = _Table.of(config)
    known = families()["checkpoints"]["modules"]
    formats: dict[str, str] = {}
    plain: dict[str, frozenset[int]] = {}
    notes = []
    for role, layers in roles.items():
        names = tuple(modules.get(role) or known[role])
        of_layers = {layer: table.of_layer(layer, names) for layer in layers}
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
        notes += table.mixed(role, of_layers)
    if part.get("expert_dtype") == "fp4" and formats.get("experts") == table.base == "fp8":
        formats["experts"] = "mxfp4"
    if table.by_target and not formats:
        raise UnknownFormatError("config_groups: targets: no matrix of the decoder is named")
    cache = config.get("kv_cache_scheme") or config.get("kv_cache_quant_algo")
    if cache:
        bits = cache.get("num_bits") if isinstance(cache, dict) else cache
        if bits not in (8, "FP8"):
            raise UnknownFormatError(f"kv_cache_scheme = {cache!r}: expected 8 bits")
        formats["cache"] = "fp8"
    if formats:
        activation = table.activation(set(formats.values()))
        if activation != "bf16":
            formats["activation"] = activation
    return Quantized(formats, tuple(notes), plain)


def _base(config: Config) -> str:
    """Format of a linear layer without a setting of its own."""
    method = str(config.get("quant_method", "modelopt"))
    if method in methods():
        return _of_method(method, config)
    if method not in ("compressed-tensors", "modelopt"):
        raise UnknownFormatError(
            f'quant_method = "{method}": expected one of {", ".join(methods())}, '
            "compressed-tensors, modelopt"
        )
    check_keys(method, config, LISTS_OF_MODULES)
    algorithm = config.get("quant_algo")
    known: dict[str, str] = families()["checkpoints"]["algorithms"]
    if algorithm in known:
        return known[algorithm]
    return "bf16" if algorithm == "MIXED_PRECISION" else ""


def _of_method(method: str, config: Config) -> str:
    """Return the format that the keys of a method state.

    Raises
    ------
    UnknownFormatError
        When their values have no format, or a key is unknown or has a value that changes bytes.
    """
    known = methods()[method]
    stating = list(dict.fromkeys(key for row in known["formats"] for key in row))
    stating.remove("format")
    check_keys(method, config, (*stating, *LISTS_OF_MODULES))
    given = {key: value for key, value in config.items() if value is not None}
    stated = known.get("defaults", {}) | given
    for row in known["formats"]:
        if all(stated.get(key) == row.get(key) for key in stating):
            return str(row["format"])
    shown = ", ".join(f"{key} = {json.dumps(stated.get(key))}" for key in stating)
    raise UnknownFormatError(f"{shown}: expected {known['expected']}")


def _ignored(config: Config) -> list[str]:
    patterns: list[str] = []
    for key in LISTS_OF_MODULES:
        listed = config.get(key) or []
        if not isinstance(listed, list) or not all(isinstance(entry, str) for entry in listed):
            raise UnknownFormatError(f"{key}: expected a list of modules")
        patterns += listed
    return patterns


class _Table(NamedTuple):
    """What a table says of each module."""

    base: str
    """Of linear layers that nothing else names; empty: groups of targets say it."""
    groups: tuple[Group, ...]
    ignored: ModuleList
    named: Config
    """Modules with an algorithm of their own."""

    @classmethod
    def of(cls, config: Config) -> "_Table":
        """Read a `quantization_config`."""
        base = _base(config)
        named = config.get("quantized_layers") or {}
        by_fp8 = config.get("quant_method") == "fp8"
        groups = groups_of(config)
        if not base and not groups:
            raise UnknownFormatError("config_groups: required key is missing")
        # With fp8, `quantized_layers` lists the layers quantised again; the others stay fp8.
        ignored = ModuleList.of([] if named and by_fp8 else _ignored(config))
        head = any(group.targets.has("lm_head") for group in groups)
        if not base and head and not ignored.has("lm_head"):
            raise UnknownFormatError('targets: "lm_head": expected a head that stays in bf16')
        return cls(base, groups, ignored, named)

    @property
    def names_modules(self) -> bool:
        """Whether it says anything of single modules."""
        return bool(self.groups or self.named or any(self.ignored))

    @property
    def by_target(self) -> bool:
        """Whether groups say which modules are quantised."""
        return not self.base

    def activation(self, weights: set[str]) -> str:
        """Format of activations, which weights in several formats share."""
        groups = self.groups
        if self.by_target:
            groups = tuple(group for group in groups if group.format in weights)
        taken = {group.activation for group in groups}
        if self.by_target and len(taken) > 1:
            raise UnknownFormatError(
                f"input_activations: {', '.join(sorted(taken))}: expected one format of activations"
            )
        if groups:
            return groups[0].activation
        return str(row_of(self.base).get("activations", self.base))

    def of_layer(self, layer: int, modules: Sequence[str]) -> str:
        """Format of modules of a layer, whatever their prefix; empty where nothing names them."""
        paths = _paths(layer, modules)
        for path in paths:
            if (algorithm := self._named(path)) is not None:
                return algorithm
        if self.named and self.base == "bf16":
            return ""
        if any(map(self.ignored.has, paths)):
            return "bf16"
        if not self.by_target:
            return self.base
        linear = next((group.format for group in self.groups if group.linear), "bf16")
        return next((group.format for path in paths if (group := self._group(path))), linear)

    def mixed(self, role: str, of_layers: Mapping[int, str]) -> list[str]:
        """Notes on matrices of a role that have another format than their layer is modelled in."""
        if not self.names_modules:
            return []
        differing: Counter[tuple[str, str, str]] = Counter()
        for layer, modelled in of_layers.items():
            together = families()["checkpoints"]["together"][role]
            listed = [sum(self._lists(layer, module) for module in each) for each in together]
            if not modelled or not any(listed):
                continue
            for module in together[listed.index(max(listed))]:
                found = self.of_layer(layer, [module]) or "bf16"
                differing[module, found, modelled] += found != modelled
        return [
            f"{role}: {module} is {found} in {count} layers, modelled in {modelled}"
            for (module, found, modelled), count in differing.items()
            if count
        ]

    def _named(self, path: str) -> str | None:
        if not self.named:
            return None
        algorithms: dict[str, str] = families()["checkpoints"]["algorithms"]
        for key in (path, path.rsplit(".", 1)[0], path.rsplit(".", 2)[0]):
            if key in self.named and not key.endswith("."):
                algorithm = str(self.named[key].get("quant_algo"))
                if algorithm not in algorithms:
                    raise UnknownFormatError(
                        f'quant_algo = "{algorithm}" of {key}: expected one of '
                        f"{', '.join(algorithms)}"
                    )
                return algorithms[algorithm]
        return None

    def _group(self, path: str) -> Group | None:
        return next((group for group in self.groups if group.targets.has(path)), None)

    def _lists(self, layer: int, module: str) -> bool:
        """Whether a module is in the table by its name."""
        return any(
            self.ignored.has(path) or self._named(path) is not None or self._group(path)
            for path in _paths(layer, [module])
        )


def _paths(layer: int, modules: Sequence[str]) -> list[str]:
    prefixes = families()["checkpoints"]["prefixes"]
    return [f"{prefix}{layer}.{module}" for prefix in prefixes for module in modules]
