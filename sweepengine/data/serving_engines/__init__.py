"""Constants of serving engines: times outside kernels, one file per engine with its versions."""

import math
import re
import tomllib
from importlib import resources
from typing import Any, Final

from sweepengine.data.devices import Device
from sweepengine.data.rates import A_MICROSECOND
from sweepengine.formulas.speeds import FRAMEWORKS, ROOFLINE, SILICON, Host, Wires

EXCHANGE_US = 20.0
"""Latency of a token exchange, us (docs/times.md, "Exchange with experts elsewhere")."""

_UNTIMED = ("source",)
"""Keys that change no time."""


def order_of(version: str) -> tuple[int, ...]:
    """Numbers of a version, which order versions: "1.3.0rc20" is (1, 3, 0, 20)."""
    return tuple(int(number) for number in re.findall(r"\d+", version))


def _newest(engine: str) -> dict[str, Any]:
    file = resources.files(__name__) / f"{engine}.toml"
    versions = tomllib.loads(file.read_text(encoding="utf-8"))["versions"]
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


def host_of(device: Device, framework: str, times: str) -> Host:
    """Launch times and memory bandwidth outside measured kernels.

    Parameters
    ----------
    device : Device
    framework : str
        A serving engine, one of `FRAMEWORKS`.
    times : str
        One of `TIMES`; at "roofline" no launch takes time.
    """
    bandwidth = device.bytes_per_s * A_MICROSECOND
    if times == ROOFLINE:
        return Host(
            step_launch=0.0, pass_launch=0.0, head=0.0, moved=bandwidth, effective_experts=1.0
        )
    constants = ENGINES[framework]
    return Host(
        step_launch=constants["step_launch_us"],
        pass_launch=constants["pass_launch_us"],
        head=constants["head_us"],
        moved=constants["moved"] * bandwidth,
        effective_experts=constants["effective_experts"],
    )


def wires_of(device: Device, times: str) -> Wires:
    """Bandwidths, byte/us, and latencies, us, of the links of a device."""
    links = device.links
    if links is None:
        return Wires(node=1 << 20, link=1.0, network=1.0, latency=0.0, network_latency=0.0)
    latency = EXCHANGE_US if times == SILICON else 0.0
    network = links.network_bytes_per_s
    added = links.network_latency_s - links.latency_s if times == SILICON else 0.0
    return Wires(
        node=links.devices_a_node,
        link=links.bytes_per_s * A_MICROSECOND,
        network=network * A_MICROSECOND if network else math.ulp(0.0) * 2**60,
        latency=latency,
        network_latency=added / A_MICROSECOND,
    )
