"""A model: TOML file -> validated -> frozen `Architecture` that Numba accepts."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from sweepengine.data.devices import Device
from sweepengine.data.errors import InputError, from_validation
from sweepengine.data.files import exists, find, known, parsed_toml, read_text
from sweepengine.data.schema import SECTIONS, Mode, ModelFile, architecture_of
from sweepengine.formulas.architecture import Architecture
from sweepengine.formulas.cached import growth_quarters
from sweepengine.formulas.experts import image_experts, routed_experts
from sweepengine.formulas.figures import QUARTERS
from sweepengine.formulas.formats import cache_bits, own_cache, saved_bytes
from sweepengine.formulas.images import ONE_SIZE
from sweepengine.formulas.layers import table_width
from sweepengine.formulas.parameters import parameter_parts
from sweepengine.formulas.points import INPUTS
from sweepengine.formulas.speculation import DRAFTS


class Model(NamedTuple):
    """A validated model."""

    name: str
    description: str
    architecture: Architecture
    modes: dict[str, Mode]
    sources: dict[str, str]
    """Section of the model file to the source of its figures."""
    why: dict[str, str]
    """Key that differs from the extended model, such as "sam.width", to the reason."""
    data: dict[str, Any]
    """Merged content of its file and the files that it extends."""
    assumed: dict[str, Any] = {}
    """Keys missing in a config.json, and the default that was assumed for each."""
    notes: tuple[str, ...] = ()
    """Parts of a config.json that are not modelled, or were simplified."""
    devices: tuple[Device, ...] = ()
    """Devices to time it on; the `device` of a point is an index into them."""
    times: str = ""
    """Kind of times, one of `speeds.TIMES`; empty: the default of each device."""
    file: Path | None = None
    """The file that it was read from."""
    drafts: tuple["Model", ...] = ()
    """Models that draft for it; `Architecture.drafts` are their numbers."""

    @property
    def has_vision(self) -> bool:
        """Whether the model has vision towers."""
        return self.architecture.towers is not None

    @property
    def device_names(self) -> tuple[str, ...]:
        """Names of its devices, the choices of the input `device`."""
        return tuple(device.name for device in self.devices)

    @property
    def has(self) -> dict[str, bool]:
        """Whether the model has what inputs need, by key of `formulas.points.NEEDS`."""
        attentions, towers = self.architecture.attentions, self.architecture.towers
        latent = any(attention.latent for attention in attentions)
        norms = any(a.query_norm or a.key_norm for a in attentions)
        return {
            "": True,
            "vision": self.has_vision,
            "crops": towers is not None and towers.crops is not None,
            "image": towers is not None
            and (towers.rule is None or towers.rule.name not in ONE_SIZE),
            "text": not self.has_vision,
            "heads": len(attentions) == 1 and not latent and not norms and attentions[0].heads > 0,
            "latent": latent,
            "device": bool(self.devices),
        }

    @property
    def inputs(self) -> tuple[str, ...]:
        """Input columns of the model."""
        has = self.has
        return tuple(name for name, column in INPUTS.items() if has[column.needs])

    @property
    def heads(self) -> tuple[int, int]:
        """Default attention and key-value heads of a point; 0 where heads are not an input."""
        attention = self.architecture.groups[0].attention
        return (attention.heads, attention.key_value_heads) if self.has["heads"] else (0, 0)

    @property
    def image_sizes(self) -> tuple[int, int]:
        """Default view and tile size of a point, px: those of the first mode with tiles.

        0 for models that do not take them.
        """
        if not self.has["crops"]:
            return 0, 0
        tiled = next((mode for mode in self.modes.values() if mode.tile_size), None)
        if tiled is None:
            return INPUTS["view_size"].default, INPUTS["tile_size"].default
        return tiled.view_size, tiled.tile_size or 0

    @property
    def query_width(self) -> int:
        """Width of all query heads together, which a number of heads must divide."""
        attention = self.architecture.groups[0].attention
        return attention.heads * attention.key_width

    @property
    def parameter_count(self) -> int:
        """Parameters held in memory, with the default heads."""
        return sum(parameter_parts(self.architecture).values())

    @property
    def vision_parameter_count(self) -> int:
        """Weights outside the decoder and the head: towers and what joins them."""
        parts = parameter_parts(self.architecture)
        return sum(parts.values()) - parts["decoder"] - parts.get("LM head", 0)

    @property
    def active_parameter_count(self) -> int:
        """Parameters used for one token.

        Of routed experts only those that a token of text activates count. The embedding table
        counts only if it is tied to the LM head.
        """
        backbone, counts = self.architecture.backbone, self.architecture.counts
        table = (1 - backbone.tied) * backbone.vocabulary * table_width(backbone)
        table += backbone.input_rows * backbone.input_layers * backbone.input_width
        unused = counts.ends[0].weights * table
        for group in self.architecture.groups:
            ffn = group.feed_forward
            if ffn.experts:
                expert = routed_experts(ffn, backbone.hidden, 1).expert_io
                unused += group.layers * image_experts(ffn, backbone.hidden, 1).weights
                idle = ffn.experts_held - min(ffn.experts_per_token, ffn.experts_held)
                unused += group.layers * idle * expert
        return self.parameter_count - unused

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of KV cache per token over all layers, while no window is full."""
        arch = self.architecture
        cache = cache_bits(arch, own_cache(arch))
        kept = sum(group.layers * growth_quarters(group.attention, cache) for group in arch.groups)
        return kept // QUARTERS

    @property
    def weight_bytes(self) -> int:
        """Bytes of all parameters in the formats of the checkpoint."""
        whole = self.parameter_count * self.architecture.convention.dtype_bytes
        return whole - saved_bytes(self.architecture)


