"""Compares any readable config.json with transformers, on the meta device, without downloads."""

import json
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import CONFIG_MAPPING, DynamicCache, EncoderDecoderCache
from transformers.integrations.moe import use_experts_implementation
from transformers.models.minimax.modeling_minimax import MiniMaxCache
from transformers.models.step3p7.modeling_step3p7 import Step3p7Experts

from sweepengine.data.configs import PARTS, families
from sweepengine.data.errors import InputError
from sweepengine.data.files import find
from sweepengine.data.models import Model, load_model
from sweepengine.engine import progress
from sweepengine.formulas.architecture import EAGER, Architecture
from sweepengine.formulas.checkpoint import Checkpoint
from sweepengine.formulas.points import Point
from sweepengine.formulas.views import NO_IMAGE
from sweepengine.grid.counted import point_columns
from sweepengine.grid.plain import image_of_sizes
from sweepengine.validation.cache_bytes import cache_bytes, kept_by_torch
from sweepengine.validation.counters import Figure, counted_flops, parameters
from sweepengine.validation.decoders import OCR_TEXT, STAND_INS
from sweepengine.validation.image_processors import measure_processor
from sweepengine.validation.modules import decoder_of
from sweepengine.validation.towers import WithoutWeights, measure_tower

use_experts_implementation(Step3p7Experts)  # on meta the activated experts are unknown
PROMPTS = ((1, 128), (2, 1000))
"""Sequences, and tokens per sequence, of the prefills."""
CHUNK = 100
PIXELS = (1024, 1024)
STEPS = 3
OF_IMAGES = "moe_mm_token_type_ids"
"""Input that marks the tokens that take experts for images."""
OTHER_INPUTS = "embed_tokens_extend"  # of images and audio
STATES = {
    "cross_attention_states": False,
    "encoder_hidden_states": True,
    "encoder_outputs": True,
    OF_IMAGES: False,
}
"""Inputs for what is of images to whether steps take them too, where they are cached."""


class Comparison(NamedTuple):
    """Figures of a config with those of transformers."""

    text: list[Figure]
    """Of decoder and head."""
    vision: list[Figure]
    """Of what sees images; empty for a model that is read as text alone."""
    notes: tuple[str, ...]
    """What of vision was not compared, and why."""

    @property
    def figures(self) -> list[Figure]:
        """All of them."""
        return [*self.text, *self.vision]


class Built(NamedTuple):
    """Decoder and head on the meta device."""

    body: Any
    head: nn.Linear | None
    """None: the body has it."""
    config: Any
    crossed: bool = False
    """Whether it attends to features of images."""

    @property
    def parameters(self) -> int:
        """Number of parameters; a tied head is not counted twice."""
        if self.head is None:
            others = (m for name, m in self.body.named_modules() if name.endswith(OTHER_INPUTS))
            return parameters(self.body) - sum(map(parameters, others))
        tied = getattr(self.config, "tie_word_embeddings", False)
        return parameters(self.body) + (0 if tied else parameters(self.head))

    @property
    def keeps_cache(self) -> bool:
        """Whether its steps meet keys and values of earlier ones; those of GPT-1 do not."""
        taken = {*signature(self.body.forward).parameters}
        return bool(taken & {"past_key_values", "cache_params"})

    @property
    def states(self) -> str:
        """Its input for what is of images."""
        taken = signature(self.body.forward).parameters
        return next(name for name in STATES if name in taken)

    def cache(self) -> DynamicCache | EncoderDecoderCache:
        """An empty KV cache, of the class that the decoder takes."""
        if self.crossed and STATES[self.states]:
            return EncoderDecoderCache(DynamicCache(), DynamicCache())
        if self.config.model_type == "minimax":
            return MiniMaxCache()
        return DynamicCache(config=self.config)

    def flops(
        self, batch: int, tokens: int, cache: DynamicCache | EncoderDecoderCache, rows: int = 0
    ) -> int:
        """FLOPs of a pass with logits for every token.

        Parameters
        ----------
        batch, tokens : int
            Sequences, and new tokens of each.
        cache : DynamicCache
            KV cache, which grows by the new tokens.
        rows : int
            Features of images of each sequence, or tokens that take experts for images.
        """

        def run() -> None:
            with torch.device("meta"):
                ids = torch.zeros(batch, tokens, dtype=torch.long)
                taken = signature(self.body.forward).parameters
                inputs = {"cache_params": cache}  # of models without attention
                if "past_key_values" in taken:
                    inputs = {"past_key_values": cache}
                if "position_ids" in taken and self.head is not None:
                    start = cache.get_seq_length()
                    inputs["position_ids"] = torch.arange(start, start + tokens)[None]
                if rows and self.states == OF_IMAGES:
                    marked = torch.arange(tokens, device="cpu") < rows
                    inputs[OF_IMAGES] = marked.expand(batch, tokens)
                elif rows:
                    hidden = self.config.hidden_size
                    inputs[self.states] = torch.zeros(batch, rows, hidden, dtype=self.body.dtype)
                out = self.body(input_ids=ids, use_cache=True, **inputs)
                if self.head is None:
                    return
                self.head(out.last_hidden_state)

        return counted_flops(run)


