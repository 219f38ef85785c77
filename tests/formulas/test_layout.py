"""Shares of devices and what they send: worked examples of docs/layouts.md, and laws."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sweepengine.costs.timeline import timeline
from sweepengine.data.devices import load_device
from sweepengine.data.errors import InputError
from sweepengine.data.models import load_model
from sweepengine.data.speeds import on_devices, timing_target
from sweepengine.engine.frames import cost
from sweepengine.formulas.layout import (
    WHOLE,
    Layout,
    devices,
    ends_held,
    exchanged_values,
    layer_traffic,
    reduced_values,
    share_attention,
    share_of,
)
from sweepengine.formulas.parameters import parameter_parts
from sweepengine.formulas.points import Point
from sweepengine.formulas.reductions import activated_experts
from sweepengine.grid.counted import point_columns
from sweepengine.grid.layout_checks import layout_problem

TWO = Layout(2, 1, 1, 1)
DECODERS = ("llama-3.1-8b", "qwen3-30b-a3b", "deepseek-v3", "gpt-oss-20b", "gemma-3-27b",
            "deepseek-v4-flash", "minimax-m3", "glm-4.5-air")  # fmt: skip


def parameters(name, layout):
    """Parameters of one device of the first or only stage."""
    arch = load_model(name).architecture
    share = share_of(arch, 0, 0, layout)
    of_device = arch._replace(backbone=share.backbone, groups=share.groups)
    return sum(parameter_parts(of_device).values())


@pytest.mark.parametrize(
    ("name", "layout", "expected"),
    [
        ("llama-3.1-70b", Layout(8, 1, 1, 1), 8_820_367_360),
        ("llama-3.1-70b", Layout(16, 1, 1, 1), 4_494_729_216),
        ("qwen3-30b-a3b", Layout(4, 1, 1, 1), 7_642_626_048),
        ("mixtral-8x7b", Layout(8, 1, 1, 1), 5_838_999_552),
        ("glm-4.5-air", Layout(8, 1, 1, 1), 13_377_507_840),
        ("deepseek-v3", Layout(8, 1, 1, 1), 84_780_342_272),
        ("deepseek-v3", Layout(1, 32, 1, 32), 37_552_282_624),
        ("deepseek-v3", Layout(1, 8, 1, 8), 98_856_229_888),
    ],
)
def test_parameters_of_a_device_are_those_worked_by_hand(name, layout, expected):
    assert parameters(name, layout) == expected


@pytest.mark.parametrize(("width", "heads"), [(1, 2), (4, 8)])
def test_norms_of_all_heads_are_split_and_those_of_one_are_not(width, heads):
    own = load_model("llama-3.1-8b").architecture.groups[0].attention
    own = own._replace(heads=heads, key_value_heads=heads, key_width=width)
    whole = own._replace(query_norm=heads * width, key_norm=heads * width)
    found = share_attention(whole, TWO)
    assert (found.query_norm, found.key_norm) == (heads * width // 2, heads * width // 2)
    single = share_attention(own._replace(query_norm=width, key_norm=width), TWO)
    assert (single.query_norm, single.key_norm) == (width, width)
    none = share_attention(own, TWO)
    assert (none.query_norm, none.key_norm) == (0, 0)
    assert share_attention(own._replace(output_groups=8), TWO).output_groups == 4


def point(prompt=1024, steps=1, **more):
    return Point(0, 0, 0, 0, 0, steps, 1, 0, 0, 1, prompt)._replace(**more)


def test_a_share_of_tensor_parallel_llama_costs_what_was_worked_by_hand():
    arch = load_model("llama-3.1-70b").architecture
    found = point_columns(arch, point(tensor_parallel=8))
    assert found["prefill_kv_cache_bytes"] == 1024 * 40_960
    assert found["prefill_tensor_flops"] == 18_136_036_278_272
    assert found["decode_tensor_flops"] == 17_711_300_608
    assert found["devices"] == 8
    # 161 all-reduces of 8,192 values, 7/4 of which a ring sends; 7 times 16,032 logits
    assert reduced_values(1_318_912, 8) == 2_308_096
    assert found["decode_link_bytes"] == 2 * (2_308_096 + 7 * 16_032)
    assert found["decode_collectives"] == 2 * 80 + 2
    more = point_columns(arch, point(tensor_parallel=16))
    assert more["prefill_kv_cache_bytes"] == 1024 * 40_960  # 8 heads on 16 devices
    assert more["decode_tensor_flops"] == 9_023_422_464


def test_latents_are_on_every_device():
    arch = load_model("deepseek-v3").architecture
    found = point_columns(arch, point(tensor_parallel=8, latent=1))
    assert found["prefill_kv_cache_bytes"] == 1024 * 70_272
    assert found["decode_tensor_flops"] == 13_135_341_568


def test_devices_share_the_tokens_of_a_kv_cache_and_send_queries_and_mixed_values():
    arch = load_model("llama-3.1-70b").architecture
    whole = point_columns(arch, point(tensor_parallel=16))
    found = point_columns(arch, point(tensor_parallel=16, decode_context_parallel=2))
    assert found["prefill_kv_cache_bytes"] == 1024 * 40_960 // 2
    assert found["decode_kv_io_bytes"] == whole["decode_kv_io_bytes"] // 2
    assert found["decode_tensor_flops"] == whole["decode_tensor_flops"]
    assert found["weight_bytes"] == whole["weight_bytes"]
    # 4 heads of 128 + 128 values and a logarithm in fp32 to one other device, in each of 80 layers
    assert found["decode_link_bytes"] - whole["decode_link_bytes"] == 80 * 4 * 258 * 2
    assert found["decode_collectives"] - whole["decode_collectives"] == 3 * 80
    assert found["prefill_link_bytes"] == whole["prefill_link_bytes"]


def test_a_pass_of_many_tokens_gathers_the_cached_ones():
    arch = load_model("deepseek-v3").architecture
    behind = {"tensor_parallel": 8, "latent": 1, "cached_tokens": 801}
    whole = point_columns(arch, point(**behind))
    found = point_columns(arch, point(**behind, decode_context_parallel=8))
    more = found["prefill_link_bytes"] - whole["prefill_link_bytes"]
    assert more == 61 * 7 * 101 * 576 * 2  # ceil(801 / 8) latents to 7 others
    assert found["prefill_collectives"] - whole["prefill_collectives"] == 61
    more = found["decode_link_bytes"] - whole["decode_link_bytes"]
    assert more == 61 * 7 * 16 * (2 * 512 + 64 + 2) * 2  # absorbed, 16 heads a device
    assert 8 * found["decode_kv_cache_bytes"] == whole["decode_kv_cache_bytes"]


def test_experts_of_other_groups_are_sent_to_and_activated_by_all():
    arch = load_model("deepseek-v3").architecture
    group = next(group for group in arch.groups if group.feed_forward.experts)
    layout = Layout(1, 32, 1, 32)
    # 128 tokens of 32 devices: 992 copies of 7,168 values each way, a 32nd from each device
    assert 32 * exchanged_values(group, 7168, 4, layout) == 2 * 992 * 7168
    assert exchanged_values(group, 7168, 4, Layout(8, 8, 1, 1)) == 0

    def collectives(group, layout):
        return layer_traffic(group, 7168, 4, layout).collectives

    assert collectives(group, layout) == 2
    assert collectives(group, Layout(8, 64, 1, 8)) == 4
    assert collectives(group, Layout(4, 8, 1, 2)) == 4
    assert collectives(arch.groups[0], Layout(4, 8, 1, 2)) == 2  # of no experts
    single = group._replace(feed_forward=group.feed_forward._replace(experts=1))
    assert collectives(single, layout) == 2
    traffic = layer_traffic(group, 7168, 4, layout)
    assert traffic.values == traffic.exchanged == exchanged_values(group, 7168, 4, layout)
    found = point_columns(arch, point(expert_parallel=32, data_parallel=32, batch_size=128))
    read = activated_experts(8, 256, 8, 128)
    one = point_columns(arch, point(expert_parallel=32, data_parallel=32, batch_size=32))
    apart = (found["decode_weight_io_bytes"] - one["decode_weight_io_bytes"]) / 58
    expert = 3 * 7168 * 2048 + 3 * 56 * 16 * 4  # fp8 with a scale of 32 bits a block
    activated = read - activated_experts(8, 256, 8, 32)
    table = 3 * 7168 * 2 / 58  # three more rows of the table are read
    assert apart == pytest.approx(activated * expert + table, rel=1e-9)


def test_attention_is_whole_where_sequences_are_split():
    arch = load_model("deepseek-v3").architecture
    found = point_columns(arch, point(1, 0, expert_parallel=8, data_parallel=8, batch_size=64))
    assert found["prefill_kv_cache_bytes"] == 562_176
    assert (
        found["prefill_tensor_flops"]
        == point_columns(arch, point(1, 0, batch_size=8))["prefill_tensor_flops"]
    )
    uneven = point_columns(arch, point(1, 0, data_parallel=8, batch_size=9))
    assert uneven["prefill_kv_cache_bytes"] == 2 * 70_272  # the busiest device has two


def test_stages_of_a_pipeline_are_those_worked_by_hand():
    arch = load_model("llama-3.1-405b").architecture
    found = point_columns(arch, point(pipeline_parallel=8))
    assert found["weight_bytes"] == 2 * 53_104_607_232  # 16 layers and table or head
    assert found["prefill_link_bytes"] == 2 * 16_777_216
    assert found["prefill_collectives"] == 1
    assert ends_held(arch.groups, Layout(1, 1, 8, 1)) == (0, 1, 0)
    assert ends_held(arch.groups, Layout(1, 1, 9, 1)) == (0, 1, 1)  # 14 layers each
    last = point_columns(arch, point(pipeline_parallel=9))
    layer, head = 3_187_703_808, 16_384 * 128_256
    assert last["weight_bytes"] == 2 * (14 * layer + head + 16_384)
    assert last["prefill_link_bytes"] == 0  # it sends nothing on


@pytest.mark.parametrize(
    ("name", "stages", "layers"),
    [
        ("gemma-3-27b", 8, {"window": 6, "full": 2}),  # every sixth of 62 layers is full
        ("gemma-3-27b", 3, {"window": 17, "full": 4}),
        ("gpt-oss-20b", 3, {"window": 4, "full": 4}),
        ("llama-3.1-8b", 5, {"full": 7}),
    ],
)
def test_busiest_stage_has_its_part_of_all_layers_and_of_each_kind(name, stages, layers):
    arch = load_model(name).architecture
    share = share_of(arch, 0, 0, Layout(1, 1, stages, 1))
    found = {}
    for group in share.groups:
        kind = "window" if group.attention.window else "full"
        found[kind] = found.get(kind, 0) + group.layers
    assert found == layers


@pytest.mark.parametrize("stages", [2, 3, 4, 8])
@pytest.mark.parametrize("name", ["llama-3.1-8b", "gpt-oss-20b", "deepseek-v3", "gemma-2-9b"])
def test_a_model_whose_groups_are_split_in_two_is_the_same_in_a_pipeline(name, stages):
    model = load_model(name)
    first, *others = model.architecture.groups
    halves = (first._replace(layers=1), first._replace(layers=first.layers - 1))
    other = model._replace(architecture=model.architecture._replace(groups=(*others, *halves)))
    inputs = {"layout": f"pp{stages}", "device": "h200", "prompt_tokens": 1000, "batch_size": 8}
    found = cost(other, **inputs)
    for figure, value in cost(model, **inputs).items():
        near = pytest.approx(value, rel=1e-12) if isinstance(value, float) else value
        assert found[figure] == near, figure


@pytest.mark.parametrize("name", ["llama-3.1-8b", "gemma-3-27b", "gpt-oss-20b", "deepseek-v3"])
def test_a_pipeline_takes_the_time_of_all_its_stages_and_the_sends_between_them(name):
    inputs = {"device": "h200", "prompt_tokens": 1000, "decode_steps": 10, "serving": "static"}
    one, several = (cost(name, layout=text, **inputs) for text in ("tp8", "tp8-pp4"))
    hidden = load_model(name).architecture.backbone.hidden
    speeds = load_device("h200").links
    for phase, passes, tokens in (("prefill", 1, 1000), ("decode", 10, 1)):
        sends = several[f"{phase}_seconds"] - one[f"{phase}_seconds"]
        moved = 2 * hidden * tokens / speeds.network_bytes_per_s
        waited = 20e-6 + speeds.network_latency_s - speeds.latency_s
        assert sends == pytest.approx(3 * passes * (waited + moved), rel=1e-6)
    assert several["weight_bytes"] < 0.32 * one["weight_bytes"]


def test_a_tied_head_is_held_where_its_table_is_not():
    arch = load_model("gemma-3-27b").architecture
    even = point_columns(arch, point(pipeline_parallel=2))  # 26 and 5 layers of each kind
    both = point_columns(arch, point())
    table = 2 * arch.backbone.vocabulary * arch.backbone.hidden
    assert 2 * (even["weight_bytes"] - table) == pytest.approx(
        both["weight_bytes"] - table, rel=1e-6
    )


LAYOUTS = st.builds(
    Layout, *(st.sampled_from([1, 2, 4, 8]) for _ in range(2)), st.sampled_from([1, 2, 3]),
    st.sampled_from([1, 2, 4]), st.sampled_from([1, 1, 2, 4]),
)  # fmt: skip


def columns_of(name, layout, **more):
    model = load_model(name)
    assume(not layout_problem(model, layout))
    fields = {f"{kind}_parallel": size for kind, size in layout._asdict().items()}
    return point_columns(model.architecture, point(64, 3)._replace(**fields, **more))


@given(st.sampled_from(DECODERS), LAYOUTS)
def test_a_device_has_no_more_than_the_whole_and_all_of_them_no_less(name, layout):
    whole, share = columns_of(name, WHOLE), columns_of(name, layout)
    assert share["devices"] == devices(layout)
    for column, value in share.items():
        if column.endswith(("tensor_flops", "weight_bytes", "cache_bytes")):
            assert value <= whole[column]
            assert value * share["devices"] >= whole[column], column


@given(st.sampled_from(DECODERS), LAYOUTS)
def test_one_device_sends_nothing_and_several_do(name, layout):
    found = columns_of(name, layout)
    sent = sum(found[f"{stage}_link_bytes"] for stage in ("vision", "prefill", "decode"))
    alone = layout.tensor == layout.pipeline == 1 and layout.expert == 1
    last = layout.pipeline > 1 and layout.tensor == layout.expert == 1  # may send nothing on
    assert (sent == 0) if alone else (sent > 0 or last)
    assert found["decode_exchange_bytes"] <= found["decode_link_bytes"]
    if layout.expert <= layout.tensor:
        assert found["prefill_exchange_bytes"] == found["decode_exchange_bytes"] == 0


@given(st.sampled_from(["llama-3.1-8b", "qwen3-30b-a3b", "glm-4.5-air"]), st.sampled_from([2, 4]))
def test_tensor_shares_sum_to_the_whole_but_for_what_is_replicated(name, tensor):
    """Norms and routers are whole on each device."""
    arch = load_model(name).architecture
    layout = Layout(tensor, 1, 1, 1)
    hidden, replicated = arch.backbone.hidden, arch.backbone.hidden
    for group in arch.groups:
        own, forward = group.attention, group.feed_forward
        norms = 2 * hidden + own.query_norm + own.key_norm
        replicated += group.layers * (norms + forward.experts * hidden)
    assert tensor * parameters(name, layout) == parameters(name, WHOLE) + (tensor - 1) * replicated


@pytest.mark.parametrize(
    ("name", "layout", "rule"),
    [
        ("llama-3.1-8b", Layout(3, 1, 1, 1), "does not divide 32 attention heads"),
        ("qwen3-30b-a3b", Layout(1, 3, 1, 1), "expected a divisor of tensor_parallel = 1"),
        ("qwen3-30b-a3b", Layout(4, 6, 1, 4), "that divides tensor_parallel x data_parallel = 16"),
        ("qwen3-30b-a3b", Layout(1, 256, 1, 256), "is more than 128 experts"),
        ("llama-3.1-8b", Layout(1, 2, 1, 2), "the model has no routed experts"),
        ("llama-3.1-8b", Layout(1, 1, 33, 1), "is more than 32 layers"),
        ("gemma-3-27b", Layout(5, 1, 1, 1), "does not divide 32 attention heads"),
        ("llama-3.1-8b", Layout(8, 1, 1, 1, 2), "expected a divisor of 1, the devices that hold a"),
        ("deepseek-v3", Layout(8, 1, 1, 1, 3), "expected a divisor of 8, the devices that hold a"),
        ("gpt-oss-20b", Layout(16, 1, 1, 1, 2), "expected 1 for a model with windows"),
        ("deepseek-v4-flash", Layout(8, 1, 1, 1, 2), "expected 1 for a model with windows"),
    ],
)
def test_a_layout_that_breaks_a_rule_is_told_which(name, layout, rule):
    assert rule in layout_problem(load_model(name), layout)


def test_times_of_shared_tokens_are_refused():
    model, layout = load_model("deepseek-v3"), Layout(8, 1, 1, 1, 8)
    assert layout_problem(model, layout) == ""
    assert layout_problem(on_devices(model, ["h200"]), layout) == (
        "decode_context_parallel = 8: expected 1 with a device: times of such layouts are not "
        "predicted"
    )
    sharing = point(tensor_parallel=8, latent=1, decode_context_parallel=8)
    target = timing_target(load_device("h200"))
    with pytest.raises(InputError, match="decode_context_parallel = 8: expected 1 with a device"):
        timeline(model, sharing, target)
    assert timeline(model, sharing._replace(decode_context_parallel=1), target)


def test_key_value_heads_are_split_or_replicated_evenly():
    model = load_model("llama-3.1-8b")
    own = model.architecture.groups[0].attention._replace(heads=24, key_value_heads=6)
    arch = model.architecture
    odd = model._replace(
        architecture=arch._replace(groups=(arch.groups[0]._replace(attention=own),))
    )
    assert "neither divides 6 key-value heads" in layout_problem(odd, Layout(4, 1, 1, 1))
    for tensor in (1, 2, 3, 6, 12, 24):
        assert layout_problem(odd, Layout(tensor, 1, 1, 1)) == ""