def choices_of(model: Model, name: str) -> tuple[str, ...]:
    """Names of the values of an input; for `device` and `draft` those of the model."""
    if name == "device" and model.devices:
        return model.device_names
    if name == "draft":
        return (*DRAFTS, *(draft.name for draft in model.drafts))
    if name == "framework_version":
        from sweepengine.data.serving_engines.memory import version_names

        return version_names()
    choices: tuple[str, ...] = INPUTS[name].choices
    return choices


def merged(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """`base` with the keys of `change` replaced, recursively in nested tables."""
    result = dict(base)
    for key, value in change.items():
        old = result.get(key)
        both_tables = isinstance(old, dict) and isinstance(value, dict)
        result[key] = merged(old, value) if both_tables else value  # type: ignore[arg-type]
    return result


def _read_model(path: Path, read: dict[Path, str]) -> dict[str, Any]:
    """Merged content of a file and the files that it extends; adds their texts to `read`."""
    if path.resolve() in read:
        raise InputError(f'{path}: extends: "{path.name}" extends itself')
    if len(read) >= MAX_EXTENDED:
        raise InputError(f"{path}: extends: a chain of more than {MAX_EXTENDED} files")
    read[path.resolve()] = text = read_text(path)
    data = dict(_toml(path, text))
    if "extends" not in data:
        return data
    base = data.pop("extends")
    if not isinstance(base, str):
        raise InputError(f"{path}: extends: expected the name or path of a model, found {base!r}")
    local = path.parent / base
    try:
        base_path = local if base not in known("models") and exists(local) else None
        extended = _read_model(base_path or find("models", base), read)
    except InputError as error:
        raise InputError(f"{path}: extends: {error}") from None
    if data.get("name", extended.get("name")) == extended.get("name"):
        raise InputError(
            f"{path}: name: expected a new name, as the file extends "
            f"{json.dumps(extended.get('name'))}"
        )
    return merged(extended, data)


@lru_cache(maxsize=64)
def _toml(path: Path, text: str) -> dict[str, Any]:
    return parsed_toml(path, text)


def build(data: dict[str, Any], source: str | Path) -> Model:
    """Make a model from the content of a model file.

    Raises
    ------
    InputError
        When the content is not valid; the message names `source` and the key.
    """
    vision = data.get("vision")
    if vision is not None:
        from sweepengine.data.vision_schema import checked_vision

        vision = checked_vision(vision, source)
    try:
        file: Any = ModelFile.model_validate(data | {"vision": vision})
    except ValidationError as error:
        raise from_validation(source, error, ModelFile.model_fields) from None
    given = [section for section in SECTIONS if getattr(file, section) is not None]
    return Model(
        file.name,
        file.description,
        architecture_of(file),
        file.modes,
        {section: getattr(file, section).source for section in given},
        file.why,
        data,
    )


MAX_EXTENDED = 16
"""Longest chain of files of which each extends the next."""
GGUF = ".gguf"
_SHIPPED: dict[Path, Model] = {}
_READ: dict[tuple[Path, tuple[str, ...]], Model] = {}
_MAX_MODELS = 64
"""Number of models of users that are cached."""


def load_model(name: "Model | str | Path" = "deepseek-ocr-3b") -> Model:
    """Load a shipped model by name, or a model from a TOML file or a config.json.

    A TOML file with ``extends = "NAME"`` states only the differences.

    Parameters
    ----------
    name : str, Path or Model
        A stem under ``sweepengine/data/models``, a path to a TOML file or a config.json, a folder
        that holds a config.json, or a model, which is returned unchanged.

    Raises
    ------
    InputError
        When the model is unknown or its file is not valid.
    """
    if isinstance(name, Model):
        return name
    if Path(name).suffix.lower() == GGUF:
        raise InputError(
            f"{name}: is a GGUF file, which is not read: expected the config.json of the model it "
            "was made from; --precision states the formats"
        )
    path = find("models", name)
    if (shipped := _SHIPPED.get(path)) is not None:
        return shipped
    texts: dict[Path, str] = {}
    data: dict[str, Any] = {}
    if path.suffix == ".json":
        from sweepengine.data.huggingface import BESIDE, file_beside, read_config

        texts = {path: read_text(path)}
        for kind in BESIDE:
            if (beside := file_beside(path, kind)) is not None:
                texts[beside] = read_text(beside)
    else:
        data = _read_model(path, texts)
    key = (path, tuple(texts.values()))  # with the content, as a file may change
    model = _READ.get(key)
    if model is None:
        if path.suffix == ".json":
            reading = read_config(path)
            model = build(reading.data, path)._replace(assumed=reading.assumed, notes=reading.notes)
        else:
            model = build(data, path)
        model = model._replace(file=path)
        if len(_READ) >= _MAX_MODELS:
            _READ.clear()
        _READ[key] = model
    if path in known("models").values():
        _SHIPPED[path] = model
    return model
