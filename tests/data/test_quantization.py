"""Formats of checkpoints: what configs say of them, or a refusal by name."""

import json

import pytest

import sweepengine as se
from sweepengine.data.errors import InputError
from sweepengine.data.models import load_model
from sweepengine.formulas.formats import FORMAT_NAMES, formats_of, layer_savings
from tests.data.configs import all_configs, part_of

BLOCKS = {"quant_method": "fp8", "weight_block_size": [128, 128], "activation_scheme": "dynamic"}
FP8 = {"attention": "fp8", "mlp": "fp8", "experts": "fp8", "activation": "fp8"}
NVFP4 = {"experts": "nvfp4", "activation": "nvfp4", "cache": "fp8"}


def formats(model):
    """Formats of a model's checkpoint that are not bf16."""
    checkpoint = model.architecture.checkpoint
    return {role: FORMAT_NAMES[code] for role, code in checkpoint._asdict().items() if code}


@pytest.fixture
def quantized(tmp_path):
    def read(name, config, **beside):
        described = json.loads(json.dumps(all_configs()[name]))
        part_of(described).pop("quantization_config", None)
        described["quantization_config"] = config
        part_of(described).update(beside)
        path = tmp_path / "config.json"
        path.write_text(json.dumps(described), encoding="utf-8")
        return load_model(path)

    return read


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("DeepSeek-V3", FP8),
        ("DeepSeek-V4-Flash", FP8 | {"experts": "mxfp4"}),
        ("DeepSeek-V4-Flash-NVFP4", FP8 | {"experts": "nvfp4", "activation": "nvfp4"}),
        ("gpt-oss-20b", {"experts": "mxfp4"}),
        ("Kimi-K2.5", {"experts": "int4-32"}),
        ("Qwen3-30B-A3B-FP8", {k: v for k, v in FP8.items() if k != "mlp"}),
        ("Qwen3-32B-FP8-Static-PerTensor", {"attention": "fp8-tensor", "mlp": "fp8-tensor",
                                            "activation": "fp8", "cache": "fp8"}),
        ("GLM-5.1-NVFP4", NVFP4),
        ("Kimi-K2.5-NVFP4", NVFP4 | {"mlp": "nvfp4"}),
        ("Gemma-4-26B-A4B-NVFP4", NVFP4),
        ("MiniMax-M3-NVFP4", {"attention": "mxfp8", "mlp": "mxfp8", "experts": "nvfp4"}),
        ("Qwen3-8B", {}),
    ],
)  # fmt: skip
def test_formats_of_public_checkpoints_are_read(name, expected, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(all_configs()[name]), encoding="utf-8")
    assert formats(load_model(path)) == expected


FOUR_BITS = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4",
             "llm_int8_skip_modules": ["lm_head"]}  # fmt: skip
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128}
GROUP = {"quant_method": "compressed-tensors", "ignore": ["lm_head"]}


def group(weights, activations=None):
    return GROUP | {"config_groups": {"g": {"weights": weights, "input_activations": activations}}}


