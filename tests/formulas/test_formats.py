"""Bytes of checkpoints in number formats: releases, worked examples, laws."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweepengine.data.models import load_model
from sweepengine.formulas.architecture import Recurrent
from sweepengine.formulas.attention import projections
from sweepengine.formulas.checkpoint import Checkpoint
from sweepengine.formulas.formats import (
    BY_NAME,
    CACHE_FORMATS,
    FORMAT_NAMES,
    UNQUANTISED,
    WEIGHT_FORMATS,
    Format,
    Formats,
    cache_bits,
    formats_of,
    layer_savings,
    matrix_bytes,
    padded_expert,
    padding,
    saved,
    saved_bytes,
)
from sweepengine.formulas.gemms import Gemm, mlp_gemms
from sweepengine.formulas.points import Point
from sweepengine.grid.counted import point_columns


def weight_bytes(name, weights):
    arch = load_model(name).architecture
    point = Point(0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 8)
    found = point_columns(arch, point._replace(weight_format=WEIGHT_FORMATS.index(weights)))
    return found["weight_bytes"]


@pytest.mark.parametrize(
    ("name", "weights", "expected"),
    [
        # What `model.safetensors.index.json` of the release states as `total_size`:
        ("llama-3.1-8b", "bf16", 16_060_522_496),
        ("llama-3.1-70b", "bf16", 141_107_412_992),
        ("qwen3-8b", "bf16", 16_381_470_720),
        ("mixtral-8x7b", "bf16", 93_405_585_408),
        # The modules that transformers replaces (docs/memory.md, "Weights by format"):
        ("qwen3-8b", "fp8", 9_437_399_040),
        ("qwen3-30b-a3b", "fp8", 31_174_545_408),
        ("deepseek-v3", "checkpoint", 673_150_552_416),
        # Formula only (the same table):
        ("llama-3.1-8b", "int4", 5_700_591_616),
        ("llama-3.1-8b", "int4-zeros", 5_727_854_592),
        ("llama-3.1-70b", "fp8-row", 72_683_241_472),
        ("qwen3-235b-a22b", "nvfp4", 134_101_359_616),
    ],
)
def test_weights_take_what_releases_state(name, weights, expected):
    assert weight_bytes(name, weights) == expected


@pytest.mark.parametrize(
    ("name", "release", "device", "gib", "within"),
    [
        # `total_size` of the release; what logs of vLLM state on one device:
        # github.com/TW-10519/VLLM-ROUTER, logs/vllm.log, vLLM 0.13.0 on a GB10: 13.7193 GiB;
        # gpt-oss-120b 66.0 GiB (64.4 with other kernels).
        ("gpt-oss-20b", 13_761_264_768, 14_678_736_000, 13.7193, 0.004),
        ("gpt-oss-120b", 65_248_815_744, 70_753_643_136, 66.0, 0.002),
    ],
)
def test_experts_are_padded_where_they_are_held_and_nowhere_else(
    name, release, device, gib, within
):
    assert load_model(name).weight_bytes == release
    assert weight_bytes(name, "checkpoint") == device == pytest.approx(gib * 2**30, rel=within)


def test_padding_rounds_the_widths_of_a_device_up_to_the_kernels_multiples():
    forward = load_model("gpt-oss-20b").architecture.groups[0].feed_forward
    mxfp4 = BY_NAME["mxfp4"]
    padded = padded_expert(forward._replace(expert_width=360), 2880, mxfp4)
    assert padded == mlp_gemms(384, 3072, 3)
    assert padding(forward, 2880, mxfp4) == 3 * (3072 * 2944 - 2880 * 2880) * 17 // 32
    assert padding(forward._replace(expert_width=128), 256, mxfp4) == 0
    assert padding(forward, 2880, BY_NAME["int4-32"]) == padding(forward, 2880, UNQUANTISED) == 0


def test_release_of_deepseek_v3_is_these_formulas_and_its_layer_that_predicts():
    """By dtype F8 680,571,043,840, BF16 3,918,786,560, F32 41,555,600 (docs/memory.md)."""
    arch = load_model("deepseek-v3").architecture
    dense, mixture = arch.groups
    hidden, vocabulary = arch.backbone.hidden, arch.backbone.vocabulary
    eight = Format(8, 0, 0, 0, 0)

    def values(group):
        """Values of the matrices that are in 8 bits: one byte less each than in 16."""
        less = layer_savings(group, hidden, formats_of(arch, 0)._replace(
            attention=eight, mlp=eight, experts=eight), 2)  # fmt: skip
        return less.projections + less.mlp + less.expert * group.feed_forward.experts_held

    def scales(group):
        own = layer_savings(group, hidden, formats_of(arch, 0), 2)
        blocks = own.projections + own.mlp + own.expert * group.feed_forward.experts_held
        return (values(group) - blocks) // 4

    assert 3 * values(dense) + 59 * values(mixture) == 680_571_043_840
    biases = 59 * 256
    assert 3 * scales(dense) + 59 * scales(mixture) + biases == 41_555_600
    more = 2 * hidden * vocabulary + 2 * hidden * hidden + 3 * hidden  # of the further layer
    whole = load_model("deepseek-v3").parameter_count + more + values(mixture)
    norms_and_router = 2 * hidden + 1536 + 512 + 256 * hidden
    kept = whole + norms_and_router - 680_571_043_840
    assert kept == 3_918_786_560


@pytest.mark.parametrize(
    ("name", "rows", "columns", "expected"),
    [
        ("bf16", 3, 5, 30),
        ("fp8", 129, 128, 129 * 128 + 2 * 4),  # two blocks of rows
        ("fp8", 576, 7168, 576 * 7168 + 5 * 56 * 4),
        ("fp8-row", 3, 5, 15 + 3 * 4),
        ("fp8-tensor", 3, 5, 15 + 4),
        ("int4", 2, 129, 129 + 2 * 2 * 2),
        ("int4-zeros", 2, 128, 128 + 5),
        ("mxfp4", 2, 33, 33 + 2 * 2),
        ("nf4", 2, 64, 64 + 2 * 4),
        ("nf4-double", 2, 64, 64 + 2 + 4),
        ("nf4-double", 1, 64 * 257, 32 * 257 + 257 + 2 * 4),  # 257 blocks: two scales of scales
        ("nvfp4", 1, 16, 9),
        ("nvfp4", 1, 1, 2),  # half a byte and a scale
    ],
)
def test_matrices_take_their_values_and_their_scales(name, rows, columns, expected):
    assert matrix_bytes(BY_NAME[name], rows, columns) == expected


def test_blocks_of_one_column_have_a_scale_a_value():
    assert matrix_bytes(Format(8, 1, 1, 8, 0), 2, 3) == 6 + 6


def test_a_matrix_that_stays_as_it_is_saves_nothing():
    def less(kept, size, rows, columns):
        return saved((Gemm(rows, columns, 0),), kept, size)

    assert less(UNQUANTISED, 2, 100, 100) == less(BY_NAME["bf16"], 2, 100, 100) == 0
    assert less(UNQUANTISED, 4, 100, 100) == 0
    assert less(BY_NAME["bf16"], 4, 100, 100) == 20_000  # of a checkpoint in fp32
    assert less(BY_NAME["fp8-tensor"], 2, 0, 100) == 0
    assert less(BY_NAME["fp8-tensor"], 2, 1, 1) == 2 - 5
    assert less(BY_NAME["fp8"], 2, 0, 100) == 0
    assert less(BY_NAME["fp8"], 2, 128, 128) == 128 * 128 - 4
    two = saved((Gemm(128, 128, 0), Gemm(100, 100, 1)), BY_NAME["fp8"], 2)
    assert two == 128 * 128 - 4 + 100 * 100 - 4


@pytest.mark.parametrize("name", ["llama-3.1-8b", "qwen3-30b-a3b", "deepseek-v4-flash"])
def test_fewer_bits_are_fewer_bytes(name):
    ordered = ["bf16", "fp8", "nvfp4", "int4-zeros", "int4"]  # 16, 8.002, 4.5, 4.156, 4.125 bits
    found = [weight_bytes(name, each) for each in ordered]
    assert found == sorted(found, reverse=True)
    assert len(set(found)) == len(found)


RANKS = st.integers(0, 2)
EIGHT = Format(8, 0, 0, 0, 0)
"""A byte a value: it saves as many bytes as a matrix has values."""


@given(RANKS, RANKS, RANKS, st.integers(1, 3), RANKS, st.booleans(), st.booleans())
def test_every_matrix_of_a_layer_is_held_in_its_format(
    rank, latent, output_rank, groups, gate, shared, keys_as_values
):
    group = load_model("qwen3-8b").architecture.groups[0]
    own = group.attention._replace(
        heads=6, key_value_heads=2, key_width=3, value_width=3, rotary_width=2, query_rank=rank,
        latent=latent, output_rank=output_rank, output_groups=groups, output_gate=gate,
        shared_cache=int(shared and not latent), input_bias=0, output_bias=0,
        keys_as_values=int(keys_as_values and not latent and not shared),
    )  # fmt: skip
    formats = Formats(EIGHT, UNQUANTISED, UNQUANTISED)
    less = layer_savings(group._replace(attention=own), 5, formats, 2)
    assert less.projections == projections(own, 5, 4, 4, 0).weights
    assert (less.mlp, less.expert, less.recurrent) == (0, 0, 0)


@given(RANKS, st.booleans(), st.integers(0, 1))
def test_experts_mlps_and_mixers_are_held_in_their_formats(latent, mamba, matrices):
    group = load_model("qwen3-8b").architecture.groups[0]
    forward = group.feed_forward._replace(
        width=7, experts=4, experts_held=4, experts_per_token=2, expert_width=6,
        expert_latent=latent, matrices=2 + matrices,
    )  # fmt: skip
    mixer = Recurrent(2, 1, 3, 4, 4, 8, int(mamba), 0, 0, 1)
    layer = group._replace(feed_forward=forward, recurrent=mixer)
    less = layer_savings(layer, 5, Formats(EIGHT, EIGHT, EIGHT), 2)
    assert less.mlp == (2 + matrices) * 5 * 7
    assert less.expert == (2 + matrices) * 6 * (latent or 5)
    # 14 channels of convolution, 8 of values, and gates of each head: one of Mamba, else two
    assert less.recurrent == 5 * (14 + 8 + (2 if mamba else 4)) + 8 * 5


def test_mixtures_of_formats_cover_their_roles_alone():
    arch = load_model("qwen3-30b-a3b").architecture
    experts = formats_of(arch, WEIGHT_FORMATS.index("mxfp4"))
    assert (experts.attention, experts.experts) == (UNQUANTISED, BY_NAME["mxfp4"])
    assert formats_of(arch, WEIGHT_FORMATS.index("fp8")) == (BY_NAME["fp8"],) * 3
    own = arch._replace(checkpoint=Checkpoint(mlp=FORMAT_NAMES.index("fp8")))
    assert formats_of(own, 0) == (UNQUANTISED, BY_NAME["fp8"], UNQUANTISED)
    assert saved_bytes(arch) == 0 < saved_bytes(arch, WEIGHT_FORMATS.index("fp8"))


@pytest.mark.parametrize(("cache", "part"), [("bf16", 1), ("fp8", 2), ("int8", 2)])
def test_cached_values_take_their_own_format(cache, part):
    arch = load_model("qwen3-8b").architecture
    whole = Point(0, 0, 0, 0, 0, 50, 4, 0, 0, 1, 100)
    found = point_columns(arch, whole._replace(cache_format=CACHE_FORMATS.index(cache)))
    base = point_columns(arch, whole)
    for column in ("prefill_kv_cache_bytes", "decode_kv_cache_bytes", "prefill_kv_io_bytes",
                   "decode_kv_io_bytes"):  # fmt: skip
        assert found[column] * part == base[column]
    assert found["weight_bytes"] == base["weight_bytes"]


def test_recurrent_states_keep_their_width():
    arch = load_model("qwen3-8b").architecture
    assert cache_bits(arch, CACHE_FORMATS.index("nvfp4")) == 18
    assert cache_bits(arch, CACHE_FORMATS.index("bf16")) == 64
