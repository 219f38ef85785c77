"""Configs with one key changed, and what transformers makes of them on the meta device."""

import copy
import json
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple
from unittest.mock import patch

from transformers import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from sweepengine.data.configs import families
from sweepengine.data.huggingface import reading_of
from sweepengine.data.models import build
from sweepengine.data.tower_tables import tower_tables
from sweepengine.formulas.architecture import Architecture
from sweepengine.validation import configs as decoders
from sweepengine.validation import towers
from sweepengine.validation.configs import measure_text
from sweepengine.validation.counters import Figure, parameters
from sweepengine.validation.towers import measure_tower
from tests.data.configs import part_of, shortened, write
from tests.validation.config_reads import Seen, attributes_of, attributes_read, changed_attributes

REMOVED = object()
TOWERS = ("vision_config", "encoder", "perceiver_config", "qformer_config")
"""Parts of a config whose keys a tower reads."""
PARTS = ("", "text_config", "language_config", "decoder", *TOWERS)
DEPTHS = ("depth", "num_hidden_layers", "num_global_layers")
FEW = 2
"""Blocks of a tower, and layers of a decoder whose layers are alike."""
SECTIONED = {
    **dict.fromkeys(("glm46v", "glm4v", "glm4v_moe", "glm_ocr", "glmga", "paddleocr_vl",
                     "qwen2_5_vl", "qwen2_vl"), 3),
    "hunyuan_vl": 4,
}  # fmt: skip
"""Types whose rotary angles are in sections, and how many: the position, row, column, image."""
ANGLES = {"rope_type": "default", "rope_theta": 1e4, "alpha": 1e3}
WINDOW = 24
"""Tokens of a sliding window, fewer than a prompt has here."""
COSMETIC = {*families()["harmless"]["keys"], *tower_tables()["harmless"]["keys"]}
SWAPPED = {"full_attention": "sliding_attention", "sliding_attention": "full_attention",
           "sparse": "dense", "dense": "sparse"}  # fmt: skip


def small(config):
    """The same config with few layers and blocks, and short windows."""
    whole, config = config, shortened(config)
    if len(read(config).architecture.groups) == 1:
        config = shortened(whole, FEW)
    for key in ("sliding_window", "sliding_window_size"):
        if type(part_of(config).get(key)) is int:
            part_of(config)[key] = min(part_of(config)[key], WINDOW)
    for stages in (config.get("vision_config"), config.get("encoder")):
        if isinstance(stages, dict) and isinstance(stages.get("depths"), list):
            stages["depths"] = [min(depth, FEW) for depth in stages["depths"]]
    tower = config.get("vision_config")
    for key in DEPTHS if isinstance(tower, dict) else ():
        if type(tower.get(key)) is int and tower[key] > FEW:
            tower[key] = FEW
            for name, listed in tower.items():
                if isinstance(listed, list) and name.endswith(("indexes", "indices")):
                    tower[name] = [block for block in listed if block < FEW] or [1]
            if taken := tower.get("intermediate_layers_indices"):
                tower["vision_output_dim"] = tower["hidden_size"] * (1 + len(taken))
    return config


