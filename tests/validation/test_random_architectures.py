import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import DynamicCache

from sweepengine import stages
from sweepengine.architecture import load_model
from sweepengine.geometry import image_tokens, vision_workload
from sweepengine.layers import vision as vis
from sweepengine.layers.decoder import Heads
from sweepengine.layers.residual import FLASH
from sweepengine.validation.references import (
    DecoderReference,
    VisionReference,
    counted_flops,
    parameters,
)

pytestmark = pytest.mark.slow

RELEASED = load_model().architecture
HEADS = st.sampled_from([1, 2, 4])


@st.composite
def vision_architectures(draw):
    heads, width = draw(HEADS), draw(st.integers(1, 6)) * 16
    blocks = draw(st.integers(1, 4))
    clip_heads, clip_width = draw(HEADS), draw(st.integers(1, 6)) * 16
    return RELEASED._replace(
        sam=RELEASED.sam._replace(
            width=width,
            heads=heads,
            mlp_width=draw(st.integers(1, 200)),
            blocks=blocks,
            global_blocks=draw(st.integers(0, blocks)),
            window=draw(st.integers(1, 15)),
            neck_width=draw(st.integers(1, 60)),
            downsample_width=draw(st.integers(1, 60)),
            output_width=clip_width,
            position_edge=draw(st.integers(1, 20)),
            relative_position_flops=2 * width // heads,
        ),
        clip=RELEASED.clip._replace(
            width=clip_width,
            heads=clip_heads,
            mlp_width=draw(st.integers(1, 200)),
            blocks=draw(st.integers(1, 4)),
        ),
        projector=RELEASED.projector._replace(
            input_width=2 * clip_width, output_width=draw(st.integers(1, 100))
        ),
    )


@settings(max_examples=25)
@given(vision_architectures(), st.integers(1, 8), st.integers(1, 3))
def test_any_vision_architecture_equals_its_modules(arch, side, images):
    side *= 64
    reference = VisionReference(arch)
    view = stages.encode_view(arch, side, FLASH)
    tokens = vis.clip_tokens(arch, side) - 1
    analytic = view.tensor_flops + vis.mlp_projector(arch, tokens).tensor_flops
    assert counted_flops(lambda: reference.encode(side, images)) == images * analytic
    assert parameters(reference.sam) == vis.image_encoder_vit(arch, side, FLASH).weights
    assert parameters(reference.clip) == vis.notp_transformer(arch, 1, FLASH).weights


@settings(max_examples=15)
@given(vision_architectures(), st.integers(1, 4), st.integers(1, 4), st.integers(0, 3),
       st.integers(1, 3))  # fmt: skip
def test_any_crop_grid_makes_the_tokens_and_flops_of_its_modules(arch, view, tile, rows, cols):
    sizes = (64 * view, 64 * tile, rows, cols if rows else 0)
    reference = VisionReference(arch)
    flops, tokens = reference.measure_image(*sizes)
    workload = vision_workload(arch, *sizes)
    assert tokens == image_tokens(workload)
    assert flops == stages.vision(arch, workload, FLASH).tensor_flops


@st.composite
def decoders(draw):
    heads = draw(HEADS)
    layers = draw(st.integers(1, 4))
    experts = draw(st.integers(2, 12))
    expert_width = draw(st.integers(1, 40))
    decoder = RELEASED.decoder._replace(
        hidden=heads * 2 * draw(st.integers(1, 12)),
        layers=layers,
        dense_layers=draw(st.integers(0, layers)),
        dense_width=draw(st.integers(1, 90)),
        experts=experts,
        experts_per_token=draw(st.integers(1, experts)),
        expert_width=expert_width,
        shared_width=expert_width * draw(st.integers(1, 3)),
        vocabulary=draw(st.integers(2, 300)),
    )
    kv_heads = draw(st.sampled_from([kv for kv in (1, 2, 4) if heads % kv == 0]))
    return RELEASED._replace(decoder=decoder), Heads(heads, kv_heads, FLASH)


@settings(max_examples=25)
@given(decoders(), st.integers(1, 40), st.integers(1, 3), st.integers(1, 3))
def test_any_decoder_equals_its_modules(drawn, context, steps, batch):
    arch, heads = drawn
    torch.manual_seed(0)
    reference = DecoderReference(arch, heads)
    cache = DynamicCache(config=reference.config)
    prefill = stages.prefill(arch, context, heads)
    assert reference.flops(batch, context, cache) == batch * prefill.tensor_flops
    for step in range(steps):
        attended = stages.attended_in_step(arch, context, step)
        cost = stages.decode_step(arch, attended, heads)
        assert reference.flops(batch, 1, cache) == batch * cost.tensor_flops
