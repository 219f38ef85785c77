import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import DynamicCache

from sweepengine.data.models import load_model
from sweepengine.formulas import published, published_vision
from sweepengine.formulas.architecture import FLASH, Group
from sweepengine.formulas.crops import crop_views, features_of_view
from sweepengine.formulas.deepseek_ocr import ocr_towers
from sweepengine.formulas.ocr_parts import Encoder
from sweepengine.formulas.parameters import parameter_parts
from sweepengine.formulas.points import Point
from sweepengine.grid.counted import point_columns
from sweepengine.grid.plain import vision_figures
from sweepengine.validation.counters import counted_flops, parameters
from sweepengine.validation.references import DecoderReference, QueriedReference, VisionReference

pytestmark = pytest.mark.slow

RELEASED = load_model().architecture
SECOND = load_model("deepseek-ocr-2").architecture
HEADS = st.sampled_from([1, 2, 4])


@st.composite
def vision_architectures(draw):
    heads, width = draw(HEADS), draw(st.integers(1, 6)) * 16
    blocks = draw(st.integers(1, 4))
    clip_heads, clip_width = draw(HEADS), draw(st.integers(1, 6)) * 16
    parts = RELEASED.ocr
    return RELEASED._replace(
        towers=ocr_towers(
            parts._replace(
                sam=parts.sam._replace(
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
                clip=parts.clip._replace(
                    width=clip_width,
                    heads=clip_heads,
                    mlp_width=draw(st.integers(1, 200)),
                    blocks=draw(st.integers(1, 4)),
                ),
                projector=parts.projector._replace(
                    input_width=2 * clip_width, output_width=draw(st.integers(1, 100))
                ),
            )
        )
    )


@settings(max_examples=25)
@given(vision_architectures(), st.integers(1, 8), st.integers(1, 3))
def test_any_vision_architecture_equals_its_modules(arch, side, images):
    side *= 64
    reference = VisionReference(arch)
    tokens = features_of_view(arch.vision.crops, side)
    parts = (
        published_vision.image_encoder_vit(arch, side, FLASH),
        published_vision.vit_model(arch, tokens + 1, FLASH),
        published_vision.projector(arch, tokens),
    )
    analytic = sum(part.tensor_flops for part in parts)
    assert counted_flops(lambda: reference.encode(side, images)) == images * analytic
    assert (
        parameters(reference.sam) == published_vision.image_encoder_vit(arch, side, FLASH).weights
    )
    assert parameters(reference.clip) == published_vision.notp_transformer(arch, 1, FLASH).weights


def image_equals_its_modules(reference, arch, view, tile, rows, cols):
    """Tokens and FLOPs of an image are those of the modules."""
    sizes = (64 * view, 64 * tile, rows, cols if rows else 0)
    flops, tokens = reference.measure_image(*sizes)
    image = crop_views(arch.vision.crops, *sizes)
    assert tokens == image.tokens
    assert flops == vision_figures(arch, image, FLASH).counts.tensor_flops


@settings(max_examples=15)
@given(vision_architectures(), st.integers(1, 4), st.integers(1, 4), st.integers(0, 3),
       st.integers(1, 3))  # fmt: skip
def test_any_crop_grid_makes_the_tokens_and_flops_of_its_modules(arch, view, tile, rows, cols):
    image_equals_its_modules(VisionReference(arch), arch, view, tile, rows, cols)


@st.composite
def queried_architectures(draw):
    """Towers of DeepSeek-OCR 2 in other sizes; its module has 144 and 256 queries in any."""
    kv_heads, width = draw(st.integers(1, 3)), 2 * draw(st.integers(1, 8))
    heads = kv_heads * draw(st.integers(1, 3))
    encoder = Encoder(heads * width, heads, kv_heads, draw(st.integers(1, 90)),
                      draw(st.integers(1, 3)))  # fmt: skip
    sees = SECOND.ocr
    sam = sees.sam._replace(width=16, heads=2, mlp_width=20, blocks=2, global_blocks=1,
                            neck_width=8, downsample_width=8, output_width=encoder.width,
                            relative_position_flops=16)  # fmt: skip
    projector = sees.projector._replace(
        input_width=encoder.width, output_width=draw(st.integers(1, 60))
    )
    parts = sees._replace(sam=sam, encoder=encoder, projector=projector)
    return SECOND._replace(towers=ocr_towers(parts))


@settings(max_examples=15)
@given(queried_architectures(), st.integers(1, 20), st.integers(1, 20), st.integers(0, 3),
       st.integers(1, 3))  # fmt: skip
def test_any_encoder_of_queries_equals_its_modules(arch, view, tile, rows, cols):
    reference = QueriedReference(arch)
    image_equals_its_modules(reference, arch, view, tile, rows, cols)
    parts = parameter_parts(arch)
    assert {part: parts[part] for part in reference.parts()} == reference.parts()


@st.composite
def decoders(draw):
    heads, width = draw(HEADS), 2 * draw(st.integers(1, 12))
    layers = draw(st.integers(1, 4))
    dense_layers = draw(st.integers(0, layers))
    experts = draw(st.integers(2, 12))
    expert_width = draw(st.integers(1, 40))
    kv_heads = draw(st.sampled_from([kv for kv in (1, 2, 4) if heads % kv == 0]))
    dense, mixture = (group.feed_forward for group in RELEASED.groups)
    attention = RELEASED.groups[0].attention._replace(
        heads=heads, key_value_heads=kv_heads, key_width=width, value_width=width,
        rotary_width=width,
    )  # fmt: skip
    narrow = dense._replace(width=draw(st.integers(1, 90)))
    few = mixture._replace(
        width=expert_width * draw(st.integers(1, 3)),
        experts=experts,
        experts_per_token=draw(st.integers(1, experts)),
        expert_width=expert_width,
        experts_held=experts,
    )
    stack = [Group(dense_layers, 2, attention, narrow),
             Group(layers - dense_layers, 2, attention, few)]  # fmt: skip
    backbone = RELEASED.backbone._replace(
        hidden=heads * width, vocabulary=draw(st.integers(2, 300))
    )
    groups = tuple(group for group in stack if group.layers)
    return RELEASED._replace(backbone=backbone, groups=groups, towers=None)


@settings(max_examples=25)
@given(decoders(), st.integers(1, 40), st.integers(1, 3), st.integers(1, 3))
def test_any_decoder_equals_its_modules(arch, context, steps, batch):
    torch.manual_seed(0)
    heads = published.own_heads(arch)
    reference = DecoderReference(arch, heads)
    cache = DynamicCache(config=reference.config)
    point = Point(64, 64, 0, 0, context, 0, batch, *heads)
    columns = point_columns(arch, point)
    assert reference.flops(batch, context, cache) == columns["prefill_tensor_flops"]
    decoded = 0
    for step in range(1, steps + 1):
        decoded += reference.flops(batch, 1, cache)
        columns = point_columns(arch, point._replace(decode_steps=step))
        assert decoded == columns["decode_tensor_flops"]
