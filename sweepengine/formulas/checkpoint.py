"""Formats of a checkpoint."""

from typing import NamedTuple


class Checkpoint(NamedTuple):
    """Formats that a checkpoint is in: its linear layers by role, activations and KV cache.

    Positions among `formats.FORMAT_NAMES`; 0 is bf16.
    """

    attention: int = 0
    mlp: int = 0
    experts: int = 0
    activation: int = 0
    cache: int = 0
