"""Serving: from the times of passes to what requests see.

`prefill` is that of one request alone, `step` a decode step of a full batch at its mean context.
Times are in microseconds. Source: docs/times.md, "Serving"; the part of a prefill that a step waits
for, by load generator, is ours (docs/times.md).
"""

from collections.abc import Callable
from typing import NamedTuple

from sweepengine.formulas.cost import formula

SERVING = ("static", "continuous")
"""A batch is filled and then decoded, or requests join a batch that runs; positions are codes."""
STATIC, CONTINUOUS = range(2)
ROUNDS = 24
"""Of the damped fixed point of `disaggregated`, from which on nothing changes."""


A_SECOND = 1e6
"""Microseconds."""


class Seconds(NamedTuple):
    """Times of one point, s."""

    vision: float
    prefill: float
    decode: float
    ttft: float
    tpot: float


class ServingEngine(NamedTuple):
    """What a serving engine adds, and how its load comes; us."""

    host: float
    """Of each step."""
    first: float
    """Of each request before its first token."""
    burst: float
    """Part of all prefills of a batch that a request waits for."""
    interference: float
    """Part of other requests' prefills that a request's steps wait for."""


IDEAL_SERVING_ENGINE = ServingEngine(host=0.0, first=0.0, burst=0.0, interference=1.0)
"""One that adds nothing; requests wait for the prefills of others."""


@formula
def continuous_tpot(
    step: float, prefill: float, batch: float, steps: float, host: ServingEngine
) -> float:
    """Time between tokens: `h + td + e*B*p1/K`, K output tokens; us."""
    if steps <= 0.0:
        return 0.0
    return host.host + step + host.interference * batch * prefill / steps


@formula
def continuous_ttft(
    step: float, prefill: float, others: float, batch: float, host: ServingEngine
) -> float:
    """Time to the first token: `f + td + p1 + b*B*p`, p the mean prefill of others; us."""
    return host.first + step + prefill + host.burst * batch * others


@formula
def seconds_of(
    vision: float,
    prefill: float,
    decode: float,
    steps: int,
    batch: float,
    serving: int,
    host: ServingEngine,
) -> Seconds:
    """Times that requests see.

    Parameters
    ----------
    vision, prefill, decode : float
        Times of the passes, of decode those of all K steps together, us. Where requests join a
        running batch, vision and prefill are of one request.
    steps : int
        K.
    batch : float
        Sequences of a data-parallel group.
    serving : int
        A position in `SERVING`.
    host : ServingEngine
        What the serving engine adds.
    """
    first = vision + prefill
    each = decode / steps if steps > 0 else 0.0
    if serving == CONTINUOUS:
        alone = first
        first = continuous_ttft(each, alone, alone, batch, host)
        each = continuous_tpot(each, alone, batch, steps, host)
        decode = each * steps
    return Seconds(
        vision=vision / A_SECOND,
        prefill=prefill / A_SECOND,
        decode=decode / A_SECOND,
        ttft=first / A_SECOND,
        tpot=each / A_SECOND,
    )


@formula
def queued(prefill: float, square: float, busy: float) -> float:
    """Mean wait for a group that prefills one request after the other, `u*E[p^2]/(2*p*(1-u))`.

    Requests come at random, a part u of the time is busy, `square` is the mean of squared prefills
    (Pollaczek and Khinchine's formula of a queue with one server); in the unit of `prefill`.
    """
    return busy * square / (2.0 * prefill * (1.0 - busy))


def disaggregated(
    step: Callable[[float], float],
    prefill: float,
    concurrency: float,
    output: int,
    prefill_workers: float,
    decode_workers: float,
) -> tuple[float, float, float]:
    """TPOT, TTFT and batch of a decode rank, where some devices prefill and others decode.

    `T = td(B)`, `B = max(1, c*K*T/(K*T + F)/decode_workers)`,
    `F = max(p, c*p/prefill_workers - K*T)`: requests wait for a prefill worker, or prefill workers
    for requests. A fixed point, damped.

    Parameters
    ----------
    step : callable
        Time of a step of B sequences, in the unit of `prefill`.
    prefill : float
        Time of one request's prefill, p.
    concurrency : float
        Requests under way, c.
    output : int
        Tokens of an answer, K.
    prefill_workers, decode_workers : float
        Ranks.
    """
    batch = max(concurrency / decode_workers, 1.0)
    each, waited = step(batch), prefill
    for _ in range(ROUNDS):
        spent = output * each
        waited = max(prefill, concurrency * prefill / prefill_workers - spent)
        wanted = concurrency * spent / (spent + waited) / decode_workers
        batch = max((batch + wanted) / 2.0, 1.0)
        each = step(batch)
    return each, waited + each, batch
