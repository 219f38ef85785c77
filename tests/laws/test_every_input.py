"""Each input varied alone: one point, the compiled frame and a scanned grid give one number."""

import json

import polars as pl
import pytest
from transformers import CONFIG_MAPPING

import sweepengine as se
from sweepengine.engine import compute, tables
from sweepengine.engine import kernel as _kernel  # noqa: F401 # frames are compiled once it is there
from sweepengine.engine import kernel_times as _kernel_times  # noqa: F401
from sweepengine.formulas.points import INPUTS
from tests.data.configs import all_configs, write

HYBRID = "Qwen3.5-35B-A3B"
SEES_IMAGES = "qwen2_5_vl"
MODELS = ("llama-3.1-8b", "qwen3-30b-a3b", "deepseek-v3", HYBRID, "deepseek-ocr-3b", SEES_IMAGES)
"""Dense, MoE, latent, hybrid, one that takes views and tiles, and one that takes any image."""
SMALL = {
    "text_config": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3,
                    "num_attention_heads": 8, "num_key_value_heads": 8, "vocab_size": 1000},
    "vision_config": {"depth": 4, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2,
                      "out_hidden_size": 64, "fullatt_block_indexes": [1, 3]},
}  # fmt: skip
"""A small Qwen2.5-VL, with windows that the edges of an image cut."""
BASE = {"device": "h100-sxm", "decode_steps": 7, "batch_size": 3}
OTHERS = {
    "view_size": (640, 1280),
    "tile_size": (512, 1024),
    "crop_rows": (1, 3),
    "crop_cols": (2, 3),
    "attention_heads": (4, 8),
    "key_value_heads": (1, 2),
    "pipeline_parallel": (2, 3),
    "data_parallel": (2, 4),
    "device": ("b200", "mi300x"),
    "device_tensor_tflops": (500.0, 2000.0),
    "device_bandwidth_gbs": (1000.0, 5000.0),
    "device_memory_gb": (40.0, 141.0),
    "link_bandwidth_gbs": (50.0, 900.0),
    "memory_share": (0.5, 0.97),
    "framework_version": ("0.8", "0.17"),
    "shared_tokens": (3, 9),
    "draft_tokens": (1, 5),
    "accepted_tokens": (1.0, 2.625),
    "draft": ("mtp", "eagle"),
    "decode_context_parallel": (),  # no device times it, see below
}
"""Values of inputs for which not every other one is valid."""
UNTIMED = {"expert_parallel", "decode_context_parallel"}
BESIDE = {
    "crop_rows": {"crop_cols": 2},
    "crop_cols": {"crop_rows": 1},
    "image_height": {"image_width": 900},
    "image_width": {"image_height": 1300},
    "link_bandwidth_gbs": {"tensor_parallel": 2},
    "expert_parallel": {"data_parallel": 4},
    "attention_heads": {"key_value_heads": 2},
    "key_value_heads": {"attention_heads": 8},
    "accepted_tokens": {"draft_tokens": 3},
    "draft": {"draft_tokens": 2},
}
"""What must be given with an input, or lets it matter."""


def values_of(name, model):
    """The default of an input and two other values."""
    column = INPUTS[name]
    if name == "tensor_parallel":
        heads = model.architecture.groups[-1].attention.heads
        return tuple(tensor for tensor in (2, 4, 5) if heads % tensor == 0)[:2]
    if name in OTHERS:
        return OTHERS[name]
    if name == "expert_parallel":
        return (2, 4) if model.architecture.routings else ()
    if column.choices:
        others = [choice for choice in column.choices if choice != column.choices[column.default]]
        experts = bool(model.architecture.routings)
        return [one for one in others if experts or one not in ("mxfp4", "int4-32")][:2]
    step = max(column.multiple, 3)
    return tuple(min(column.default + k * step, column.maximum) for k in (1, 5))


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    sees = CONFIG_MAPPING[SEES_IMAGES](**SMALL).to_dict()
    configs = {
        HYBRID: all_configs()[HYBRID],
        SEES_IMAGES: json.loads(json.dumps(sees, default=str)),
    }
    written = {
        name: str(write(tmp_path_factory.mktemp(name), config)) for name, config in configs.items()
    }
    return {name: written.get(name, name) for name in MODELS}


def points_of(model):
    """Every input varied alone, by name."""
    for name in model.inputs:
        for value in values_of(name, model):
            yield name, BASE | BESIDE.get(name, {}) | {name: value}
    yield "", BASE


