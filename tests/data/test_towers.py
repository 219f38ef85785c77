"""Vision towers of configs are read to the unit, or refused by name."""

import json
import tomllib
from functools import cache
from pathlib import Path

import pytest
from transformers import CONFIG_MAPPING

from sweepengine.data import huggingface
from sweepengine.data.configs import families
from sweepengine.data.errors import InputError
from sweepengine.data.models import build, load_model
from sweepengine.data.tower_tables import tower_tables
from sweepengine.data.towers import unread_towers, vision_section
from sweepengine.formulas.images import image_views
from sweepengine.formulas.parameters import parameter_parts
from sweepengine.formulas.views import NO_VIEWS, ImageViews, View
from sweepengine.grid.plain import vision_figures
from tests.data.configs import FIGURES

CHECKED = tomllib.loads((Path(__file__).parent / "towers.toml").read_text(encoding="utf-8"))
OUTSIDE = ("decoder", "LM head")
"""Parts of a model that are no tower."""
TEXT_ENCODER = "text encoder"
"""Part behind a tower, without which check values are."""
ALL_LAYERS_RUN = "vision_feature_layer"
"""Key of a layer; transformers runs those behind it too."""


@cache
def config_of(name):
    """The whole config, as transformers writes it."""
    row = CHECKED[name]
    parts = json.loads(row["config"])
    if row["type"] == "vision-encoder-decoder":
        return {"model_type": row["type"]} | {
            key: CONFIG_MAPPING[part["model_type"]](**part).to_dict() for key, part in parts.items()
        }
    return CONFIG_MAPPING[row["type"]](**parts).to_dict()


def read(name, config=None):
    row = CHECKED[name]
    preprocessor = row.get("preprocessor")
    return vision_section(config or config_of(name), row["hidden"], "config.json", preprocessor)


def architecture_of(section):
    base = load_model("qwen3-8b").data
    return build({**base, "name": "tower", "vision": section}, "config.json").architecture


@pytest.mark.parametrize("name", CHECKED)
def test_parameters_and_flops_equal_those_of_transformers(name):
    section = read(name).section
    towers = {
        kind: [part for part in section[kind] if part["part"] != TEXT_ENCODER]
        for kind in ("blocks", "joins")
    }
    arch = architecture_of({**section, **towers})
    parts = parameter_parts(arch)
    found = [sum(count for part, count in parts.items() if part not in OUTSIDE)]
    for _, _, count, rows, columns, features, _ in CHECKED[name]["images"]:
        image = ImageViews(View(count, rows, columns), NO_VIEWS, features, features)
        found.append(vision_figures(arch, image, 0).counts.tensor_flops)
    expected = [CHECKED[name]["parameters"], *(image[-1] for image in CHECKED[name]["images"])]
    assert found == expected


@pytest.mark.parametrize("name", CHECKED)
def test_images_become_the_views_and_features_of_the_processors(name):
    rule = architecture_of(read(name).section).towers.rule
    found, expected = [], []
    for height, width, count, rows, columns, features, _ in CHECKED[name]["images"]:
        image = image_views(rule, height or 1, width or 1)
        found.append((*image.views[:3], image.tiles.count, image.features))
        expected.append((count, rows, columns, 0, features))
    assert found == expected


def parts_of(config):
    """Paths of the keys of a config that a tower may read, with their values."""
    for part in ("", "vision_config", "audio_config", "qformer_config", "perceiver_config",
                 "encoder"):  # fmt: skip
        table = config.get(part) if part else config
        for key, value in (table or {}).items():
            if not isinstance(value, dict) and key != "model_type":
                yield part, key, value


def changed(config, part, key, value):
    """A config with another value of a key; None: without the key."""
    table = {**(config[part] if part else config)}
    table.pop(key)
    if value is not None:
        table[key] = value
    return {**config, part: table} if part else table


