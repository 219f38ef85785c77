"""Reference modules of `transformers`, built from an `Architecture` without downloads.

Modules are on the meta device where they can run there. Routed experts select tokens by value, so
they run on the CPU with random weights; all MoE layers share one module, which changes no count.
Attention and experts are the eager implementations, as torch's counter ignores fused CPU
attention and grouped GEMMs.
"""

import torch
from torch import Tensor, nn
from transformers import CLIPVisionConfig, DynamicCache
from transformers.models.clip import modeling_clip as clip
from transformers.models.deepseek_ocr2 import configuration_deepseek_ocr2 as configuration
from transformers.models.deepseek_ocr2 import modeling_deepseek_ocr2 as modeling

from sweepengine.formulas.architecture import Architecture, FeedForward
from sweepengine.formulas.ocr_parts import Encoder
from sweepengine.formulas.published import Heads
from sweepengine.validation.counters import counted_flops, outer_product_flops, parameters


def sam_config(arch: Architecture) -> configuration.DeepseekOcr2SamVisionConfig:
    """Configuration of the SAM encoder."""
    sam = arch.ocr.sam
    return configuration.DeepseekOcr2SamVisionConfig(
        hidden_size=sam.width,
        output_channels=sam.neck_width,
        num_hidden_layers=sam.blocks,
        num_attention_heads=sam.heads,
        num_channels=arch.ocr.image.channels,
        image_size=sam.position_edge * arch.ocr.image.patch_size,
        patch_size=arch.ocr.image.patch_size,
        window_size=sam.window,
        global_attn_indexes=list(range(sam.global_blocks)),
        mlp_dim=sam.mlp_width,
        downsample_channels=[sam.downsample_width, sam.output_width],
        attn_implementation="eager",
    )


def clip_config(arch: Architecture, attention: str = "eager") -> CLIPVisionConfig:
    """Configuration of the CLIP transformer."""
    return CLIPVisionConfig(
        hidden_size=arch.ocr.clip.width,
        intermediate_size=arch.ocr.clip.mlp_width,
        num_hidden_layers=arch.ocr.clip.blocks,
        num_attention_heads=arch.ocr.clip.heads,
        num_channels=arch.ocr.image.channels,
        image_size=arch.ocr.clip.image_size,
        patch_size=arch.ocr.clip.patch_size,
        hidden_act="quick_gelu",
        attn_implementation=attention,
    )


def text_config(
    arch: Architecture,
    heads: Heads,
    attention: str = "eager",
    experts: str = "eager",
) -> configuration.DeepseekOcr2TextConfig:
    """Configuration of the decoder.

    Parameters
    ----------
    arch : Architecture
    heads : tuple of int
        Attention heads, key-value heads, attention implementation.
    attention, experts : str
        Implementations of transformers.
    """
    kinds = [
        "sparse" if group.feed_forward.experts else "dense"
        for group in arch.groups
        for _ in range(group.layers)
    ]
    dense, moe = dense_and_moe(arch)
    return configuration.DeepseekOcr2TextConfig(
        vocab_size=arch.backbone.vocabulary,
        hidden_size=arch.backbone.hidden,
        intermediate_size=dense.width,
        num_hidden_layers=len(kinds),
        num_attention_heads=heads[0],
        num_key_value_heads=heads[1],
        n_routed_experts=moe.experts,
        num_experts_per_tok=moe.experts_per_token,
        moe_intermediate_size=moe.expert_width,
        n_shared_experts=moe.width // moe.expert_width,
        mlp_layer_types=kinds,
        max_position_embeddings=8192,
        attn_implementation=attention,
        experts_implementation=experts,
    )


def dense_and_moe(arch: Architecture) -> tuple[FeedForward, FeedForward]:
    """FFN of dense layers and of MoE layers; a stand-in for a kind that the model lacks."""
    ffns = [group.feed_forward for group in arch.groups]
    dense = next((ffn for ffn in ffns if not ffn.experts), ffns[0])
    moe = next((ffn for ffn in ffns if ffn.experts), None)
    return dense, moe or dense._replace(experts=2, experts_per_token=1, expert_width=dense.width)


def random_weights(module: nn.Module) -> nn.Module:
    """Fill the parameters of a module, which may be uninitialised, with small random numbers."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.uniform_(-0.02, 0.02)
    return module.eval()


def vision_config(arch: Architecture, encoder: Encoder) -> configuration.DeepseekOcr2VisionConfig:
    """Configuration of a model's SAM and of an encoder of queries."""
    return configuration.DeepseekOcr2VisionConfig(
        sam_config=sam_config(arch),
        encoder_config=configuration.DeepseekOcr2VisionEncoderConfig(
            hidden_size=encoder.width,
            intermediate_size=encoder.mlp_width,
            num_hidden_layers=encoder.layers,
            num_attention_heads=encoder.heads,
            num_key_value_heads=encoder.key_value_heads,
        ),
        attn_implementation="eager",
    )


