"""A measured run of a server with its prediction, of any collection."""

from typing import NamedTuple


class JudgedRun(NamedTuple):
    """One measured run; times in seconds, None where not measured or not predicted."""

    collection: str
    """A key of `data.error_classes.COLLECTIONS`."""
    source: str
    engine: str
    device: str
    model: str
    kind: str
    """Of the model, one of `data.error_classes.KINDS`."""
    layout: str
    """Of a replica, or of decode workers: "tp4-ep8"."""
    load: str
    """One of `data.error_classes.LOADS`."""
    speculative: bool
    disaggregated: bool
    judging: bool
    """Whether no constant was fitted on it."""
    ttft_measured: float | None
    ttft_predicted: float | None
    tpot_measured: float | None
    tpot_predicted: float | None
    basis: str = "family"
    """What its prediction knows of runs like it, one of `data.error_classes.BASES`."""
