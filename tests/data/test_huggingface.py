"""Configs are read to the unit, or refused by name."""

import csv
import json
from collections import Counter
from pathlib import Path

import polars as pl
import pytest

import sweepengine as se
from sweepengine.data.configs import families, uncovered
from sweepengine.data.files import known
from sweepengine.data.models import load_model
from sweepengine.engine import tables
from sweepengine.engine.compute import COMPILED, compute_arrays
from sweepengine.formulas.checkpoint import Checkpoint
from sweepengine.formulas.points import Point
from sweepengine.grid.counted import point_columns
from sweepengine.grid.files import parse_grid
from tests.data.configs import FIGURES, all_configs, part_of

CONFIGS = all_configs()
CHECKED = {
    row["config"]: row
    for row in csv.DictReader((Path(__file__).parent / "decoders.csv").open(encoding="utf-8"))
}
COVERED = {
    name: config
    for name, config in CONFIGS.items()
    if (part_of(config).get("model_type") or families()["parts"].get(config["model_type"]))
    in families()["families"]
    and config["model_type"] not in uncovered()
}


@pytest.fixture
def config_file(tmp_path):
    def write(config):
        path = tmp_path / "config.json"
        path.write_text(json.dumps(config), encoding="utf-8")
        return path

    return write


def text_point(prompt, steps=0, cached=0, latent=0, batch=1):
    return Point(0, 0, 0, 0, 0, steps, batch, 0, 0, 1, prompt, cached, latent)


def checked_figures(arch):
    """Figures of the table by its columns, from points in plain Python."""

    def columns(*numbers):
        return point_columns(arch, text_point(*numbers))

    filled = columns(1024)
    step = columns(1024, 1)
    far = columns(32_768)
    found = {
        "prefill 1,024": filled["prefill_tensor_flops"],
        "decode step at 1,024": step["decode_tensor_flops"],
        "100 steps from 1,024": columns(1024, 100)["decode_tensor_flops"],
        "chunk of 512 on 5,000": columns(512, 0, 5000)["prefill_tensor_flops"],
        "step at 32,768": columns(32_768, 1)["decode_tensor_flops"],
        "CUDA, prefill 1,024": filled["prefill_cuda_flops"],
        "activation I/O values, flash": filled["prefill_activation_io_bytes"] // 2,
        "peak values, flash": filled["prefill_activation_bytes"] // 2,
        "cache values at 32,768": far["prefill_kv_cache_bytes"] // 2,
    }
    if any(group.attention.latent for group in arch.groups):
        found |= {
            "MLA step at 1,024, expanded": step["decode_tensor_flops"],
            "MLA CUDA of a step at 1,024": step["decode_cuda_flops"],
        }
    return found


def in_bf16(arch):
    """The same model as if its checkpoint were not quantised."""
    return arch._replace(checkpoint=Checkpoint())


@pytest.mark.parametrize("name", CHECKED)
def test_check_values_come_out_to_the_unit(name, config_file):
    row = {key: value.split(" ")[0] for key, value in CHECKED[name].items() if value}
    model = load_model(config_file(CONFIGS[name]))
    assert model.parameter_count == int(row["parameters"])
    kept = model._replace(architecture=in_bf16(model.architecture))
    assert kept.weight_bytes == int(row["weight bytes, bf16"])
    assert kept.kv_bytes_per_token == int(row["KV bytes/token, bf16"])
    if "active parameters" in row:
        assert model.active_parameter_count == int(row["active parameters"])
    found = checked_figures(model.architecture)
    assert found == {key: int(row[key]) for key in found}


def test_windows_are_told_from_what_meets_all_tokens(config_file):
    model = load_model(config_file(CONFIGS["gemma-3-4b-pt"]))
    endless = [g for g in model.architecture.groups if not g.attention.window]
    assert sum(g.layers for g in endless) * 2 * 2 * 4 * 256 == 20_480
    assert CHECKED["gemma-3-4b-pt"]["KV bytes/token, bf16"] == "139264 (20480)"


@pytest.mark.parametrize("name", [name for name in CHECKED if "MLA absorbed" in CHECKED[name]
                                  and CHECKED[name]["MLA absorbed"]])  # fmt: skip
