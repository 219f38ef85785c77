"""Reference modules of `transformers`, built from an `Architecture`; nothing is downloaded.

Modules live on the meta device where they can run there. Routed experts choose rows by value, so
they run on the CPU with random weights; one mixture of experts serves all its layers, which
changes no count. Attention and experts are the eager implementations: torch's counter sees
neither the fused CPU attention nor grouped matrix products.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPVisionConfig, DynamicCache
from transformers.models.clip import modeling_clip as clip
from transformers.models.deepseek_ocr2 import configuration_deepseek_ocr2 as configuration
from transformers.models.deepseek_ocr2 import modeling_deepseek_ocr2 as modeling

from sweepengine.architecture import Architecture


def counted_flops(call: Callable[[], object]) -> int:
    """FLOPs that torch's counter sees in a call: matrix products and convolutions."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())


class _OuterProducts(TorchDispatchMode):
    """Counts products of two tensors that broadcast against each other: outer products."""

    def __init__(self) -> None:
        super().__init__()
        self.flops: int = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.mul.Tensor and all(isinstance(a, Tensor) for a in args):
            first, second = args
            if first.shape != second.shape:
                self.flops += 2 * int(out.numel())
        return out


def outer_product_flops(call: Callable[[], object]) -> int:
    """FLOPs of a call's outer products, a multiply-add each, as if they were matrix products.

    The released rotary embedding multiplies positions by frequencies as a `(d/2, 1) @ (1, T)`
    product; `transformers` writes the same product element-wise, where the counter sees nothing.
    """
    counter = _OuterProducts()
    with torch.no_grad(), counter:
        call()
    return counter.flops


def parameters(module: nn.Module) -> int:
    """Number of parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters())


def sam_config(arch: Architecture) -> configuration.DeepseekOcr2SamVisionConfig:
    """Configuration of the SAM encoder."""
    sam = arch.sam
    return configuration.DeepseekOcr2SamVisionConfig(
        hidden_size=sam.width,
        output_channels=sam.neck_width,
        num_hidden_layers=sam.blocks,
        num_attention_heads=sam.heads,
        num_channels=arch.image.channels,
        image_size=sam.position_edge * arch.image.patch_size,
        patch_size=arch.image.patch_size,
        window_size=sam.window,
        global_attn_indexes=list(range(sam.global_blocks)),
        mlp_dim=sam.mlp_width,
        downsample_channels=[sam.downsample_width, sam.output_width],
        attn_implementation="eager",
    )


def clip_config(arch: Architecture) -> CLIPVisionConfig:
    """Configuration of the CLIP transformer."""
    return CLIPVisionConfig(
        hidden_size=arch.clip.width,
        intermediate_size=arch.clip.mlp_width,
        num_hidden_layers=arch.clip.blocks,
        num_attention_heads=arch.clip.heads,
        num_channels=arch.image.channels,
        image_size=arch.clip.image_size,
        patch_size=arch.clip.patch_size,
        hidden_act="quick_gelu",
        attn_implementation="eager",
    )


def text_config(
    arch: Architecture, attention_heads: int, key_value_heads: int, attention: str = "eager"
) -> configuration.DeepseekOcr2TextConfig:
    """Configuration of the decoder with the given heads."""
    decoder = arch.decoder
    sparse = decoder.layers - decoder.dense_layers
    return configuration.DeepseekOcr2TextConfig(
        vocab_size=decoder.vocabulary,
        hidden_size=decoder.hidden,
        intermediate_size=decoder.dense_width,
        num_hidden_layers=decoder.layers,
        num_attention_heads=attention_heads,
        num_key_value_heads=key_value_heads,
        n_routed_experts=decoder.experts,
        num_experts_per_tok=decoder.experts_per_token,
        moe_intermediate_size=decoder.expert_width,
        n_shared_experts=decoder.shared_width // decoder.expert_width,
        mlp_layer_types=["dense"] * decoder.dense_layers + ["sparse"] * sparse,
        max_position_embeddings=8192,
        attn_implementation=attention,
        experts_implementation="eager",
    )


def random_weights(module: nn.Module) -> nn.Module:
    """Fill a module's parameters, which may be uninitialised, with small random numbers."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.uniform_(-0.02, 0.02)
    return module.eval()


