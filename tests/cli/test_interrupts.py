"""A command that a signal ends says no answer, at whatever instant the signal comes."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.slow
INTERRUPTS = int(os.environ.get("SWEEPENGINE_KILLS", "2"))
"""Of each scan; `make attack` asks for 50."""
GRID = """name = "many"
[axes]
crops = { min = 2, max = 29 }
decode_steps = { start = 1, stop = 8000, step = 1 }
batch_size = [1, 8, 64]
"""
POINTS = 59 * 8000 * 3
COMMANDS = {
    "slo": ["slo", "many.toml", "--device", "h100-sxm", "--ttft", "1", "--tpot", "1", "--json"],
    "query": ["query", "many.toml", "--select", "count(*) AS n, sum(decode_tensor_flops) AS s",
              "--group-by", "batch_size", "--format", "json"],
    "export": ["query", "many.toml", "--out", "x.csv"],
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("interrupted")
    (place / "many.toml").write_text(GRID)
    return place


def started(folder, name):
    return subprocess.Popen(
        [sys.executable, "-m", "sweepengine", *COMMANDS[name]],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def until_it(process, field, number):
    """Wait until a field of a process names a signal: SigBlk, held back; SigIgn, ignored."""
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        lines = status.read_text().splitlines()
        mask = next(line.split()[1] for line in lines if line.startswith(f"{field}:"))
        if int(mask, 16) >> number - 1 & 1:
            return
        time.sleep(0.001)


def until_it_holds_back(process, number):
    """Wait until a command holds a signal back, which it does before it loads its modules."""
    until_it(process, "SigBlk", number)


@pytest.fixture(scope="module")
def whole_of(folder):
    """What a command says that nothing disturbs, and its seconds; by the name of the command."""

    @cache
    def of(name):
        began = time.perf_counter()
        whole, _ = started(folder, name).communicate()
        return whole, time.perf_counter() - began

    return of


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", ["slo", "query"])
def test_interrupted_scan_has_no_answer(folder, whole_of, name, number):
    whole, seconds = whole_of(name)
    assert json.loads(whole)
    instants = random.Random(number)
    for _ in range(INTERRUPTS):
        process = started(folder, name)
        until_it_holds_back(process, number)
        time.sleep(instants.uniform(0, 0.9) * seconds)
        process.send_signal(number)
        out, error = process.communicate()
        if process.returncode == 0:  # it was faster
            assert out == whole
            continue
        assert out in ("", whole)  # it may have said all before
        assert process.returncode == 128 + number, error
        assert error == "sweepengine: interrupted\n"


TRAP = """
import os, sys, time
from sweepengine.__main__ import main

def trap(frame, event, argument):
    global calls
    if event == "call" and {part!r} in frame.f_code.co_filename:
        calls -= 1
        if calls == 0:
            sys.setprofile(None)
            try:
                os.kill(os.getpid(), {number})
                while not {held}:
                    time.sleep(0.001)
            except KeyboardInterrupt as stop:
                raise RuntimeError("what an import may make of it") from stop

calls = {calls}
sys.argv = ["sweepengine", "fit", "qwen3-8b", "--device", "l4"]
sys.setprofile(trap)
main()
print("not reached", calls, file=sys.stderr)
"""
BEFORE = [("/signal.py", 1), ("/enum.py", 40), ("/engine/interrupts.py", 2)]
"""Files that load before signals are held back, and which call into one a signal comes at."""
HELD = [("/enum.py", 400), ("/click/", 30), ("/sweepengine/cli/", 3), ("/formulas/vision.py", 1)]
"""Those that load while they are held back."""
WATCHED = [("/sweepengine/data/schema.py", 5), ("/pydantic/", 300), ("/pydantic/", 9000),
           ("/numpy/", 50), ("/polars/", 400)]  # fmt: skip
"""Those that a command loads when it needs them."""


@pytest.mark.parametrize(
    ("part", "calls", "number"),
    [(*place, signal.SIGINT) for place in BEFORE + HELD + WATCHED]
    + [(*place, signal.SIGTERM) for place in HELD[::2] + WATCHED[::2]],
)
def test_interrupted_import_is_one_line(part, calls, number):
    """Also where the import makes another exception of it, as those of pydantic's classes do."""
    held = (part, calls) in HELD
    code = TRAP.format(part=part, calls=calls, number=int(number), held=held)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (128 + number, "")
    assert done.stderr == "sweepengine: interrupted\n"


def test_command_that_is_stopped_and_continued_goes_on(folder, whole_of):
    whole, _ = whole_of("query")
    process = started(folder, "query")
    until_it_holds_back(process, signal.SIGINT)
    for _ in range(4):
        process.send_signal(signal.SIGSTOP)
        while psutil.Process(process.pid).status() not in (
            psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE
        ):  # fmt: skip
            time.sleep(0.001)
        time.sleep(0.3)  # longer than anything waits in it
        process.send_signal(signal.SIGCONT)
        time.sleep(0.05)
    out, error = process.communicate()
    assert (process.returncode, out, error) == (0, whole, "")


def test_interrupted_export_leaves_nothing(folder):
    process = started(folder, "export")
    while len(list(folder.iterdir())) == 1 and process.poll() is None:
        time.sleep(0.01)  # until it writes
    process.send_signal(signal.SIGINT)
    out, error = process.communicate()
    assert (process.returncode, out, error) == (130, "", "sweepengine: interrupted\n")
    assert [path.name for path in folder.iterdir()] == ["many.toml"]


def test_signals_that_a_shell_ignores_are_ignored(folder):
    """As under nohup, or in the background of a script."""
    line = f"trap '' INT HUP; exec {sys.executable} -m sweepengine devices"
    process = subprocess.Popen(["bash", "-c", line], stdout=subprocess.PIPE, text=True)
    for number in (signal.SIGINT, signal.SIGHUP):
        until_it(process, "SigIgn", number)
    for _ in range(10):
        time.sleep(0.03)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGHUP)
    out, _ = process.communicate()
    assert process.returncode == 0
    assert "h100-sxm" in out