@pytest.mark.parametrize(
    ("config", "weights", "activation"),
    [
        ({"quant_method": "gptq", "bits": 4, "group_size": 128}, "int4", "bf16"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": False}, "int4-zeros",
         "bf16"),
        ({"quant_method": "awq", "bits": 4, "group_size": 128}, "int4-zeros", "bf16"),
        (group({"num_bits": 8, "type": "int"}, {"num_bits": 8, "type": "int"}), "int8", "int8"),
        (group({"num_bits": 8, "type": "float", "strategy": "channel"},
               {"num_bits": 8, "type": "float"}), "fp8-row", "fp8"),
        (group({"num_bits": 4, "type": "int", "group_size": 128}), "int4", "bf16"),
        (group({"num_bits": 4, "type": "float", "group_size": 32}), "mxfp4", "bf16"),
        ({"quant_algo": "NVFP4"}, "nvfp4", "nvfp4"),
        (BLOCKS, "fp8", "fp8"),
        (GPTQ | {"quant_method": "awq", "zero_point": False}, "int4", "bf16"),
        ({"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0}, "fp8-row", "fp8"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "int8", "int8"),
        (FOUR_BITS, "nf4", "bf16"),
        (FOUR_BITS | {"bnb_4bit_quant_type": "fp4"}, "nf4", "bf16"),
        (FOUR_BITS | {"bnb_4bit_use_double_quant": True}, "nf4-double", "bf16"),
    ],
)  # fmt: skip
def test_spellings_of_formats_are_known(quantized, config, weights, activation):
    expected = {"attention": weights, "mlp": weights}
    expected |= {"activation": activation} if activation != "bf16" else {}
    assert formats(quantized("Qwen3-8B", config)) == expected


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"quant_method": "hqq"}, 'quant_method = "hqq": expected one of mxfp4, gptq, awq'),
        ({"quant_method": "bitsandbytes"}, "expected one of load_in_8bit and load_in_4bit"),
        (FOUR_BITS | {"load_in_8bit": True}, "expected one of load_in_8bit and load_in_4bit"),
        (FOUR_BITS | {"llm_int8_has_fp16_weight": True}, "llm_int8_has_fp16_weight = true"),
        (FOUR_BITS | {"bnb_4bit_blocksize": 128}, "bnb_4bit_blocksize: unknown key"),
        (GPTQ | {"lm_head": True}, "lm_head = true: expected false or null"),
        (GPTQ | {"dynamic": {"-:mlp": {}}}, 'dynamic = {"-:mlp": {}}: expected {} or null'),
        (GPTQ | {"modules_in_block_to_quantize": [["self_attn.q_proj"]]},
         'modules_in_block_to_quantize = [["self_attn.q_proj"]]: expected null'),
        (group({"num_bits": 8, "type": "int"}) | {"config_groups": {
            "a": {"weights": {"num_bits": 8, "type": "int"}},
            "b": {"weights": {"num_bits": 4, "type": "int", "group_size": 128}}}},
         'config_groups: int8, int4: expected one group of "Linear"'),
        ({"quant_method": "gptq", "bits": 3, "group_size": 128}, "expected 4 bits"),
        ({"quant_method": "fp8", "weight_block_size": [64, 64]}, "expected [128, 128]"),
        (GROUP, "config_groups: required key is missing"),
        (group({"num_bits": 2, "type": "int"}), "weights of 2 bits, int"),
        (BLOCKS | {"kv_cache_scheme": {"num_bits": 4}}, "kv_cache_scheme"),
        ({"quant_algo": "MIXED_PRECISION",
          "quantized_layers": {"model.layers.0.self_attn.q_proj": {"quant_algo": "Q"}}},
         'quant_algo = "Q"'),
        ("fp8", "expected a table"),
        (BLOCKS | {"ignore": "lm_head"}, "ignore: expected a list of modules"),
        (GROUP | {"config_groups": ["g"]}, "expected the format of"),
        (group({"num_bits": 8, "type": "int"}) | {"ignore": ["re:("]},
         "(: expected a regular expression without look-around and back-references"),
        ({"quant_algo": ["NVFP4"]}, "expected the format of"),
    ],
)  # fmt: skip
def test_formats_that_are_not_known_are_refused_by_name(quantized, config, expected):
    with pytest.raises(InputError, match=r"quantization_config[: ]") as error:
        quantized("Qwen3-8B", config)
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


FP8_ATTENTION = {"targets": ["re:.*self_attn.*"],
                 "weights": {"num_bits": 8, "type": "float", "strategy": "channel"}}  # fmt: skip
INT4_MLP = {"targets": ["re:.*mlp.*"],
            "weights": {"num_bits": 4, "type": "int", "group_size": 128}}  # fmt: skip


