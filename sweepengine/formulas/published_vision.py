"""The layers of the published tables that see images: SAM, CLIP and projector.

They take the architecture and their own sizes, and count what the model's accounting counts.
"""

from collections.abc import Callable

from sweepengine.formulas.architecture import FLASH, Architecture
from sweepengine.formulas.blocks import block as operators_of_block
from sweepengine.formulas.blocks import join_cost, peak_of_block
from sweepengine.formulas.cost import NOTHING, Cost, CountedOperator, add, counted, scaled, total
from sweepengine.formulas.deepseek_ocr import patch_convolution, relative_tables
from sweepengine.formulas.towers import Blocks
from sweepengine.formulas.views import NO_VIEWS, ImageViews, View
from sweepengine.formulas.vision import encoded

Counted = tuple[CountedOperator, ...]
"""What is counted of each operator of a block."""


def _group(arch: Architecture, kind: str) -> tuple[Blocks, Counted]:
    """A group of blocks of the towers, and what is counted of its operators."""
    towers = arch.vision
    position = [name.kind for name in towers.block_names].index(kind)
    return towers.blocks[position], arch.counts.blocks[position]


def _some(blocks: Blocks, counts: Counted, view: View, flash: int, *names: str) -> Cost:
    """Some operators of a block together, as counted; their values are alive side by side."""
    operators = operators_of_block(blocks, view, flash)._asdict()
    roles = dict(zip(operators, counts, strict=True))
    found = NOTHING
    for name in names:
        found = add(found, counted(operators[name], roles[name]))
    return found._replace(activation_peak=sum(operators[name].activation_peak for name in names))


def _whole_block(blocks: Blocks, counts: Counted, view: View, flash: int) -> Cost:
    operators = operators_of_block(blocks, view, flash)
    peak = peak_of_block(operators, blocks, view, flash)
    return total(operators, counts)._replace(activation_peak=peak)


def _joined(arch: Architecture, tower: str, operator: str, view: View, features: int = 0) -> Cost:
    """The joins of an operator together, as counted."""
    towers, found, alive = arch.vision, NOTHING, 0
    for name, join, role in zip(towers.join_names, towers.joins, arch.counts.joins, strict=True):
        if (name.tower, name.operator) == (tower, operator):
            cost = join_cost(join, view, features)
            found, alive = add(found, counted(cost, role)), alive + cost.activation_peak
    return found._replace(activation_peak=alive)


def _square(edge: int) -> View:
    return View(count=1, rows=edge, columns=edge)