def alike(one, other, where):
    assert one.keys() == other.keys()
    for column, value in one.items():
        if isinstance(value, float):
            assert value == pytest.approx(other[column], rel=1e-11, abs=1e-300), (where, column)
        else:
            assert value == other[column], (where, column)


@pytest.mark.parametrize("name", MODELS)
def test_a_point_is_its_row_of_a_frame_and_of_a_grid(name, paths, monkeypatch, tmp_path):
    monkeypatch.setattr(compute, "MAX_PLAIN_POINTS", 0)
    monkeypatch.setattr(tables, "FEW", 0)
    path = paths[name]
    model = se.load_model(path)._replace(devices=(se.load_device("h100-sxm"),))
    asked = list(points_of(model))
    assert {varied for varied, _ in asked} - {""} >= set(model.inputs) - UNTIMED
    plain = [se.cost(path, **point) for _, point in asked]
    named = sorted({varied for _, point in asked for varied in point})
    defaults = se.evaluate(pl.DataFrame([BASE]), path).row(0, named=True)
    rows = [{varied: point.get(varied, defaults[varied]) for varied in named} for _, point in asked]
    compiled = se.evaluate(pl.DataFrame(rows, infer_schema_length=None), path)
    outputs = list(plain[0])
    for (varied, _), one, row in zip(asked, plain, compiled.iter_rows(named=True), strict=True):
        alike(one, {column: row[column] for column in outputs}, (name, varied, "frame"))
    axes_of_pairs = {"crop_rows": "crops", "crop_cols": "crops", "attention_heads": "heads",
                     "image_height": "image", "image_width": "image",
                     "key_value_heads": "heads", "tensor_parallel": "layout",
                     "expert_parallel": "layout", "pipeline_parallel": "layout",
                     "data_parallel": "layout"}  # fmt: skip
    for (varied, point), one in zip(asked, plain, strict=True):
        axes = {k: [v] for k, v in point.items() if k not in axes_of_pairs}
        if "image_height" in point:
            axes["image"] = ["{image_height}x{image_width}".format_map(point)]
        if "crop_rows" in point:
            axes["crops"] = [f"{point['crop_rows']}x{point['crop_cols']}"]
        if "attention_heads" in point:
            axes["heads"] = [[point["attention_heads"], point["key_value_heads"]]]
        letters = {"tensor_parallel": "tp", "expert_parallel": "ep", "pipeline_parallel": "pp",
                   "data_parallel": "dp"}  # fmt: skip
        sizes = [f"{letter}{point[k]}" for k, letter in letters.items() if k in point]
        axes |= {"layout": ["-".join(sizes)]} if sizes else {}
        text = f"name = 'g'\nmodel = {json.dumps(path)}\n[axes]\n"
        text += "".join(f"{axis} = {json.dumps(values)}\n" for axis, values in axes.items())
        file = tmp_path / "g.toml"
        file.write_text(text, encoding="utf-8")
        row = se.scan(file).collect().row(0, named=True)
        alike(one, {column: row[column] for column in outputs}, (name, varied, "grid"))


def test_shared_tokens_of_a_kv_cache_are_the_same_in_a_frame_and_in_a_grid(monkeypatch, tmp_path):
    monkeypatch.setattr(compute, "MAX_PLAIN_POINTS", 0)
    monkeypatch.setattr(tables, "FEW", 0)
    base = {"prompt_tokens": 1000, "decode_steps": 7, "batch_size": 3, "cached_tokens": 77}
    sizes = (1, 2, 8)
    rows = [base | {"tensor_parallel": 8, "decode_context_parallel": size} for size in sizes]
    plain = [se.cost("deepseek-v3", **row) for row in rows]
    compiled = se.evaluate(pl.DataFrame(rows), "deepseek-v3")
    file = tmp_path / "g.toml"
    axes = {key: [value] for key, value in base.items()}
    axes["layout"] = [f"tp8-dcp{size}" for size in sizes]
    lines = "".join(f"{axis} = {json.dumps(values)}\n" for axis, values in axes.items())
    file.write_text(f"name = 'g'\nmodel = 'deepseek-v3'\n[axes]\n{lines}", encoding="utf-8")
    scanned = se.scan(file).collect()
    for one, row, of_grid in zip(
        plain, compiled.iter_rows(named=True), scanned.iter_rows(named=True), strict=True
    ):
        alike(one, {column: row[column] for column in one}, "frame")
        alike(one, {column: of_grid[column] for column in one}, "grid")
    caches = [one["decode_kv_cache_bytes"] for one in plain]
    assert caches == [caches[0], caches[0] // 2, caches[0] // 8]
