"""Serving: from the times of passes to what requests see.

Times are in microseconds. Source: docs/times.md, "Serving": the forms are ours, and their constants
were fitted to public serving rows.
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
    step: float
    """Of a decode step, no prefill in between."""
    refill: float
    """Vision and prefills of all sequences of a batch, as many requests a pass as a chunk holds."""


class ServingEngine(NamedTuple):
    """What a serving engine adds to its passes, under one kind of load."""

    overlap: float
    """a, part of a step's kernels that shows; they overlap."""
    sequence: float
    """u, of each step by sequence, us."""
    chunk: float
    """Tokens of a prefill chunk; 0: one request a pass."""
    first: float
    """f, of each request before its first token, us."""
    burst: float
    """b, part of all prefills of a batch that a request waits for."""
    steps: float
    """Steps that pass until a request's prefill starts and its first token is out."""
    ranks: float
    """r, steps that ranks of attention data parallelism wait for one another; 0 of one rank."""
    prompt: float
    """k, of a token of the prompt, us."""
    queue: float
    """q, of a request by sequence of the batch, us."""
    least: float
    """h, least time of a pass of prefills, whose kernels the host launches one by one, us; 0 where
    it is captured as a graph."""
    tpot_factor: float
    """Measured over predicted TPOT of its family of rows, as of TTFT in the next."""
    ttft_factor: float


IDEAL_SERVING_ENGINE = ServingEngine(
    overlap=1.0, sequence=0.0, chunk=0.0, first=0.0, burst=0.0, steps=1.0, ranks=0.0, prompt=0.0,
    queue=0.0, least=0.0, tpot_factor=1.0, ttft_factor=1.0,
)  # fmt: skip
"""One that adds nothing; requests wait for a step and for the prefills of others."""


class Passes(NamedTuple):
    """Times of the passes of one point, us."""

    vision: float
    prefill: float
    """Where requests join a running batch, vision and prefill are of one request."""
    refill: float
    """Vision and prefills of all sequences of a batch, in chunks."""
    decode: float
    """All steps together."""


class Batch(NamedTuple):
    """What runs at once."""

    sequences: float
    """B, of a data-parallel group."""
    prompt: int
    """Tokens that the prefill of a request runs over."""
    steps: int
    """Tokens decoded, K."""
    accepted: float = 1.0
    """Tokens that a step yields, a."""


