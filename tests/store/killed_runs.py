"""Kills runs at random instants, resumes them and compares bytes; prints one line of JSON.

    python -m tests.store.killed_runs PLACE KILLS SEED

Runs live in processes forked from this one, which has imported and compiled everything, so that
kills hit the writing and not the start. Each run has another number of workers than the one before
it. PLACE is a directory, or a URI with `{}` for a folder: no more than forked processes ever reach
it, as its client starts threads, which a fork loses.
"""

import hashlib
import json
import os
import random
import signal
import sys
import time
import traceback

from sweepengine.engine.compute import compute_arrays
from sweepengine.grid.files import parse_grid
from sweepengine.store import runs
from sweepengine.store.manifest import MANIFEST
from sweepengine.store.storage import open_storage
from tests.manifests import text_of

AXES = {"crops": ["none", "2x3"], "heads": [[10, 10], [10, 5]], "attention": ["eager", "flash"],
        "decode_steps": {"start": 1, "stop": 2000, "step": 1}}  # fmt: skip
GRID = parse_grid({"name": "small", "axes": AXES}, "small")
ROWS_PER_FILE = 800
WORKERS = (1, 2, 3, 8)
KILLS = int(os.environ.get("SWEEPENGINE_KILLS", "6"))
"""Of a plain run of the tests; `make attack` asks for 50."""


def hashes(folder):
    """SHA-256 of every file that a run leaves."""
    storage = open_storage(folder)
    return {
        name: hashlib.sha256(storage.read(name)).hexdigest()
        for name in storage.names()
        if name != ".lock"
    }


def forked(work, *arguments):
    """Do work in a process of its own; its id and where it writes what the work returns."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reader)
            with os.fdopen(writer, "w") as file:
                json.dump(work(*arguments), file)
            code = 0
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writer)
    return child, reader


def done(work, *arguments):
    """What work returns that a process of its own does to its end."""
    child, reader = forked(work, *arguments)
    with os.fdopen(reader) as file:
        text = file.read()
    _, status = os.waitpid(child, 0)
    if status:
        raise SystemExit(f"what was not killed ended with status {status}")
    return json.loads(text)


def run(folder, workers):
    """Run the grid."""
    return runs.run(GRID, folder, workers=workers).written


def left_of(folder):
    """Hashes of what is there, and whether it says to be complete."""
    storage = open_storage(folder)
    try:
        found = hashes(folder)
        whole = MANIFEST in found and json.loads(text_of(storage.read(MANIFEST)))["complete"]
    except FileNotFoundError:
        return {}, False
    return found, whole


def main():
    """Kill, check, resume, compare."""
    place, kills, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    place = place if "{}" in place else f"{place}/{{}}"
    runs.ROWS_PER_FILE = ROWS_PER_FILE
    instants = random.Random(seed)
    compute_arrays(GRID.model, next(iter(GRID.chunks(10))))  # compiled before it forks
    began = time.perf_counter()
    done(run, place.format("whole"), 2)
    seconds = time.perf_counter() - began
    whole = done(hashes, place.format("whole"))
    found = {"kills": 0, "midway": 0, "untrue": 0, "different": 0, "files": len(whole)}
    turn = 0
    # However the speed of the machine changes: until enough of them came midway.
    while found["kills"] < kills or found["midway"] < kills // 5:
        turn += 1
        if turn > 20 * kills:
            raise SystemExit(f"no more than {found} in {turn} turns")
        folder = place.format(f"killed-{turn}")
        workers = instants.sample(WORKERS, 3)
        for _ in range(instants.choice([1, 1, 2])):
            child, reader = forked(run, folder, workers.pop())
            time.sleep(instants.uniform(0, seconds))
            os.kill(child, signal.SIGKILL)
            os.close(reader)
            _, status = os.waitpid(child, 0)
            found["kills"] += os.WIFSIGNALED(status)
            left, complete = done(left_of, folder)
            named = {name for name in left if name.startswith("points-")}
            named = {name for name in named if name.endswith(".parquet")}
            found["midway"] += 0 < len(named) < len(whole) - 1
            found["untrue"] += any(left[name] != whole[name] for name in named)
            found["untrue"] += complete and left != whole
        done(run, folder, workers.pop())
        found["different"] += done(hashes, folder) != whole
    print(json.dumps(found))


if __name__ == "__main__":
    main()