def harmless(config, part, key):
    tables = tower_tables()
    model = tables["models"][config["model_type"]]
    kinds = {config.get(model.get("part", "vision_config") or "", config).get("model_type")}
    kinds |= {tables["other_names"].get(kind) for kind in kinds}
    towers = [tables["towers"][kind] for kind in kinds if kind in tables["towers"]]
    listed = {*families()["harmless"]["keys"], *tables["harmless"]["keys"], ALL_LAYERS_RUN}
    for row in (model, *towers):
        listed |= {*row.get("harmless", ())}
    path = f"{part}.{key}"
    return key in listed or path in listed or key.endswith(tuple(tables["harmless"]["endings"]))


def part_key(part, key):
    return f"{part}.{key}" if part else key


def fixed(config):
    """Keys of rows that one value, the default of transformers, is allowed for."""
    tables = tower_tables()
    model = tables["models"][config["model_type"]]
    part = model.get("part", "vision_config")
    paths = set(model.get("neutral", ()))
    for tower in model["towers"]:
        paths |= {part_key(part, key) for key in tables["towers"][tower].get("neutral", ())}
    return paths


@pytest.mark.parametrize("name", CHECKED)
def test_no_key_is_silently_ignored(name):
    """Without a key, and with its value doubled: an error, an assumed default, another section."""
    config, before = config_of(name), read(name)
    silent, refused = [], []
    for part, key, value in parts_of(config):
        if value is None or harmless(config, part, key):
            continue
        doubled = not value if isinstance(value, bool) else value * 2
        for other in (None, doubled):
            if other == value or (other is None and part_key(part, key) in fixed(config)):
                continue
            try:
                after = read(name, changed(config, part, key, other))
            except InputError as error:
                refused.append(str(error))
                continue
            if after.section == before.section and after.assumed == before.assumed:
                silent.append((part, key, other))
    assert silent == []
    assert all(line.startswith("config.json: ") and "\n" not in line for line in refused)


def test_unknown_keys_are_refused_by_name():
    config = config_of("Gemma-3-4B")
    tower = {**config["vision_config"], "register_tokens": 4}
    with pytest.raises(InputError, match=r"config.json: vision_config.register_tokens: unknown"):
        read("Gemma-3-4B", {**config, "vision_config": tower})
    with pytest.raises(InputError, match=r"config.json: mm_pooling: unknown"):
        read("Gemma-3-4B", {**config, "mm_pooling": 2})


@pytest.mark.parametrize(
    ("name", "part", "key", "value", "message"),
    [
        ("Qwen2.5-VL-7B", "vision_config", "hidden_size", None,
         "vision_config.hidden_size: required key is missing: expected an integer of at least 1"),
        ("Qwen2.5-VL-7B", "vision_config", "fullatt_block_indexes", [7, 7],
         "vision_config.fullatt_block_indexes = [7, 7]: expected different numbers of blocks"),
        ("Gemma-3-4B", "", "mm_tokens_per_image", 255,
         "mm_tokens_per_image = 255: expected a square number"),
        ("Gemma-3-4B", "vision_config", "num_attention_heads", 7,
         "vision_config.hidden_size = 1152: expected a multiple of "
         "vision_config.num_attention_heads = 7"),
        ("InternVL3-8B", "", "downsample_ratio", 0.4,
         "downsample_ratio = 0.4: expected 1.0 or 0.5 or 0.25"),
        ("LLaVA-1.5-7B", "", "vision_feature_select_strategy", "best",
         "vision_feature_select_strategy = 'best': expected default or full"),
        ("Llama-4-Scout", "vision_config", "intermediate_size", 5000,
         "vision_config.intermediate_size = 5000: expected merge*merge*d = 5632"),
        ("Donut-base", "encoder", "hidden_size", 512,
         "encoder.hidden_size = 512: expected 1024, of the last stage"),
        ("Donut-base", "encoder", "image_size", 2560,
         "encoder.image_size = 2560: expected two multiples of 32"),
        ("Donut-base", "encoder", "image_size", [2560, 1936],
         "encoder.image_size = [2560, 1936]: expected two multiples of 32"),
        ("Donut-base", "encoder", "depths", [2, 2],
         "encoder.num_heads = [4, 8, 16, 32]: expected a list of one entry a stage"),
    ],
)  # fmt: skip
def test_wrong_values_are_refused_with_file_and_key(name, part, key, value, message):
    with pytest.raises(InputError) as error:
        read(name, changed(config_of(name), part, key, value))
    assert str(error.value).startswith(f"config.json: {message}")