def text_part(path: Path) -> dict[str, Any]:
    """The part of a config.json that describes the decoder, with its model_type."""
    whole: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    part = next((whole[key] for key in PARTS if isinstance(whole.get(key), dict)), whole)
    outer, kind = whole.get("model_type"), part.get("model_type")
    row = families()["families"].get(kind, {})
    by_part = row.get("tied_by_part") or outer in families()["outer_tied"]["by_part"]
    if part is not whole and not by_part and "decoder" not in whole:
        tied = whole.get("tie_word_embeddings")
        if outer in CONFIG_MAPPING:  # some classes obey either part, others have a default
            try:
                made = CONFIG_MAPPING[outer].from_dict(json.loads(json.dumps(whole)))
            except Exception as error:  # transformers may raise anything
                reason = " ".join(str(error).split())[:200]
                raise InputError(f"{path}: transformers cannot read it: {reason}") from None
            tied = getattr(made, "tie_word_embeddings", tied)
        if outer in families()["outer_tied"]["either"]:
            tied = tied or part.get("tie_word_embeddings")
        if tied is not None:
            part = {**part, "tie_word_embeddings": tied}
    if (kind is None or part is whole) and (named := families()["parts"].get(outer)):
        part = {key: value for key, value in part.items() if key != "vision_config"}
        part["model_type"] = named
    return part


def decoder_config(path: Path) -> Any:
    """The config of a decoder, as transformers reads it.

    Raises
    ------
    Exception
        Whatever transformers raises where it cannot read it.
    """
    part = dict(text_part(path))
    kind = str(part.pop("model_type", ""))
    part.pop("quantization_config", None)
    if kind == "deepseek_v2" and part.get("use_mla") is False:
        kind = OCR_TEXT
        dense = part.pop("first_k_dense_replace", 0)
        sparse = part["num_hidden_layers"] - dense
        part["mlp_layer_types"] = ["dense"] * dense + ["sparse"] * sparse
        part = {key: value for key, value in part.items() if value not in (0, None)}
    kind = STAND_INS.get(kind, kind)
    kind = kind if kind in CONFIG_MAPPING else f"{kind}_text"
    config = CONFIG_MAPPING[kind](**part)
    config._attn_implementation = "eager"
    config._experts_implementation = "batched_mm"
    return config


def build(path: Path, model: Model) -> Built:
    """Build decoder and head of a config.json with transformers.

    Raises
    ------
    InputError
        When transformers cannot build or run the model; the message has the reason.
    """
    try:
        config = decoder_config(path)
        with torch.device("meta"):
            body, head = decoder_of(config)
        crossed = model.architecture.crossed_rows(1) > 0
        built = Built(body, head, config, crossed)
        built.flops(1, 1, built.cache())
    except Exception as error:  # transformers may raise anything
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: transformers cannot run it: {reason}") from None
    return built


def measure(name: str | Path) -> Comparison:
    """Compare a config.json: its decoder, and where it has one its tower and image processor.

    Raises
    ------
    InputError
        When the model is not valid, or is no config.json.
    """
    model = load_model(path := find("models", name))
    if path.suffix != ".json":
        raise InputError(f"--config {name}: expected a config.json or its folder")
    tower, processor = measure_tower(path, model), measure_processor(path, model)
    vision = [*tower.figures, *processor.figures]
    return Comparison(measure_text(path, model), vision, (*tower.notes, *processor.notes))


