import heapq
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweepengine.formulas.queues import Waiting, erlang_c, kimura

SQUARES = {"fixed": 0.0, "exponential": 1.0}


def test_erlangs_chance_is_that_of_the_books():
    assert erlang_c(1, 0.5) == pytest.approx(0.5)
    assert erlang_c(2, 1.0) == pytest.approx(1 / 3)
    assert erlang_c(10, 8.0) == pytest.approx(0.40918, abs=1e-5)
    assert erlang_c(100_000, 50_000.0) == 0.0


@pytest.mark.parametrize("square", [0.0, 0.5, 1.0, 3.0])
def test_one_server_waits_as_pollaczek_and_khinchine_say(square):
    rate, service = 0.7, 1.0
    busy = rate * service
    exact = busy * service * (1 + square) / (2 * (1 - busy))
    assert kimura(1, rate, service, square).mean == pytest.approx(exact)


def simulated(servers, rate, draw, requests=200_000):
    """Mean wait, and share of waits of at most 0.1, of a simulated queue."""
    chance = random.Random(7)
    free, now, waits = [0.0] * servers, 0.0, []
    for _ in range(requests):
        now += chance.expovariate(rate)
        start = max(now, heapq.heappop(free))
        waits.append(start - now)
        heapq.heappush(free, start + draw(chance))
    kept = waits[requests // 10 :]
    return sum(kept) / len(kept), sum(wait <= 0.1 for wait in kept) / len(kept)


@pytest.mark.parametrize(("kind", "tolerance"), [("fixed", 0.1), ("exponential", 0.1)])
def test_several_servers_wait_as_a_simulation_does(kind, tolerance):
    draws = {"fixed": lambda _: 1.0, "exponential": lambda chance: chance.expovariate(1.0)}
    found = kimura(8, 6.8, 1.0, SQUARES[kind])
    mean, within = simulated(8, 6.8, draws[kind])
    assert found.mean == pytest.approx(mean, rel=tolerance)
    assert found.within(0.1) == pytest.approx(within, abs=0.05)


@given(st.integers(1, 200), st.floats(0.05, 0.95), st.floats(0.0, 4.0))
def test_more_servers_wait_less_and_more_load_waits_more(servers, busy, square):
    rate = busy * servers
    here = kimura(servers, rate, 1.0, square)
    assert kimura(servers + 1, rate, 1.0, square).mean <= here.mean + 1e-12
    assert kimura(servers, rate * 0.9, 1.0, square).mean <= here.mean + 1e-12
    assert 0.0 <= here.within(0.0) <= here.within(1.0) <= 1.0


def test_a_queue_beyond_its_servers_never_ends():
    full = kimura(2, 2.0, 1.0, 1.0)
    assert full.within(1e9) == 0.0
    assert kimura(2, 0.0, 1.0, 1.0) == Waiting(0.0, 0.0)
    assert full.within(-1.0) == 0.0
