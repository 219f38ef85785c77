"""A Hugging Face config.json: read by the table of its family (`families.toml`), or refused.

What a file leaves out takes transformers' own default, where the table has one, and is said; what
the table does not know is refused by name: a key that is read wrong without a word would be a
wrong number.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from sweepengine.data.configs import PARTS, Config, ConfigValues, families
from sweepengine.data.errors import InputError
from sweepengine.data.files import read_text
from sweepengine.data.patterns import MIXTURES, WINDOWS

BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}


class Reading(NamedTuple):
    """A config as a model file would hold it, and what was understood beside."""

    data: dict[str, Any]
    assumed: dict[str, Any]
    """Keys that the file leaves out, and transformers' default that stands for each."""
    said: tuple[str, ...]
    """What is not costed, or taken otherwise than the file might be thought to mean."""


def read_config(path: Path) -> Reading:
    """Read a config.json.

    Raises
    ------
    InputError
        When it is not JSON, of a family that is not covered, or has a key that is not known; the
        message names file, key and the way out.
    """
    try:
        config = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a JSON file: {' '.join(str(error).split())}") from None
    if not isinstance(config, dict):
        raise InputError(f"{path}: expected a JSON object, as transformers writes it")
    return _Reader(str(path), config).reading()


LATENT_KEYS = ("kv_lora_rank", "q_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")


