"""Kills runs at random instants, resumes them and compares bytes; prints one line of JSON.

    python -m tests.store.killed_runs FOLDER KILLS SEED

Runs live in processes forked from this one, which has imported and compiled everything, so that
kills hit the writing and not the start.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

from sweepengine.engine.compute import compute_arrays
from sweepengine.grid.grid import parse_grid
from sweepengine.store import runs

AXES = {"crops": ["none", "2x3"], "heads": [[10, 10], [10, 5]], "attention": ["eager", "flash"],
        "decode_steps": {"start": 1, "stop": 2000, "step": 1}}  # fmt: skip
GRID = parse_grid({"name": "small", "axes": AXES}, "small")
ROWS_PER_FILE = 400


def hashes(folder):
    """SHA-256 of every file that a run leaves."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.name != ".lock"
    }


def start(folder):
    """Run the grid in a process of its own; its id."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            runs.run(GRID, folder, workers=2)
            code = 0
        finally:
            os._exit(code)
    return child


def finish(folder):
    """Run the grid to its end."""
    _, status = os.waitpid(start(folder), 0)
    if status:
        raise SystemExit(f"a run that was not killed ended with status {status}")


def main():
    """Kill, check, resume, compare."""
    home, kills, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    runs.ROWS_PER_FILE = ROWS_PER_FILE
    instants = random.Random(seed)
    compute_arrays(GRID.model, next(iter(GRID.chunks(10))))  # compiled before it forks
    began = time.perf_counter()
    finish(home / "whole")
    seconds = time.perf_counter() - began
    whole = hashes(home / "whole")
    found = {"kills": 0, "midway": 0, "untrue": 0, "different": 0, "files": len(whole)}
    while found["kills"] < kills:
        folder = home / "killed"
        shutil.rmtree(folder, ignore_errors=True)
        for _ in range(instants.choice([1, 1, 2])):
            child = start(folder)
            time.sleep(instants.uniform(0, seconds))
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            found["kills"] += os.WIFSIGNALED(status)
            left = hashes(folder) if folder.exists() else {}
            named = {name for name in left if name.startswith("points-")}
            named = {name for name in named if name.endswith(".parquet")}
            found["midway"] += 0 < len(named) < len(whole) - 1
            found["untrue"] += any(left[name] != whole[name] for name in named)
            manifest = folder / "manifest.json"
            if manifest.exists() and json.loads(manifest.read_text())["complete"]:
                found["untrue"] += left != whole
        finish(folder)
        found["different"] += hashes(folder) != whole
    print(json.dumps(found))


if __name__ == "__main__":
    main()
