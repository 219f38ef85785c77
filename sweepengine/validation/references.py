"""Reference modules of `transformers`, built from an `Architecture`; nothing is downloaded.

Modules live on the meta device where they can run there. Routed experts choose rows by value, so
they run on the CPU with random weights; one mixture of experts serves all its layers, which
changes no count. Attention and experts are the eager implementations: torch's counter sees
neither the fused CPU attention nor grouped matrix products.
"""

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch._decomp import get_decompositions
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPVisionConfig, DynamicCache
from transformers.models.clip import modeling_clip as clip
from transformers.models.deepseek_ocr2 import configuration_deepseek_ocr2 as configuration
from transformers.models.deepseek_ocr2 import modeling_deepseek_ocr2 as modeling

from sweepengine.architecture import Architecture
from sweepengine.layers.decoder import Heads


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


class _ElementWise(TorchDispatchMode):
    """Counts values of the size of `size` that element-wise operations produce."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.flops: int = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in DECOMPOSED:
            with self:
                return DECOMPOSED[func](*args, **(kwargs or {}))
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket is torch.ops.aten.var_mean:
            self.flops += int(args[0].numel())
        elif (
            torch.Tag.pointwise in func.tags
            and func.overloadpacket not in COPIES
            and int(out.numel()) == self.size
        ):
            self.flops += self.size
        return out


COPIES = (torch.ops.aten.clone, torch.ops.aten._to_copy)
DECOMPOSED = get_decompositions([torch.ops.aten.native_layer_norm])


def element_wise_flops(call: Callable[[Tensor], object], values: Tensor) -> int:
    """FLOPs of a norm on `values`, counted from its own element-wise operations.

    The rule: one FLOP for each value of each tensor of the input's size that an element-wise
    operation produces. A variance counts one a value, its square, as the differences it squares
    are those that the norm subtracts again. Statistics (one figure a token), the sums that make
    them, casts and views count nothing.
    """
    counter = _ElementWise(values.numel())
    with torch.no_grad(), counter:
        call(values)
    return counter.flops


class _LiveStorage(TorchDispatchMode):
    """Follows the bytes of tensor storages that are alive, and their largest sum."""

    def __init__(self, held_elsewhere: Iterable[Tensor]) -> None:
        super().__init__()
        self.live: int = 0
        self.peak: int = 0
        self.known: set[int] = {tensor.untyped_storage()._cdata for tensor in held_elsewhere}

    def follow(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self.known:
            return
        self.known.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.live -= size

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in tree_leaves(out):
            if isinstance(value, Tensor):
                self.follow(value)
        return out


def live_peak(modules: Iterable[nn.Module], call: Callable[[], object], *inputs: Tensor) -> int:
    """Largest number of bytes alive at once during a call, `inputs` among them, weights not."""
    weights = [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]
    tracker = _LiveStorage(weights)
    for tensor in inputs:
        tracker.follow(tensor)
    with torch.no_grad(), tracker:
        call()
    return tracker.peak


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


def clip_config(arch: Architecture, attention: str = "eager") -> CLIPVisionConfig:
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
        attn_implementation=attention,
    )


def text_config(
    arch: Architecture,
    heads: Heads,
    attention: str = "eager",
    experts: str = "eager",
) -> configuration.DeepseekOcr2TextConfig:
    """Configuration of the decoder with the given heads."""
    decoder = arch.decoder
    sparse = decoder.layers - decoder.dense_layers
    return configuration.DeepseekOcr2TextConfig(
        vocab_size=decoder.vocabulary,
        hidden_size=decoder.hidden,
        intermediate_size=decoder.dense_width,
        num_hidden_layers=decoder.layers,
        num_attention_heads=heads.attention_heads,
        num_key_value_heads=heads.key_value_heads,
        n_routed_experts=decoder.experts,
        num_experts_per_tok=decoder.experts_per_token,
        moe_intermediate_size=decoder.expert_width,
        n_shared_experts=decoder.shared_width // decoder.expert_width,
        mlp_layer_types=["dense"] * decoder.dense_layers + ["sparse"] * sparse,
        max_position_embeddings=8192,
        attn_implementation=attention,
        experts_implementation=experts,
    )


def random_weights(module: nn.Module) -> nn.Module:
    """Fill a module's parameters, which may be uninitialised, with small random numbers."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.uniform_(-0.02, 0.02)
    return module.eval()


