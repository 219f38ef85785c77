"""Memory as serving engines divide it: verdicts of public logs, laws, columns against points."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sweepengine as se
from sweepengine.data.errors import InputError
from sweepengine.data.serving_engines.memory import settings_of, version_of
from sweepengine.formulas.layout import WHOLE, Layout
from sweepengine.formulas.memory import GIB, EngineSettings, divided
from sweepengine.grid.columns import MEMORY
from sweepengine.grid.memory import RESIDENT_COLUMNS, placed
from tests.fuzz import examples

NO_SETTINGS = EngineSettings(0, 0, 0)
NAMES = [column.name for column in MEMORY]


def at(model, device, **point):
    return se.cost(model, device=device, **point)


def test_qwen_2_5_1_5b_on_an_l40s_is_what_its_log_says():
    """vLLM 0.9.2 at 0.5 of a card of 47.5 GiB: 19.30 GiB, 722,864 tokens (giyushino/ModelMerging,
    logs/vllm_server_accuracy.log)."""
    found = at("qwen2.5-1.5b", "l40s", framework_version="0.9.2", memory_share=0.5,
               max_sequences=256, chunk_tokens=8192, prompt_tokens=4096, decode_steps=0,
               device_memory_gb=round(47.5 * GIB / 1e9, 3))  # fmt: skip
    assert found["kv_pool_bytes"] / GIB == pytest.approx(19.30, rel=0.01)
    assert found["kv_pool_tokens"] == pytest.approx(722_864, rel=0.01)
    assert found["weight_bytes"] / GIB == pytest.approx(2.8876, rel=0.01)


@pytest.mark.parametrize(
    ("model", "device", "point"),
    [
        ("qwen3-32b", "a100-80gb", {"framework_version": "0.10"}),
        ("qwen3-32b", "h100-sxm", {"framework_version": "0.10", "max_sequences": 256}),
        ("glm-4.5-air", "h100-sxm", {"precision": "fp8", "layout": "tp2"}),
    ],
)
def test_models_that_served_32k_fit(model, device, point):
    assert at(model, device, prompt_tokens=32_000, decode_steps=768, **point)["fits"]


def test_qwen_2_5_14b_fits_an_a100_of_40_gb_at_0_8():
    """The log said 12,736 tokens."""
    found = at("qwen2.5-14b", "a100-40gb", framework_version="0.10", memory_share=0.8,
               prompt_tokens=4000, decode_steps=96)  # fmt: skip
    assert found["fits"]
    assert found["kv_pool_tokens"] == pytest.approx(12_736, rel=0.1)


def test_two_rtx_4090_take_a_prompt_of_81536_tokens():
    """vLLM issue 13061: DeepSeek-R1-Distill-Qwen-14B, whose shape is Qwen2.5-14B's, at 0.98."""
    found = at("qwen2.5-14b", "rtx-4090", layout="tp2", memory_share=0.98, max_sequences=16,
               framework_version="0.8", prompt_tokens=40_768, decode_steps=0)  # fmt: skip
    assert found["fits"]


def test_gpt_oss_120b_does_not_start_on_one_h100():
    """vLLM 0.10.1 at 0.9: -2.14 GiB."""
    found = at("gpt-oss-120b", "h100-sxm", framework_version="0.10.1", memory_share=0.9)
    assert found["kv_pool_bytes"] / GIB == pytest.approx(-2.14, abs=1.5)
    assert not found["fits"]
    assert (found["kv_pool_tokens"], found["largest_batch"]) == (0, 0)


def test_default_settings_are_those_of_the_engine_for_the_card():
    def settings(framework, device, layout=WHOLE, version="newest"):
        known = se.load_device(device)
        engine = version_of(framework, version)
        return settings_of(engine, known.product, known.usable_bytes, layout, NO_SETTINGS)

    assert settings("vllm", "h100-sxm") == (920, 1024, 8192)
    assert settings("vllm", "h100-sxm", version="0.12.0") == (900, 1024, 8192)
    assert settings("vllm", "a100-80gb") == (920, 256, 2048)
    assert settings("vllm", "l4") == (920, 256, 2048)
    # 512 + 1.5*8192 + 2*256 + 128 MiB of 81,102 MiB
    assert settings("sglang", "h100-sxm") == (834, 2048, 8192)
    assert settings("sglang", "h100-sxm", Layout(8, 1, 1, 1)) == (817, 2048, 8192)
    assert settings("trtllm", "h100-sxm") == (900, 2048, 8192)


def test_version_that_is_too_old_is_refused_by_name():
    with pytest.raises(InputError, match=r"expected a version of vllm from 0\.8 on"):
        at("llama-3.1-8b", "h100-sxm", framework_version="0.2")
    with pytest.raises(InputError, match="framework_version"):
        se.evaluate(pl.DataFrame({"device": ["h100-sxm"], "framework_version": ["3"]}),
                    "llama-3.1-8b")  # fmt: skip


def test_only_an_engine_that_charges_graphs_pays_for_them():
    before, after = (
        at("llama-3.1-8b", "h100-sxm", framework_version=version, memory_share=0.9)
        for version in ("0.18", "0.21")
    )
    assert before["graph_bytes"] == after["graph_bytes"]
    assert before["kv_pool_bytes"] - after["kv_pool_bytes"] == after["graph_bytes"]


