"""Runs every attack: `make attack`; with words, those whose group or name holds one of them.

    python -m tests.attacks [--part K/N] [--at-once N | --within] [WORD...]

A part takes every Nth attack, from the Kth on, so that all parts take about as long. With
`--within`, commands run within this process where the attack needs none of its own, which is much
faster.
"""

import argparse
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.attacks.attack import Attack, cheapest, fresh, in_own_process, outcome, prepare
from tests.attacks.cases import attacks
from tests.parts import part


def main() -> None:
    """Run them, say what failed, and exit with 1 where something did."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*")
    parser.add_argument("--part", type=part, default=slice(None))
    parser.add_argument("--at-once", type=int, default=os.cpu_count())
    parser.add_argument("--within", action="store_true")
    options = parser.parse_args()
    chosen = [
        attack
        for attack in attacks()
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
            folder = fresh(prepared, Path(home) / str(number))
            return outcome(attack, folder, cheapest if options.within else in_own_process)

        several = map if options.within else pool.map  # signals come to the main thread alone
        for attack, problem in zip(chosen, several(run, enumerate(chosen)), strict=True):
            if problem:
                failures += 1
                print(f"{attack.group}: {attack.name}: {problem}", flush=True)
    seconds = time.perf_counter() - began
    print(f"{len(chosen)} attacks, {failures} failures, {seconds:.0f} seconds")
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