def test_assumed_defaults_are_reported_with_their_path():
    config = changed(config_of("SmolVLM-256M"), "vision_config", "num_channels", None)
    assert read("SmolVLM-256M", config).assumed["vision_config.num_channels"] == 3


@pytest.mark.parametrize("table", ["towers", "models"])
def test_defaults_are_those_of_transformers(table):
    wrong = {}
    for kind, row in tower_tables()[table].items():
        if kind not in CONFIG_MAPPING or kind == "vision-encoder-decoder":
            continue
        config = CONFIG_MAPPING[kind]().to_dict()
        for key, default in row.get("defaults", {}).items():
            if key in config and json.loads(json.dumps(config[key])) != default:
                wrong[kind, key] = (default, config[key])
        for key, allowed in row.get("neutral", {}).items():
            if config.get(key) is not None and config[key] not in allowed:
                wrong[kind, key] = (allowed, config[key])
    assert wrong == {}


RELEASED = {
    "Qwen2-VL-7B": {"depth": 32, "embed_dim": 1280, "mlp_ratio": 4, "num_heads": 16, "in_chans": 3,
                    "hidden_size": 3584, "patch_size": 14, "spatial_merge_size": 2,
                    "spatial_patch_size": 14, "temporal_patch_size": 2, "model_type": "qwen2_vl"},
    "Pixtral-12B": {"head_dim": 64, "hidden_act": "silu", "image_size": 1024,
                    "model_type": "pixtral", "is_composition": True, "patch_size": 16,
                    "rope_theta": 10000.0, "tie_word_embeddings": False},
    "SmolVLM-256M": {"hidden_size": 768, "image_size": 512, "model_type": "idefics3",
                     "max_image_size": {"longest_edge": 512}, "num_attention_heads": 12,
                     "patch_size": 16, "size": {"longest_edge": 2048}, "use_base_siglip": False,
                     "tie_word_embeddings": False},
    "PaliGemma-3B-224": {"hidden_size": 1152, "intermediate_size": 4304, "num_attention_heads": 16,
                         "model_type": "siglip_vision_model", "num_hidden_layers": 27,
                         "num_image_tokens": 256, "patch_size": 14, "projection_dim": 2048,
                         "projector_hidden_act": "gelu_fast", "vision_use_head": False},
}  # fmt: skip
"""vision_config as it stands in released files, with keys that transformers no longer writes."""


@pytest.mark.parametrize("name", RELEASED)
def test_keys_of_released_files_are_read_or_known_to_be_harmless(name):
    assert read(name, {**config_of(name), "vision_config": RELEASED[name]}).section == (
        read(name).section
    )


def test_other_spellings_of_a_number_are_the_same_number():
    def read_kimi(**vision):
        config = {"model_type": "kimi_k25", "text_config": {}, "vision_config": vision}
        return vision_section(config, 64, "config.json")

    older = read_kimi(vt_num_hidden_layers=27)
    assert older.section == read_kimi().section
    assert "vision_config.num_hidden_layers" in set(read_kimi().assumed) - set(older.assumed)
    both = read_kimi(num_hidden_layers=5, vt_num_hidden_layers=5)
    assert both.section == read_kimi(num_hidden_layers=5).section
    expected = r"vision_config\.vt_num_hidden_layers = 5: expected 27, as of num_hidden_layers"
    with pytest.raises(InputError, match=expected):
        read_kimi(vt_num_hidden_layers=5)