class VisionReference:
    """SAM, CLIP, projector and the two separators, all on the meta device."""

    def __init__(self, arch: Architecture) -> None:
        self.arch = arch
        with torch.device("meta"):
            self.sam = modeling.DeepseekOcr2SamVisionEncoder(sam_config(arch)).eval()
            self.embeddings = clip.CLIPVisionEmbeddings(clip_config(arch))
            self.norm = nn.LayerNorm(arch.clip.width)
            self.clip = clip.CLIPEncoder(clip_config(arch)).eval()
            self.projector = nn.Linear(arch.projector.input_width, arch.projector.output_width)
            self.newline = nn.Parameter(torch.empty(arch.projector.output_width))
            self.view_separator = nn.Parameter(torch.empty(arch.projector.output_width))

    def encode(self, side: int, images: int) -> Tensor:
        """Run `images` views of `side` pixels through encoder, transformer and projector.

        Returns
        -------
        Tensor, shape (images, q, q, 1280)
        """
        with torch.device("meta"):
            pixels = torch.empty(images, self.arch.image.channels, side, side)
            encoded = self.sam(pixels).last_hidden_state
            features = encoded.flatten(2).transpose(1, 2)
            class_token = torch.empty(images, 1, self.arch.clip.width)
            tokens = torch.cat([class_token, features], dim=1)
            seen = self.clip(inputs_embeds=self.norm(tokens)).last_hidden_state
            projected: Tensor = self.projector(torch.cat([seen[:, 1:], features], dim=-1))
        return projected.reshape(images, *encoded.shape[2:], projected.shape[-1])

    def image_embeddings(self, view: int, tile: int, rows: int, cols: int) -> Tensor:
        """Embeddings that one image puts into the context, put together as the release does.

        Each row of the global view, and each row across all tiles, ends in a newline; a
        separator stands between tiles and view.

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

    def measure_image(self, view: int, tile: int, rows: int, cols: int) -> tuple[int, int]:
        """FLOPs of `image_embeddings` and how many tokens it makes."""
        made: list[Tensor] = []
        flops = counted_flops(lambda: made.append(self.image_embeddings(view, tile, rows, cols)))
        return flops, len(made[0])

    def _with_newlines(self, features: Tensor) -> Tensor:
        newlines = self.newline.expand(len(features), 1, -1)
        return torch.cat([features, newlines], dim=1).flatten(0, 1)


class DecoderReference:
    """Decoder and head with a real cache; the mixture of experts is held once."""

    def __init__(
        self,
        arch: Architecture,
        heads: Heads,
        attention: str = "eager",
        experts: str = "eager",
    ) -> None:
        self.config = text_config(arch, heads, attention, experts)
        self.hidden = arch.decoder.hidden
        with torch.device("meta"):
            self.head = nn.Linear(arch.decoder.hidden, arch.decoder.vocabulary, bias=False)
            layers = [
                modeling.DeepseekOcr2TextDecoderLayer(self.config, layer)
                for layer in range(arch.decoder.layers)
            ]
        mixture = random_weights(modeling.DeepseekOcr2TextMoe(self.config))
        for index, layer in enumerate(layers):
            if index >= arch.decoder.dense_layers:
                layer.mlp = mixture
            for name, child in layer.named_children():
                if child is not mixture:
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


def cache_bytes(cache: DynamicCache) -> tuple[int, int]:
    """Bytes that a cache really holds, and tokens of one sequence in it."""
    held = sum(
        tensor.numel() * tensor.element_size()
        for layer in cache.layers
        for tensor in (layer.keys, layer.values)
    )
    return held, cache.get_seq_length()