def test_absorbed_latent_attention_is_the_default_of_steps(name, config_file):
    path = config_file(CONFIGS[name])
    row = CHECKED[name]
    assert se.cost(path, prompt_tokens=1024, decode_steps=1)["decode_tensor_flops"] in (
        58_831_011_840,
        90_664_157_184,
    )
    far = se.cost(path, prompt_tokens=32_768, decode_steps=1)["decode_tensor_flops"]
    assert far == int(row["MLA absorbed"])
    expanded = se.cost(path, prompt_tokens=1024, decode_steps=1, latent="expanded")
    assert expanded["decode_tensor_flops"] == int(row["MLA step at 1,024, expanded"])


@pytest.mark.parametrize("name", CHECKED)
def test_expected_weight_reads_are_those_of_the_table(name, config_file):
    row = CHECKED[name]
    if not row["B=64"]:
        return
    arch = in_bf16(load_model(config_file(CONFIGS[name])).architecture)
    one = point_columns(arch, text_point(1024, 1))["decode_weight_io_bytes"] / 2
    many = point_columns(arch, text_point(1024, 1, batch=64))["decode_weight_io_bytes"] / 2
    filled = point_columns(arch, text_point(1024))["prefill_weight_io_bytes"] / 2
    assert one == pytest.approx(float(row["weight values read by a step, B=1"]), abs=0.06)
    assert many == pytest.approx(float(row["B=64"]), abs=0.06)
    assert filled == pytest.approx(float(row["prefill of 1,024"]), abs=0.06)


@pytest.mark.parametrize("name", ["gpt-oss-20b", "DeepSeek-V3", "gemma-3-4b-pt", "Qwen3.5-35B-A3B",
                                  "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", "MiMo-V2-Flash",
                                  "Llama-4-Scout-17B-16E-Instruct", "GLM-5.2"])  # fmt: skip
def test_kernel_equals_plain_python_on_any_family(name, config_file, monkeypatch):
    monkeypatch.setattr(tables, "FEW", 0)
    path = config_file(CONFIGS[name])
    model = load_model(path)
    axes = {
        "prompt_tokens": [1, 63, 64, 65, 127, 128, 129, 5000],
        "cached_tokens": [0, 1, 127, 2000],
        "decode_steps": [0, 1, 200],
        "batch_size": [1, 3],
        "attention": ["eager", "flash"],
    }
    if model.has["latent"]:
        axes["latent"] = ["expanded", "absorbed"]
    compare(parse_grid({"name": "g", "model": str(path), "axes": axes}, "g"))


def compare(grid):
    """Compiled columns of a grid beside those of plain Python, to the bit."""
    model = grid.model
    (chunk,) = grid.chunks(grid.points)
    found = compute_arrays(model, chunk, backend=COMPILED)
    names = [name for name in found if name not in model.inputs]
    rows = zip(*(found[name].tolist() for name in model.inputs), strict=True)
    for i, values in enumerate(rows):
        point = text_point(1)._replace(**dict(zip(model.inputs, values, strict=True)))
        plain = point_columns(model.architecture, point)
        assert {name: found[name][i] for name in names} == {name: plain[name] for name in names}


@pytest.mark.parametrize(
    ("name", "layouts", "precisions"),
    [
        ("llama-3.1-8b", ["tp1", "tp8", "tp16", "tp2-pp3", "dp3", "tp4-pp32-dp2"],
         ["checkpoint", "fp8-kv8", "w4a16", "nvfp4-kv4"]),
        ("qwen3-30b-a3b", ["tp1", "tp4", "tp2-ep2", "ep8", "tp4-ep16", "tp2-ep8-pp5-dp4"],
         ["checkpoint", "int8", "mxfp4-kv8"]),
        ("deepseek-v4-flash", ["tp1", "tp8", "dp4-ep16", "pp7"], ["checkpoint", "bf16", "fp8-kv4"]),
    ],
)  # fmt: skip
def test_kernel_equals_plain_python_in_any_layout_and_format(
    name, layouts, precisions, monkeypatch
):
    monkeypatch.setattr(tables, "FEW", 0)
    axes = {"prompt_tokens": [1, 130, 5000], "cached_tokens": [0, 77], "decode_steps": [0, 1, 200],
            "batch_size": [1, 3, 16], "layout": layouts, "precision": precisions}  # fmt: skip
    grid = parse_grid({"name": "g", "model": name, "axes": axes}, "g")
    compare(grid)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_key_that_nobody_knows_is_refused_by_name(name, config_file):
    config = json.loads(json.dumps(CONFIGS[name]))
    part_of(config)["made_up_key"] = 7
    with pytest.raises(se.InputError) as error:
        load_model(config_file(config))
    expected = "made_up_key: unknown key" if name in COVERED else "is not "
    assert expected in str(error.value) or "required key is missing" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", COVERED)
