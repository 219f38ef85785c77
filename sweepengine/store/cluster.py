"""The Ray executor: files of a dataset as tasks of a cluster."""

import os
import socket
from collections.abc import Iterator
from typing import Any

from sweepengine.data.errors import InputError
from sweepengine.engine.interrupts import unwatched
from sweepengine.grid.grid import Chunk
from sweepengine.store.shards import Shard, Shards, write_shard

CONNECT_SECONDS = 5
RETRIES = 3
"""How often a task is repeated on another worker after its worker died."""


def write_on_ray(shards: Shards, chunks: Iterator[Chunk], address: str | None) -> Iterator[Shard]:
    """Write chunks as tasks; yield each file when it is complete.

    Each task writes one file, so another worker repeats the file of a worker that died. Workers
    must reach the same storage and have sweepengine installed.

    Parameters
    ----------
    shards : Shards
    chunks : iterator of Chunk
        One per file.
    address : str or None
        Address of a cluster. None starts a local cluster of `shards.workers` CPUs, on loopback and
        without dashboard and usage statistics.

    Raises
    ------
    InputError
        When Ray is not installed, the cluster cannot be reached, or a file cannot be written; the
        message names the file's points and the cause.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ModuleNotFoundError:
        raise InputError(
            "--engine ray: ray is not installed: expected the extra, pip install 'sweepengine[ray]'"
        ) from None
    if address is not None:
        _require_listener(address)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        quiet |= {"num_cpus": shards.workers, "include_dashboard": False,
                  "_node_ip_address": "127.0.0.1"}  # fmt: skip
    try:
        with unwatched():  # signals must reach its processes
            ray.init(address=address or "local", **quiet)
    except Exception as error:  # Ray raises a bare Exception where a node starts too slowly
        reason = " ".join(str(error).split())
        option = f"--address {address}: no Ray cluster there"
        where = option if address else "--engine ray: Ray did not start"
        raise InputError(f"{where}: {reason}") from None
    try:
        yield from _settled(ray, shards, chunks)
    finally:
        ray.shutdown()


def _require_listener(address: str) -> None:
    """Refuse an address where nothing listens; Ray itself would try for two minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        raise InputError(f"--address {address}: expected HOST:PORT of a Ray cluster")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"--address {address}: no Ray cluster there: {error}") from None


def _settled(ray: Any, shards: Shards, chunks: Iterator[Chunk]) -> Iterator[Shard]:
    task = ray.remote(num_cpus=1, max_retries=RETRIES)(write_shard)
    shared = ray.put(shards)
    cpus = int(ray.cluster_resources().get("CPU", shards.workers))
    pending: dict[Any, Chunk] = {}
    for chunk in chunks:
        pending[task.remote(shared, chunk)] = chunk
        if len(pending) > 2 * cpus:
            yield _first(ray, pending)
    while pending:
        yield _first(ray, pending)


def _first(ray: Any, pending: dict[Any, Chunk]) -> Shard:
    """Wait for the first task that ends, and return its file."""
    (done,), _ = ray.wait(list(pending), num_returns=1)
    chunk = pending.pop(done)
    try:
        shard: Shard = ray.get(done)
        return shard
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None) or error
        reason = " ".join(str(cause).split())
        raise InputError(
            f"points {chunk.start:,} to {chunk.stop:,}: {type(cause).__name__}: {reason}; "
            "complete files are kept: run the same command again to resume"
        ) from None
