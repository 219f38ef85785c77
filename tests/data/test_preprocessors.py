"""Image rules of families from config.json and preprocessor_config.json."""

import pytest

from sweepengine.data.errors import InputError, of_key
from sweepengine.data.preprocessors import (
    PREFIX,
    family_row,
    family_rows,
    read_preprocessor,
    rule_of,
)
from sweepengine.formulas.images import RULES, ImageRule, image_views

QWEN = {"model_type": "qwen2_vl", "vision_config": {"patch_size": 14, "spatial_merge_size": 2}}
LLAVA = {
    "model_type": "llava_next", "image_grid_pinpoints": [[336, 672], [672, 336]],
    "vision_config": {"image_size": 336, "patch_size": 14},
}  # fmt: skip
INTERNVL = {
    "model_type": "internvl", "downsample_ratio": 0.5,
    "vision_config": {"image_size": [448, 448], "patch_size": [14, 14]},
}  # fmt: skip
DEEPSEEK = {"model_type": "deepseek_vl_v2", "architectures": ["DeepseekOCRForCausalLM"]}


def fail(key, problem):
    return of_key("config.json", key, problem)


def read(config, preprocessor=None):
    return rule_of(family_row(config), config, preprocessor, fail)


@pytest.mark.parametrize(
    "preprocessor",
    [
        {"min_pixels": 3136, "max_pixels": 1003520},
        {"size": {"shortest_edge": 3136, "longest_edge": 1003520}},
        {"min_pixels": 3136, "size": {"min_pixels": 3136, "max_pixels": 1003520}},
    ],
)
def test_old_and_new_spellings_of_limits_are_read(preprocessor):
    rule, assumed = read(QWEN, preprocessor)
    assert rule == ImageRule("native", patch=14, merge=2, least=3136, most=1003520, ends=2)
    assert assumed == {}


def test_what_no_file_holds_is_assumed_by_name():
    rule, assumed = read(QWEN)
    assert (rule.least, rule.most) == (3136, 12845056)
    assert assumed == {
        "preprocessor_config.json min_pixels": 3136,
        "preprocessor_config.json max_pixels": 12845056,
    }


def test_keys_that_change_no_count_are_ignored_and_null_is_absent():
    unchanged = {"image_mean": [0.5], "do_resize": True, "temporal_patch_size": 2, "size": None}
    assert read(QWEN, unchanged) == read(QWEN)


def test_a_size_that_the_processor_replaces_counts_as_missing():
    config = {"model_type": "minimax_m3_vl", "vision_config": {}}
    assert read(config, {"size": [672, 672]}) == read(config)


def test_a_list_of_one_number_an_edge_is_that_number():
    rule, _ = read(INTERNVL, {"size": {"height": 448, "width": 448}, "max_patches": 6})
    assert (rule.tile, rule.patch, rule.merge, rule.most) == (448, 14, 2, 6)


def test_pinpoints_are_pairs():
    assert read(LLAVA)[0].pinpoints == ((336, 672), (672, 336))


def test_a_split_image_of_idefics2_has_quarters():
    rule, _ = read({"model_type": "idefics2"}, {"do_image_splitting": True})
    assert rule.quarters == 1


def test_a_document_encoder_has_a_height_and_a_width():
    encoder = {"image_size": [896, 672], "patch_size": 4}
    rule, assumed = read({"model_type": "vision-encoder-decoder", "encoder": encoder})
    assert (image_views(rule, 10, 10).features, assumed) == (588, {})


def test_an_old_size_of_donut_is_a_width_and_a_height():
    rule, _ = read({"model_type": "vision-encoder-decoder"}, {"size": [1440, 1920]})
    assert (rule.tile, rule.tile_width) == (1920, 1440)


@pytest.mark.parametrize(
    ("config", "rule"),
    [
        ({"model_type": "llava", "vision_config": {"model_type": "pixtral"}}, "longest_edge"),
        ({"model_type": "llava", "vision_config": {"model_type": "clip_vision_model"}}, "fixed"),
        (DEEPSEEK, "deepseek_ocr"),
        ({"model_type": "llava"}, "fixed"),
    ],
)
def test_a_family_is_chosen_by_type_tower_and_architecture(config, rule):
    assert family_row(config)["rule"] == rule


