"""What mixes the tokens of each layer of a config: attention, windows, recurrent layers."""

from typing import NamedTuple

from sweepengine.data.configs import Config, ConfigValues
from sweepengine.data.patterns import WINDOWS, linear_layers

LATENT_KEYS = ("kv_lora_rank", "q_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")


DELTA = {
    "heads": "linear_num_value_heads",
    "key_heads": "linear_num_key_heads",
    "key_width": "linear_key_head_dim",
    "value_width": "linear_value_head_dim",
    "convolution": "linear_conv_kernel_dim",
}
MAMBA = {
    "heads": "mamba_num_heads",
    "key_heads": "n_groups",
    "key_width": "ssm_state_size",
    "value_width": "mamba_head_dim",
    "convolution": "conv_kernel",
    "chunk": "chunk_size",
}
"""Numbers of a recurrent mixer, and the keys that hold them."""
DELTA_CHUNK = 64
"""Tokens that transformers' gated delta rule takes together."""
LOOKS = {"full_attention": False, "sliding_attention": True, "chunked_attention": True,
         "indexed_attention": False, "deepseek_sparse_attention": False}  # fmt: skip
"""Entries of `layer_types` to whether such a layer looks back a window."""


class Mixer(NamedTuple):
    """What mixes the tokens of a layer."""

    window: int = 0
    indexed: bool = False
    rotated: bool = True
    recurrent: bool = False
    attends: bool = True

    @property
    def name(self) -> str:
        """How the model file calls its attention."""
        if not self.attends:
            return "none"
        name = f"window-{self.window}" if self.window else "full"
        return name + ("" if self.rotated else "-unrotated") + ("-indexed" if self.indexed else "")


class AttentionReader(ConfigValues):
    """Reads the mixers of a config."""

    def mixers(self, layers: int) -> list[Mixer]:
        """What mixes the tokens of each layer."""
        kind = self.family.get("attention")
        if kind == "delta_nets":
            return [
                Mixer(recurrent=linear, attends=not linear)
                for linear in linear_layers(self, layers)
            ]
        if kind == "global_heads" and (wide := self.number("hidden_size_per_layer_input", 0)):
            raise self.fail(
                "hidden_size_per_layer_input",
                f"= {wide}: expected 0, inputs of single layers are not covered yet",
            )
        windows = self._windows(layers)
        indexed = [bool(self.family.get("indexer"))] * layers
        if self.family.get("indexer") and (types := self.listed("indexer_types", layers)):
            indexed = [entry == "full" for entry in types]
        rotated = [True] * layers
        if kind == "every_fourth_unrotated":
            rotated = [window > 0 for window in windows]
        return [Mixer(*each) for each in zip(windows, indexed, rotated, strict=True)]

    def recurrent(self) -> Config:
        """The recurrent mixer, by the keys of its family."""
        delta = self.family.get("attention") == "delta_nets"
        found = {name: self.number(key) for name, key in (DELTA if delta else MAMBA).items()}
        return {"recurrent": found | ({"chunk": DELTA_CHUNK} if delta else {"mamba": True})}

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
            known = LOOKS
            for entry in types:
                if entry not in known:
                    raise self.fail("layer_types", f'"{entry}": expected {" or ".join(known)}')
            looks = [known[entry] for entry in types]
        if self.family.get("last_is_full"):
            looks[-1] = False
        if not any(looks):
            return [0] * layers
        if window is None and pattern in ("all", "if_used"):
            return [0] * layers
        size = self.whole(key, window)
        size += self.type == "mimo_v2_flash"  # its code counts the token itself beside them
        return [size if look else 0 for look in looks]

    def attention(self, mixer: Mixer) -> Config:
        """Attention of one kind of layers."""
        window = mixer.window
        if self.family.get("attention") == "latent" or (
            self.family.get("attention") == "latent_or_grouped" and self.value("use_mla")
        ):
            return self._latent(mixer.indexed)
        kept = {key: self.value(key) for key in LATENT_KEYS if key in self.family.get("keys", ())}
        if self.family.get("attention") == "latent_or_grouped" and any(kept.values()):
            key = next(key for key, value in kept.items() if value)
            raise self.fail(key, f"= {kept[key]} beside use_mla = false: expected 0 or null")
        two = self.family.get("attention") == "two_kinds"
        prefix = "swa_" if two and window else ""
        heads = self.number("swa_num_attention_heads") if prefix else self.size("heads")
        if window and self.family.get("attention") == "sliding_heads":
            heads = self._sliding_heads(heads)
        kv_heads = self._key_value_heads(heads, prefix)
        width = self.number("swa_head_dim") if prefix else self._head_width(heads)
        apart = self.family.get("attention") == "global_heads" and not window
        shared = apart and bool(self.flag("attention_k_eq_v"))
        if apart:
            width = self.number("global_head_dim")
        if shared and self.value("num_global_key_value_heads") is not None:
            kv_heads = self.number("num_global_key_value_heads")
        elif shared:
            self.assumed["num_global_key_value_heads"] = kv_heads
        value_width = self.number(f"{prefix}v_head_dim") if two else width
        norm = self._query_norm()
        return {
            "heads": heads,
            "key_value_heads": kv_heads,
            "key_width": width,
            "value_width": value_width,
            "rotary_width": self._rotary_width(width) if mixer.rotated else 0,
            "window": window,
            "query_norm": {"none": 0, "head": width, "whole": heads * width}[norm],
            "key_norm": {"none": 0, "head": width, "whole": kv_heads * width}[norm],
            "input_bias": self.switch("input_bias"),
            "output_bias": self.switch("output_bias"),
            "sinks": self.switch("sinks")
            or bool(prefix and self.given("add_swa_attention_sink_bias")),
            "softcap": self.switch("softcap"),
            "output_gate": {"none": 0, "head": 1, "whole": value_width}[
                self.family.get("output_gate", "none")
            ],
            "keys_as_values": shared,
            "value_norm": self.switch("value_norm"),
        }

    def _sliding_heads(self, heads: int) -> int:
        key = "num_sliding_attention_heads"
        found = heads if self.value(key) is None else self.number(key)
        for layer, own in (self.value("per_layer_config") or {}).items():
            if own != {"num_attention_heads": found}:
                raise self.fail("per_layer_config", f'"{layer}": expected {key} = {found} alone')
        return found

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
        if not self.family.get("rotary", True):
            return 0
        if "rotary_dim" in keys and self.part.get("rotary_dim") is not None:
            return self.number("rotary_dim", 0)
        if "partial_rotary_factor" in keys:
            parameters = self.part.get("rope_parameters")
            said = parameters.get("partial_rotary_factor") if isinstance(parameters, dict) else None
            factor = said or self.value("partial_rotary_factor")
            if factor is None:
                self.assumed["rotary_dim"] = width
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

    def _latent(self, indexed: bool) -> Config:
        rotary = self.number("qk_rope_head_dim", 0)
        rank = self.given("q_lora_rank")
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
            "index_heads": self.number("index_n_heads") if indexed else 0,
            "index_width": self.number("index_head_dim") if indexed else 0,
            "index_keys": self.number("index_topk") if indexed else 0,
        }
