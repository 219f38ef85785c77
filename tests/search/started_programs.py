"""Run a start script with stand-ins for its programs, and see how each was started."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

PROGRAMS = ("vllm", "vllm-router", "trtllm-serve", "python3")

# A script ends, and kills the rest, as soon as one of its programs ends: so each waits until all
# have written how they were started.
STAND_IN = """\
#!{python} -IS
import json, os, pathlib, sys, time

name, words = os.path.basename(sys.argv[0]), sys.argv[1:]
config = pathlib.Path(words[words.index("--config") + 1]).read_text() if "--config" in words else ""
record = [name, os.environ.get("NODE"), os.environ.get("CUDA_VISIBLE_DEVICES"), words, config]
folder = pathlib.Path(os.environ["STARTED"])
part = folder / f"{{os.getpid()}}.part"
part.write_text(json.dumps(record))
part.rename(part.with_suffix(".json"))
end = time.monotonic() + 60
while len(list(folder.glob("*.json"))) < int(os.environ["EXPECTED"]):
    if time.monotonic() > end:
        sys.exit("not every program was started")
    time.sleep(0.01)
"""


class Started(NamedTuple):
    """How a program was started: its variables, its words, and what its --config file held."""

    program: str
    node: str | None
    devices: str | None
    words: list[str]
    config: str


def run_script(
    script: Path, folder: Path, **variables: str
) -> tuple[subprocess.CompletedProcess[str], list[Started]]:
    """How a start script ended, and the programs that it started, kept in a folder of their own."""
    programs, records = folder / "programs", folder / f"started-{len(list(folder.iterdir()))}"
    programs.mkdir(exist_ok=True)
    records.mkdir()
    for name in PROGRAMS:
        (programs / name).write_text(STAND_IN.format(python=sys.executable), "utf-8")
        (programs / name).chmod(0o755)
    node = script.read_text("utf-8").split(f"\n{variables.get('NODE', '0')})\n")[1].split(";;")[0]
    environment = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "STARTED": str(records),
        "EXPECTED": str(node.count(" &\n")),
    }
    done = subprocess.run(["bash", script], env=environment | variables, capture_output=True,
                          text=True, timeout=120, check=False)  # fmt: skip
    return done, [Started(*json.loads(path.read_text())) for path in sorted(records.iterdir())]