def measure_text(path: Path, model: Model) -> list[Figure]:
    """Compare parameters, prefills, a chunk, decode steps and KV cache bytes of a decoder.

    Where it attends to features of images, they come with the chunk; a prefill with them is
    compared too. The formulas follow how transformers runs a model: latent attention expanded, and
    rotary angles element-wise, which torch does not count.

    Parameters
    ----------
    path : Path
        Of the config.
    model : Model
        Read from it; its towers are left out.
    """
    built = build(path, model)
    arch = _as_run(model.architecture, built.config.model_type)
    held = model.parameter_count - model.vision_parameter_count
    figures = [Figure("parameters", "values", built.parameters, held)]

    rows = features_of(model)
    again = rows if rows and STATES[built.states] else 0

    def columns(batch: int, prompt: int, cached: int, steps: int, rows: int) -> dict[str, Any]:
        point = Point(0, 0, 0, 0, 0, steps, batch, 0, 0, EAGER, prompt, cached)
        return point_columns(arch, point, NO_IMAGE._replace(features=rows))

    progress.begin("figures counted by torch")
    for batch, prompt in _prompts(arch):
        for seen_rows in dict.fromkeys((rows, 0)):  # the second one's cache goes on
            cache = built.cache()
            what = f"{batch} x {prompt:,}" + (f" with {seen_rows:,} features" if seen_rows else "")
            filled = columns(batch, prompt, 0, 0, seen_rows)
            seen = built.flops(batch, prompt, cache, seen_rows)
            figures.append(Figure(f"prefill, {what}", "FLOP", seen, filled["prefill_tensor_flops"]))
            size = filled["prefill_kv_cache_bytes"]
            size = kept_by_torch(arch, size, batch * prompt, built.config)
            kept = Figure(f"KV cache, {what}", "byte", cache_bytes(built.body, cache), size)
            figures += [kept] * built.keeps_cache
        if not built.keeps_cache:
            continue
        chunk = columns(batch, CHUNK, prompt, 0, rows)["prefill_tensor_flops"]
        seen = built.flops(batch, CHUNK, cache, rows)
        title = f"prefill, {batch} x {CHUNK} after {prompt:,} cached"
        figures.append(Figure(title, "FLOP", seen, chunk))
        stepped = columns(batch, prompt, CHUNK, STEPS, rows)
        seen = sum(built.flops(batch, 1, cache, again) for _ in range(STEPS))
        title = f"{STEPS} decode steps after these"
        figures.append(Figure(title, "FLOP", seen, stepped["decode_tensor_flops"]))
        tokens = batch * (prompt + CHUNK + STEPS)
        size = kept_by_torch(arch, stepped["decode_kv_cache_bytes"], tokens, built.config)
        figures.append(Figure("KV cache after these", "byte", cache_bytes(built.body, cache), size))
    return figures + _with_images(built, arch)


def _prompts(arch: Architecture) -> tuple[tuple[int, int], ...]:
    """Sequences and tokens of the prefills: no more than the table of positions allows."""
    most = arch.backbone.positions - CHUNK - STEPS
    return tuple((batch, min(prompt, most) if most > 0 else prompt) for batch, prompt in PROMPTS)


def _with_images(built: Built, arch: Architecture) -> list[Figure]:
    """A prefill half of whose tokens take experts for images; empty where no layer has such."""
    if not any(group.feed_forward.image_width for group in arch.groups):
        return []
    batch, prompt = PROMPTS[0]
    seen = prompt // 2
    point = Point(0, 0, 0, 0, 0, 0, batch, 0, 0, EAGER, prompt - seen, 0)
    counted = point_columns(arch, point, NO_IMAGE._replace(tokens=seen))["prefill_tensor_flops"]
    with WithoutWeights():
        flops = built.flops(batch, prompt, built.cache(), seen)
    title = f"prefill, {batch} x {prompt:,}, half of images"
    return [Figure(title, "FLOP", flops, int(counted))]


def features_of(model: Model) -> int:
    """Rows of an image of 1,024 x 1,024 pixels that cross attention meets; 0 where it has none."""
    towers = model.architecture.towers
    if towers is None:
        return 0
    return int(
        model.architecture.crossed_rows(image_of_sizes(towers, 0, 0, 0, 0, *PIXELS).features)
    )


def _as_run(arch: Architecture, kind: str) -> Architecture:
    """The decoder as transformers runs it.

    transformers runs everything in bf16, computes rotary angles element-wise, sends every token of
    Llama 4 through every expert, and stores keys that are also values twice in sliding-window
    layers.
    """
    groups = []
    for group in arch.groups:
        ffn, attention = group.feed_forward, group.attention
        if kind == "llama4_text":
            ffn = ffn._replace(experts_per_token=ffn.experts)
        if attention.shared_cache and not attention.stride:
            attention = attention._replace(shared_cache=0, keys_as_values=1)
        groups.append(group._replace(feed_forward=ffn, attention=attention))
    arch = arch._replace(groups=tuple(groups), towers=None)
    return arch._replace(backbone=arch.backbone._replace(angle_products=0), checkpoint=Checkpoint())