class _Reader(ConfigValues):
    """Reads one config into what a model file would hold."""

    def reading(self) -> Reading:
        """All of it."""
        layers = self.size("layers")
        if layers > 100_000:
            raise self.fail("num_hidden_layers", f"= {layers}: expected at most 100,000")
        windows = self._windows(layers)
        mixtures = MIXTURES[self.family.get("mixtures", "none")](self, layers)
        kinds = Counter(zip(windows, mixtures, strict=True))
        attention = {
            self._attention_name(window): self._attention(window)
            for window in dict.fromkeys(windows)
        }
        forward = {}
        if not all(mixtures):
            forward["dense"] = self._dense()
        if any(mixtures):
            forward["experts"] = self._mixture()
        data = self._data(attention, forward, kinds)
        self._refuse_unknown()
        return Reading(data, self.assumed, self._said())

    def _data(self, attention: Config, forward: Config, kinds: Counter[tuple[int, bool]]) -> Config:
        key, dtype = self.of("dtype")
        if dtype is not None and dtype not in BYTES:
            raise self.fail(key, f'= "{dtype}": expected one of {", ".join(BYTES)}')
        source = f"{self.source}, read as {self.type}"
        return {
            "schema_version": 2,
            "name": self._name(),
            "description": f"{self.type} decoder read from its config.json",
            "decoder": {
                "source": source,
                "hidden": self.size("hidden"),
                "vocabulary": self.size("vocabulary"),
                "norms": self.family.get("norms", 2),
                "tied": bool(self.of("tied")[1]),
                "scaled_embedding": self.switch("scaled_embedding"),
                "logit_softcap": self.switch("logit_softcap"),
                "angle_products": self.type == "deepseek_v2" and not self.value("use_mla"),
                "attention": attention,
                "feed_forward": forward,
                "layers": [
                    [count, self._attention_name(window), "experts" if mixture else "dense"]
                    for (window, mixture), count in kinds.items()
                ],
            },
            "accounting": {"source": source, "dtype_bytes": BYTES.get(dtype, 2)},
        }

    def _name(self) -> str:
        path = Path(self.source)
        return path.parent.name if path.name == "config.json" and path.parent.name else path.stem

    def _attention_name(self, window: int) -> str:
        return f"window-{window}" if window else "full"

    def _windows(self, layers: int) -> list[int]:
        """Window of each layer; 0: it meets all tokens."""
        pattern: str = self.family.get("windows", "none")
        types = (
            self.listed("layer_types", layers)
            if "layer_types" in self.family.get("keys", ())
            else None
        )
        key, window = self.of("window") if pattern != "none" else ("", None)
        if pattern == "none" and any(self.part.get(k) for k in self.spelled("window")):
            given = next(k for k in self.spelled("window") if self.part.get(k))
            raise self.fail(given, f"= {self.part[given]}: {self.type} has no windows")
        self.read.update(self.spelled("window"))
        looks = WINDOWS[pattern](self, layers)
        if types is not None:
            known = {"full_attention": False, "sliding_attention": True}
            for entry in types:
                if entry not in known:
                    raise self.fail("layer_types", f'"{entry}": expected {" or ".join(known)}')
            looks = [known[entry] for entry in types]
        if not any(looks):
            return [0] * layers
        if window is None and pattern in ("all", "if_used"):
            return [0] * layers
        size = self.whole(key, window)
        size += self.type == "mimo_v2_flash"  # its code counts the token itself beside them
        return [size if look else 0 for look in looks]

    def _attention(self, window: int) -> Config:
        if self.family.get("attention") == "latent" or (
            self.family.get("attention") == "latent_or_grouped" and self.value("use_mla")
        ):
            return self._latent()
        kept = {key: self.value(key) for key in LATENT_KEYS if key in self.family.get("keys", ())}
        if self.family.get("attention") == "latent_or_grouped" and any(kept.values()):
            key = next(key for key, value in kept.items() if value)
            raise self.fail(key, f"= {kept[key]} beside use_mla = false: expected 0 or null")
        two = self.family.get("attention") == "two_kinds"
        prefix = "swa_" if two and window else ""
        heads = self.number("swa_num_attention_heads") if prefix else self.size("heads")
        kv_heads = self._key_value_heads(heads, prefix)
        width = self.number("swa_head_dim") if prefix else self._head_width(heads)
        value_width = self.number(f"{prefix}v_head_dim") if two else width
        norm = self._query_norm()
        return {
            "heads": heads,
            "key_value_heads": kv_heads,
            "key_width": width,
            "value_width": value_width,
            "rotary_width": self._rotary_width(width),
            "window": window,
            "query_norm": {"none": 0, "head": width, "whole": heads * width}[norm],
            "key_norm": {"none": 0, "head": width, "whole": kv_heads * width}[norm],
            "input_bias": self.switch("input_bias"),
            "output_bias": self.switch("output_bias"),
            "sinks": self.switch("sinks")
            or bool(prefix and self.value("add_swa_attention_sink_bias")),
            "softcap": self.switch("softcap"),
        }

    def _key_value_heads(self, heads: int, prefix: str) -> int:
        if prefix:
            return self.number("swa_num_key_value_heads")
        key, value = self.of("key_value_heads")
        if value is None and self.type in ("llama", "phi3", "olmo2", "deepseek_v2"):
            self.assumed[key] = heads
            return heads
        return self.whole(key, value)

    def _head_width(self, heads: int) -> int:
        key, value = self.of("head_width")
        if value is not None:
            return self.whole(key, value)
        hidden = self.size("hidden")
        if hidden % heads:
            raise self.fail(
                "head_dim", f"required key is missing: {heads} heads, {hidden} channels"
            )
        self.assumed[key] = hidden // heads
        return hidden // heads

    def _query_norm(self) -> str:
        said: str = self.family.get("query_norm", "none")
        if said in ("none", "head", "whole"):
            return said
        return "head" if self.flag(said) else "none"

    def _rotary_width(self, width: int) -> int:
        keys = self.family.get("keys", ())
        if "rotary_dim" in keys and self.part.get("rotary_dim") is not None:
            return self.number("rotary_dim", 0)
        if "partial_rotary_factor" in keys:
            parameters = self.part.get("rope_parameters")
            said = parameters.get("partial_rotary_factor") if isinstance(parameters, dict) else None
            factor = said or self.value("partial_rotary_factor")
            if factor is None:
                return width
            if (
                isinstance(factor, bool)
                or not isinstance(factor, int | float)
                or not 0 < factor <= 1
            ):
                raise self.fail(
                    "partial_rotary_factor", f"= {factor!r}: expected above 0, at most 1"
                )
            return int(width * factor)
        return width

    def _latent(self) -> Config:
        rotary = self.number("qk_rope_head_dim", 0)
        rank = self.value("q_lora_rank")
        heads = self.size("heads")
        self.of("key_value_heads")
        self.read.update(self.spelled("head_width"))
        return {
            "heads": heads,
            "key_value_heads": heads,
            "key_width": self.number("qk_nope_head_dim", 0) + rotary,
            "value_width": self.number("v_head_dim"),
            "rotary_width": rotary,
            "query_rank": 0 if rank is None else self.whole("q_lora_rank", rank),
            "latent": self.number("kv_lora_rank"),
            "input_bias": self.switch("input_bias"),
            "output_bias": self.switch("output_bias"),
        }

    def _activation(self) -> int:
        if "activation_flops" in self.family:
            self.of("activation")
            return int(self.family["activation_flops"])
        key, name = self.of("activation")
        known: dict[str, int] = families()["activations"]
        if name not in known:
            raise self.fail(key, f'= "{name}": expected one of {", ".join(known)}')
        return known[name]

    def _dense(self) -> Config:
        return {
            "width": self.size("width"),
            "bias": self.switch("mlp_bias"),
            "activation_flops": self._activation(),
        }

    def _mixture(self) -> Config:
        self.of("width")  # of dense layers, which this model may not have
        width = self.size("expert_width")
        return {
            "width": self._shared_width(width),
            "experts": self.size("experts"),
            "experts_per_token": self.size("experts_per_token"),
            "expert_width": width,
            "router_flops": self.family.get("router_flops", 6),
            "shared_gate": self.switch("shared_gate"),
            "bias": self.switch("mlp_bias"),
            "activation_flops": self._activation(),
        }

    def _shared_width(self, expert_width: int) -> int:
        if key := self.family.get("shared_width"):
            return self.number(key, 0)
        if key := self.family.get("shared_experts"):
            count = self.value(key)
            return expert_width * (0 if count is None else self.whole(key, count, 0))
        return 0

    def _refuse_unknown(self) -> None:
        tables = families()
        neutral = tables["neutral"] | self.family.get("neutral", {})
        known = self.read | set(tables["harmless"]["keys"]) | set(self.family.get("keys", ()))
        for key, value in self.part.items():
            if key in neutral:
                if value is not None and value not in neutral[key]:
                    allowed = " or ".join(json.dumps(one) for one in neutral[key]) or "none"
                    raise self.fail(key, f"= {json.dumps(value)}: expected {allowed} or null")
            elif key not in known and key not in PARTS and value is not None:
                if self.part is self.outer and key.endswith("_config"):
                    continue
                raise self.fail(
                    key,
                    f"unknown key of {self.type}, which may change a cost: expected it to be gone; "
                    "a TOML model file takes any decoder",
                )

    def _said(self) -> tuple[str, ...]:
        said = []
        if self.part is not self.outer:
            said.append("the text part alone: what sees images or sounds is not costed")
        if self.part.get("num_nextn_predict_layers") or self.part.get("num_mtp_modules"):
            said.append("layers that predict further tokens (MTP) are no part of it")
        formats = self.part.get("quantization_config") or self.outer.get("quantization_config")
        if formats:
            said.append("its quantisation is not costed: weights, activations and cache in bf16")
        return tuple(said)
