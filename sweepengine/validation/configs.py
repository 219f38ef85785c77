"""Any readable config.json against transformers, on the meta device: nothing is downloaded."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import CONFIG_MAPPING, AutoModel, DynamicCache
from transformers.integrations.moe import use_experts_implementation
from transformers.models.deepseek_ocr2.modeling_deepseek_ocr2 import DeepseekOcr2TextModel
from transformers.models.step3p7.modeling_step3p7 import Step3p7Experts, Step3p7TextModel

from sweepengine.data.configs import PARTS, families
from sweepengine.data.errors import InputError
from sweepengine.data.files import find
from sweepengine.data.models import Model, load_model
from sweepengine.formulas.architecture import EAGER, Architecture, Checkpoint
from sweepengine.formulas.points import Point
from sweepengine.grid.plain import point_columns
from sweepengine.validation.counters import counted_flops, parameters

OCR_TEXT = "deepseek_ocr2_text"
UNLISTED = {OCR_TEXT: DeepseekOcr2TextModel, "step3p5": Step3p7TextModel}
"""Decoders that are in no automatic list of transformers."""
STAND_INS = {"kimi_k2": "deepseek_v3", "mimo": "qwen2", "step3p7": "step3p5",
             "deepseek_vl_v2": OCR_TEXT, "deepseek_ref": "deepseek_v4",
             "minimax_m3": "minimax_m3_vl_text"}  # fmt: skip
"""Types that transformers has not got, and the one whose code runs the same layers."""
use_experts_implementation(Step3p7Experts)  # the meta device cannot say which experts are met
PROMPTS = ((1, 128), (2, 1000))
"""Sequences and tokens of prefills."""
CHUNK = 100
STEPS = 3
VALUE_BYTES = 2


class Figure(NamedTuple):
    """One figure, measured and analytic."""

    what: str
    unit: str
    measured: int
    analytic: int

    @property
    def difference(self) -> int:
        """Analytic less measured."""
        return self.analytic - self.measured


class Built(NamedTuple):
    """Decoder and head on the meta device."""

    body: Any
    head: nn.Linear
    config: Any

    @property
    def parameters(self) -> int:
        """Of both; a tied head is the token table."""
        tied = getattr(self.config, "tie_word_embeddings", False)
        return parameters(self.body) + (0 if tied else parameters(self.head))

    def flops(self, batch: int, tokens: int, cache: DynamicCache) -> int:
        """FLOPs of a pass over further tokens of each sequence, logits of all of them."""

        def run() -> None:
            with torch.device("meta"):
                ids = torch.zeros(batch, tokens, dtype=torch.long)
                start = cache.get_seq_length()
                positions = torch.arange(start, start + tokens)[None]
                out = self.body(
                    input_ids=ids, past_key_values=cache, use_cache=True, position_ids=positions
                )
                self.head(out.last_hidden_state)

        return counted_flops(run)


def text_part(path: Path) -> dict[str, Any]:
    """The part of a config.json that describes the decoder, with its own or a stand-in's type."""
    whole: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    part = next((whole[key] for key in PARTS if isinstance(whole.get(key), dict)), whole)
    if "tie_word_embeddings" not in part and "tie_word_embeddings" in whole:
        part = {**part, "tie_word_embeddings": whole["tie_word_embeddings"]}
    if "model_type" not in part and (kind := families()["parts"].get(whole.get("model_type"))):
        part = {**part, "model_type": kind}
    return part


def build(path: Path, model: Model) -> Built:
    """Decoder and head of a config.json, by transformers.

    Raises
    ------
    InputError
        When transformers cannot build or run it; the message says why.
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
    try:
        config = CONFIG_MAPPING[kind](**part)
        config._attn_implementation = "eager"
        config._experts_implementation = "batched_mm"
        with torch.device("meta"):
            if kind in UNLISTED:
                body = UNLISTED[kind](config).eval()
            else:
                body = AutoModel.from_config(config, attn_implementation="eager").eval()
            head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        built = Built(body, head, config)
        built.flops(1, 1, DynamicCache(config=config))
    except Exception as error:  # whatever a config makes transformers raise
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: transformers does not run it: {reason}") from None
    return built


def measure(name: str | Path) -> list[Figure]:
    """Parameters, prefills, a chunk on a cache, steps and cache bytes of a config.json.

    Formulas are taken as transformers runs them: latent attention expanded, rotary angles
    element-wise, which torch does not see.
    """
    path = find("models", name)
    model = load_model(path)
    built = build(path, model)
    arch = _as_run(model.architecture, built.config.model_type)
    found = [Figure("parameters", "values", built.parameters, model.parameter_count)]

    def columns(batch: int, prompt: int, cached: int, steps: int) -> dict[str, Any]:
        point = Point(0, 0, 0, 0, 0, steps, batch, 0, 0, EAGER, prompt, cached)
        return point_columns(arch, point)

    for batch, prompt in PROMPTS:
        cache = DynamicCache(config=built.config)
        what = f"{batch} x {prompt:,}"
        filled = columns(batch, prompt, 0, 0)
        seen = built.flops(batch, prompt, cache)
        found.append(Figure(f"prefill, {what}", "FLOP", seen, filled["prefill_tensor_flops"]))
        held = filled["prefill_kv_cache_bytes"] * VALUE_BYTES // arch.convention.dtype_bytes
        found.append(Figure(f"cache, {what}", "byte", _cache_bytes(cache), held))
        chunk = columns(batch, CHUNK, prompt, 0)["prefill_tensor_flops"]
        seen = built.flops(batch, CHUNK, cache)
        found.append(Figure(f"{CHUNK} on {prompt:,} cached", "FLOP", seen, chunk))
        stepped = columns(batch, prompt, CHUNK, STEPS)
        seen = sum(built.flops(batch, 1, cache) for _ in range(STEPS))
        found.append(Figure(f"{STEPS} steps behind", "FLOP", seen, stepped["decode_tensor_flops"]))
        held = stepped["decode_kv_cache_bytes"] * VALUE_BYTES // arch.convention.dtype_bytes
        found.append(Figure("cache behind", "byte", _cache_bytes(cache), held))
    return found


def _as_run(arch: Architecture, kind: str) -> Architecture:
    """The architecture as transformers runs it.

    It runs all in bf16, makes rotary angles element-wise, which torch does not see, lets Llama 4's
    every token through every expert, and keeps keys that are values twice in layers of a window
    alone.
    """
    groups = []
    for group in arch.groups:
        forward, attention = group.feed_forward, group.attention
        if kind == "llama4_text":
            forward = forward._replace(experts_per_token=forward.experts)
        if attention.shared_cache and not attention.stride:
            attention = attention._replace(shared_cache=0, keys_as_values=1)
        groups.append(group._replace(feed_forward=forward, attention=attention))
    arch = arch._replace(groups=tuple(groups))
    return arch._replace(backbone=arch.backbone._replace(angle_products=0), checkpoint=Checkpoint())


def _cache_bytes(cache: DynamicCache) -> int:
    """Bytes of a cache of two bytes a value: whatever tensors its layers keep, each once."""
    values = 0
    for layer in cache.layers:
        held = {id(one): one for part in vars(layer).values() for one in _tensors(part)}
        values += sum(one.numel() for one in held.values())
    return VALUE_BYTES * values


def _tensors(part: Any) -> list[torch.Tensor]:
    """A tensor, or those of a dict of them."""
    parts = part.values() if isinstance(part, dict) else [part]
    return [one for one in parts if isinstance(one, torch.Tensor) and one.dim() > 1]
