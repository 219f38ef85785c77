"""A measured run of a server with its prediction, of any collection."""

from typing import NamedTuple


class JudgedRun(NamedTuple):
    """One measured run; times in seconds, None where not measured or not predicted."""

    collection: str
    """"wheel", "inferencex" or "real"."""
    source: str
    engine: str
    device: str
    model: str
    kind: str
    """Of the model: dense, moe, latent, sparse, hybrid or vision."""
    layout: str
    load: str
    """"steady" or "burst"."""
    speculative: bool
    disaggregated: bool
    judging: bool
    """Whether no constant was fitted on it."""
    ttft_measured: float | None
    ttft_predicted: float | None
    tpot_measured: float | None
    tpot_predicted: float | None
