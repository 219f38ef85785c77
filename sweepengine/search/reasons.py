"""Why nothing serves: the first of the walls that a search met, typed and with its figure."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import polars as pl

from sweepengine.data.devices import Device
from sweepengine.data.models import Model
from sweepengine.search.options import AGGREGATED, DeployOptions, LatencyTargets
from sweepengine.search.placements import Precision, devices_for_weights
from sweepengine.search.steady_state import FITS
from sweepengine.search.targets import meets_tpot, meets_ttft

WEIGHTS, CACHE, TTFT, TPOT, BOTH, RATE, RATIO = (
    "weights", "cache", "ttft", "tpot", "both targets", "rate", "ratio",
)  # fmt: skip


class Reason(NamedTuple):
    """One wall."""

    kind: str
    """One of the kinds above."""
    text: str
    """What it is, with its figure."""


class NothingServesError(ValueError):
    """No candidate does what is asked; `kind` is that of the reason."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.text)
        self.kind = reason.kind


class Tally(NamedTuple):
    """What a search over one or more kinds of devices met so far."""

    candidates: int = 0
    points: int = 0
    held: int = 0
    """Candidates whose weights fit."""
    fitting: int = 0
    least_memory: float = float("inf")
    """Share of what may be taken that the smallest of those whose weights fit needs."""
    ttft_s: float = float("inf")
    """Least of what fits; likewise the others."""
    tpot_s: float = float("inf")
    prompt: int = 0
    smooth: int = 0
    meeting: int = 0

    def beside(self, frame: pl.DataFrame, targets: LatencyTargets) -> "Tally":
        """With candidates more, which have the columns `steady_state.STEADY_STATE_COLUMNS`."""
        held = frame.filter(pl.col("weight_bytes") <= pl.col("room_bytes"))
        fitting = held.filter(FITS)
        prompt, smooth = meets_ttft(targets), meets_tpot(targets)
        least = fitting.select(
            ttft=pl.col("ttft_s").min(),
            tpot=pl.col("tpot_s").min(),
            prompt=prompt.sum(),
            smooth=smooth.sum(),
            meeting=(prompt & smooth).sum(),
        ).row(0, named=True)
        need = (held["memory_bytes"] / held["room_bytes"]).min()
        return self._replace(
            candidates=self.candidates + frame.height,
            held=self.held + held.height,
            fitting=self.fitting + fitting.height,
            least_memory=min(self.least_memory, float(need or "inf")),  # type: ignore[arg-type]
            ttft_s=min(self.ttft_s, least["ttft"] or float("inf")),
            tpot_s=min(self.tpot_s, least["tpot"] or float("inf")),
            prompt=self.prompt + least["prompt"],
            smooth=self.smooth + least["smooth"],
            meeting=self.meeting + least["meeting"],
        )


def reason_of(
    tally: Tally,
    options: DeployOptions,
    model: Model,
    devices: Sequence[Device],
    precisions: Sequence[Mapping[Precision, str]],
) -> Reason:
    """The first wall, in the order of memory, targets, rate; figures are of the best candidate.

    Parameters
    ----------
    tally : Tally
        Of the whole search.
    options : DeployOptions
    model : Model
    devices : sequence of Device
        That were looked at.
    precisions : sequence of mappings of Precision to str
        That were tried on each, and their texts.
    """
    targets = options.targets
    limit = "" if options.devices is None else f" of {options.devices} devices"
    if not tally.held:
        share = options.serving.memory_share
        needed = [
            (devices_for_weights(model, device, precision, share), name, device.name)
            for device, tried in zip(devices, precisions, strict=True)
            for precision, name in tried.items()
        ]
        many, name, device = min(needed)
        limit = "" if options.devices is None else f", there are {options.devices}"
        if all(kind.links is None for kind in devices):
            limit = ", which have no links"
        return Reason(
            WEIGHTS,
            f"weights alone need {many:.1f} devices of {device} in {name}{limit}: expected more "
            "devices, larger ones, or smaller formats",
        )
    if not tally.fitting:
        return Reason(
            CACHE,
            "weights fit, but with the cache and activations of one batch they need "
            f"{tally.least_memory:.2f} times what a device has: expected more devices, shorter "
            "requests, or a smaller cache",
        )
    if AGGREGATED not in options.modes:
        return Reason(
            RATIO, f"no ratio of groups that prefill and groups that decode{limit} serves within "
            "the targets: expected more devices, or copies that do both",
        )  # fmt: skip
    if not tally.prompt:
        return Reason(
            TTFT,
            f"the first token takes {tally.ttft_s:.3g} s at least where memory holds it, "
            f"asked for {targets.ttft_s:g} s",
        )
    if not tally.smooth:
        return Reason(
            TPOT,
            f"a token takes {tally.tpot_s * 1000:.3g} ms at least where memory holds it, "
            f"asked for {targets.tpot_s * 1000:g} ms",
        )
    if not tally.meeting:
        return Reason(
            BOTH,
            f"TTFT of {targets.ttft_s:g} s and TPOT of {targets.tpot_s * 1000:g} ms are met, "
            "but never by the same candidate",
        )
    return Reason(
        RATE,
        f"{options.rate:g} requests/s are more than {options.devices} devices serve within the "
        "targets",
    )
