"""How far a plan keeps off its targets: times are predictions, and predictions have errors."""

from math import ceil
from typing import NamedTuple

from sweepengine.data.error_classes import error_table
from sweepengine.data.speeds import TimingTarget
from sweepengine.formulas.speeds import ROOFLINE
from sweepengine.search.options import DISAGGREGATED, DeployOptions, LatencyTargets

ROUNDING = 1 - 1e-12
"""Factor before rounding up, so that a whole number stays as it is."""
LEAST_MARGIN = 0.1
"""Share that plans keep off their targets where no larger error is recorded."""


class Margin(NamedTuple):
    """Shares by which predictions must be better than what is asked for."""

    ttft: float
    tpot: float
    rate: float


def margin_of(timing: TimingTarget, mode: str, options: DeployOptions) -> Margin:
    """Margin of plans of a serving mode: the option's, or the larger of 10 % and recorded errors.

    Parameters
    ----------
    timing : TimingTarget
        Device and serving engine.
    mode : str
        Aggregated or disaggregated.
    options : DeployOptions
    """
    if options.margin is not None:
        return Margin(options.margin, options.margin, options.margin)
    if mode != DISAGGREGATED or timing.times == ROOFLINE:
        return Margin(LEAST_MARGIN, LEAST_MARGIN, LEAST_MARGIN)
    medians = (error_table()[DISAGGREGATED][name][0] for name in ("ttft", "tpot"))
    ttft, tpot = (max(LEAST_MARGIN, median / 100) for median in medians)
    return Margin(ttft, tpot, tpot)


def tightened(options: DeployOptions, margin: Margin) -> DeployOptions:
    """Options whose targets and load a prediction must reach, so that a margin is left."""
    latency, rate, users = options.latency_s, options.rate, options.users
    return options._replace(
        targets=LatencyTargets(
            options.targets.ttft_s / (1 + margin.ttft), options.targets.tpot_s / (1 + margin.tpot)
        ),
        latency_s=None if latency is None else latency / (1 + margin.tpot),
        rate=None if rate is None else rate * (1 + margin.rate),
        users=None if users is None else ceil(users * (1 + margin.rate) * ROUNDING),
    )
