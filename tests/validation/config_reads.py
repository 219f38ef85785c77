"""Which attributes of its config transformers reads while it builds and runs a model."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from transformers import PreTrainedConfig

WHOLE = ("to_dict", "to_diff_dict", "__dict__")
"""Reads of all attributes at once."""
NO_NUMBERS = ("copy", "generation/configuration_utils", "configuration_utils",
              "modeling_vision_encoder_decoder", "integrations/heterogeneity")  # fmt: skip
"""Endings of modules that read all attributes and make no number of them: copies, and warnings."""


class Seen(NamedTuple):
    """A class of a config, and an attribute of it."""

    kind: str
    attribute: str


@contextmanager
def attributes_read() -> Iterator[set[Seen]]:
    """Fills a set with the attributes of configs that are read meanwhile, by their class."""
    read, plain = set(), PreTrainedConfig.__getattribute__

    def noted(self, key):
        named = plain(self, "attribute_map").get(key, key)
        read.add(Seen(type(self).__name__, named))
        if key in WHOLE:
            module = sys._getframe(1).f_code.co_filename.removesuffix(".py")
            if not module.endswith(NO_NUMBERS):
                read.update(Seen(type(self).__name__, name) for name in plain(self, "__dict__"))
        return plain(self, key)

    PreTrainedConfig.__getattribute__ = noted
    try:
        yield read
    finally:
        PreTrainedConfig.__getattribute__ = plain


def attributes_of(config) -> dict[Seen, list[str]]:
    """The values of all attributes of a config and of those within it, by class and name."""
    found = {}
    for name, value in vars(config).items():
        of = Seen(type(config).__name__, name)
        if isinstance(value, PreTrainedConfig):
            found.setdefault(of, []).append(type(value).__name__)
            for inner, values in attributes_of(value).items():
                found.setdefault(inner, []).extend(values)
        else:
            found.setdefault(of, []).append(repr(value))
    return found


def changed_attributes(first, second) -> set[Seen]:
    """Attributes that have other values."""
    return {name for name in {*first, *second} if first.get(name) != second.get(name)}
