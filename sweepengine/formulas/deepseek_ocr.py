"""DeepSeek-OCR's encoder as towers: SAM, its neck, CLIP or an encoder of queries, projector.

The order of blocks and joins is that of `docs/vision.md`. CLIP sees SAM's features, `q*q` and a
class token; the encoder of DeepSeek-OCR 2 sees them and the queries of the view.
"""

from typing import NamedTuple

from sweepengine.formulas.crops import CropRule
from sweepengine.formulas.ocr_parts import Clip, Encoder, Image, OcrParts, Projector, Sam
from sweepengine.formulas.quantities import quantities
from sweepengine.formulas.towers import Blocks, Join, PartName, Towers

TAPS = 9
"""Of a convolution of 3 x 3."""
NECK_MERGES = (1, 1, 2, 4)
"""Patches an edge that a row behind each convolution of the neck stands for."""


class Parts(NamedTuple):
    """Blocks and joins of one part, with the names of each."""

    blocks: tuple[tuple[str, Blocks], ...]
    """Kind of layers, and a group of them."""
    joins: tuple[tuple[str, str, Join], ...]
    """Kind of layers, operator, and a join."""


def _defaults(record: type[NamedTuple]) -> dict[str, int]:
    return {
        name: quantity.default if isinstance(quantity.default, int) else 0
        for name, quantity in quantities(record).items()
    }


JOIN = Join(**_defaults(Join))
"""A join of no rows: what the fields of others default to."""


def sam_parts(image: Image, sam: Sam) -> Parts:
    """SAM (ImageEncoderViT): patches, blocks, neck.

    Patches are `2*P*16*16*3*768` tensor FLOPs; the neck `2*P*768*256`, `2*P*9*256*256`,
    `2*(P/4)*9*256*512` and `2*(P/16)*9*512*1024`. The model is stored for `position_edge` patches
    an edge, its relative tables of global blocks too, and interpolates for other views.
    """
    head_width = sam.width // sam.heads
    pixels = image.patch_size * image.patch_size * image.channels
    block = Blocks(**_defaults(Blocks))._replace(
        layers=sam.global_blocks,
        width=sam.width,
        heads=sam.heads,
        key_value_heads=sam.heads,
        head_width=head_width,
        mlp_width=sam.mlp_width,
        input_bias=sam.bias,
        output_bias=sam.bias,
        mlp_bias=sam.bias,
        relative_flops=sam.relative_position_flops,
        tables=relative_tables(sam.position_edge, head_width),
        source_width=sam.width,
        eager_scores=sam.eager_io_scores,
        eager_head_scores=0,
        summed_widths=4,
    )
    windowed = block._replace(
        layers=sam.blocks - sam.global_blocks,
        window=sam.window,
        padded=1,
        tables=relative_tables(sam.window, head_width),
    )
    widths = (sam.width, sam.neck_width, sam.neck_width, sam.downsample_width, sam.output_width)
    reads = (0, *NECK_MERGES)
    neck = [
        JOIN._replace(
            inputs=widths[i],
            outputs=widths[i + 1],
            taps=TAPS if i else 1,
            merge=merge,
            reads_merge=reads[i],
            sums_in=0,
        )
        for i, merge in enumerate(NECK_MERGES)
    ]
    # LayerNorm2d: statistics, then the scaling, which moves each value twice.
    normed = JOIN._replace(outputs=sam.neck_width, norm_weights=2, moves=4)
    patches = JOIN._replace(inputs=pixels, outputs=sam.width, bias=sam.bias)
    tables = JOIN._replace(tables=sam.position_edge * sam.position_edge * sam.width)
    ends = [("patches", patches), ("tables", tables)]
    ends += [("neck", join) for join in neck] + [("neck_norms", normed), ("neck_norms", normed)]
    return Parts(
        (("global_blocks", block), ("windowed_blocks", windowed)),
        tuple(("sam_ends", operator, join) for operator, join in ends),
    )


def relative_tables(edge: int, head_width: int) -> int:
    """Weights of relative positions along both edges: two tables of `2e-1` rows."""
    return 2 * (2 * edge - 1) * head_width