@pytest.mark.parametrize("groups", [[FP8_ATTENTION, INT4_MLP], [INT4_MLP, FP8_ATTENTION]])
def test_every_group_has_its_targets_whatever_their_order(quantized, groups):
    model = quantized("Qwen3-8B", GROUP | {"config_groups": dict(enumerate(groups))})
    assert formats(model) == {"attention": "fp8-row", "mlp": "int4"}


def test_group_of_linear_layers_takes_what_no_other_names(quantized):
    rest = {**INT4_MLP, "targets": ["Linear"]}
    model = quantized("Qwen3-8B", GROUP | {"config_groups": {"a": rest, "b": FP8_ATTENTION}})
    assert formats(model) == {"attention": "fp8-row", "mlp": "int4"}


def grouped(**changed):
    return GROUP | {"config_groups": {"g": FP8_ATTENTION | changed}}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (grouped(targets=["re:.*vision.*"]), "targets: no matrix of the decoder is named"),
        (grouped(targets=["lm_head"]) | {"ignore": []},
         'targets: "lm_head": expected a head that stays in bf16'),
        (grouped(output_activations={"num_bits": 8}), "output_activations = "),
        (grouped(rotation=True), "rotation: unknown key of group"),
        (grouped(weights={"num_bits": 8, "type": "float", "sparsity": 2}),
         "sparsity: unknown key of weights"),
        (grouped(weights={"num_bits": 8, "type": "float", "strategy": "block",
                          "block_structure": [64, 64]}), "weights of 8 bits, float"),
        (grouped() | {"sparsity_config": {"format": "sparse-24-bitmask"}}, "sparsity_config = "),
        (grouped() | {"transform_config": {"r1": {}}}, "transform_config = "),
        (grouped() | {"odd": 1}, "odd: unknown key of compressed-tensors"),
        (GROUP | {"config_groups": {"a": FP8_ATTENTION, "b": INT4_MLP | {
            "input_activations": {"num_bits": 8, "type": "float"}}}},
         "input_activations: bf16, fp8: expected one format of activations"),
        (BLOCKS | {"ignore": ["re:(?!model).*"]}, "(?!model).*: expected a regular expression"),
        (BLOCKS | {"ignore": [f"*.{i}" for i in range(3000)]}, "3,000 patterns: expected at most"),
        ({"quant_algo": "FP8", "odd": 1}, "odd: unknown key of modelopt"),
    ],
)  # fmt: skip
def test_tables_that_are_read_in_part_alone_would_be_wrong_and_are_refused(
    quantized, config, expected
):
    with pytest.raises(InputError, match="quantization_config: ") as error:
        quantized("Qwen3-8B", config)
    assert expected in str(error.value)


@pytest.mark.parametrize(
    ("module", "note"),
    [
        ("mlp.down_proj", "mlp: mlp.down_proj is bf16 in 36 layers, modelled in fp8"),
        ("mlp.gate_proj", "mlp: mlp.up_proj is fp8 in 36 layers, modelled in bf16"),
        ("self_attn.o_proj", "attention: self_attn.k_proj is fp8 in 36 layers, modelled in bf16"),
    ],
)
def test_a_matrix_that_differs_from_others_of_its_layer_is_said(quantized, module, note):
    listed = [f"model.layers.{layer}.{module}" for layer in range(36)]
    assert note in quantized("Qwen3-8B", BLOCKS | {"modules_to_not_convert": listed}).notes
    whole = [f"model.layers.{i}.self_attn.{name}_proj" for i in range(36) for name in "qkvo"]
    model = quantized("Qwen3-8B", BLOCKS | {"modules_to_not_convert": whole})
    assert not [note for note in model.notes if " is " in note]


def test_a_pattern_that_backtracks_is_matched_in_linear_time(quantized):
    listed = BLOCKS | {"ignore": ["re:([a-z_.0-9]+)+X"]}
    assert formats(quantized("Qwen3-8B", listed)).keys() == {"attention", "mlp", "activation"}