@formula
def chunk_requests(sequences: float, prompt: float, chunk: float) -> float:
    """Requests that share a pass of prefills: as many as a chunk holds, `min(B, chunk/prompt)`."""
    return max(min(sequences, float(chunk // max(prompt, 1.0))), 1.0)


@formula
def at_least(value: float, least: float) -> float:
    """The larger of both, of arrays too: `(v + l + |v - l|)/2`."""
    return (value + least + abs(value - least)) / 2.0


@formula
def refilling(refill: float, batch: Batch, least: float) -> float:
    """Prefills of all sequences of a batch, at most one pass a step, `max(B*p, min(B, K/a)*h)`; us.

    Parameters
    ----------
    refill : float
        Kernels of these prefills, B*p.
    batch : Batch
        What runs at once.
    least : float
        h.
    """
    return max(refill, min(batch.sequences, batch.steps / batch.accepted) * least)


@formula
def engine_step(step: float, sequences: float, engine: ServingEngine) -> float:
    """A step of a serving engine, `td = a*step + u*B`, B sequences of a data-parallel group; us."""
    return engine.overlap * step + engine.sequence * sequences


@formula
def continuous_tpot(step: float, refill: float, steps: float, engine: ServingEngine) -> float:
    """Time between tokens, `td/a + B*p/K`: each slot takes in a new request once in K tokens; us.

    Parameters
    ----------
    step : float
        td/a: of a step, for each token that it yields.
    refill : float
        Prefills of all B sequences, B*p.
    steps : float
        K.
    engine : ServingEngine
        What the serving engine adds.
    """
    if steps <= 0.0:
        return 0.0
    return engine.tpot_factor * (step + refill / steps)


@formula
def scheduled_steps(sequences: float, engine: ServingEngine) -> float:
    """Steps that a new request waits, `s + r*min(max(B - 1, 0), 1)`.

    Ranks wait for requests of the others only while each has a sequence to decode: not where a rank
    runs one alone, which the new request follows. Between one and two, some ranks do.

    Parameters
    ----------
    sequences : float
        B, of a data-parallel group.
    engine : ServingEngine
        What the serving engine adds.
    """
    others = at_least(sequences - 1.0, 0.0)
    return engine.steps + engine.ranks * (others + 1.0 - at_least(others, 1.0))


@formula
def waiting(step: float, refill: float, sequences: float, engine: ServingEngine) -> float:
    """Time that every new request waits, `f + b*B*p + s*td + q*B`, s by `scheduled_steps`; us.

    Parameters
    ----------
    step : float
        td.
    refill : float
        Prefills of all B sequences, B*p.
    sequences : float
        B, of a data-parallel group.
    engine : ServingEngine
        What the serving engine adds.
    """
    waited = engine.first + engine.burst * refill + scheduled_steps(sequences, engine) * step
    return engine.ttft_factor * (waited + engine.queue * sequences)


@formula
def taking_in(prefill: float, prompt: float, engine: ServingEngine) -> float:
    """Time that a request's own prompt takes, `max(P, h) + k*prompt`; us."""
    return engine.ttft_factor * (at_least(prefill, engine.least) + engine.prompt * prompt)


@formula
def seconds_of(passes: Passes, batch: Batch, serving: int, engine: ServingEngine) -> Seconds:
    """Times that requests see.

    Parameters
    ----------
    passes : Passes
        Times of the passes.
    batch : Batch
        What runs at once.
    serving : int
        A position in `SERVING`.
    engine : ServingEngine
        What the serving engine adds.
    """
    first, decode, refill = passes.vision + passes.prefill, passes.decode, passes.refill
    step = decode / (batch.steps / batch.accepted) if batch.steps > 0 else 0.0
    each = step / batch.accepted
    if serving == CONTINUOUS:
        if batch.steps > 0:
            step = engine_step(step, batch.sequences, engine)
        refill = refilling(refill, batch, engine.least)
        each = continuous_tpot(step / batch.accepted, refill, batch.steps, engine)
        waited = waiting(step, refill, batch.sequences, engine)
        first = waited + taking_in(first, batch.prompt, engine)
        decode = each * batch.steps
        step *= engine.tpot_factor
    return Seconds(
        vision=passes.vision / A_SECOND,
        prefill=passes.prefill / A_SECOND,
        decode=decode / A_SECOND,
        ttft=first / A_SECOND,
        tpot=each / A_SECOND,
        step=step / A_SECOND,
        refill=refill / A_SECOND,
    )


@formula
def output_rate(sequences: float, steps: float, ttft: float, decode: float) -> float:
    """Output tokens per second, `B*K/(TTFT + T_decode)`: each of B slots takes request on request.

    Parameters
    ----------
    sequences, steps : float
        B, and K tokens of each answer.
    ttft, decode : float
        Time to the first token, and of all K steps; seconds.
    """
    return sequences * steps / (ttft + decode)


@formula
def queued(prefill: float, square: float, busy: float) -> float:
    """Mean wait for a group that prefills one request after the other, `u*E[p^2]/(2*p*(1-u))`.

    Requests come at random, a part u of the time is busy, `square` is the mean of squared prefills
    (Pollaczek and Khinchine's formula of a queue with one server); in the unit of `prefill`.
    """
    return busy * square / (2.0 * prefill * (1.0 - busy))


@formula
def disaggregated_ttft(prefill: float, queued: float, step: float, engine: ServingEngine) -> float:
    """TTFT where some devices prefill and others decode, `f + P + b*c*p/F + s*td`; us.

    Parameters
    ----------
    prefill : float
        Of one request, P.
    queued : float
        Prefills of all requests under way over the ranks that prefill, c*p/F.
    step : float
        Of a decode rank, td.
    engine : ServingEngine
        Its f, b and s of disaggregated serving.
    """
    return engine.first + prefill + engine.burst * queued + engine.steps * step


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
