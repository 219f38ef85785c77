"""Load over time: replicas of a plan by the hour, requests within the targets, device hours.

Requests of an hour arrive at random, at the mean rate of the hour. A plan of n replicas that run B
requests each is a queue with n*B servers (M/G/c); the time that a request holds one of them is that
of the plan with its batch full. TPOT is that of the full batch too, so it meets its target at any
load that the plan can bear; TTFT is the plan's plus the wait.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sweepengine.data.units import SECONDS_PER_HOUR
from sweepengine.formulas.queues import Waiting, kimura
from sweepengine.grid.lengths import Arrivals, Lengths
from sweepengine.search.options import AGGREGATED, LatencyTargets

Floats = NDArray[np.float64]
HOURS_OF_DAY = 24.0
MOST_REPLICAS = 1 << 20
LOAD = {
    "hour": "hour of the trace, from its first request",
    "requests": "requests that arrive in it",
    "requests_per_s": "their mean rate",
    "replicas": "least replicas that reach the attainment, or where no wait is left to shorten",
    "devices": "devices of these",
    "busy": "share of their places that are taken",
    "wait_s": "mean seconds that a request waits for a place",
    "attainment": "share of requests within both targets",
    "goodput": "requests/s within both targets",
}
"""Columns of the load by the hour, and what they mean."""


class Replica(NamedTuple):
    """One replica of a plan with its batch full."""

    places: int
    """Requests that it runs at once."""
    requests_per_s: float
    devices: int
    ttft: Floats
    """Seconds to the first token of a request of each length, without a wait; shape (L,)."""
    latency: Floats
    """Seconds of its whole answer."""
    weights: Floats
    """Share of the requests, which add up to 1."""
    tpot: float | None
    """Mean seconds a token; None without decode steps."""

    @property
    def held(self) -> float:
        """Mean seconds that a request holds a place (Little's law)."""
        return self.places / self.requests_per_s

    @property
    def square(self) -> float:
        """Squared coefficient of variation of these seconds."""
        mean = float(self.latency @ self.weights)
        return float((self.latency / mean - 1.0) ** 2 @ self.weights) if mean > 0.0 else 0.0

    def waiting(self, replicas: int, rate: float) -> Waiting:
        """The wait for a place of so many replicas."""
        return kimura(replicas * self.places, rate, self.held, self.square)

    def attained(self, waiting: Waiting, targets: LatencyTargets) -> float:
        """Share of requests within both targets."""
        if self.tpot is not None and self.tpot > targets.tpot_s:
            return 0.0
        within = [waiting.within(targets.ttft_s - float(ttft)) for ttft in self.ttft]
        return float(np.array(within) @ self.weights)


def replica_of(
    plan: Mapping[str, Any], latencies: Mapping[str, Floats], lengths: Lengths
) -> Replica:
    """The smallest part of a plan that can be repeated.

    An aggregated plan repeats a replica; a disaggregated one is repeated whole, with its ratio of
    prefill workers to decode workers.

    Parameters
    ----------
    plan : mapping
        Columns of `plans.PLAN`.
    latencies : mapping of str to float64 array, shape (L,)
        `requests.latencies` of the plan.
    lengths : Lengths
    """
    parts = plan["replicas"] if plan["mode"] == AGGREGATED else 1
    return Replica(
        plan["batch_size"] * plan["replicas"] // parts,
        plan["requests_per_s"] / parts,
        plan["devices"] // parts,
        latencies["ttft_s"],
        latencies["latency_s"],
        lengths.weights,
        plan["tpot_s"],
    )


class Load(NamedTuple):
    """A plan under requests over time."""

    hours: pl.DataFrame
    """A row an hour, with the columns `LOAD`."""
    span_hours: float
    device_hours: float
    """With as many replicas as each hour needs."""
    peak_device_hours: float
    """With the replicas of the busiest hour all the time."""
    device_hours_a_day: float
    attainment: float
    """Share of all requests within both targets."""
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """All fields, for JSON."""
        return self._asdict() | {"hours": self.hours.to_dicts()}


def load_of(
    arrivals: Arrivals, replica: Replica, targets: LatencyTargets, attainment: float
) -> Load:
    """Replicas by the hour that keep enough requests within the targets.

    Parameters
    ----------
    arrivals : Arrivals
        Requests by the hour.
    replica : Replica
        Of the plan.
    targets : LatencyTargets
    attainment : float
        Share of requests that must be within both.
    """
    rows = []
    for hour, count in enumerate(arrivals.counts):
        seconds = arrivals.seconds(hour)
        rate = count / seconds
        replicas = _replicas(replica, rate, targets, attainment) if count else 0
        waiting = replica.waiting(max(replicas, 1), rate)
        reached = replica.attained(waiting, targets) if count else 1.0
        rows.append({
            "hour": hour,
            "requests": count,
            "requests_per_s": rate,
            "replicas": replicas,
            "devices": replicas * replica.devices,
            "busy": rate * replica.held / max(replicas * replica.places, 1),
            "wait_s": waiting.mean,
            "attainment": reached,
            "goodput": rate * reached,
        })  # fmt: skip
    return _summed(arrivals, rows)


def _replicas(replica: Replica, rate: float, targets: LatencyTargets, attainment: float) -> int:
    """Least replicas that reach the attainment, or where no wait is left to shorten."""
    least = int(rate / replica.requests_per_s) + 1
    goal = min(attainment, replica.attained(Waiting(0.0, 0.0), targets) - 1e-6)

    def reaches(count: int) -> bool:
        return replica.attained(replica.waiting(count, rate), targets) >= goal

    most = least
    while not reaches(most) and most < MOST_REPLICAS:
        most *= 2
    while least < most:
        middle = (least + most) // 2
        least, most = (least, middle) if reaches(middle) else (middle + 1, most)
    return most


def _summed(arrivals: Arrivals, rows: Sequence[Mapping[str, Any]]) -> Load:
    """Totals of the hours."""
    lengths = [arrivals.seconds(hour) / SECONDS_PER_HOUR for hour in range(len(rows))]
    span = sum(lengths)
    used = sum(row["devices"] * hours for row, hours in zip(rows, lengths, strict=True))
    peak = max(row["devices"] for row in rows) * span
    requests = sum(row["requests"] for row in rows)
    within = sum(row["attainment"] * row["requests"] for row in rows) / requests
    return Load(
        pl.DataFrame(rows),
        span,
        used,
        peak,
        used / span * HOURS_OF_DAY,
        within,
        arrivals.notes,
    )