@pytest.mark.parametrize(
    "config", [{}, {"model_type": "llama"}, {"model_type": "deepseek_vl_v2", "architectures": None}]
)
def test_a_model_without_a_known_rule_has_no_row(config):
    assert family_row(config) is None


@pytest.mark.parametrize(
    ("architecture", "tile", "most", "queries"),
    [("DeepseekOCRForCausalLM", 640, 9, 0), ("DeepseekOCR2ForCausalLM", 768, 6, 256)],
)
def test_tiles_of_the_releases_of_deepseek_ocr(architecture, tile, most, queries):
    rule, assumed = read({**DEEPSEEK, "architectures": [architecture]})
    numbers = rule.view, rule.tile, rule.least, rule.most, rule.many_queries
    assert numbers == (1024, tile, 2, most, queries)
    assert len(assumed) == 4


@pytest.mark.parametrize(
    ("config", "preprocessor", "message"),
    [
        (QWEN, {"min_pixels": 0}, "min_pixels = 0: expected an integer of 1 to 2,147,483,647"),
        (QWEN, {"min_pixels": True}, "min_pixels = True: expected an integer"),
        (QWEN, {"max_pixels": "1e6"}, "max_pixels = '1e6': expected an integer"),
        (QWEN, {"min_pixels": 5, "max_pixels": 4}, "min_pixels = 5: expected at most 4"),
        (QWEN, {"patch_size": 16}, "patch_size = 16 contradicts vision_config.patch_size = 14"),
        (QWEN, {"size": 448}, "size: is not supported"),
        (QWEN, {"size": {"height": 448}}, "size.height: is not supported"),
        (QWEN, {"crop": True}, "preprocessor_config.json crop: is not supported"),
        (QWEN, {"do_resize": False}, "do_resize = False: expected True"),
        (LLAVA, {"image_grid_pinpoints": [[336]]}, "= [[336]]: expected a list of [height"),
        (LLAVA, {"image_grid_pinpoints": [[336, "x"]]}, "= 'x': expected an integer"),
        ({**LLAVA, "image_grid_pinpoints": [[9, 336]]}, None, "[9, 336]: expected edges of at"),
        ({**LLAVA, "image_grid_pinpoints": []}, None, "= []: expected a list of"),
        ({**LLAVA, "image_grid_pinpoints": [336, 336]}, None, "expected a list of [height"),
        ({**QWEN, "vision_config": {"patch_size": [[14, 14]]}}, None, "expected an integer"),
        ({**LLAVA, "vision_feature_select_strategy": "full"}, None, "expected 'default'"),
        ({**INTERNVL, "downsample_ratio": 0.3}, None, "= 0.3: expected 1.0 or 0.5 or 0.25"),
        (INTERNVL, {"max_patches": 10**6}, "expected an integer of 1 to 1,024"),
        (INTERNVL, {"min_patches": 20}, "min_patches = 20: expected at most 12"),
        ({**QWEN, "vision_config": {"patch_size": [14, 16]}}, None, "= [14, 16]: expected"),
        ({"model_type": "gemma3", "vision_config": {"image_size": 7}}, None, "= 7: expected at"),
        ({"model_type": "gemma3"}, {"do_pan_and_scan": True}, "= True: expected False"),
    ],
)
def test_what_a_rule_does_not_understand_is_refused_by_name(config, preprocessor, message):
    with pytest.raises(InputError) as error:
        read(config, preprocessor)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["[]", "3", "{", '{"size": 1, "size": 2}'])
def test_a_file_that_is_no_object_is_refused(tmp_path, text):
    path = tmp_path / "preprocessor_config.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"preprocessor_config\.json"):
        read_preprocessor(path)


def test_a_file_is_read(tmp_path):
    path = tmp_path / "preprocessor_config.json"
    path.write_text('{"min_pixels": 3136}', encoding="utf-8")
    assert read_preprocessor(path) == {"min_pixels": 3136}


@pytest.mark.parametrize("family", family_rows())
def test_a_family_has_a_rule_from_its_defaults_alone(family):
    row = family_rows()[family]
    rule, assumed = rule_of(row, {}, None, fail)
    assert rule.name in RULES
    assert set(row["numbers"]) <= set(ImageRule._fields)
    assert image_views(rule, 1000, 700).features > 0
    tables = [entry for entry in row["numbers"].values() if isinstance(entry, dict)]
    assert len(assumed) == len(tables)
    assert all(address.removeprefix(PREFIX) for entry in tables for address in entry["keys"])
