"""YAML of nested mappings, lists and plain values; strings are quoted as in JSON where needed."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

_PLAIN = re.compile(r"[A-Za-z/][\w./+-]*\Z")
_WORDS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}


def yaml_text(value: Mapping[str, Any]) -> str:
    """Text of a mapping, with two blanks a level and a newline at the end."""
    return "\n".join(_lines(value)) + "\n"


def _scalar(value: object) -> str:
    if isinstance(value, str) and _PLAIN.match(value) and value.lower() not in _WORDS:
        return value
    return json.dumps(value)


def _lines(value: Any) -> list[str]:
    lines = []
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if _nested(inner):
                lines += [f"{key}:", *(f"  {line}" for line in _lines(inner))]
            else:
                lines.append(f"{key}: {_scalar(inner)}")
    else:
        for inner in value:
            first, *others = _lines(inner) if _nested(inner) else [_scalar(inner)]
            lines += [f"- {first}", *(f"  {line}" for line in others)]
    return lines


def _nested(value: object) -> bool:
    return isinstance(value, Mapping | Sequence) and not isinstance(value, str) and len(value) > 0
