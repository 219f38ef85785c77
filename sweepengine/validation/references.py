"""Reference modules of `transformers`, built from an `Architecture` without downloads.

Modules are on the meta device where they can run there. Routed experts select tokens by value, so
they run on the CPU with random weights; all MoE layers share one module, which changes no count.
Attention and experts are the eager implementations, as torch's counter ignores fused CPU
attention and grouped GEMMs.
"""

import torch
from torch import Tensor, nn
from transformers import DynamicCache
from transformers.models.clip import modeling_clip as clip
from transformers.models.deepseek_ocr2 import modeling_deepseek_ocr2 as modeling

from sweepengine.formulas.architecture import Architecture
from sweepengine.formulas.published import Heads
from sweepengine.validation.counters import counted_flops, outer_product_flops, parameters
from sweepengine.validation.reference_configs import (
    clip_config,
    sam_config,
    text_config,
    vision_config,
)


def random_weights(module: nn.Module) -> nn.Module:
    """Fill the parameters of a module, which may be uninitialised, with small random numbers."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.uniform_(-0.02, 0.02)
    return module.eval()


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
    """SAM, CLIP, projector and the two separators of DeepSeek-OCR.

    Parameters
    ----------
    arch : Architecture
        Of the model.
    attention : str
        Implementation of transformers that CLIP runs; SAM has one.
    device : str
        By default the meta device, where nothing is computed.
    """

    def __init__(self, arch: Architecture, attention: str = "eager", device: str = "meta") -> None:
        self.arch = arch
        with torch.device(device):
            self.sam = modeling.DeepseekOcr2SamVisionEncoder(sam_config(arch)).eval()
            self.embeddings = clip.CLIPVisionEmbeddings(clip_config(arch, attention))
            self.norm = nn.LayerNorm(arch.ocr.clip.width)
            self.clip = clip.CLIPEncoder(clip_config(arch, attention)).eval()
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
            seen = self.seen(features)
            projected: Tensor = self.projector(torch.cat([seen[:, 1:], features], dim=-1))
        return projected.reshape(images, *encoded.shape[2:], projected.shape[-1])

    def seen(self, features: Tensor) -> Tensor:
        """What CLIP makes of a class token and SAM's features.

        Parameters
        ----------
        features : Tensor, shape (images, features of a view, width)

        Returns
        -------
        Tensor, shape (images, 1 + features of a view, width)
        """
        class_token = self.embeddings.class_embedding.expand(len(features), 1, -1)
        tokens = torch.cat([class_token, features], dim=1)
        seen: Tensor = self.clip(inputs_embeds=self.norm(tokens)).last_hidden_state
        return seen

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
