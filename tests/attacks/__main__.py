"""Runs every attack: `make attack`; with words, those whose group or name holds one of them."""

import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.attacks.attack import Attack, fresh, outcome, prepare
from tests.attacks.cases import attacks
from tests.attacks.second_cases import second_attacks


def main() -> None:
    """Run them, say what failed, and exit with 1 where something did."""
    words = sys.argv[1:]
    every = [*attacks(), *second_attacks()]
    chosen = [a for a in every if not words or any(w in f"{a.group} {a.name}" for w in words)]
    began, failures = time.perf_counter(), 0
    with tempfile.TemporaryDirectory() as home, ThreadPoolExecutor(os.cpu_count()) as pool:
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