class _ImageReference:
    """Modules that turn an image into embeddings."""

    def image_embeddings(self, view: int, tile: int, rows: int, cols: int) -> Tensor:
        """Embeddings of one image in the context; sizes in px, `rows` and `cols` of tiles or 0."""
        raise NotImplementedError

    def measure_image(self, view: int, tile: int, rows: int, cols: int) -> tuple[int, int]:
        """FLOPs and number of tokens of `image_embeddings`."""
        embeddings: list[Tensor] = []
        flops = counted_flops(
            lambda: embeddings.append(self.image_embeddings(view, tile, rows, cols))
        )
        return flops, len(embeddings[0])


class QueriedReference(_ImageReference):
    """SAM, query encoder, projector and separator of DeepSeek-OCR 2, on the meta device."""

    def __init__(self, arch: Architecture) -> None:
        self.arch = arch
        projector = arch.ocr.projector
        with torch.device("meta"):
            self.tower = modeling.DeepseekOcr2VisionModel(
                vision_config(arch, arch.ocr.encoder)
            ).eval()
            self.projector = nn.Linear(projector.input_width, projector.output_width)
            self.view_separator = nn.Parameter(torch.empty(projector.output_width))

    def parts(self) -> dict[str, int]:
        """Parameters of each part, by the names of `parameter_parts`."""
        sam, tower = parameters(self.tower.sam_encoder), parameters(self.tower)
        projector = parameters(self.projector) + self.view_separator.numel()
        return {"SAM": sam, "encoder": tower - sam, "projector": projector}

    def encode(self, side: int, images: int) -> Tensor:
        """Run `images` views of `side` pixels through tower and projector.

        Returns
        -------
        Tensor, shape (images, queries, 1280)
        """
        with torch.device("meta"):
            pixels = torch.empty(images, self.arch.ocr.image.channels, side, side)
            projected: Tensor = self.projector(self.tower(pixels).last_hidden_state)
        return projected

    def image_embeddings(self, view: int, tile: int, rows: int, cols: int) -> Tensor:
        """Embeddings of one image in the context: tiles, view, separator.

        Returns
        -------
        Tensor, shape (image tokens, 1280)
        """
        parts = [self.encode(tile, rows * cols).flatten(0, 1)] if rows else []
        return torch.cat([*parts, self.encode(view, 1)[0], self.view_separator[None]])


def vision_reference(arch: Architecture) -> "VisionReference | QueriedReference":
    """Modules of the vision towers of a model."""
    return QueriedReference(arch) if arch.ocr.encoder.layers else VisionReference(arch)


class VisionReference(_ImageReference):
    """SAM, CLIP, projector and the two separators of DeepSeek-OCR, on the meta device."""

    def __init__(self, arch: Architecture) -> None:
        self.arch = arch
        with torch.device("meta"):
            self.sam = modeling.DeepseekOcr2SamVisionEncoder(sam_config(arch)).eval()
            self.embeddings = clip.CLIPVisionEmbeddings(clip_config(arch))
            self.norm = nn.LayerNorm(arch.ocr.clip.width)
            self.clip = clip.CLIPEncoder(clip_config(arch)).eval()
            self.projector = nn.Linear(
                arch.ocr.projector.input_width, arch.ocr.projector.output_width
            )
            self.newline = nn.Parameter(torch.empty(arch.ocr.projector.output_width))
            self.view_separator = nn.Parameter(torch.empty(arch.ocr.projector.output_width))

    def parts(self) -> dict[str, int]:
        """Parameters of each part, by the names of `parameter_parts`."""
        seen = sum(parameters(m) for m in (self.embeddings, self.norm, self.clip))
        separators = self.newline.numel() + self.view_separator.numel()
        projector = parameters(self.projector) + separators
        return {"SAM": parameters(self.sam), "CLIP": seen, "projector": projector}

    def encode(self, side: int, images: int) -> Tensor:
        """Run `images` views of `side` pixels through SAM, CLIP and projector.

        Returns
        -------
        Tensor, shape (images, q, q, 1280)
        """
        with torch.device("meta"):
            pixels = torch.empty(images, self.arch.ocr.image.channels, side, side)
            encoded = self.sam(pixels).last_hidden_state
            features = encoded.flatten(2).transpose(1, 2)
            class_token = torch.empty(images, 1, self.arch.ocr.clip.width)
            tokens = torch.cat([class_token, features], dim=1)
            seen = self.clip(inputs_embeds=self.norm(tokens)).last_hidden_state
            projected: Tensor = self.projector(torch.cat([seen[:, 1:], features], dim=-1))
        return projected.reshape(images, *encoded.shape[2:], projected.shape[-1])

    def image_embeddings(self, view: int, tile: int, rows: int, cols: int) -> Tensor:
        """Embeddings of one image in the context, composed as in the release.

        Each row of the global view, and each row across all tiles, ends in a newline; a
        separator follows the view.

        Returns
        -------
        Tensor, shape (image tokens, 1280)
        """
        parts = []
        if rows:
            tiles = self.encode(tile, rows * cols).unflatten(0, (rows, cols))
            parts.append(self._with_newlines(tiles.transpose(1, 2).flatten(2, 3).flatten(0, 1)))
        parts.append(self._with_newlines(self.encode(view, 1)[0]))
        return torch.cat([*parts, self.view_separator[None]])

    def _with_newlines(self, features: Tensor) -> Tensor:
        newlines = self.newline.expand(len(features), 1, -1)
        return torch.cat([features, newlines], dim=1).flatten(0, 1)


