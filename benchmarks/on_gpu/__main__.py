"""Measure operators and passes on one GPU into a folder of CSV files.

`sweepengine calibrate DEVICE --data FOLDER` fits rates to the operators, and `sweepengine validate
--silicon --measured FOLDER --device DEVICE` compares all of it with predictions. Needs the extras
`validate` and `silicon`; nothing is downloaded.
"""

import argparse
import csv
import json
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import torch
import transformers

from benchmarks.on_gpu import operators, passes
from benchmarks.on_gpu.clock import Budget, Clock
from benchmarks.on_gpu.sizes import Sizes, read_sizes
from sweepengine.data.errors import InputError
from sweepengine.validation.measured_passes import COLUMNS, PASSES

SIZES = Path(__file__).with_name("sizes.toml")
FACTS = "run.json"
OPERATORS, OF_MODULES = PARTS = ("operators", "passes")


class Tables:
    """CSV files of a folder, each opened with its first row and complete after every row."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, TextIO] = {}
        self.rows: Counter[str] = Counter()

    def write(self, name: str, columns: tuple[str, ...], row: dict[str, Any]) -> None:
        """Write a row of a table.

        Parameters
        ----------
        name : str
            Of its file.
        columns : tuple of str
        row : dict
            Values by column.
        """
        new = name not in self.files
        if new:
            self.files[name] = (self.folder / name).open("w", newline="", encoding="utf-8")
        writer = csv.DictWriter(self.files[name], columns, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)
        self.files[name].flush()
        self.rows[name] += 1

    def close(self) -> None:
        """Close all files."""
        for file in self.files.values():
            file.close()


def device_of(name: str) -> torch.device:
    """Device to measure on.

    Raises
    ------
    InputError
        When there is no GPU.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: torch finds no GPU: expected one, or --device cpu")
    return torch.device(name)


def new_folder(path: Path) -> Path:
    """Make a folder of results.

    Raises
    ------
    InputError
        When it exists and is not empty, or cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        filled = any(path.iterdir())
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None
    if filled:
        raise InputError(f"{path}: is not empty: expected a new folder")
    return path


def measured(
    parts: tuple[str, ...], sizes: Sizes, entries: list[passes.Entry], out: Path, clock: Clock,
    budget: Budget,
) -> Iterator[tuple[str, tuple[str, ...], dict[str, Any]]]:  # fmt: skip
    """Rows as they are measured: file, columns, values."""
    if OPERATORS in parts:
        share = operators.SHARE if OF_MODULES in parts else 1.0
        for table, row in operators.measure(sizes, clock, budget, share):
            yield f"{table}_perf.csv", operators.COLUMNS[table], row
    if OF_MODULES in parts:
        for row in passes.measure(entries, out, clock, budget):
            yield PASSES, COLUMNS, row


def run(
    out: Path, device: str, minutes: float, parts: tuple[str, ...], sizes: Path
) -> tuple[Counter[str], Budget]:
    """Measure into a new folder.

    Parameters
    ----------
    out : Path
    device : str
        "cuda" or "cpu".
    minutes : float
        Budget of all measurements.
    parts : tuple of str
        Of `PARTS`.
    sizes : Path
        TOML file of what to measure.

    Returns
    -------
    tuple
        Rows by file, and the budget with what it left out.

    Raises
    ------
    InputError
        When the sizes are not valid, a model of them does not exist or has no such part, there is
        no GPU, or the folder is not new.
    """
    wanted, on = read_sizes(sizes), device_of(device)
    entries = passes.entries_of(wanted, sizes.parent) if OF_MODULES in parts else []
    tables, clock, budget = Tables(new_folder(out)), Clock(on), Budget(60 * minutes)
    torch.manual_seed(0)
    try:
        for file, columns, row in measured(parts, wanted, entries, out, clock, budget):
            tables.write(file, columns, row)
    finally:
        tables.close()
        facts = {
            "device": passes.device_name(on),
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
            "transformers": transformers.__version__,
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            "minutes": minutes,
            "seconds_used": round(budget.used, 1),
            "rows": dict(tables.rows),
            "left_out": [{"what": what, "why": why} for what, why in budget.left_out],
        }
        (out / FACTS).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return tables.rows, budget


def main(arguments: list[str] | None = None) -> int:
    """Measure, print what was measured and what was left out; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.on_gpu", description=__doc__)
    parser.add_argument("out", type=Path, metavar="OUT_FOLDER", help="new folder of the results")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--minutes", type=float, default=8.0, help="time to measure [8]")
    parser.add_argument("--only", choices=PARTS, action="append", help="one part [all]")
    parser.add_argument("--sizes", type=Path, default=SIZES, help="TOML file of what to measure")
    given = parser.parse_args(arguments)
    if not 0 < given.minutes < float("inf"):
        parser.error(f"--minutes {given.minutes}: expected a number above 0")
    try:
        rows, budget = run(
            given.out, given.device, given.minutes, tuple(given.only or PARTS), given.sizes
        )
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    for file, count in rows.items():
        print(f"{given.out / file}: {count:,} rows")
    reasons = Counter((what.split()[0], why) for what, why in budget.left_out)
    for (kind, why), count in reasons.items():
        print(f"left out: {count:,} of {kind}: {why}")
    print(f"{budget.used:.0f} s; {given.out / FACTS} lists what was left out")
    if not rows:
        print(f"{given.out}: nothing was measured", file=sys.stderr)
    return 0 if rows else 1


if __name__ == "__main__":
    sys.exit(main())