def clip_parts(image: Image, clip: Clip) -> Parts:
    """CLIP (VitModel) on SAM's features: class token, positions, one norm, blocks.

    The patch convolution is held in memory, but SAM's features replace its output, so a pass
    neither runs nor reads it.
    """
    per_edge = clip.image_size // clip.patch_size
    joined = JOIN._replace(outputs=clip.width, merge=image.patches_per_token, extra=1)
    embeddings = joined._replace(
        moves=clip.embedding_io_per_token,
        fixed_moves=clip.embedding_io_tokens,
        sums_out=clip.embedding_io_per_token,
        tables=clip.width * (per_edge * per_edge + 2),
        unread=patch_convolution(image, clip).inputs * clip.width,
    )
    blocks = Blocks(**_defaults(Blocks))._replace(
        layers=clip.blocks,
        width=clip.width,
        heads=clip.heads,
        key_value_heads=clip.heads,
        head_width=clip.width // clip.heads,
        mlp_width=clip.mlp_width,
        activation_flops=5,
        input_bias=clip.bias,
        output_bias=clip.bias,
        mlp_bias=clip.bias,
        merge=image.patches_per_token,
        extra=1,
        source_width=clip.width,
        flash_widths=clip.flash_io_widths - 5,
        eager_widths=clip.eager_io_widths - 5,
        eager_scores=clip.eager_io_scores,
        eager_head_scores=0,
    )
    return Parts(
        (("clip_blocks", blocks),),
        (
            ("clip_ends", "embeddings", embeddings),
            ("clip_ends", "pre_norm", joined._replace(norm_weights=2, sums_out=0)),
        ),
    )


def patch_convolution(image: Image, clip: Clip) -> Join:
    """The patch convolution of CLIP alone: tensor `2*256*14*14*3*1024` at 224 px."""
    pixels = image.channels * clip.patch_size * clip.patch_size
    return JOIN._replace(inputs=pixels, outputs=clip.width)


def encoder_parts(image: Image, encoder: Encoder) -> Parts:
    """Layers of a language model over features and queries, tables of queries, last norm.

    Queries stand behind the `q*q` features of SAM, and what they become are the image's tokens.
    Source: transformers 5.23, modeling_deepseek_ocr2.py.
    """
    blocks = Blocks(**_defaults(Blocks))._replace(
        layers=encoder.layers,
        width=encoder.width,
        heads=encoder.heads,
        key_value_heads=encoder.key_value_heads,
        head_width=encoder.width // encoder.heads,
        mlp_width=encoder.mlp_width,
        matrices=3,
        output_bias=0,
        mlp_bias=0,
        norm_weights=1,
        rotary=1,
        merge=image.patches_per_token,
        queries=1,
        source_width=encoder.width,
    )
    queries = JOIN._replace(tables=(image.few_queries + image.many_queries) * encoder.width)
    last = JOIN._replace(
        outputs=encoder.width,
        norm_weights=1,
        merge=image.patches_per_token,
        queries=1,
        sums_out=2,
    )
    return Parts(
        (("encoder_blocks", blocks),),
        (("encoder_ends", "queries", queries), ("encoder_ends", "final_norm", last)),
    )


def projector_joins(projector: Projector) -> tuple[Join, ...]:
    """MlpProjector over all features: tensor `2*N*2048*1280`, further layers 1280 to 1280.

    GELU (CUDA `4*N*1280` a layer) where the model says so. Its inside is fused, so that it moves
    `N*(2048+1280)`.
    """
    last = projector.layers - 1
    return tuple(
        JOIN._replace(
            inputs=projector.output_width if i else projector.input_width,
            outputs=projector.output_width,
            bias=projector.bias,
            activation_flops=4 * projector.gelu,
            moves_in=int(i == 0),
            sums_in=int(i == 0),
            moves_out=int(i == last),
            sums_out=int(i == last),
            whole=1,
        )
        for i in range(projector.layers)
    )


def ocr_towers(parts: OcrParts) -> Towers:
    """The towers that a model file's sections describe."""
    image, projector = parts.image, parts.projector
    made = [("SAM", "sam", sam_parts(image, parts.sam))]
    if parts.clip.width:
        made.append(("CLIP", "clip", clip_parts(image, parts.clip)))
    if parts.encoder.width:
        made.append(("encoder", "encoder", encoder_parts(image, parts.encoder)))
    separators = JOIN._replace(tables=projector.separators * projector.output_width, whole=1)
    behind = [("projector", join) for join in projector_joins(projector)]
    behind.append(("separators", separators))
    blocks = [(PartName(part, tower, kind, ""), group)
              for part, tower, one in made for kind, group in one.blocks]  # fmt: skip
    joins = [(PartName(part, tower, kind, operator), join)
             for part, tower, one in made for kind, operator, join in one.joins]  # fmt: skip
    joins += [(PartName("projector", "vision", "", name), join) for name, join in behind]
    return Towers(
        rule=None,
        blocks=tuple(group for _, group in blocks),
        joins=tuple(join for _, join in joins),
        block_names=tuple(name for name, _ in blocks),
        join_names=tuple(name for name, _ in joins),
        merge=image.patches_per_token,
        width=projector.output_width,
        crops=CropRule(
            image.patch_size,
            image.patches_per_token,
            image.few_queries,
            image.many_queries,
            image.least_tiles,
            image.most_tiles,
            projector.newline_tokens,
            projector.repeats_tiles,
        ),
        ocr=parts,
    )