def test_config_is_read(name, config_file):
    model = load_model(config_file(CONFIGS[name]))
    assert model.parameter_count > model.active_parameter_count / 2 > 0
    assert not model.has_vision


def stated(name):
    """Name of the config that a shipped model says it is from; none where it is from code."""
    source = load_model(name).sources["decoder"]
    return source.removesuffix(", config.json").split("/")[-1]


@pytest.mark.parametrize("name", [name for name in known("models") if stated(name) in CONFIGS])
def test_shipped_models_are_what_their_configs_say(name, config_file):
    read = load_model(config_file(CONFIGS[stated(name)])).architecture
    shipped = load_model(name).architecture
    assert (shipped.backbone, shipped.checkpoint) == (read.backbone, read.checkpoint)
    assert Counter(shipped.groups) == Counter(read.groups)


def test_models_from_configs_are_most_of_the_shipped_ones():
    assert sum(stated(name) in CONFIGS for name in known("models")) >= 15


def test_recurrent_layers_alone_may_hold_keys_of_attention(config_file):
    config = next(c for c in CONFIGS.values() if part_of(c).get("model_type") == "qwen3_5_moe_text")
    config = json.loads(json.dumps(config))
    part_of(config).update(num_hidden_layers=3, layer_types=["linear_attention"] * 3)
    groups = load_model(config_file(config)).architecture.groups
    assert [(group.layers, group.attention.heads) for group in groups] == [(3, 0)]


BAD = {
    "not JSON": ("{", "not a JSON file"),
    "a list": ("[]", "expected a JSON object"),
    "no type": ("{}", "model_type: required key is missing"),
    "another type": ('{"model_type": "bert"}', '"bert" is not supported, as it is an encoder'),
    "not covered": ('{"model_type": "kimi_k3"}', '"kimi_k3" is not supported'),
    "deep": ('{"a": ' * 100_000, "not a JSON file"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_config_is_one_line(case, tmp_path):
    text, expected = BAD[case]
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(se.InputError) as error:
        load_model(path)
    assert expected in str(error.value)
    assert str(path) in str(error.value)


WRONG = {
    "hidden_size": "4096",
    "num_hidden_layers": 0,
    "intermediate_size": 11008.0,  # transformers takes no float either
    "num_attention_heads": True,
    "vocab_size": 2**63,
    "hidden_act": "tanh",
    "attention_bias": "yes",
    "pretraining_tp": 2,
    "sliding_window": 4096,
}


@pytest.mark.parametrize("key", WRONG)
def test_value_that_is_wrong_is_named(key, config_file):
    with pytest.raises(se.InputError, match=f"config.json: {key}[: ]"):
        load_model(config_file(FIGURES["Llama-2-7b-hf"] | {key: WRONG[key]}))


def test_missing_key_value_heads_are_those_of_the_class(config_file):
    config = dict(CONFIGS["Qwen1.5-MoE-A2.7B"])
    del config["num_key_value_heads"]
    loaded = load_model(config_file(config))
    assert [group.attention.key_value_heads for group in loaded.architecture.groups] == [16]
    assert loaded.assumed["num_key_value_heads"] == 16
    with pytest.raises(se.InputError, match="num_key_value_heads: required key is missing"):
        load_model(config_file(config | {"num_key_value_heads": None}))


def test_folder_of_a_config_names_the_model(config_file):
    path = config_file(FIGURES["Llama-2-7b-hf"])
    assert load_model(path.parent).name == path.parent.name
    found = se.evaluate(pl.DataFrame({"prompt_tokens": [1024]}), path.parent)
    assert found["prefill_tensor_flops"].item() == 14_081_050_279_936
    assert "crop_rows" not in found.columns


def test_inputs_that_a_model_has_not_got_are_refused_with_the_reason(config_file):
    path = config_file(FIGURES["Llama-2-7b-hf"])
    with pytest.raises(
        se.InputError, match="crop_rows: only a model that takes a global view and tiles has it"
    ):
        se.evaluate(pl.DataFrame({"crop_rows": [1]}), path)
    with pytest.raises(se.InputError, match="latent: only a model that has latent attention"):
        se.cost(path, latent="absorbed")
    with pytest.raises(se.InputError, match="prompt_tokens: only a model that sees text alone"):
        se.cost(prompt_tokens=5)
