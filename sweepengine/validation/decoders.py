"""Which types of text decoders of transformers are read, and why others are not.

python -m sweepengine.validation.decoders
"""

import json
from collections import Counter
from typing import Any

from transformers import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from sweepengine.data.configs import families, uncovered
from sweepengine.data.errors import InputError
from sweepengine.data.huggingface import reading_of
from sweepengine.data.towers import TOWER_PARTS

OCR_TEXT = "deepseek_ocr2_text"
STAND_INS = {"kimi_k2": "deepseek_v3", "mimo": "qwen2", "dots_ocr": "qwen2", "step3p7": "step3p5",
             "deepseek_vl_v2": OCR_TEXT, "deepseek_ref": "deepseek_v4",
             "minimax_m3": "minimax_m3_vl_text"}  # fmt: skip
"""Types missing in transformers, and a type whose code runs the same layers."""
READ = "read"
NO_DECODER = "it is an encoder, or half of a translator"
"""The reason of `families.toml` that says that a type is no decoder."""


def no_decoders() -> list[str]:
    """Types that transformers lists among decoders but that are none."""
    kinds: list[str] = families()["uncovered"][NO_DECODER]
    return kinds


def decoder_types() -> dict[str, str]:
    """Each type that transformers lists as a causal language model: "read", or why it is not.

    A type counts as read where the class defaults of its config are.
    """
    return {kind: _state(kind) for kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES}


def _state(kind: str) -> str:
    if reason := uncovered().get(kind):
        return f"is not supported, as {reason}"
    config: dict[str, Any] = CONFIG_MAPPING[kind]().to_dict()
    for part in TOWER_PARTS:  # the text part alone
        config.pop(part, None)
    try:
        reading_of(kind, json.loads(json.dumps(config, default=str)))
    except InputError as error:
        return str(error).split(": ", 2)[2]
    return READ


def main() -> None:
    """Print each type with its state, and how many there are of each."""
    states = decoder_types()
    for kind, state in sorted(states.items()):
        print(f"{kind}: {state}")
    decoders = Counter(state for kind, state in states.items() if kind not in no_decoders())
    print(f"{decoders[READ]} of {decoders.total()} types of decoders are read")


if __name__ == "__main__":
    main()