def turned(config):
    """The same config with sections of rotary angles that fit its heads, as transformers needs.

    They change no cost; without them it cannot run a decoder whose heads have another width.
    """
    part = copy.deepcopy(part_of(config))
    angles, heads = part.get("rope_parameters"), part.get("num_attention_heads")
    kind = config["model_type"]
    if kind not in SECTIONED or type(heads) is not int or heads < 1:
        return config
    made = CONFIG_MAPPING[part.get("model_type", kind)]()
    hidden = part.get("hidden_size", getattr(made, "hidden_size", 0))
    width = part.get("head_dim", getattr(made, "head_dim", None)) or hidden // heads
    angles = angles if isinstance(angles, dict) else {}
    half = -(-int(width * angles.get("partial_rotary_factor", 1)) // 2)
    each, count = half // SECTIONED[kind], SECTIONED[kind]
    sections = [half - (count - 1) * each, *[each] * (count - 1)]
    part["rope_parameters"] = {**ANGLES, **angles, "mrope_section": sections}
    if "head_dim" in part:  # of HunyuanOCR null follows from others, which its class does not say
        part["head_dim"] = width
    return {**config, "text_config": part} if "text_config" in config else part


def others(value) -> Iterator:
    """Other values of a key: none, null, twice, half, one more, one less, of another type."""
    yield REMOVED
    yield None
    if isinstance(value, bool):
        yield from (not value, str(value).lower(), int(value))
    elif isinstance(value, int | float):
        half = value // 2 if isinstance(value, int) else value / 2
        yield from (value * 2 or 2, half, value + 1, value - 1, str(value), True)
    elif isinstance(value, str):
        yield from (value + "x", 7)
    elif isinstance(value, list):
        yield from (value[:-1], value + value[-1:], 3)
        if value:
            yield [_another(value[0]), *value[1:]]
            yield [f"{value[0]}X", *value[1:]]
    elif isinstance(value, dict):
        yield from ({}, 3)
    else:
        yield from (1, 64, True)


def _another(entry):
    if isinstance(entry, bool):
        return not entry
    if isinstance(entry, int | float):
        return entry + 1
    return SWAPPED.get(entry, "odd") if isinstance(entry, str) else entry[:-1]


def changes(config) -> Iterator:
    """Part, key, new value, and the config with it, of each change of each key.

    Keys that change no cost anywhere get one other value.
    """
    for part in PARTS:
        table = config.get(part) if part else config
        for key, value in table.items() if isinstance(table, dict) else ():
            if key in ("model_type", *PARTS) or (isinstance(value, dict) and "_config" in key):
                continue
            for number, other in enumerate(others(value)):
                if other == value and type(other) is type(value):
                    continue
                if key in COSMETIC and number != 2:
                    continue
                changed = copy.deepcopy(config)
                inner = changed[part] if part else changed
                inner.pop(key)
                if other is not REMOVED:
                    inner[key] = other
                yield part, key, other, changed


def read(config):
    """The model of a config. Raises InputError where it is refused."""
    reading = reading_of("config.json", copy.deepcopy(config))
    return build(reading.data, "config.json")


class Compared(NamedTuple):
    """A config that was compared with transformers."""

    of_tower: bool
    """Whether the tower was run instead of the decoder."""
    architecture: Architecture
    attributes: dict[Seen, list[str]]
    """Of its configs as transformers reads them."""
    read: set[Seen]
    """Attributes that transformers read to build and run it."""
    figures: list[Figure]
    """None where transformers refuses the config."""

    @property
    def differences(self) -> list[Figure]:
        """Figures of which transformers makes others."""
        return [figure for figure in self.figures if figure.difference]

    def stands_for(self, other) -> bool:
        """Whether ours and that of transformers are the same for another config."""
        changed = changed_attributes(self.attributes, other.attributes)
        alike = self.of_tower == other.of_tower and self.architecture == other.architecture
        return alike and not changed & self.read


def compared(config, model, folder, earlier: list[Compared], of_tower=False) -> Compared:
    """Figures of transformers and ours: parameters of all, and those of a part.

    Parameters
    ----------
    config : dict
    model : Model
        Read from it.
    folder : Path
        Where the config is written.
    earlier : list of Compared
        Of these one is returned where no number can be another. It grows by what is measured.
    of_tower : bool
        The tower is run instead of the decoder.
    """
    config = turned(config)
    path = write(folder, config)
    sees = "vision_config" in config or "encoder" in config
    sees = sees and config["model_type"] in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    try:
        whole = towers.config_of(json.loads(json.dumps(config))) if sees else None
        part = None if of_tower else decoders.decoder_config(path)
    except Exception:  # transformers may raise anything at a value that it refuses
        return Compared(of_tower, model.architecture, {}, set(), [])
    assert whole is not None or not of_tower
    known = defaultdict(list)
    for made in (whole, part):
        for name, values in attributes_of(made).items() if made is not None else ():
            known[name] += values
    new = Compared(of_tower, model.architecture, known, set(), [])
    if found := next((one for one in earlier if one.stands_for(new)), None):
        return found
    with (
        patch.object(towers, "config_of", lambda config: whole),
        patch.object(decoders, "decoder_config", lambda path: part),
        attributes_read() as read,
    ):
        figures = _figures(path, model, whole, of_tower)
    earlier.append(new._replace(read=read, figures=figures))
    return earlier[-1]


def _figures(path, model, whole, of_tower) -> list[Figure]:
    """Figures of all, and of decoder or tower; empty where transformers refuses the config."""
    figures = []
    try:
        if whole is not None:
            built = towers.build(whole)
            total, count = parameters(built), model.parameter_count
            figures.append(Figure("parameters of all", "values", total, count))
        if not of_tower:
            return figures + measure_text(path, model)
        with patch.object(towers, "build", lambda config: built):
            return figures + measure_tower(path, model).figures
    except Exception:  # transformers may raise anything at a value that it refuses
        return figures
