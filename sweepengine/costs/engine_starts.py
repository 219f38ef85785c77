"""What a device holds when a serving engine starts, in the figures that the engine's log prints."""

from collections.abc import Mapping
from typing import NamedTuple

from sweepengine.data.devices import Device
from sweepengine.data.models import Model
from sweepengine.formulas.kv_pages import Pool, logged, request_bytes
from sweepengine.formulas.memory import Resident, divided
from sweepengine.formulas.points import Point
from sweepengine.grid.memory import RESIDENT_COLUMNS, placed
from sweepengine.grid.plain import workload_of


class Start(NamedTuple):
    """A model on a device under a serving engine, before the first request."""

    resident: Resident
    pool: Pool
    """How requests lie in the pool."""
    length: int
    """Tokens of the longest request, which the engine is set to accept."""

    @property
    def token_bytes(self) -> float:
        """Bytes of the pool a token, as the engine's log counts tokens."""
        whole = request_bytes(self.pool, self.length, self.resident.chunk_tokens)
        return whole / self.tokens_of(whole)

    def tokens_of(self, pool_bytes: int) -> int:
        """Tokens of a pool, as the engine's log counts them."""
        of = self.resident
        return logged(self.pool, pool_bytes, self.length, of.chunk_tokens, of.logs_by_length)


class LoggedMemory(NamedTuple):
    """Figures of a start that logs print, of one device."""

    weight_bytes: int
    activation_bytes: int
    graph_bytes: int
    pool_bytes: int
    pool_tokens: int
    requests: float
    """Of the longest length, that the pool holds."""


def start_of(
    model: Model, device: Device, point: Point, settings: Mapping[str, int], length: int
) -> Start:
    """What decides the memory of a device under a serving engine.

    Parameters
    ----------
    model : Model
    device : Device
    point : Point
        Layout and formats of the model.
    settings : mapping of str to int
        Stored inputs of points on a device: the serving engine, its version and its settings; those
        that are 0 or missing are the engine's defaults.
    length : int
        Tokens of the longest request.

    Raises
    ------
    InputError
        When the serving engine has no such version.
    """
    weights = workload_of(model.architecture, point).figures.weights.held_bytes
    point = point._replace(**{"device": 0, **settings})
    values = tuple(getattr(point, name) for name in RESIDENT_COLUMNS)
    resident, pool = placed(model._replace(devices=(device,)), values)
    return Start(resident._replace(weights=weights), pool, length)


def logged_memory(start: Start) -> LoggedMemory:
    """Figures of a start as the engine's log prints them."""
    of = start.resident
    memory = divided(of, of.max_sequences)
    reserved = request_bytes(start.pool, start.length, of.chunk_tokens)
    return LoggedMemory(
        of.weights,
        memory.activations,
        memory.graphs,
        memory.pool,
        start.tokens_of(memory.pool),
        max(memory.pool, 0) / reserved,
    )
