"""Where a serving engine finds the weights of a model: on the Hub, or in a local folder."""

import json
import re
from typing import Any, NamedTuple

from sweepengine.data.models import Model

ENDINGS = (".safetensors", ".bin", ".gguf", ".pt")
"""File endings of weights."""
ROOM = 1_024
"""The longest context that an engine is set to is a multiple of these tokens."""


class Checkpoint(NamedTuple):
    """The checkpoint of a model."""

    path: str
    """Identifier of the Hub, or a folder; empty where neither is known."""
    note: str
    """What a reader has to know of it; empty for an identifier of the Hub."""


def repository(model: Model) -> str:
    """The repository that the source of a model names, else the name of the model."""
    match = re.match(r"[\w.-]+/[\w.-]+", model.sources.get("decoder", ""))
    return match[0] if match else model.name


def checkpoint_of(model: Model) -> Checkpoint:
    """The checkpoint of a model: of the Hub for shipped ones, the folder of a config.json."""
    if model.file is None or model.file.suffix != ".json":
        name = repository(model)
        if "/" in name:
            return Checkpoint(name, "")
        return Checkpoint("", f"the folder or Hub id of {model.name}, which its file does not name")
    folder = model.file.resolve().parent
    if model.file.name == "config.json" and any(f.suffix in ENDINGS for f in folder.iterdir()):
        return Checkpoint(str(folder), f"{folder} is a local folder: every node needs it")
    return Checkpoint("", f"the folder or Hub id of the checkpoint that {model.file} belongs to")


def own_context(model: Model) -> int | None:
    """Longest context of the model in tokens, as its config.json states it; None where unknown."""
    if model.file is None or model.file.suffix != ".json":
        return None
    config: dict[str, Any] = json.loads(model.file.read_text(encoding="utf-8"))
    for part in (config, config.get("text_config"), config.get("llm_config")):
        most = part.get("max_position_embeddings") if isinstance(part, dict) else None
        if isinstance(most, int) and most > 0:
            return most
    return None


def context_of(model: Model, longest: int) -> tuple[int, str]:
    """Tokens of the longest context that an engine is set to, and a note where it is too short.

    Parameters
    ----------
    model : Model
    longest : int
        Tokens of the longest request, prompt and answer.
    """
    rounded, own = -(-longest // ROOM) * ROOM, own_context(model)
    if own is None or own >= rounded:
        return rounded, ""
    if own >= longest:
        return own, ""
    return rounded, f"the longest request has {longest:,} tokens, the model's context {own:,}"
