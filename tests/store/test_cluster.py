import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

import psutil
import pytest

import sweepengine as se
from sweepengine.grid.files import parse_grid
from sweepengine.store import runs
from tests.manifests import facts_of
from tests.store.test_runs import hashes
from tests.waits import PATIENCE_SECONDS, free_port

pytestmark = pytest.mark.slow

AXES = {"crops": ["none", "2x3"], "attention": ["eager", "flash"],
        "decode_steps": {"start": 1, "stop": 2000, "step": 1}}  # fmt: skip


@pytest.fixture
def grid(monkeypatch):
    monkeypatch.setattr(runs, "ROWS_PER_FILE", 500)
    return parse_grid({"name": "small", "axes": AXES}, "small")


def workers_of(pid):
    return [
        child
        for child in psutil.Process(pid).children(recursive=True)
        if child.name().startswith("ray::write_shard")
    ]


def test_ray_writes_the_bytes_of_a_local_run_even_when_workers_are_killed(grid, tmp_path):
    se.run(grid, tmp_path / "local")
    killed, ended = [], threading.Event()

    def kill_soon():
        while len(killed) < 2 and not ended.is_set():
            for worker in workers_of(os.getpid()):
                worker.send_signal(signal.SIGKILL)
                killed.append(worker.pid)
                time.sleep(0.5)
            time.sleep(0.005)

    killer = threading.Thread(target=kill_soon)
    killer.start()
    try:
        summary = se.run(grid, tmp_path / "ray", engine="ray", workers=2)
    finally:
        ended.set()
        killer.join()
    assert killed
    assert (summary.written, summary.files) == (8000, 16)
    assert hashes(tmp_path / "ray") == hashes(tmp_path / "local")
    again = se.run(grid, tmp_path / "ray", engine="ray", workers=2)
    assert again.written == 0


def test_shard_that_raises_reports_its_points_and_the_cause(grid, tmp_path):
    (tmp_path / "d").mkdir()
    broken = "points-000000000001000-000000000001500.parquet.unfinished"

    original = runs._written

    def block(*arguments):
        # A directory where the draft of one file must stand.
        (tmp_path / "d" / broken).mkdir(exist_ok=True)
        return original(*arguments)

    runs._written = block
    try:
        with pytest.raises(se.InputError, match="points 1,000 to 1,500: IsADirectoryError: "):
            se.run(grid, tmp_path / "d", engine="ray", workers=2)
    finally:
        runs._written = original
    assert not facts_of(tmp_path / "d")["complete"]
    (tmp_path / "d" / broken).rmdir()
    se.run(grid, tmp_path / "d")
    se.run(grid, tmp_path / "whole")
    assert hashes(tmp_path / "d") == hashes(tmp_path / "whole")


def test_command_runs_on_ray_and_says_what_is_wrong(process, command, tmp_path):
    done = process("run", "serving", "--out", tmp_path / "d", "--engine", "ray", "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1].startswith("400 points")
    wrong = command("run", "serving", "--out", tmp_path / "e", "--address", "127.0.0.1:9")
    assert (wrong.returncode, "--address: expected --engine ray" in wrong.stderr) == (2, True)


@pytest.fixture
def head(root, monkeypatch):
    """A cluster of a head alone; yields its address, and ends what it started."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # tokens are of a user's own clusters
    port = free_port()
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", f"--port={port}",
               "--num-cpus=1", "--include-dashboard=false", "--node-ip-address=127.0.0.1",
               "--disable-usage-stats", "--block"]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(root)}
    started = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    try:
        said = []
        for line in started.stdout:
            said.append(line)
            if "runtime started" in line:
                break
        assert "runtime started" in said[-1], "".join(said)
        yield f"127.0.0.1:{port}"
    finally:
        family = [] if started.poll() else psutil.Process(started.pid).children(recursive=True)
        started.terminate()
        started.communicate(timeout=PATIENCE_SECONDS)
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()


def test_cluster_of_a_given_address_writes_the_files(process, head, tmp_path):
    done = process("run", "modes", "--out", tmp_path / "d", "--engine", "ray", "--address", head)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("56 points")
    se.run("modes", tmp_path / "local")
    assert hashes(tmp_path / "d") == hashes(tmp_path / "local")


@pytest.mark.parametrize("address", ["127.0.0.1:9", "nobody", "127.0.0.1:99999", "ray://:x"])
def test_address_where_no_cluster_is_is_one_line(command, tmp_path, address):
    done = command(
        "run", "serving", "--out", tmp_path / "d", "--engine", "ray", "--address", address
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"sweepengine: --address {address}: ")
    assert done.stderr.count("\n") == 1


def test_missing_extra_is_named(root, tmp_path):
    code = (
        "import sys; sys.modules['ray'] = None\n"
        f"sys.argv = ['sweepengine', 'run', 'serving', '--out', {str(tmp_path / 'd')!r}, "
        "'--engine', 'ray']\n"
        "from sweepengine.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "pip install 'sweepengine[ray]'" in done.stderr


@pytest.mark.parametrize("address", [None, "127.0.0.1:6399"])
def test_node_that_does_not_start_is_one_line(grid, tmp_path, monkeypatch, address):
    def slow(**_):
        raise Exception("The current node timed out\nduring startup.")

    monkeypatch.setattr("ray.init", slow)
    monkeypatch.setattr("sweepengine.store.cluster._require_listener", lambda _: None)
    option = f"--address {address}: no Ray cluster"
    place = "--engine ray: Ray did not start" if address is None else option
    with pytest.raises(se.InputError, match=f"{place}.*: The current node timed out during start"):
        se.run(grid, tmp_path / "d", engine="ray", address=address)
