"""Reads a Hugging Face config.json by the table of its model family (`families.toml`).

A missing key takes the default of transformers, where the table has one, and is reported. An
unknown key is an error, because ignoring it could give a wrong number.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from sweepengine.data import sizes
from sweepengine.data.attentions import AttentionReader, Mixer
from sweepengine.data.block_configs import blocks_of
from sweepengine.data.configs import PARTS, Config, families
from sweepengine.data.errors import InputError
from sweepengine.data.files import exists, read_json
from sweepengine.data.hub_cache import CONFIG, model_of
from sweepengine.data.module_patterns import UnreadPatternError
from sweepengine.data.patterns import MOE_LAYERS, WIDTHS, block_types
from sweepengine.data.plain_layers import with_plain_layers
from sweepengine.data.preprocessors import PREPROCESSOR, read_preprocessor
from sweepengine.data.quantization import Quantized, read_quantization
from sweepengine.data.quantized_groups import UnknownFormatError
from sweepengine.data.tied import tied_head
from sweepengine.data.towers import TowerReading, unread_towers, vision_section

SIDECAR = "hf_quant_config.json"
"""File of ModelOpt that states formats, in the folder of a config.json."""
BESIDE = (SIDECAR, PREPROCESSOR)
"""Files in the folder of a config.json that are read with it."""
TOWERS = ("vision_config", "audio_config", "audio_encoder_config")
"""Keys of towers beside a text part whose keys stand at the top."""
MTP_LAYERS = ("num_nextn_predict_layers", "num_mtp_modules", "mtp_num_hidden_layers")
"""Keys that count layers which predict further tokens."""
STORED = ("bfloat16", "float16", "float32")
"""Formats that a config may state; serving engines run them all in two bytes a value."""
VALUE_BYTES = 2


class Reading(NamedTuple):
    """Content of a model file made from a config, and how the config was read."""

    data: dict[str, Any]
    assumed: dict[str, Any]
    """Missing keys, and the default of transformers that was assumed for each."""
    notes: tuple[str, ...]
    """Parts that are not modelled, or were simplified."""


def read_config(path: Path) -> Reading:
    """Read a config.json.

    Raises
    ------
    InputError
        When it is not JSON, its family is not supported, or a key is unknown; the message names
        the file, the key and the allowed values.
    """
    config = read_json(path)
    if not isinstance(config, dict):
        raise InputError(f"{path}: expected a JSON object, as transformers writes it")
    return reading_of(str(path), config)


def reading_of(source: str, config: Config) -> Reading:
    """Read a config; `source` names it in messages. Raises as `read_config` does."""
    return _Reader(source, config).reading()


def file_beside(path: Path, name: str) -> Path | None:
    """The file of a name in the folder of a config.json; None where there is none."""
    beside = path.with_name(path.name.replace(CONFIG, name))
    return beside if path.name.endswith(CONFIG) and exists(beside) else None


class _Reader(AttentionReader):
    """Reads one config into the content of a model file."""

    def reading(self) -> Reading:
        """Read the whole config."""
        layers = self._count() * self.family.get("attentions_a_layer", 1)
        if layers > 100_000:
            raise self.fail("num_hidden_layers", f"= {layers}: expected at most 100,000")
        mixers = self.mixers(layers)
        sparse = MOE_LAYERS[self.family.get("moe_layers", "none")](self, layers)
        ffns = ["experts" if routed else "dense" for routed in sparse]
        if self.family.get("double_wide") and self.flag(self.family["double_wide"]):
            borrowed = [mixer.borrowed for mixer in mixers]
            ffns = ["dense-wide" if wide else ffn for wide, ffn in zip(borrowed, ffns, strict=True)]
        if self.family.get("feed_forward") == "none":
            ffns = ["none"] * layers
        if self.family.get("crossed_alone"):
            ffns = ["none" if m.crossed else ffn for m, ffn in zip(mixers, ffns, strict=True)]
        blocks = block_types(self, layers)
        if blocks is not None:  # layers of one branch each
            mixers = [
                mixer if block == "attention" else Mixer(recurrent=block == "mamba", attends=False)
                for mixer, block in zip(mixers, blocks, strict=True)
            ]
            ffn_of = {"moe": "experts", "mlp": "dense"}
            ffns = [ffn_of.get(block, "none") for block in blocks]
        widths = blocks_of(self, layers)
        if widths is not None:  # layers with sizes of their own
            mixers = [
                mixer._replace(key_value_heads=size.key_value_heads)
                if size.key_value_heads
                else Mixer(attends=False)
                for mixer, size in zip(mixers, widths, strict=True)
            ]
            ffns = [f"dense-{size.width}" if size.width else "none" for size in widths]
        attention = {
            mixer.name: self.attention(mixer) for mixer in dict.fromkeys(mixers) if mixer.attends
        }
        feed_forward = {}
        if not attention and self.family.get("attention") != "none":
            self.attention(Mixer())  # reads keys that its layers happen not to need
        if "dense" in ffns:
            feed_forward["dense"] = self._dense()
        if "dense-wide" in ffns:
            feed_forward["dense-wide"] = self._dense(2 * sizes.mlp_width(self))
        for size in widths or ():
            if size.width:
                feed_forward[f"dense-{size.width}"] = self._dense(size.width)
        if "experts" in ffns:
            feed_forward["experts"] = self._experts()
        self.formats = self._quantized(mixers, ffns, feed_forward)
        parts = with_plain_layers(self.formats.plain, mixers, ffns, attention, feed_forward)
        data = self._data(attention, feed_forward, Counter(zip(*parts, strict=True)))
        self._refuse_unknown()
        tower = self._tower(data["decoder"]["hidden"])
        if tower is not None:
            data["vision"] = tower.section
            self.assumed |= tower.assumed
        return Reading(data, self.assumed, self._notes(tower))

    def _tower(self, hidden: int) -> TowerReading | None:
        beside = file_beside(Path(self.source), PREPROCESSOR)
        preprocessor = read_preprocessor(beside) if beside else None
        return vision_section(self.outer, hidden, self.source, preprocessor)

    def _data(
        self, attention: Config, feed_forward: Config, kinds: Counter[tuple[Mixer, str]]
    ) -> Config:
        tied, self.tied_notes = tied_head(self)
        key, dtype = self.of("dtype")
        if dtype is not None and dtype not in STORED:
            raise self.fail(key, f'= "{dtype}": expected one of {", ".join(STORED)}')
        if dtype is None:
            self.assumed[key] = "bfloat16"
        source = f"{self.source}, read as {self.type}"
        return {
            "schema_version": 2,
            "name": self._name(),
            "description": f"{self.type} decoder read from its config.json",
            "decoder": {
                "source": source,
                "hidden": self.size("hidden"),
                "vocabulary": self.size("vocabulary"),
                "norms": sizes.block_norms(self)
                + self.family.get("moe_norms", 0) * ("experts" in feed_forward),
                "tied": tied and not self.family.get("always_untied", False),
                **sizes.ends(self),
                "scaled_embedding": self.switch("scaled_embedding"),
                "logit_softcap": self.switch("logit_softcap"),
                "streams": self.number(self.family["streams"]) if "streams" in self.family else 0,
                "stream_rounds": (
                    self.number(self.family["stream_rounds"])
                    if "stream_rounds" in self.family
                    else 0
                ),
                "angle_products": self.type == "deepseek_v2" and not self.value("use_mla"),
                "attention": attention,
                "feed_forward": feed_forward,
                "recurrent": self._recurrent([mixer for mixer, _ in kinds]),
                "layers": [
                    [count, mixer.name, ffn, *(["recurrent"] if mixer.recurrent else [])]
                    for (mixer, ffn), count in kinds.items()
                ],
            },
            "accounting": {"source": source, "dtype_bytes": VALUE_BYTES},
            **({"checkpoint": self.formats.formats} if self.formats.formats else {}),
        }

    def _recurrent(self, mixers: list[Mixer]) -> Config:
        """The recurrent mixer; its keys are read even where no layer has it."""
        present = any(mixer.recurrent for mixer in mixers)
        numbers = self.recurrent() if present or "mixer" in self.family else {}
        return numbers if present else {}

    def _quantized(self, mixers: list[Mixer], ffns: list[str], feed_forward: Config) -> Quantized:
        key = "quantization_config"
        config = self.part.get(key) or self.outer.get(key) or self._sidecar()
        if not config:
            return Quantized({}, ())
        if not isinstance(config, dict):
            raise self.fail(key, f"= {config!r}: expected a table")
        modules = dict(self.family.get("modules", {}))
        # Shared experts have the role "mlp" where MoE layers have some.
        mlp_ffn = "experts" if feed_forward.get("experts", {}).get("width") else "dense"
        if mlp_ffn == "experts" and "mlp" not in modules:
            modules["mlp"] = families()["checkpoints"]["modules"]["shared"]
        mixing = [i for i, m in enumerate(mixers) if m.attends or m.recurrent]
        roles = {"attention": mixing} | {
            role: [i for i, ffn in enumerate(ffns) if ffn.split("-")[0] == kind]
            for role, kind in (("mlp", mlp_ffn), ("experts", "experts"))
        }
        has = {role: layers for role, layers in roles.items() if layers}
        if "expert_dtype" in self.family.get("keys", ()) and self.value("expert_dtype") is None:
            self.assumed["expert_dtype"] = None
        try:
            return read_quantization(config, self.part, has, modules)
        except (UnknownFormatError, UnreadPatternError) as error:
            raise self.fail(key, str(error)) from None
        except (AttributeError, TypeError, KeyError):
            expected = "expected the format of transformers, compressed-tensors or ModelOpt"
            raise self.fail(key, expected) from None

    def _sidecar(self) -> Config | None:
        """Table of formats in ModelOpt's file; None where there is no such file."""
        sidecar = file_beside(Path(self.source), SIDECAR)
        if sidecar is None:
            return None
        try:
            table = read_json(sidecar)["quantization"]
        except (KeyError, TypeError):
            raise InputError(f"{sidecar}: quantization: expected a table") from None
        return table if isinstance(table, dict) else None

    def _name(self) -> str:
        return model_of(Path(self.source))

    def _count(self) -> int:
        """Number of layers; for layers with one branch, by default the length of their list."""
        blocks = self.part.get("layers_block_type")
        key, given = self.of("layers")
        if given is None and self.family.get("moe_layers") == "blocks" and isinstance(blocks, list):
            self.assumed[key] = len(blocks)
            return len(blocks)
        return self.whole(key, given)

    def _activation(self) -> int:
        key, name = self.of("activation")
        if "activation_flops" in self.family:
            allowed = self.family.get("neutral", {}).get(key, [self.defaults.get(key, name)])
            if name not in allowed:
                raise self.fail(key, f'= "{name}": expected {" or ".join(allowed)}')
            return int(self.family["activation_flops"])
        known: dict[str, int] = families()["activations"]
        if not isinstance(name, str) or name not in known:
            raise self.fail(key, f'= "{name}": expected one of {", ".join(known)}')
        gated = self.family.get("matrices", 3) > 2
        return known[name] if gated else known[name] - 1

    def _dense(self, width: int = 0) -> Config:
        """A dense MLP, of the width that the config has unless one is given."""
        self.read.update(self.spelled("width"))
        return {
            "width": width or WIDTHS.get(self.family.get("dense_width", ""), sizes.mlp_width)(self),
            "bias": self.switch("mlp_bias"),
            "matrices": self.family.get("matrices", 3),
            "activation_flops": self._activation(),
            "activation_weights": self.family.get("activation_weights", 0),
            "inner_norm": self.switch("inner_norm"),
        }

    def _experts(self) -> Config:
        self.of("width")  # the width of dense layers, which this model may not have
        width, for_images = sizes.expert_widths(self)
        has_latent = "moe_latent_size" in self.family.get("keys", ())
        latent = self.value("moe_latent_size") if has_latent else None
        return {
            "width": self._shared_width(width),
            "experts": self.size("experts"),
            "experts_per_token": self.size("experts_per_token"),
            "idle_experts": sizes.idle_experts(self),
            "expert_width": width,
            "image_width": for_images,
            "router_flops": self.family.get("router_flops", 6),
            "shared_gate": self.switch("shared_gate"),
            "router_norm": self.switch("router_norm"),
            "correction": self.switch("correction"),
            "norms": self.family.get("norms_behind_experts", 0),
            "expert_latent": 0 if latent is None else self.whole("moe_latent_size", latent),
            "bias": sizes.expert_bias(self),
            "matrices": self.family.get("matrices", 3),
            "activation_flops": self._activation(),
        }

    def _shared_width(self, expert_width: int) -> int:
        if key := self.family.get("shared_width"):
            return self.number(key, 0)
        if key := self.family.get("shared_experts"):
            if isinstance(key, list):
                return expert_width * self.size("shared_experts", 0)
            count = self.value(key) if key in self.defaults else self.given(key)
            if isinstance(count, list) and count and all(one == count[0] for one in count):
                count = count[0]
            return expert_width * (0 if count is None else self.whole(key, count, 0))
        return 0

    def _refuse_unknown(self) -> None:
        tables = families()
        if "moe_layers" in self.family:  # the config of a dense model may have these keys
            for number in ("experts", "experts_per_token", "expert_width", "width"):
                self.read.update(self.spelled(number))
            for shared in ("shared_width", "shared_experts"):
                keys = self.family.get(shared, [])
                self.read.update([keys] if isinstance(keys, str) else keys)
        family_keys = self.family.get("keys", ())
        neutral = {
            key: values for key, values in tables["neutral"].items() if key not in family_keys
        }
        neutral |= self.family.get("neutral", {})
        harmless, endings = set(tables["harmless"]["keys"]), tuple(tables["harmless"]["endings"])
        known = self.read | harmless | set(family_keys)
        for key, value in self.part.items():
            inner = key.split(".")[-1]  # of a table's key
            name = key if key in neutral else inner
            if name in neutral:
                understood = neutral[name]  # null is false
                allowed = understood if understood == [True] else [*understood, None]
                if value not in allowed:
                    expected = " or ".join(map(json.dumps, allowed))
                    raise self.fail(key, f"= {json.dumps(value)}: expected {expected}")
            elif key not in known and key not in PARTS and value is not None:
                if inner in harmless or inner.endswith(endings):
                    continue
                if key in TOWERS and not self.nested:
                    continue
                raise self.fail(
                    key,
                    f"unknown key for {self.type}, which may change a cost: remove it, or describe "
                    "the decoder in a TOML model file",
                )

    def _notes(self, tower: TowerReading | None) -> tuple[str, ...]:
        notes = [*tower.notes] if tower else []
        if not tower and (self.nested or any(key in self.part for key in TOWERS)):
            notes.append("text part only: vision and audio towers are not modelled")
        notes += unread_towers(self.outer)
        if any(self.part.get(key) for key in MTP_LAYERS):
            notes.append("multi-token prediction (MTP) layers count where draft_tokens is above 0")
        if self.of("dtype")[1] == "float32":
            notes.append("stored in float32, and modelled in two bytes a value as engines run it")
        if sizes.idle_experts(self):
            notes.append("no chosen expert is idle: the most that tokens can cost")
        return (*notes, *self.tied_notes, *self.formats.notes)
