"""Constants of serving engines: times outside kernels, one file per engine with its versions."""

import math
import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

from sweepengine.data.devices import Device
from sweepengine.data.files import shipped_table
from sweepengine.data.rates import A_MICROSECOND
from sweepengine.formulas.serving import CONTINUOUS, IDEAL_SERVING_ENGINE, ServingEngine
from sweepengine.formulas.speeds import FRAMEWORKS, ROOFLINE, Host, Wires

EXCHANGE_US = 20.0
"""Latency of a token exchange, us (docs/times.md, "Exchange with experts elsewhere")."""

MILLI = 1000.0
"""Microseconds per millisecond."""
STEADY, BURSTS = "steady", "bursts"
"""Kinds of load: far more requests than run at once, or few, which arrive in waves."""
SETTINGS = {"look_interval": "look", "batch_wait": "wait"}
"""Settings in steps, and the constant of a load that says which part of them a request waits:
steps between two looks for new requests, and steps that an engine waits to fill a batch."""
RANKS = "ranks"
"""Constant of a load: steps that a request waits for other ranks of attention data parallelism."""
_UNTIMED = ("source",)
"""Keys that change no time."""


def order_of(version: str) -> tuple[int, ...]:
    """Numbers of a version, which order versions: "1.3.0rc20" is (1, 3, 0, 20)."""
    return tuple(int(number) for number in re.findall(r"\d+", version))


def _newest(engine: str) -> dict[str, Any]:
    versions = shipped_table("serving_engines", f"{engine}.toml")["versions"]
    version = max(versions, key=order_of)
    return {"version": version, **versions[version]}


ENGINES: Final[dict[str, dict[str, Any]]] = {engine: _newest(engine) for engine in FRAMEWORKS}
"""Constants of the newest version of each serving engine."""


def stated() -> dict[str, dict[str, Any]]:
    """Constants that change times, by serving engine, for hashes."""
    return {
        engine: {key: value for key, value in constants.items() if key not in _UNTIMED}
        for engine, constants in ENGINES.items()
    }


def serving_engine(
    framework: str, load: str, data: int = 1, settings: Mapping[str, float] | None = None
) -> ServingEngine:
    """What a serving engine adds, before factors of families; `least` is of one layer.

    `chunk` is 0 here: it depends on the device (`memory.chunk_of`).

    Parameters
    ----------
    framework : str
        A serving engine, one of `FRAMEWORKS`.
    load : str
        STEADY or BURSTS; what bursts do not state is as under a steady load.
    data : int
        Ranks of attention data parallelism, which wait for one another.
    settings : mapping of str to float, optional
        Settings that differ from the defaults of its file.
    """
    constants = ENGINES[framework]
    of = defaultdict(float, constants[STEADY] | constants[load])
    steps = of["steps"]
    for setting, constant in SETTINGS.items():
        if setting in constants:
            steps += of[constant] * (settings or {}).get(setting, constants[setting])
    return ServingEngine(
        overlap=constants["overlap"],
        sequence=constants["sequence_us"],
        chunk=0.0,
        first=of["first_ms"] * MILLI,
        burst=of["burst"],
        steps=steps,
        ranks=of[RANKS] if data > 1 else 0.0,
        prompt=of["prompt_ms"],
        queue=of["sequence_ms"] * MILLI,
        least=constants["pass_layer_us"],
        tpot_factor=1.0,
        ttft_factor=1.0,
    )


def disaggregated_engine(framework: str) -> tuple[ServingEngine, float]:
    """What a serving engine adds where some devices prefill and others decode.

    Returns
    -------
    engine : ServingEngine
    launch : float
        Of an element-wise kernel of a step, us.
    """
    of = ENGINES[framework]["disaggregated"]
    engine = IDEAL_SERVING_ENGINE._replace(
        sequence=of["sequence_us"],
        first=of["first_ms"] * MILLI,
        burst=of["burst"],
        steps=of["steps"],
    )
    return engine, of["launch_us"]


def host_of(device: Device, framework: str, times: str, serving: int) -> Host:
    """Launch times and memory bandwidth outside measured kernels.

    Parameters
    ----------
    device : Device
    framework : str
        A serving engine, one of `FRAMEWORKS`.
    times : str
        One of `TIMES`; at "roofline" no launch takes time, and tokens of a text activate as many
        experts as at the rates of kernels.
    serving : int
        A position in `SERVING`. Where requests join a running batch, an element-wise kernel of a
        step adds what was fitted to serving rows, divided by the part of kernels that shows.
    """
    bandwidth = device.bytes_per_s * A_MICROSECOND
    constants = ENGINES[framework]
    if times == ROOFLINE:
        return Host(
            step_launch=0.0,
            pass_launch=0.0,
            head=0.0,
            moved=bandwidth,
            effective_experts=constants["effective_experts"],
            dense_prefills=int(constants["dense_prefills"]),
        )
    launch = constants["step_launch_us"]
    if serving == CONTINUOUS:
        launch = constants["launch_us"] / constants["overlap"]
    return Host(
        step_launch=launch,
        pass_launch=constants["pass_launch_us"],
        head=constants["head_us"],
        moved=constants["moved"] * bandwidth,
        effective_experts=constants["effective_experts"],
        dense_prefills=int(constants["dense_prefills"]),
    )


def wires_of(device: Device, times: str) -> Wires:
    """Bandwidths, byte/us, and latencies, us, of the links of a device."""
    links = device.links
    if links is None:
        return Wires(node=1 << 20, link=1.0, network=1.0, latency=0.0, network_latency=0.0)
    latency = EXCHANGE_US if times != ROOFLINE else 0.0
    network = links.network_bytes_per_s
    added = links.network_latency_s - links.latency_s if times != ROOFLINE else 0.0
    return Wires(
        node=links.devices_a_node,
        link=links.bytes_per_s * A_MICROSECOND,
        network=network * A_MICROSECOND if network else math.ulp(0.0) * 2**60,
        latency=latency,
        network_latency=added / A_MICROSECOND,
    )
