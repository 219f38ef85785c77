"""Waiting for one of several servers: Erlang's formula, and Kimura's approximation."""

import math
from typing import NamedTuple

NEGLIGIBLE = 1e-9
"""Chance of waiting below which nobody waits."""


class Waiting(NamedTuple):
    """How long a request waits for a free server."""

    chance: float
    """Probability that it waits at all."""
    mean: float
    """Mean wait of all requests, in the unit of the service time."""

    def within(self, time: float) -> float:
        """Probability that the wait is at most `time`; `1 - C*exp(-t*C/W)`."""
        if time < 0.0:
            return 0.0
        if self.chance <= 0.0 or self.mean <= 0.0:
            return 1.0
        if math.isinf(self.mean):
            return 0.0
        return 1.0 - self.chance * math.exp(-time * self.chance / self.mean)


def erlang_c(servers: int, offered: float) -> float:
    """Probability that all c servers are busy, where a = rate * service time < c.

    With `1/B = sum over k of c!/((c-k)!*a^k)`: `C = B/(1 - a/c*(1 - B))`.
    """
    total, term = 1.0, 1.0
    for k in range(servers):
        term *= (servers - k) / offered
        total += term
        if total * NEGLIGIBLE > 1.0:
            return 0.0
        if term < total * NEGLIGIBLE:
            break
    blocked = 1.0 / total
    return blocked / (1.0 - offered / servers * (1.0 - blocked))


def kimura(servers: int, rate: float, service: float, square: float) -> Waiting:
    """Waiting in an M/G/c queue: random arrivals, any service time, c servers.

    `M = C*s/(c - a)` where service times are random, `D = M*(1 + b)/2` with
    `b = (1 - u)*(c - 1)*(sqrt(4 + 5*c) - 2)/(16*u*c)` where all are equal (Cosmetatos), and between
    them `W = (1 + v)*M*D/(2*v*D + (1 - v)*M)` (Kimura).

    Parameters
    ----------
    servers : int
        c.
    rate : float
        Arrivals in a unit of time.
    service : float
        Mean service time s; a = rate*s, u = a/c.
    square : float
        v, squared coefficient of variation of the service time.
    """
    offered = rate * service
    if offered <= 0.0:
        return Waiting(0.0, 0.0)
    if offered >= servers:
        return Waiting(1.0, math.inf)
    chance = erlang_c(servers, offered)
    random = chance * service / (servers - offered)
    busy = offered / servers
    bend = (1.0 - busy) * (servers - 1) * (math.sqrt(4.0 + 5.0 * servers) - 2.0)
    fixed = random * (1.0 + bend / (16.0 * busy * servers)) / 2.0
    below = 2.0 * square * fixed + (1.0 - square) * random
    mean = (1.0 + square) * random * fixed / below if below > 0.0 else random * (1.0 + square) / 2.0
    return Waiting(chance, mean)