def _view_of(arch: Architecture, side: int) -> View:
    """A view of `side` pixels."""
    return _square(side // arch.ocr.image.patch_size)


def patch_embed(arch: Architecture, side: int) -> Cost:
    """PatchEmbed on a view of `side` pixels."""
    return _joined(arch, "sam", "patches", _view_of(arch, side))


def attention(arch: Architecture, windows: int, edge: int, flash: int) -> Cost:
    """Attention of SAM over b windows: projections, relative positions, core."""
    group, counts = _group(arch, "windowed_blocks")
    cut = group._replace(window=edge, tables=relative_tables(edge, group.head_width))
    row = View(count=1, rows=edge, columns=edge * windows)
    return _some(cut, counts, row, flash, "projections", "positions", "attention")


def mlp_block(arch: Architecture, tokens: int) -> Cost:
    """MLPBlock of SAM."""
    group, counts = _group(arch, "global_blocks")
    return _some(group._replace(rows=tokens), counts, _square(1), FLASH, "mlp")


def block(arch: Architecture, grid_edge: int, window_edge: int, flash: int) -> Cost:
    """Block of SAM: all its operators."""
    group, counts = _group(arch, "windowed_blocks" if window_edge else "global_blocks")
    tables = relative_tables(window_edge or grid_edge, group.head_width)
    sized = group._replace(window=window_edge, tables=tables)
    return _whole_block(sized, counts, _square(grid_edge), flash)


def neck_norm(arch: Architecture, tokens: int) -> Cost:
    """LayerNorm2d of SAM's neck."""
    return _over_tokens(arch, "neck_norms", tokens)


def image_encoder_vit(arch: Architecture, side: int, flash: int) -> Cost:
    """ImageEncoderViT: patches, blocks, neck, tables."""
    image = ImageViews(_view_of(arch, side), NO_VIEWS, 0, 0)
    found = encoded(arch.vision, arch.counts, image, flash, "sam")
    return found.cost._replace(activation_peak=found.view_peak)


def _clip_tokens(arch: Architecture, tokens: int) -> tuple[Blocks, Counted]:
    """CLIP's blocks over so many tokens."""
    group, counts = _group(arch, "clip_blocks")
    return group._replace(rows=tokens), counts


def _over_tokens(arch: Architecture, operator: str, tokens: int) -> Cost:
    """One join of an operator over so many tokens, as counted."""
    towers = arch.vision
    position = [name.operator for name in towers.join_names].index(operator)
    sized = towers.joins[position]._replace(rows=tokens)
    return counted(join_cost(sized, _square(1), 0), arch.counts.joins[position])


def clip_vision_embeddings(arch: Architecture, tokens: int) -> Cost:
    """CLIPVisionEmbeddings on SAM's features."""
    return _over_tokens(arch, "embeddings", tokens)


def clip_vision_embeddings_conv(arch: Architecture, side: int) -> Cost:
    """The standalone embedding's patch convolution, which no pass runs."""
    parts = arch.ocr
    convolution = patch_convolution(parts.image, parts.clip)
    return join_cost(convolution, _square(side // parts.clip.patch_size), 0)


def notp_attention(arch: Architecture, tokens: int, flash: int) -> Cost:
    """NoTPAttention of CLIP: projections and core."""
    return _some(*_clip_tokens(arch, tokens), _square(1), flash, "projections", "attention")


def notp_feed_forward(arch: Architecture, tokens: int) -> Cost:
    """NoTPFeedForward of CLIP."""
    return _some(*_clip_tokens(arch, tokens), _square(1), FLASH, "mlp")


def notp_transformer_block(arch: Architecture, tokens: int, flash: int) -> Cost:
    """NoTPTransformerBlock: all operators of a CLIP block."""
    return _whole_block(*_clip_tokens(arch, tokens), _square(1), flash)


def notp_transformer(arch: Architecture, tokens: int, flash: int) -> Cost:
    """NoTPTransformer: all blocks of CLIP."""
    layers = _group(arch, "clip_blocks")[0].layers
    return scaled(notp_transformer_block(arch, tokens, flash), layers, layers)


def clip_layer_norm(arch: Architecture, tokens: int) -> Cost:
    """The one LayerNorm of VitModel outside its blocks."""
    return _over_tokens(arch, "pre_norm", tokens)


def vit_model(arch: Architecture, tokens: int, flash: int) -> Cost:
    """VitModel: embeddings, LayerNorm, transformer."""
    ends = add(clip_vision_embeddings(arch, tokens), clip_layer_norm(arch, tokens))
    return add(ends, notp_transformer(arch, tokens, flash))


def projector(arch: Architecture, tokens: int) -> Cost:
    """MlpProjector."""
    return _joined(arch, "vision", "projector", _square(1), tokens)


VISION_LAYERS: dict[str, Callable[..., Cost]] = {
    "PatchEmbed": patch_embed,
    "Attention": attention,
    "MLPBlock": mlp_block,
    "Block": block,
    "LayerNorm2d": neck_norm,
    "CLIPVisionEmbeddings": clip_vision_embeddings,
    "CLIPVisionEmbeddings_conv": clip_vision_embeddings_conv,
    "NoTPAttention": notp_attention,
    "NoTPFeedForward": notp_feed_forward,
    "NoTPTransformerBlock": notp_transformer_block,
    "NoTPTransformer": notp_transformer,
    "ImageEncoderViT": image_encoder_vit,
    "VitModel": vit_model,
    "MlpProjector": projector,
}
"""Published layer name to the function that costs it."""