def test_default_sequences_are_raised_by_a_larger_batch_and_stated_ones_are_not():
    few, many = (at("qwen3-8b", "l4", batch_size=batch, decode_steps=1) for batch in (8, 2000))
    assert many["activation_bytes"] > few["activation_bytes"]
    stated = at("qwen3-8b", "l4", batch_size=300, max_sequences=256, prompt_tokens=1,
                decode_steps=1)  # fmt: skip
    assert stated["largest_batch"] == 256
    assert not stated["fits"]


POINTS = st.fixed_dictionaries(
    {
        "model": st.sampled_from(["llama-3.1-8b", "gpt-oss-20b", "deepseek-ocr-3b", "gemma-3-27b"]),
        "device": st.sampled_from(["h100-sxm", "l40s", "mi300x"]),
        "framework": st.sampled_from(["vllm", "sglang"]),
        "batch_size": st.integers(1, 4000),
        "decode_steps": st.integers(0, 20_000),
        "chunk_tokens": st.sampled_from([0, 512, 16_384]),
        "memory_share": st.sampled_from([0.0, 0.4, 0.95]),
    }
)


@given(POINTS)
@examples(60)
def test_largest_batch_fits_and_one_more_does_not(point):
    model = point.pop("model")
    found = se.cost(model, **point)
    assert found["fits"] == (found["largest_batch"] >= point["batch_size"])
    most = found["largest_batch"]
    if 0 < most < 65_536:
        assert se.cost(model, **point | {"batch_size": most})["fits"]
        assert not se.cost(model, **point | {"batch_size": most + 1})["fits"]
    if not most:
        assert not se.cost(model, **point | {"batch_size": 1})["fits"]


@given(POINTS, st.sampled_from(["batch_size", "decode_steps", "chunk_tokens"]))
@examples(40)
def test_pool_and_batch_fall_with_what_the_engine_holds(point, name):
    model = point.pop("model")
    point["chunk_tokens"] = point["chunk_tokens"] or 512
    less, more = (se.cost(model, **point | {name: point[name] * times}) for times in (1, 2))
    assert more["kv_pool_bytes"] <= less["kv_pool_bytes"]
    assert more["largest_batch"] <= less["largest_batch"]


def test_shared_prefix_is_stored_once_and_prefilled_by_nobody_else():
    point = {"prompt_tokens": 4096, "decode_steps": 900, "batch_size": 32}
    alone, shared = (
        at("llama-3.1-8b", "h100-sxm", shared_tokens=tokens, **point) for tokens in (0, 4000)
    )
    cached = at("llama-3.1-8b", "h100-sxm", **point | {"prompt_tokens": 96, "cached_tokens": 4000})
    assert shared["prefill_tensor_flops"] == cached["prefill_tensor_flops"]
    assert shared["context_tokens"] == alone["context_tokens"] == cached["context_tokens"]
    whole_blocks = 4000 // 16 * 16 * 131_072
    assert alone["sequence_kv_bytes"] - shared["sequence_kv_bytes"] == whole_blocks
    free = alone["kv_pool_bytes"] - whole_blocks
    assert shared["largest_batch"] == free // shared["sequence_kv_bytes"]
    with pytest.raises(InputError, match="shared_tokens = 4096: expected at most 4,095"):
        at("llama-3.1-8b", "h100-sxm", **point | {"shared_tokens": 4096})


def test_parts_add_up_to_the_room():
    model = se.load_model("qwen3-30b-a3b")._replace(devices=(se.load_device("h200"),))
    sizes = {"tensor": 2, "expert": 2, "pipeline": 1, "data": 1, "decode_context": 1}
    zeros = dict.fromkeys(RESIDENT_COLUMNS, 0)
    zeros |= {f"{name}_parallel": size for name, size in sizes.items()}
    of = placed(model, tuple(zeros.values())).resident._replace(weights=31 * 10**9)
    memory = divided(of, of.max_sequences)
    charged = of.weights + of.runtime + memory.activations + memory.graphs
    assert memory.room == charged + memory.pool
    forward = of.forward_rate * of.chunk_tokens // 2000
    assert memory.activations == max(forward, memory.sampler)


@pytest.mark.parametrize(
    "model", ["llama-3.1-8b", "gemma-3-27b", "deepseek-v4-flash", "nougat-base"]
)
def test_frames_have_the_memory_of_points(model):
    frame = pl.DataFrame({"batch_size": [1, 300, 5000] * 1200, "device": ["h200"] * 3600,
                          "framework": ["vllm", "sglang", "trtllm"] * 1200})  # fmt: skip
    found = se.evaluate(frame, model).head(3)
    for row in found.select("batch_size", "framework", *NAMES).to_dicts():
        point = {"batch_size": row["batch_size"], "framework": row["framework"]}
        one = at(model, "h200", **point)
        assert {name: one[name] for name in NAMES} == {name: row[name] for name in NAMES}
    assert found["fits"].dtype == pl.Boolean
