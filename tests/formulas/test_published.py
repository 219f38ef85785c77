import pytest

from sweepengine.data.models import load_model
from sweepengine.formulas import published as layers
from sweepengine.formulas import published_vision as vision_layers
from sweepengine.formulas.architecture import EAGER, FLASH
from sweepengine.formulas.deepseek_ocr import ocr_towers
from sweepengine.formulas.parameters import parameter_parts
from sweepengine.formulas.published import PUBLISHED_LAYERS


@pytest.mark.parametrize(("side", "flops"), [(1024, 976_909_172_736), (640, 325_620_793_344)])
def test_sam_encoder_has_the_tensor_flops_of_the_check_values(released, side, flops):
    assert vision_layers.image_encoder_vit(released, side, FLASH).tensor_flops == flops


@pytest.mark.parametrize(("tokens", "flops"), [(257, 161_715_683_328), (101, 62_004_756_480)])
def test_clip_has_the_tensor_flops_of_the_check_values(released, tokens, flops):
    assert vision_layers.vit_model(released, tokens, FLASH).tensor_flops == flops


def test_parameters_are_those_of_the_released_checkpoint(released):
    assert vision_layers.image_encoder_vit(released, 1024, FLASH).weights == 95_569_152
    assert vision_layers.vit_model(released, 257, FLASH).weights == 303_177_728
    assert vision_layers.projector(released, 1).weights == 2_622_720
    assert layers.lm_head(released, 1).weights == 165_478_400
    assert parameter_parts(released) == {
        "SAM": 95_569_152,
        "CLIP": 303_177_728,
        "projector": 2_622_720 + 2 * 1_280,
        "decoder": 2_769_255_680,
        "LM head": 165_478_400,
    }
    assert load_model("deepseek-ocr-3b").parameter_count == 3_336_106_240
    assert load_model("deepseek-ocr-3b").weight_bytes == 6_672_212_480


def test_stored_sam_tables_do_not_depend_on_the_view(released):
    assert {
        vision_layers.image_encoder_vit(released, side, FLASH).weights for side in (64, 512, 2048)
    } == {95_569_152}


def test_published_accounting_counts_two_visions_and_one_expert_a_layer():
    model = load_model("deepseek-ocr-3b-modelmeter")
    assert model.parameter_count == 2 * 399_328_256 + 368_998_400


HEADS = (10, 10, FLASH)
PUBLISHED_SHAPES = {
    "Attention": (25, 14, FLASH),
    "MLPBlock": (4096,),
    "PatchEmbed": (1024,),
    "Block": (64, 0, FLASH),
    "CLIPVisionEmbeddings_conv": (224,),
    "LayerNorm2d": (4096,),
    "ImageEncoderViT": (1024, FLASH),
    "NoTPAttention": (257, FLASH),
    "NoTPFeedForward": (257,),
    "NoTPTransformerBlock": (257, FLASH),
    "NoTPTransformer": (257, FLASH),
    "VitModel": (257, FLASH),
    "MlpProjector": (577,),
    "DeepseekV2MLP": (512, 6848),
    "MoEGate": (512,),
    "DeepseekV2MoE": (512,),
    "DeepseekV2RMSNorm": (512,),
    "DeepseekV2DecoderLayer_dense": (512, 512, 6848, HEADS),
    "DeepseekV2DecoderLayer_moe": (512, 512, HEADS),
    "LlamaFlashAttention2": (512, 0, HEADS),
    "LlamaRotaryEmbedding": (512, HEADS),
}


def published_rows(root):
    import csv

    with (root / "tests/data/reference/per_layer.csv").open() as file:
        return {row["layer"]: row for row in csv.DictReader(file)}


def test_published_analytic_column_comes_out_in_every_printed_digit(root, published):
    parts = published.ocr
    clip = parts.clip._replace(blocks=2)
    two_blocks = published._replace(towers=ocr_towers(parts._replace(clip=clip)))
    counted = published._replace(backbone=published.backbone._replace(angle_products=1))
    ours = {}
    for layer, shape in PUBLISHED_SHAPES.items():
        arch = two_blocks if layer in ("NoTPTransformer", "VitModel") else published
        arch = counted if layer == "LlamaRotaryEmbedding" else arch
        cost = PUBLISHED_LAYERS[layer](arch, *shape)
        ours[layer] = f"{(cost.tensor_flops + cost.cuda_flops) / 1e9:.4e}"
    rows = published_rows(root)
    assert ours == {layer: row["analytic_gflops"] for layer, row in rows.items()}
    assert len(ours) == 21


def test_grouped_heads_shrink_projections_and_cache_as_the_ratio_says(released):
    full = layers.llama_eager(released, 100, 100, (10, 10, EAGER))
    half = layers.llama_eager(released, 100, 100, (10, 5, EAGER))
    core = 4 * 100 * 100 * 1280
    assert (half.tensor_flops - core) * 4 == (full.tensor_flops - core) * 3
    assert half.kv_io * 2 == full.kv_io
    assert half.weights * 4 == full.weights * 3


def test_eager_attention_does_the_flops_of_flash_and_moves_its_scores(released):
    eager = layers.llama_eager(released, 300, 300, HEADS)
    flash = layers.llama_flash(released, 300, 300, HEADS)
    assert eager.tensor_flops == flash.tensor_flops
    assert eager.cuda_flops == flash.cuda_flops
    assert eager.activation_io - flash.activation_io == 2 * 10 * 300 * 300
    windows = [vision_layers.attention(released, 9, 14, kind) for kind in (EAGER, FLASH)]
    assert windows[0].activation_io - windows[1].activation_io == 2 * 12 * 9 * 196**2


def test_attention_of_padded_windows_pays_for_the_padding(released):
    exact = vision_layers.block(released, 28, 14, FLASH)
    padded = vision_layers.block(released, 29, 14, FLASH)
    four, nine = (vision_layers.attention(released, n, 14, FLASH).tensor_flops for n in (4, 9))
    mlp = [vision_layers.mlp_block(released, edge * edge).tensor_flops for edge in (28, 29)]
    assert padded.tensor_flops - exact.tensor_flops == nine - four + mlp[1] - mlp[0]
