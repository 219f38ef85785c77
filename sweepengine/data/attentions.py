"""Token mixers of the layers of a config: attention, sliding windows, recurrent layers."""

from typing import NamedTuple

from sweepengine.data.configs import Config
from sweepengine.data.mixers import RECURRENT_TYPES, MixerReader
from sweepengine.data.patterns import CROSSED, WINDOWS, compressed_layers, linear_layers
from sweepengine.data.rotations import ROTATED
from sweepengine.data.sizes import (
    borrowed_layers,
    check_window_heads,
    global_heads,
    indexed_layers,
    kv_heads_of,
    latent_value_width,
    output_gate,
)

LATENT_KEYS = ("kv_lora_rank", "q_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
HAS_WINDOW = {"full_attention": False, "sliding_attention": True, "chunked_attention": True,
         "indexed_attention": False, "deepseek_sparse_attention": False,
         "minimax_m3_sparse": False}  # fmt: skip
"""Entries of `layer_types` to whether such a layer has a sliding window."""


class Mixer(NamedTuple):
    """The token mixer of a layer."""

    window: int = 0
    indexed: bool = False
    rotated: bool = True
    recurrent: bool = False
    attends: bool = True
    stride: int = 0
    heads: int = 0
    """Where layers differ in their number."""
    key_value_heads: int = 0
    """Likewise."""
    borrowed: bool = False
    """Its keys and values are those of an earlier layer."""
    plain: bool = False
    """Its matrices stay unquantised in a quantised checkpoint."""
    crossed: bool = False
    """Its keys and values are made of features of images."""

    @property
    def name(self) -> str:
        """Name of its attention in the model file."""
        if not self.attends:
            return "none"
        if self.crossed:
            return "crossed"
        name = f"window-{self.window}" if self.window else "full"
        name += f"-stride-{self.stride}" if self.stride else ""
        name += f"-heads-{self.heads}" if self.heads else ""
        name += f"-groups-{self.key_value_heads}" if self.key_value_heads else ""
        name += "-borrowed" if self.borrowed else ""
        name += "-plain" if self.plain else ""
        return name + ("" if self.rotated else "-unrotated") + ("-indexed" if self.indexed else "")


class AttentionReader(MixerReader):
    """Reads the mixers of a config."""

    def mixers(self, layers: int) -> list[Mixer]:
        """The token mixer of each layer."""
        kind = self.family.get("attention")
        if kind == "delta_nets":
            return [
                Mixer(recurrent=linear, attends=not linear)
                for linear in linear_layers(self, layers)
            ]
        if kind == "compressed":
            window = self.size("window")
            return [
                Mixer(window, indexed, stride=stride)
                for stride, indexed in compressed_layers(self, layers)
            ]
        windows = self._windows(layers)
        if "mixer" in self.family:
            return self._beside_recurrent(windows, self.recurrent_layers(layers))
        if kind == "block_sparse":
            sparse = self._sparse_layers(layers)
            return [Mixer(*fields) for fields in zip(windows, sparse, strict=True)]
        indexed = indexed_layers(self, layers) if self.family.get("indexer") else [False] * layers
        rotated = ROTATED[self.family.get("rotated", "all")](self, windows)
        listed = "num_attention_heads_per_layer"
        heads = self.listed(listed, layers) or [0] * layers
        borrowed = borrowed_layers(self, layers)
        crossed = CROSSED[self.family.get("crossed", "none")](self, layers)
        return [
            Mixer(crossed=True)
            if crosses
            else Mixer(window, index, turned, heads=self.whole(listed, count, 0), borrowed=borrows)
            for window, index, turned, count, borrows, crosses in zip(
                windows, indexed, rotated, heads, borrowed, crossed, strict=True
            )
        ]

    def _beside_recurrent(self, windows: list[int], recurrent: list[bool]) -> list[Mixer]:
        """Attention where no layer has a recurrent mixer, or in all of them."""
        beside = self.family.get("mixer_beside", False)
        rotated = ROTATED[self.family.get("rotated", "all")](self, windows)
        return [
            Mixer(window, rotated=turned, recurrent=has)
            if beside or not has
            else Mixer(recurrent=True, attends=False)
            for window, turned, has in zip(windows, rotated, recurrent, strict=True)
        ]

    def _windows(self, layers: int) -> list[int]:
        """Sliding window of each layer, tokens; 0: full attention."""
        pattern: str = self.family.get("windows", "none")
        types = self.types_of_layers(layers)
        key, window = self.of("window") if pattern != "none" else ("", None)
        if pattern == "none" and any(self.part.get(k) for k in self.spelled("window")):
            given = next(k for k in self.spelled("window") if self.part.get(k))
            raise self.fail(given, f"= {self.part[given]}: {self.type} has no sliding windows")
        self.read.update(self.spelled("window"))
        windowed = WINDOWS[pattern](self, layers)
        if types is not None:
            known = HAS_WINDOW
            if "mixer" in self.family:
                known = HAS_WINDOW | dict.fromkeys((*RECURRENT_TYPES, "attention"), False)
            for entry in types:
                if entry not in known:
                    raise self.fail("layer_types", f'"{entry}": expected {" or ".join(known)}')
            windowed = [known[entry] for entry in types]
        if self.family.get("last_is_full"):
            windowed[-1] = False
        if not any(windowed) or (window is None and pattern in ("all", "if_used")):
            return [0] * layers
        before = self.family.get("window_before")
        if before and self.value(before) is not None:
            size = self.number(before) + 1
        else:
            size = self.whole(key, window)
        return [size if has else 0 for has in windowed]

    def attention(self, mixer: Mixer) -> Config:
        """Attention of one kind of layers, as in a model file."""
        window, kind = mixer.window, self.family.get("attention")
        if kind == "latent" or (kind == "latent_or_grouped" and self.value("use_mla")):
            return self._latent(mixer.indexed)
        if kind == "compressed":
            return self._compressed(mixer)
        latent = {key: self.value(key) for key in LATENT_KEYS if key in self.family.get("keys", ())}
        if kind == "latent_or_grouped" and any(latent.values()):
            key = next(key for key, value in latent.items() if value)
            raise self.fail(key, f"= {latent[key]} with use_mla = false: expected 0 or null")
        two = kind == "two_kinds"
        heads = self.size("heads")
        heads = mixer.heads or heads
        if window and kind == "sliding_heads":
            heads = self._sliding_heads(heads)
        kv_heads = mixer.key_value_heads or kv_heads_of(self, heads)
        if two:
            check_window_heads(self)
        doubled = two and window > 0
        kv_heads *= 1 + doubled
        width = self._head_width(heads)
        is_global = kind == "global_heads" and not window
        shared = is_global and bool(self.flag("attention_k_eq_v"))
        if is_global:
            width, kv_heads = global_heads(self, shared, width, kv_heads)
        value_width = self.number("v_head_dim") if two else width
        norm = self.family.get("crossed_norm", "none") if mixer.crossed else self._query_norm()
        turned = mixer.rotated and not mixer.crossed
        return {
            "heads": heads,
            "key_value_heads": kv_heads,
            "key_width": width,
            "value_width": value_width,
            "rotary_width": self._rotary_width(width) if turned else 0,
            "window": window,
            "query_norm": {"head": width, "whole": heads * width}.get(norm, 0),
            "key_norm": {"head": width, "whole": kv_heads * width}.get(norm, 0)
            * (not mixer.borrowed),
            "query_unit": norm == "unit",
            "key_unit": norm == "unit",
            "norm_biases": norm != "none" and self.switch("query_norm_biases"),
            "gate_bias": self.switch("gate_bias"),
            "gate_head_bias": self.switch("gate_head_bias"),
            "mixed_norm": self.switch("mixed_norm"),
            "input_bias": self.switch("input_bias"),
            "output_bias": self.switch("output_bias"),
            "sinks": self.switch("sinks") or doubled,
            "softcap": self.switch("softcap"),
            "output_gate": output_gate(self, value_width),
            "keys_as_values": shared,
            "value_norm": self.switch("value_norm"),
            "borrowed_cache": mixer.borrowed,
            "difference": self.switch("difference"),
            "crossed": mixer.crossed,
            "unbiased_keys": self.switch("unbiased_keys"),
            "gates": self.family.get("crossed_gates", 0) * mixer.crossed,
            **(self._blocks() if mixer.indexed else {}),
        }

    def _sparse_layers(self, layers: int) -> list[bool]:
        """Which layers select blocks of keys (MiniMax M3)."""
        types = self.listed("layer_types", layers)
        if types is not None:
            return [entry == "minimax_m3_sparse" for entry in types]
        sparse = self._sparse()
        frequency = sparse.get("sparse_attention_freq")
        if frequency is None:
            self.assumed |= {"layer_types": "full_attention", "sparse_attention_config": None}
            return [False] * layers
        if not isinstance(frequency, list) or len(frequency) < layers:
            raise self.fail(
                "sparse_attention_config",
                f"sparse_attention_freq: expected a list of {layers} entries, one per layer",
            )
        return [bool(entry) for entry in frequency[:layers]]

    def _sparse(self) -> Config:
        key = "sparse_attention_config"
        table = self.value(key)
        if table is not None and not isinstance(table, dict):
            raise self.fail(key, f"= {table!r}: expected a table")
        if table and table.get("use_sparse_attention", True) is not True:
            raise self.fail(key, "use_sparse_attention: expected true, or no such table")
        return table or {}

    def _blocks(self) -> Config:
        """The indexer that selects blocks of keys for each key-value head."""
        sparse = self._sparse()

        def number(flat: str, nested: str) -> int:
            if nested in sparse:
                return self.whole("sparse_attention_config", sparse[nested])
            return self.number(flat)

        block = number("index_block_size", "sparse_block_size")
        return {
            "index_heads": number("index_n_heads", "sparse_num_index_heads"),
            "index_width": number("index_head_dim", "sparse_index_dim"),
            "index_keys": block * number("index_topk_blocks", "sparse_topk_blocks"),
            "index_weighted": False,
        }

    def _compressed(self, mixer: Mixer) -> Config:
        """A sliding window, then compressed entries of several tokens each (DeepSeek V4)."""
        width = self.size("head_width")
        rotary, indexed = self.value("qk_rope_head_dim"), mixer.indexed
        if rotary is None:
            rotary = self._rotary_width(width)
        return {
            "heads": self.size("heads"),
            "key_value_heads": self.size("key_value_heads"),
            "key_width": width,
            "value_width": width,
            "rotary_width": self.whole("qk_rope_head_dim", rotary, 0),
            "window": mixer.window,
            "query_rank": self.number("q_lora_rank"),
            "query_unit": True,
            "key_norm": width,
            "sinks": True,
            "shared_cache": True,
            "output_groups": self.number("o_groups"),
            "output_rank": self.number("o_lora_rank"),
            "stride": mixer.stride,
            "series": 1 + indexed,
            "index_heads": self.number("index_n_heads") if indexed else 0,
            "index_width": self.number("index_head_dim") if indexed else 0,
            "index_keys": self.number("index_topk") if indexed else 0,
        }

    def _sliding_heads(self, heads: int) -> int:
        key = "num_sliding_attention_heads"
        sliding = heads if self.value(key) is None else self.number(key)
        for layer, settings in (self.value("per_layer_config") or {}).items():
            if settings != {"num_attention_heads": sliding}:
                raise self.fail("per_layer_config", f'"{layer}": expected {key} = {sliding} only')
        return sliding

    def _head_width(self, heads: int) -> int:
        key, value = self.of("head_width")
        if value is not None:
            return self.whole(key, value)
        hidden = self.size("hidden")
        if hidden % heads and not self.family.get("head_width_rounded_down"):
            raise self.fail(
                "head_dim", f"required key is missing: {heads} heads, {hidden} channels"
            )
        self.assumed[key] = hidden // heads
        return hidden // heads

    def _query_norm(self) -> str:
        norm: str = self.family.get("query_norm", "none")
        if norm in ("none", "head", "whole", "unit"):
            return norm
        if forms := self.family.get("query_norms"):
            given = self.value(norm)
            if given not in forms:
                raise self.fail(norm, f"= {given!r}: expected one of {', '.join(forms)}")
            return str(forms[given])
        form: str = self.family.get("query_norm_form", "head")
        return form if self.flag(norm) else "none"

    def _rotary_width(self, width: int) -> int:
        keys = self.family.get("keys", ())
        if not self.family.get("rotary", True):
            return 0
        if "rotary_dim" in keys and self.value("rotary_dim") is not None:
            return self.number("rotary_dim", 0)
        if "partial_rotary_factor" in keys:
            parameters = self.part.get("rope_parameters")
            nested = parameters if isinstance(parameters, dict) else {}
            factor = nested.get("partial_rotary_factor") or self.value("partial_rotary_factor")
            if factor is None:
                self.assumed["rotary_dim"] = width
                return width
            if (
                isinstance(factor, bool)
                or not isinstance(factor, int | float)
                or not 0 < factor <= 1
            ):
                raise self.fail(
                    "partial_rotary_factor", f"= {factor!r}: expected above 0 and at most 1"
                )
            return int(width * factor)
        return width

    def _latent(self, indexed: bool) -> Config:
        rotary = self.number("qk_rope_head_dim", 0)
        rank = self.given("q_lora_rank") if "q_lora_rank" in self.family["keys"] else None
        heads = self.size("heads")
        self.of("key_value_heads")
        self.read.update(self.spelled("head_width"))
        return {
            "heads": heads,
            "key_value_heads": heads,
            "key_width": self.number("qk_nope_head_dim", 0) + rotary,
            "value_width": latent_value_width(self),
            "rotary_width": rotary,
            "query_rank": 0 if rank is None else self.whole("q_lora_rank", rank),
            "latent": self.number("kv_lora_rank"),
            "input_bias": self.switch("input_bias"),
            "output_bias": self.switch("output_bias"),
            "output_gate": int(self.family.get("output_gate") == "head"),
            "index_heads": self.number("index_n_heads") if indexed else 0,
            "index_width": self.number("index_head_dim") if indexed else 0,
            "index_keys": self.number("index_topk") if self.family.get("indexer") else 0,
        }