class DecoderReference:
    """Decoder and head with a real KV cache; the MoE modules share one set of weights.

    Parameters
    ----------
    arch : Architecture
        Of the model.
    heads : tuple of int
        Query heads, key-value heads, and the code of the attention.
    attention, experts : str
        Implementations of transformers. Eager experts route by values, so they need the CPU.
    values : bool
        False: everything is on the meta device, where nothing is computed; experts run as
        `batched_mm`, k GEMMs a token, which counts what eager experts count.
    """

    def __init__(
        self,
        arch: Architecture,
        heads: Heads,
        attention: str = "eager",
        experts: str = "eager",
        values: bool = True,
    ) -> None:
        experts = experts if values else "batched_mm"
        self.config = text_config(arch, heads, attention, experts)
        self.device = torch.device("cpu" if values else "meta")
        self.hidden = arch.backbone.hidden
        with torch.device("meta"):
            self.head = nn.Linear(arch.backbone.hidden, arch.backbone.vocabulary, bias=False)
            layers = [
                modeling.DeepseekOcr2TextDecoderLayer(self.config, layer)
                for layer in range(len(self.config.mlp_layer_types))
            ]
            norm = modeling.DeepseekOcr2TextRMSNorm(self.hidden)
        if values:
            moe = random_weights(modeling.DeepseekOcr2TextMoe(self.config))
            norm = random_weights(norm.to_empty(device="cpu"))
            for index, layer in enumerate(layers):
                if self.config.mlp_layer_types[index] == "sparse":
                    layer.mlp = moe
                for name, child in layer.named_children():
                    if child is not moe:
                        setattr(layer, name, random_weights(child.to_empty(device="cpu")))
        self.layers = layers
        self.norm = norm
        self.rotary = modeling.DeepseekOcr2TextRotaryEmbedding(self.config)

    def run(self, batch: int, tokens: int, cache: DynamicCache) -> None:
        """Run a pass through decoder and LM head.

        As in the release, every layer computes the rotary embedding.

        Parameters
        ----------
        batch, tokens : int
            Sequences, and new tokens of each.
        cache : DynamicCache
            KV cache, which grows by the new tokens.
        """
        hidden = torch.randn(batch, tokens, self.hidden, device=self.device)
        start = cache.get_seq_length()
        positions = torch.arange(start, start + tokens)[None]
        for layer in self.layers:
            angles = tuple(part.to(self.device) for part in self.rotary(torch.empty(1), positions))
            hidden = layer(hidden, position_embeddings=angles, past_key_values=cache)
        self.head(self.norm(hidden).to("meta"))

    def flops(self, batch: int, tokens: int, cache: DynamicCache) -> int:
        """FLOPs of `run`, with the rotary angles counted as GEMMs for each sequence of the batch.

        torch computes the angles once for the whole batch; the formulas count them per sequence.
        """
        seen = counted_flops(lambda: self.run(batch, tokens, cache))
        positions = torch.arange(tokens)[None]
        angles = outer_product_flops(lambda: self.rotary(torch.empty(1), positions))
        return seen + batch * len(self.layers) * angles


def cache_bytes(cache: DynamicCache) -> tuple[int, int]:
    """Bytes of a KV cache, and its tokens per sequence."""
    size = sum(
        tensor.numel() * tensor.element_size()
        for layer in cache.layers
        for tensor in (layer.keys, layer.values)
    )
    return size, cache.get_seq_length()
