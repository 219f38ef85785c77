"""Why no candidate meets the targets: the first limit that a search met, with its figure."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import polars as pl

from sweepengine.data.models import Model
from sweepengine.data.speeds import TimingTarget
from sweepengine.search.margins import margin_of, tightened
from sweepengine.search.options import AGGREGATED, DeployOptions, LatencyTargets
from sweepengine.search.placements import Precision, devices_for_weights
from sweepengine.search.targets import meets_tpot, meets_ttft

WEIGHTS, CACHE, TTFT, TPOT, BOTH, LATENCY, RATE, RATIO = (
    "weights", "cache", "ttft", "tpot", "both targets", "latency", "rate", "ratio",
)  # fmt: skip


class Reason(NamedTuple):
    """A limit that no candidate passes."""

    kind: str
    """One of the kinds above."""
    text: str
    """One sentence with the figure and what to change."""


class NothingServesError(ValueError):
    """No candidate meets the targets; `kind` is that of the reason."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.text)
        self.kind = reason.kind


class Tally(NamedTuple):
    """Counts and least figures of the candidates so far."""

    weights_fit: int = 0
    """Candidates whose weights fit."""
    fitting: int = 0
    least_memory: float = float("inf")
    """Least memory needed by those whose weights fit, as a multiple of the usable memory."""
    ttft_s: float = float("inf")
    """Least TTFT of the candidates that fit, seconds."""
    tpot_s: float = float("inf")
    latency_s: float = float("inf")
    """Least time of a whole answer of those that meet TTFT and TPOT."""
    meeting_ttft: int = 0
    meeting_tpot: int = 0
    meeting_both: int = 0

    def with_kinds(self, kinds: pl.DataFrame, batches: int) -> "Tally":
        """Add the memory of kinds of candidates that differ in more than their batch.

        Parameters
        ----------
        kinds : polars.DataFrame
            Each kind at its smallest batch, with the columns `steady_state.STEADY_STATE_COLUMNS`.
        batches : int
            Batch sizes of each kind.
        """
        loadable = kinds.filter(pl.col("weight_bytes") <= pl.col("room_bytes"))
        need = (loadable["memory_bytes"] / loadable["room_bytes"]).min()
        return self._replace(
            weights_fit=self.weights_fit + loadable.height * batches,
            least_memory=min(self.least_memory, float(need or "inf")),  # type: ignore[arg-type]
        )

    def with_fitting(
        self, fitting: pl.DataFrame, targets: LatencyTargets, answer: float
    ) -> "Tally":
        """Add candidates that fit.

        Parameters
        ----------
        fitting : polars.DataFrame
            With the columns `steady_state.STEADY_STATE_COLUMNS`.
        targets : LatencyTargets
        answer : float
            Decoded tokens of an answer.
        """
        in_ttft, in_tpot = meets_ttft(targets), meets_tpot(targets)
        least = fitting.select(
            ttft=pl.col("ttft_s").min(),
            tpot=pl.col("tpot_s").min(),
            latency=(pl.col("ttft_s") + answer * pl.col("tpot_s").fill_null(0.0))
            .filter(in_ttft & in_tpot)
            .min(),
            meeting_ttft=in_ttft.sum(),
            meeting_tpot=in_tpot.sum(),
            meeting_both=(in_ttft & in_tpot).sum(),
        ).row(0, named=True)
        return self._replace(
            fitting=self.fitting + fitting.height,
            ttft_s=min(self.ttft_s, least["ttft"] or float("inf")),
            tpot_s=min(self.tpot_s, least["tpot"] or float("inf")),
            latency_s=min(self.latency_s, least["latency"] or float("inf")),
            meeting_ttft=self.meeting_ttft + least["meeting_ttft"],
            meeting_tpot=self.meeting_tpot + least["meeting_tpot"],
            meeting_both=self.meeting_both + least["meeting_both"],
        )


def reason_of(
    tally: Tally,
    options: DeployOptions,
    model: Model,
    timings: Sequence[TimingTarget],
    precisions: Sequence[Mapping[Precision, str]],
) -> Reason:
    """The first limit, in the order memory, targets, rate; figures are of the best candidate.

    Parameters
    ----------
    tally : Tally
        Of the whole search.
    options : DeployOptions
    model : Model
    timings : sequence of TimingTarget
        Devices of the search, and the first serving engine.
    precisions : sequence of mappings of Precision to str
        Precisions tried on each device, and their texts.
    """
    targets = options.targets
    margin = margin_of(timings[0], AGGREGATED, options)
    needs = tightened(options, margin)

    def kept_off(seconds: float, scale: float = 1.0) -> str:
        """The figure that a prediction must reach, where there is a margin."""
        unit = "s" if scale == 1.0 else "ms"
        return f", {seconds * scale:.3g} {unit} with the margin" if margin.tpot else ""

    limit = "" if options.devices is None else f" of {options.devices} devices"
    if not tally.weights_fit:
        needed = [
            (devices_for_weights(model, timing, precision, options.engine), name,
             timing.device.name)
            for timing, tried in zip(timings, precisions, strict=True)
            for precision, name in tried.items()
        ]  # fmt: skip
        many, name, device = min(needed)
        limit = "" if options.devices is None else f", {options.devices} are available"
        if all(timing.device.links is None for timing in timings):
            limit = ", which has no links to other devices"
        return Reason(
            WEIGHTS,
            f"weights alone need {many:.1f} devices of {device} in {name}{limit}: expected more "
            "devices, devices with more memory, or a smaller weight format",
        )
    if not tally.fitting:
        return Reason(
            CACHE,
            "weights fit, but with the KV cache and activations of one batch they need "
            f"{tally.least_memory:.2f} times the usable memory of a device: expected more devices, "
            "shorter requests, or a smaller KV cache format",
        )
    if AGGREGATED not in options.modes:
        return Reason(
            RATIO, f"no ratio of prefill workers to decode workers{limit} meets the targets: "
            "expected more devices, or aggregated serving",
        )  # fmt: skip
    if not tally.meeting_ttft:
        return Reason(
            TTFT,
            f"TTFT is at least {tally.ttft_s:.3g} s for every candidate that fits the memory: the "
            f"target is {targets.ttft_s:g} s{kept_off(needs.targets.ttft_s)}",
        )
    if not tally.meeting_tpot:
        return Reason(
            TPOT,
            f"TPOT is at least {tally.tpot_s * 1000:.3g} ms for every candidate that fits the "
            f"memory: the target is {targets.tpot_s * 1000:g} ms"
            f"{kept_off(needs.targets.tpot_s, 1000.0)}",
        )
    if not tally.meeting_both:
        return Reason(
            BOTH,
            f"TTFT of {targets.ttft_s:g} s and TPOT of {targets.tpot_s * 1000:g} ms are each met, "
            f"but by no candidate together{kept_off(needs.targets.ttft_s)}"
            f"{kept_off(needs.targets.tpot_s, 1000.0)}",
        )
    if needs.latency_s is not None and tally.latency_s > needs.latency_s:
        return Reason(
            LATENCY,
            f"a whole answer takes at least {tally.latency_s:.3g} s within the other targets: the "
            f"target is {options.latency_s:g} s{kept_off(needs.latency_s)}",
        )
    load = f"{options.rate:g} requests/s" if options.users is None else f"{options.users:,} users"
    more = f" with a margin of {margin.rate:.0%}" if margin.rate else ""
    return Reason(
        RATE, f"{load}{more} are more than {options.devices} devices reach within the targets"
    )
