"""A command that a signal ends says no answer, at whatever instant the signal comes."""

import json
import random
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.slow
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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", ["slo", "query"])
def test_interrupted_scan_has_no_answer(folder, name, number):
    began = time.perf_counter()
    whole, _ = started(folder, name).communicate()
    seconds = time.perf_counter() - began
    assert json.loads(whole)
    instants = random.Random(number)
    for _ in range(5):
        process = started(folder, name)
        time.sleep(instants.uniform(0.3, 0.9) * seconds)
        process.send_signal(number)
        out, error = process.communicate()
        if process.returncode == 0:  # it was faster
            assert out == whole
            continue
        assert out in ("", whole)  # it may have said all before
        if process.returncode == -number:  # as it began or when it had ended
            assert error == ""
            continue
        assert process.returncode == 128 + number, error
        assert error == "sweepengine: interrupted\n"


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
    for _ in range(10):
        time.sleep(0.03)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGHUP)
    out, _ = process.communicate()
    assert process.returncode == 0
    assert "h100-sxm" in out