def test_a_tower_without_a_row_is_named():
    config = {"model_type": "fast_vlm", "vision_config": {"model_type": "timm_wrapper"}}
    assert vision_section(config, 64, "config.json") is None
    assert unread_towers(config) == ("vision tower of timm_wrapper is not modelled",)
    config = {"model_type": "gemma4", "vision_config": {}, "audio_config": {"model_type": "usm"}}
    assert unread_towers(config) == ("audio tower of usm is not modelled",)


def write(folder, config):
    path = folder / "config.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    return path


def test_a_config_with_a_tower_is_read_with_it(tmp_path):
    tower = config_of("Gemma-3-4B")["vision_config"]
    path = write(tmp_path, {**FIGURES["gemma-3-4b-pt"], "vision_config": tower})
    reading = huggingface.read_config(path)
    section = {**read("Gemma-3-4B").section, "source": f"{path}, read as gemma3"}
    assert reading.data["vision"] == section
    assert reading.notes == ()
    assert build(reading.data, path).parameter_count == 4_300_079_472


@pytest.mark.parametrize(("features", "rows"), [(280, 2520), (560, 5040)])
def test_a_padded_tower_runs_as_many_patches_as_its_processor_allows(features, rows):
    config, processor = config_of("Gemma-4-26B-A4B"), {"max_soft_tokens": features}
    section = vision_section(config, 2816, "config.json", processor).section
    assert {block["rows"] for block in section["blocks"]} == {rows}
    assert section["rule"]["most"] == features


def test_audio_is_read_with_a_note():
    reading = vision_section(config_of("Qwen2-Audio-7B"), 4096, "config.json")
    assert reading.notes == ("an image is a clip of 30 s of audio",)
    assert {block["part"] for block in reading.section["blocks"]} == {"audio tower"}


def test_a_config_with_an_unknown_tower_is_read_as_text(tmp_path):
    tower = {"vision_config": {"model_type": "own_vit"}}
    reading = huggingface.read_config(write(tmp_path, {**FIGURES["gemma-3-4b-pt"], **tower}))
    assert "vision" not in reading.data
    assert reading.notes[-1] == "vision tower of own_vit is not modelled"


@pytest.mark.parametrize("name", ["Qwen2.5-VL-7B", "Florence-2-base", "GOT-OCR2"])
def test_a_section_is_a_part_of_a_model_file(name):
    """Its numbers are those that a model file may state: written and read, they are the same."""
    section = read(name).section
    assert json.loads(json.dumps(section)) == section
    assert architecture_of(section).towers.width == section["width"]


def test_dots_ocr_has_the_published_parameters_and_is_said_to_be_not_proven(tmp_path):
    text = {"hidden_size": 1536, "intermediate_size": 8960, "num_attention_heads": 12,
            "num_hidden_layers": 28, "num_key_value_heads": 2, "vocab_size": 151936}  # fmt: skip
    path = write(tmp_path, {"model_type": "dots_ocr", **text, "vision_config": {}})
    reading = huggingface.read_config(path)
    assert reading.notes == ("not proven: its tower's code is no part of transformers",)
    model = build(reading.data, path)
    assert (model.parameter_count, model.vision_parameter_count) == (3_039_179_264, 1_262_091_264)


@pytest.mark.parametrize(
    ("strides", "message"),
    [
        ([5, 2, 2, 2], "patch_stride = 5: expected the patch of the image rule = 4"),
        ([4, 2, 2, 3], "patch_stride = 12: expected the patches an edge of a feature = 8"),
    ],
)
def test_strides_of_davit_that_the_image_rule_does_not_have_are_refused(strides, message):
    config = changed(config_of("Florence-2-base"), "vision_config", "patch_stride", strides)
    with pytest.raises(InputError) as error:
        read("Florence-2-base", config)
    assert message in str(error.value)