def test_layers_that_stay_as_they_are_are_said(quantized):
    few = BLOCKS | {"modules_to_not_convert": ["model.layers.0.self_attn", "lm_head"]}
    model = quantized("Qwen3-8B", few)
    assert formats(model)["attention"] == "fp8"
    assert "attention: bf16 in 1 of 36 layers, whose times are those of fp8" in model.notes
    plain, others = model.architecture.groups
    assert (plain.layers, plain.attention.unquantised) == (1, 1)
    assert others.attention == plain.attention._replace(unquantised=0)
    whole = quantized("Qwen3-8B", BLOCKS | {"modules_to_not_convert": ["lm_head"]})
    less = layer_savings(others, 4096, formats_of(model.architecture, 0), 2).projections
    assert model.weight_bytes - whole.weight_bytes == less > 0
    assert se.cost(model)["weight_bytes"] == model.weight_bytes
    most = BLOCKS | {"modules_to_not_convert": [f"model.layers.{i}.self_attn" for i in range(30)]}
    assert "attention" not in formats(quantized("Qwen3-8B", most))
    norms = BLOCKS | {"ignored_layers": ["model.layers.0.self_attn.q_norm", "gate"]}
    assert formats(quantized("Qwen3-8B", norms)).keys() == {"attention", "mlp", "activation"}


def test_the_first_and_last_layers_and_attention_of_llama_3_1_405b_stay_in_bf16(tmp_path):
    # github.com/vllm-project/vllm/issues/6746: 57.752 GiB a device at tp8, vLLM 0.5.3. Released
    # with 16 key-value heads, 8 from 16 August 2024 on (vllm-project/vllm/issues/6689).
    config = {
        "model_type": "llama", "hidden_size": 16384, "intermediate_size": 53248,
        "num_hidden_layers": 126, "num_attention_heads": 128, "num_key_value_heads": 16,
        "vocab_size": 128256, "rms_norm_eps": 1e-5, "hidden_act": "silu",
        "max_position_embeddings": 131072, "torch_dtype": "bfloat16",
        "tie_word_embeddings": False,
        "quantization_config": {
            "quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0,
            "modules_to_not_convert": [
                "lm_head",
                *(f"model.layers.{i}.self_attn.{name}_proj" for i in range(126) for name in "qkvo"),
                *(f"model.layers.{i}.mlp.{name}_proj" for i in (0, 125)
                  for name in ("gate", "up", "down")),
            ],
        },
    }  # fmt: skip
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    model = load_model(path)
    assert formats(model) == {"mlp": "fp8-row", "activation": "fp8"}
    found = se.cost(model, tensor_parallel=8)["weight_bytes"]
    assert found == pytest.approx(57.752 * 2**30, rel=0.001)


def test_experts_of_single_layers_stay_in_bf16(quantized):
    listed = BLOCKS | {"modules_to_not_convert": ["model.layers.3.mlp.experts"]}
    model = quantized("Qwen3-30B-A3B", listed)
    plain = next(g for g in model.architecture.groups if g.feed_forward.unquantised_experts)
    assert (plain.layers, plain.attention.unquantised, plain.feed_forward.unquantised) == (1, 0, 0)
    less = layer_savings(plain, 2048, formats_of(model.architecture, 0), 2)
    assert less.expert == less.padding == 0 < less.projections


def test_what_modelopt_writes_beside_a_config_is_read(tmp_path):
    described = json.loads(json.dumps(all_configs()["Qwen3-8B"]))
    (tmp_path / "config.json").write_text(json.dumps(described), encoding="utf-8")
    beside = tmp_path / "hf_quant_config.json"
    beside.write_text('{"quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}}')
    assert formats(load_model(tmp_path)) == {
        "attention": "fp8-tensor", "mlp": "fp8-tensor", "activation": "fp8", "cache": "fp8",
    }  # fmt: skip
    beside.write_text("{}")
    (tmp_path / "config.json").write_text(json.dumps(described) + " ", encoding="utf-8")
    with pytest.raises(InputError, match=r"hf_quant_config\.json: quantization: expected a table"):
        load_model(tmp_path)
