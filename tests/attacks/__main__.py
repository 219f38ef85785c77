"""Runs every attack: `make attack`; with words, those whose group or name holds one of them.

    python -m tests.attacks [--part K/N] [--at-once N] [WORD...]

A part takes every Nth attack, from the Kth on, so that all parts take about as long.
"""

import argparse
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.attacks.attack import Attack, fresh, outcome, prepare
from tests.attacks.cases import attacks
from tests.attacks.second_cases import second_attacks


def part(text: str) -> slice:
    """Every Nth attack, from the Kth on, of "K/N"."""
    first, _, each = text.partition("/")
    if not 1 <= int(first) <= int(each):
        raise ValueError(text)
    return slice(int(first) - 1, None, int(each))


def main() -> None:
    """Run them, say what failed, and exit with 1 where something did."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*")
    parser.add_argument("--part", type=part, default=slice(None))
    parser.add_argument("--at-once", type=int, default=os.cpu_count())
    options = parser.parse_args()
    every = [*attacks(), *second_attacks()]
    chosen = [
        attack
        for attack in every
        if not options.words
        or any(word in f"{attack.group} {attack.name}" for word in options.words)
    ][options.part]
    began, failures = time.perf_counter(), 0
    with (
        tempfile.TemporaryDirectory() as home,
        ThreadPoolExecutor(options.at_once) as pool,
    ):
        prepared = Path(home) / "prepared"
        prepared.mkdir()
        prepare(prepared)

        def run(numbered: tuple[int, Attack]) -> str:
            number, attack = numbered
            return outcome(attack, fresh(prepared, Path(home) / str(number)))

        for attack, problem in zip(chosen, pool.map(run, enumerate(chosen)), strict=True):
            if problem:
                failures += 1
                print(f"{attack.group}: {attack.name}: {problem}", flush=True)
    seconds = time.perf_counter() - began
    print(f"{len(chosen)} attacks, {failures} failures, {seconds:.0f} seconds")
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
