"""Fits what `served_constants` does not: slower devices and disaggregated serving.

    python -m sweepengine.validation.other_constants

rewrites `slower` in the files of devices that borrow rates and were measured in serving, and TTFT
of `disaggregated` in data/serving_engines/*.toml, from the training halves of the rows.
"""

import re
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweepengine.data.devices import load_device
from sweepengine.data.files import known
from sweepengine.data.serving_engines import ENGINES, MILLI, serving_engine
from sweepengine.formulas.speeds import FRAMEWORKS
from sweepengine.validation.real_runs import read_public
from sweepengine.validation.served import Served, read_rows
from sweepengine.validation.served_constants import fitted_to
from sweepengine.validation.served_files import written

FACTORS = np.exp(np.linspace(-2.0, 2.0, 401))
"""Of the shipped factor, which are tried: 1 % apart."""


def slower_of(rows: list[Served]) -> float:
    """How many times as long kernels take as predicted, the closest to the TPOT of rows."""

    def off(factor: float) -> float:
        return float(np.sum(np.abs([np.log(_tpot(r, factor) / r.measured_tpot) for r in rows])))

    return float(min(FACTORS, key=off))


def _tpot(row: Served, factor: float) -> float:
    """TPOT of a row whose kernels take `factor` times as long, ms."""
    constants, work = ENGINES[row.engine], row.work
    scaled = work._replace(
        kernels=factor * work.kernels, prefill=factor * work.prefill, refill=factor * work.refill
    )
    launch = constants["launch_us"] / constants["overlap"]
    return scaled.seconds(launch, serving_engine(row.engine, row.load))[0]


def slower_devices() -> dict[str, dict[str, float]]:
    """`slower` of each device that borrows rates, by serving engine, from the training half."""
    found: dict[str, dict[str, float]] = {}
    names = {load_device(name).measured or name: name for name in known("devices")}
    for system in sorted({row.system for _, row in read_public().runs}):
        device = load_device(names[system])
        for framework, shipped in device.slower.items():
            rows = [
                row
                for _, row in read_public().runs
                if (row.system, row.engine) == (system, framework)
                and row.aggregated
                and not row.judged
            ]
            factor = round(shipped * slower_of(rows), 2)
            found.setdefault(device.name, {})[framework] = factor
    return found


def disaggregated_constants(rows: list[Served]) -> dict[str, dict[str, Any]]:
    """`disaggregated` of each serving engine, its TTFT fitted to rows in which workers differ."""
    columns = [
        [row.work.queued, row.tpot * MILLI, *(MILLI * (row.engine == name) for name in FRAMEWORKS)]
        for row in rows
    ]
    design: NDArray[np.float64] = np.array(columns) / MILLI
    base = np.array([row.work.prefill for row in rows]) / MILLI
    measured = np.array([row.measured_ttft for row in rows])
    burst, steps, *first = (float(f"{value:.3g}") for value in fitted_to(design, base, measured))
    return {
        name: ENGINES[name]["disaggregated"]
        | {"first_ms": round(ms, 1), "burst": burst, "steps": steps}
        for name, ms in zip(FRAMEWORKS, first, strict=True)
    }


def main() -> None:
    """Fit all, and write them to their files."""
    data = Path(str(resources.files("sweepengine.data")))
    rows = [row for row in read_rows().served if not row.aggregated and not row.judged]
    found = {
        data / "serving_engines" / f"{name}.toml": ("disaggregated", of)
        for name, of in disaggregated_constants(rows).items()
    } | {data / "devices" / f"{name}.toml": ("slower", of) for name, of in slower_devices().items()}
    for path, (key, value) in found.items():
        line = f"{key} = {written(value)}"
        path.write_text(re.sub(rf"(?m)^{key} = .*$", line, path.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
