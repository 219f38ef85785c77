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
from sweepengine.formulas.attention import growth_values
from sweepengine.formulas.cost import counted
from sweepengine.formulas.figures import QUARTERS
from sweepengine.formulas.formats import cache_bits, own_cache, saved_bytes
from sweepengine.formulas.layers import decoder_ends, routed_experts
from sweepengine.formulas.parameters import parameter_parts
from sweepengine.formulas.points import INPUTS


class Model(NamedTuple):
    """A model ready to be costed."""

    name: str
    description: str
    architecture: Architecture
    modes: dict[str, Mode]
    sources: dict[str, str]
    """Section of the model file to where its figures come from."""
    why: dict[str, str]
    """Key that differs from the extended model (`sam.width`) to the reason."""
    data: dict[str, Any]
    """What its files hold together, the extended ones' keys included."""
    assumed: dict[str, Any] = {}
    """Keys that a config.json leaves out, and the default that stands for each."""
    said: tuple[str, ...] = ()
    """What of a config.json is not costed."""
    devices: tuple[Device, ...] = ()
    """That it is timed on; a point's `device` is a position among them."""
    times: str = ""
    """What times are of, one of `speeds.TIMES`; empty: silicon where a device has rates."""

    @property
    def has_vision(self) -> bool:
        """Whether it sees images."""
        return self.architecture.towers is not None

    @property
    def device_names(self) -> tuple[str, ...]:
        """Names of its devices, which a point's `device` is one of."""
        return tuple(device.name for device in self.devices)

    @property
    def has(self) -> dict[str, bool]:
        """Which inputs it has, by what those need (`formulas.points.NEEDS`)."""
        attentions = self.architecture.attentions
        latent = any(attention.latent for attention in attentions)
        norms = any(a.query_norm or a.key_norm for a in attentions)
        return {
            "": True,
            "vision": self.has_vision,
            "text": not self.has_vision,
            "heads": len(attentions) == 1 and not latent and not norms,
            "latent": latent,
            "device": bool(self.devices),
        }

    @property
    def inputs(self) -> tuple[str, ...]:
        """Input columns that it has."""
        has = self.has
        return tuple(name for name, column in INPUTS.items() if has[column.needs])

    @property
    def heads(self) -> tuple[int, int]:
        """Attention and key-value heads that a point has unless it says others; 0: its own."""
        attention = self.architecture.groups[0].attention
        return (attention.heads, attention.key_value_heads) if self.has["heads"] else (0, 0)

    @property
    def image_sizes(self) -> tuple[int, int]:
        """View and tile that a point has unless it says others: those of the first mode with tiles.

        0 where it sees no images.
        """
        if not self.has_vision:
            return 0, 0
        tiled = next((mode for mode in self.modes.values() if mode.tile_size), None)
        if tiled is None:
            return INPUTS["view_size"].default, INPUTS["tile_size"].default
        return tiled.view_size, tiled.tile_size or 0

    @property
    def query_width(self) -> int:
        """Width of all queries together, which heads divide."""
        attention = self.architecture.groups[0].attention
        return attention.heads * attention.key_width

    @property
    def parameter_count(self) -> int:
        """Parameters held in memory, at the model's own heads."""
        return sum(parameter_parts(self.architecture).values())

    @property
    def active_parameter_count(self) -> int:
        """Parameters that one token passes through.

        Of routed experts those it is sent to; the token table is looked up, not passed through,
        unless it is the head too.
        """
        backbone, counts = self.architecture.backbone, self.architecture.counts
        table = counted(decoder_ends(backbone, 1).embedding, counts.ends[0]).weights
        unused = (1 - backbone.tied) * table
        for group in self.architecture.groups:
            forward = group.feed_forward
            if forward.experts:
                one = routed_experts(forward, backbone.hidden, 1).expert_io
                idle = forward.experts_held - min(forward.experts_per_token, forward.experts_held)
                unused += group.layers * idle * one
        return self.parameter_count - unused

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes that the cache grows by a token in all layers, while no window is full."""
        groups = self.architecture.groups
        values = sum(group.layers * growth_values(group.attention) for group in groups)
        return values * cache_bits(self.architecture, own_cache(self.architecture)) // QUARTERS

    @property
    def weight_bytes(self) -> int:
        """Bytes of all parameters, in the formats of the checkpoint."""
        whole = self.parameter_count * self.architecture.convention.dtype_bytes
        return whole - saved_bytes(self.architecture)


def choices_of(model: Model, name: str) -> tuple[str, ...]:
    """Names of the values of an input; of `device` those of the model's own."""
    if name == "device" and model.devices:
        return model.device_names
    choices: tuple[str, ...] = INPUTS[name].choices
    return choices