class VisionReference:
    """SAM, CLIP and projector on one view, all on the meta device."""

    def __init__(self, arch: Architecture) -> None:
        self.arch = arch
        with torch.device("meta"):
            self.sam = modeling.DeepseekOcr2SamVisionEncoder(sam_config(arch)).eval()
            self.norm = nn.LayerNorm(arch.clip.width)
            self.clip = clip.CLIPEncoder(clip_config(arch)).eval()
            self.projector = nn.Linear(arch.projector.input_width, arch.projector.output_width)

    def encode(self, side: int, images: int) -> None:
        """Run `images` views of `side` pixels through encoder, transformer and projector."""
        with torch.device("meta"):
            pixels = torch.empty(images, self.arch.image.channels, side, side)
            features = self.sam(pixels).last_hidden_state.flatten(2).transpose(1, 2)
            class_token = torch.empty(images, 1, self.arch.clip.width)
            tokens = torch.cat([class_token, features], dim=1)
            seen = self.clip(inputs_embeds=self.norm(tokens)).last_hidden_state
            self.projector(torch.cat([seen[:, 1:], features], dim=-1))


class DecoderReference:
    """Decoder and head with a real cache; the mixture of experts is held once."""

    def __init__(self, arch: Architecture, attention_heads: int, key_value_heads: int) -> None:
        self.config = text_config(arch, attention_heads, key_value_heads)
        self.hidden = arch.decoder.hidden
        with torch.device("meta"):
            self.head = nn.Linear(arch.decoder.hidden, arch.decoder.vocabulary, bias=False)
            layers = [
                modeling.DeepseekOcr2TextDecoderLayer(self.config, layer)
                for layer in range(arch.decoder.layers)
            ]
        experts = random_weights(modeling.DeepseekOcr2TextMoe(self.config))
        for index, layer in enumerate(layers):
            if index >= arch.decoder.dense_layers:
                layer.mlp = experts
            for name, child in layer.named_children():
                if child is not experts:
                    setattr(layer, name, random_weights(child.to_empty(device="cpu")))
        self.layers = layers
        self.norm = random_weights(modeling.DeepseekOcr2TextRMSNorm(self.hidden))
        self.rotary = modeling.DeepseekOcr2TextRotaryEmbedding(self.config)

    def run(self, batch: int, tokens: int, cache: DynamicCache) -> None:
        """Run `tokens` further tokens of each sequence of a batch through decoder and head.

        The released attention modules each hold a rotary embedding, so it runs once a layer.
        """
        hidden = torch.randn(batch, tokens, self.hidden)
        start = cache.get_seq_length()
        positions = torch.arange(start, start + tokens)[None]
        for layer in self.layers:
            angles = self.rotary(hidden, positions)
            hidden = layer(hidden, position_embeddings=angles, past_key_values=cache)
        self.head(self.norm(hidden).to("meta"))

    def flops(self, batch: int, tokens: int, cache: DynamicCache) -> int:
        """FLOPs of `run`, the rotary product included.

        Angles are computed once for all sequences of a batch, formulas count them per image.
        """
        seen = counted_flops(lambda: self.run(batch, tokens, cache))
        positions = torch.arange(tokens)[None]
        angles = outer_product_flops(lambda: self.rotary(torch.empty(1), positions))
        return seen + batch * len(self.layers) * angles


def cache_bytes(cache: DynamicCache) -> int:
    """Bytes that a cache really holds."""
    return sum(
        tensor.numel() * tensor.element_size()
        for layer in cache.layers
        for tensor in (layer.keys, layer.values)
    )
