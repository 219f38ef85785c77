"""Repeated measurements, and what is told of them."""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

RUNS = 5


class Measurement(NamedTuple):
    """Seconds of several runs of one way to do a thing."""

    group: str
    way: str
    points: int
    seconds: list[float]
    megabytes: float | None = None
    """Peak resident memory, measured from outside the process."""
    note: str = ""

    @property
    def median(self) -> float:
        """Median of the seconds."""
        return statistics.median(self.seconds)

    @property
    def rate(self) -> float:
        """Points a second."""
        return self.points / self.median


def measure(
    group: str, way: str, points: int, work: Callable[[], object], runs: int = RUNS, note: str = ""
) -> Measurement:
    """Time `runs` runs, after one that warms up."""
    work()
    seconds = []
    for _ in range(runs):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return Measurement(group, way, points, seconds, note=note)


class Process(NamedTuple):
    """A process that has ended."""

    seconds: float
    megabytes: float
    output: str


def run_command(*arguments: str | Path, environment: dict[str, str] | None = None) -> Process:
    """Run `sweepengine` in a process of its own, and watch its peak memory from outside."""
    command = [sys.executable, "-m", "sweepengine", *map(str, arguments)]
    peak = 0
    with tempfile.TemporaryFile() as output:
        began = time.perf_counter()
        child = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
        while child.poll() is None:
            peak = max(peak, _high_water_kilobytes(child.pid))
            time.sleep(0.01)
        seconds = time.perf_counter() - began
        output.seek(0)
        text = output.read().decode()
    if child.returncode:
        raise SystemExit(f"{' '.join(command)}: {text}")
    return Process(seconds, peak / 1024, text)


def _high_water_kilobytes(process: int) -> int:
    """Largest resident set that the kernel has seen so far; 0 when the process is gone."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)