def merged(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """A table with the keys of another laid over it, tables within tables too."""
    result = dict(base)
    for key, value in change.items():
        old = result.get(key)
        both_tables = isinstance(old, dict) and isinstance(value, dict)
        result[key] = merged(old, value) if both_tables else value  # type: ignore[arg-type]
    return result


def _read_model(path: Path, read: dict[Path, str]) -> dict[str, Any]:
    """What a file and those it extends hold; `read` gets the text of each."""
    if path.resolve() in read:
        raise InputError(f'{path}: extends: "{path.name}" leads back to itself')
    if len(read) >= MOST_EXTENDED:
        raise InputError(f"{path}: extends: more than {MOST_EXTENDED} files, each on the next")
    read[path.resolve()] = text = read_text(path)
    data = dict(_toml(path, text))
    if "extends" not in data:
        return data
    base = data.pop("extends")
    if not isinstance(base, str):
        raise InputError(f"{path}: extends: expected the name or path of a model, found {base!r}")
    beside = path.parent / base
    try:
        base_path = beside if base not in known("models") and exists(beside) else None
        below = _read_model(base_path or find("models", base), read)
    except InputError as error:
        raise InputError(f"{path}: extends: {error}") from None
    if data.get("name", below.get("name")) == below.get("name"):
        raise InputError(
            f"{path}: name: expected one of its own beside extends, other than "
            f"{json.dumps(below.get('name'))}"
        )
    return merged(below, data)


@lru_cache(maxsize=64)
def _toml(path: Path, text: str) -> dict[str, Any]:
    found: dict[str, Any] = parsed_toml(path, text)
    return found


def build(data: dict[str, Any], source: str | Path) -> Model:
    """Make a model of what a model file holds.

    Raises
    ------
    InputError
        When it is not valid; the message names `source` and the key.
    """
    try:
        file: Any = ModelFile.model_validate(data)
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


MOST_EXTENDED = 16
"""Files that a model may lie in, each extending the next."""
_SHIPPED: dict[Path, Model] = {}
_READ: dict[tuple[Path, tuple[str, ...]], Model] = {}
_MAX_MODELS = 64
"""Models of users that are kept."""


def load_model(name: "Model | str | Path" = "deepseek-ocr-3b") -> Model:
    """Load a model by the name it is shipped under, or from a TOML file; a `Model` is returned.

    A file may say ``extends = "NAME"`` and then holds only what differs.

    Parameters
    ----------
    name : str, Path or Model
        A stem under ``sweepengine/data/models``, a path to a TOML file, or a model itself.

    Raises
    ------
    InputError
        When there is no such model or its file is not valid.
    """
    if isinstance(name, Model):
        return name
    path = find("models", name)
    if (shipped := _SHIPPED.get(path)) is not None:
        return shipped
    texts: dict[Path, str] = {}
    data: dict[str, Any] = {}
    if path.suffix == ".json":
        from sweepengine.data.huggingface import read_config, sidecar_of

        texts = {path: read_text(path)}
        if (beside := sidecar_of(path)) is not None:
            texts[beside] = read_text(beside)
    else:
        data = _read_model(path, texts)
    key = (path, tuple(texts.values()))  # by content: a file may change at any time
    model = _READ.get(key)
    if model is None:
        if path.suffix == ".json":
            reading = read_config(path)
            model = build(reading.data, path)._replace(assumed=reading.assumed, said=reading.said)
        else:
            model = build(data, path)
        if len(_READ) >= _MAX_MODELS:
            _READ.clear()
        _READ[key] = model
    if path in known("models").values():
        _SHIPPED[path] = model
    return model
