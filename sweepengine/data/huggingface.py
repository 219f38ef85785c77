"""A Hugging Face config.json: read by the table of its family (`families.toml`), or refused.

What a file leaves out takes transformers' own default, where the table has one, and is said; what
the table does not know is refused by name: a key that is read wrong without a word would be a
wrong number.
"""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from sweepengine.data.attentions import AttentionReader, Mixer
from sweepengine.data.configs import PARTS, Config, families
from sweepengine.data.errors import InputError
from sweepengine.data.files import CONFIG, exists, read_json
from sweepengine.data.patterns import MIXTURES, block_types
from sweepengine.data.quantization import (
    Quantized,
    UnknownFormatError,
    read_quantization,
)

SIDECAR = "hf_quant_config.json"
"""What ModelOpt says of formats beside a config.json, or in its name instead of it."""
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
    config = read_json(path)
    if not isinstance(config, dict):
        raise InputError(f"{path}: expected a JSON object, as transformers writes it")
    return _Reader(str(path), config).reading()


def sidecar_of(path: Path) -> Path | None:
    """ModelOpt's file beside a config.json; None where there is none."""
    beside = path.with_name(path.name.replace(CONFIG, SIDECAR))
    return beside if path.name.endswith(CONFIG) and exists(beside) else None


class _Reader(AttentionReader):
    """Reads one config into what a model file would hold."""

    def reading(self) -> Reading:
        """All of it."""
        layers = self._count()
        if layers > 100_000:
            raise self.fail("num_hidden_layers", f"= {layers}: expected at most 100,000")
        mixers = self.mixers(layers)
        mixtures = MIXTURES[self.family.get("mixtures", "none")](self, layers)
        forwards = ["experts" if mixture else "dense" for mixture in mixtures]
        blocks = block_types(self, layers)
        if blocks is not None:  # layers of one branch each
            mixers = [
                mixer if block == "attention" else Mixer(recurrent=block == "mamba", attends=False)
                for mixer, block in zip(mixers, blocks, strict=True)
            ]
            named = {"moe": "experts", "mlp": "dense"}
            forwards = [named.get(block, "none") for block in blocks]
        kinds = Counter(zip(mixers, forwards, strict=True))
        attention = {
            mixer.name: self.attention(mixer) for mixer in dict.fromkeys(mixers) if mixer.attends
        }
        forward = {}
        if not attention:  # a model of recurrent layers alone may hold its keys too
            self.attention(Mixer())
        if "dense" in forwards:
            forward["dense"] = self._dense()
        if "experts" in forwards:
            forward["experts"] = self._mixture()
        self.formats = self._quantized(mixers, forwards, forward)
        data = self._data(attention, forward, kinds)
        self._refuse_unknown()
        return Reading(data, self.assumed, self._said())

    def _data(
        self, attention: Config, forward: Config, kinds: Counter[tuple[Mixer, str]]
    ) -> Config:
        key, dtype = self.of("dtype")
        if dtype is not None and (not isinstance(dtype, str) or dtype not in BYTES):
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
                "norms": self.family.get("norms", 2)
                + self.family.get("mixture_norms", 0) * ("experts" in forward),
                "tied": bool(self.of("tied")[1]),
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
                "feed_forward": forward,
                "recurrent": self.recurrent() if any(m.recurrent for m, _ in kinds) else {},
                "layers": [
                    [count, mixer.name, forward, *(["recurrent"] if mixer.recurrent else [])]
                    for (mixer, forward), count in kinds.items()
                ],
            },
            "accounting": {"source": source, "dtype_bytes": BYTES.get(dtype or "", 2)},
            **({"checkpoint": self.formats.formats} if self.formats.formats else {}),
        }

    def _quantized(self, mixers: list[Mixer], forwards: list[str], described: Config) -> Quantized:
        key = "quantization_config"
        config = self.part.get(key) or self.outer.get(key) or self._sidecar()
        if not config:
            return Quantized({}, ())
        if not isinstance(config, dict):
            raise self.fail(key, f"= {config!r}: expected a table")
        modules = dict(self.family.get("modules", {}))
        # Shared experts stand for the MLP that every token takes, where mixtures have some.
        every = "experts" if described.get("experts", {}).get("width") else "dense"
        if every == "experts" and "mlp" not in modules:
            modules["mlp"] = families()["checkpoints"]["modules"]["shared"]
        mixing = [i for i, m in enumerate(mixers) if m.attends or m.recurrent]
        roles = {"attention": mixing} | {
            role: [i for i, forward in enumerate(forwards) if forward == kind]
            for role, kind in (("mlp", every), ("experts", "experts"))
        }
        has = {role: layers for role, layers in roles.items() if layers}
        if "expert_dtype" in self.family.get("keys", ()) and self.value("expert_dtype") is None:
            self.assumed["expert_dtype"] = None
        try:
            return read_quantization(config, self.part, has, modules)
        except UnknownFormatError as error:
            raise self.fail(key, str(error)) from None
        except (AttributeError, TypeError, KeyError, re.error):
            expected = "expected the tables that transformers, compressed-tensors or ModelOpt write"
            raise self.fail(key, expected) from None

    def _sidecar(self) -> Config | None:
        """What ModelOpt writes beside a config.json; None where there is no such file."""
        beside = sidecar_of(Path(self.source))
        if beside is None:
            return None
        try:
            found = read_json(beside)["quantization"]
        except (KeyError, TypeError):
            raise InputError(f"{beside}: quantization: expected a table") from None
        return found if isinstance(found, dict) else None

    def _name(self) -> str:
        path = Path(self.source)
        if path.name == CONFIG and path.parent.name:
            return path.parent.name
        return path.stem.removesuffix("_config")

    def _count(self) -> int:
        """Number of layers; of one-branch layers their list says it too."""
        blocks = self.part.get("layers_block_type")
        key, given = self.of("layers")
        if given is None and self.family.get("mixtures") == "blocks" and isinstance(blocks, list):
            self.assumed[key] = len(blocks)
            return len(blocks)
        return self.whole(key, given)

    def _activation(self) -> int:
        if "activation_flops" in self.family:
            self.of("activation")
            return int(self.family["activation_flops"])
        key, name = self.of("activation")
        known: dict[str, int] = families()["activations"]
        if not isinstance(name, str) or name not in known:
            raise self.fail(key, f'= "{name}": expected one of {", ".join(known)}')
        return known[name]

    def _dense(self) -> Config:
        return {
            "width": self.size("width"),
            "bias": self.switch("mlp_bias"),
            "matrices": self.family.get("matrices", 3),
            "activation_flops": self._activation(),
        }

    def _mixture(self) -> Config:
        self.of("width")  # of dense layers, which this model may not have
        width = self.size("expert_width")
        latent = (
            self.value("moe_latent_size")
            if "moe_latent_size" in self.family.get("keys", ())
            else None
        )
        return {
            "width": self._shared_width(width),
            "experts": self.size("experts"),
            "experts_per_token": self.size("experts_per_token"),
            "expert_width": width,
            "router_flops": self.family.get("router_flops", 6),
            "shared_gate": self.switch("shared_gate"),
            "router_norm": self.switch("router_norm"),
            "expert_latent": 0 if latent is None else self.whole("moe_latent_size", latent),
            "bias": self.switch("mlp_bias"),
            "matrices": self.family.get("matrices", 3),
            "activation_flops": self._activation(),
        }

    def _shared_width(self, expert_width: int) -> int:
        if key := self.family.get("shared_width"):
            return self.number(key, 0)
        if key := self.family.get("shared_experts"):
            count = self.given(key)
            return expert_width * (0 if count is None else self.whole(key, count, 0))
        return 0

    def _refuse_unknown(self) -> None:
        tables = families()
        if "mixtures" in self.family:  # a model of dense layers alone may hold them too
            for number in ("experts", "experts_per_token", "expert_width", "width"):
                self.read.update(self.spelled(number))
            self.read.update(self.family.get(key, "") for key in ("shared_width", "shared_experts"))
        own = self.family.get("keys", ())
        neutral = {key: kept for key, kept in tables["neutral"].items() if key not in own}
        neutral |= self.family.get("neutral", {})
        known = self.read | set(tables["harmless"]["keys"]) | set(own)
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
        return (*said, *self.formats.said)
