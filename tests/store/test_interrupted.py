import errno
import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

import sweepengine as se
from sweepengine.store import runs, storage
from tests.manifests import facts_of
from tests.store.killed_runs import GRID, KILLS, ROWS_PER_FILE, hashes
from tests.waits import PATIENCE_SECONDS, waiting

pytestmark = pytest.mark.slow


def test_runs_killed_at_random_instants_end_in_the_same_bytes(root, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tests.store.killed_runs", str(tmp_path), str(KILLS), "1"],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["kills"] >= KILLS
    assert found["midway"] >= KILLS // 5
    assert (found["untrue"], found["different"]) == (0, 0)


def part_of_capacity(root, folder, tiles):
    """The shipped grid with fewer crop grids, so that a run takes few seconds; its path."""
    text = (root / "grids" / "capacity.toml").read_text()
    part = folder / "part.toml"
    part.write_text(text.replace("max = 29", f"max = {tiles}"))
    return part


def test_ctrl_c_says_how_to_go_on_and_exits_130(root, tmp_path):
    grid = part_of_capacity(root, tmp_path, 16)
    command = [sys.executable, "-m", "sweepengine", "run", str(grid), "--out", str(tmp_path / "d"),
               "--workers", "1"]  # fmt: skip
    run = subprocess.Popen(
        command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for _ in waiting("the run writes nothing"):
        if list((tmp_path / "d").glob("points-*.parquet")):
            break
        assert run.poll() is None
    run.send_signal(signal.SIGINT)
    out, error = run.communicate(timeout=PATIENCE_SECONDS)
    assert run.returncode == 130
    assert out == ""
    assert error == f"{tmp_path / 'd'}: interrupted: run the same command again to go on\n"
    assert not facts_of(tmp_path / "d")["complete"]
    kept = len(list((tmp_path / "d").glob("points-*.parquet")))
    again = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=600)
    assert again.returncode == 0
    assert "of them from before" in again.stdout
    assert 0 < kept < len(list((tmp_path / "d").glob("points-*.parquet")))
    assert list((tmp_path / "d").glob("*.unfinished")) == []


@pytest.fixture
def small_files(monkeypatch):
    monkeypatch.setattr(runs, "ROWS_PER_FILE", ROWS_PER_FILE)


@pytest.fixture
def whole(small_files, tmp_path):
    se.run(GRID, tmp_path / "whole")
    return hashes(tmp_path / "whole")


def complete_files(folder, whole):
    left = hashes(folder)
    named = {
        name: digest
        for name, digest in left.items()
        if name.startswith("points-") and name.endswith(".parquet")
    }
    assert all(whole[name] == digest for name, digest in named.items())
    return len(named)


@pytest.mark.parametrize("count", [1, 2, 7, 15])
def test_failing_fsync_is_one_message_and_leaves_only_complete_files(
    tmp_path, whole, monkeypatch, count
):
    calls = iter(range(10**6))
    sync = os.fsync

    def failing(handle):
        if next(calls) >= count:
            raise OSError(errno.EIO, "Input/output error")
        sync(handle)

    monkeypatch.setattr(storage.os, "fsync", failing)
    with pytest.raises(se.InputError, match=r"Input/output error.*run the same command again"):
        se.run(GRID, tmp_path / "d")
    monkeypatch.setattr(storage.os, "fsync", sync)
    complete_files(tmp_path / "d", whole)
    se.run(GRID, tmp_path / "d")
    assert hashes(tmp_path / "d") == whole


def mounted(folder, size):
    folder.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    return subprocess.run(options, capture_output=True).returncode == 0


def test_full_disk_is_one_message_and_what_is_written_stays(process, command, root, tmp_path):
    disk, out = tmp_path / "disk", tmp_path / "disk" / "d"
    grid = part_of_capacity(root, tmp_path, 9)
    if not mounted(disk, "6m"):  # two files and a half
        pytest.skip("mounting a small file system needs root")
    try:
        done = process("run", grid, "--out", out, "--workers", 1)
        assert done.returncode == 2
        assert "No space left on device" in done.stderr
        assert "bytes free); complete files are kept" in done.stderr
        assert done.stderr.count("\n") == 1
        files = list(out.glob("points-*.parquet"))
        assert files
        assert not facts_of(out)["complete"]
        shutil.copytree(out, tmp_path / "moved")
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    again = command("run", grid, "--out", tmp_path / "moved")
    assert again.returncode == 0
    command("run", grid, "--out", tmp_path / "undisturbed")
    assert hashes(tmp_path / "moved") == hashes(tmp_path / "undisturbed")


def test_too_large_a_file_is_one_message(root, tmp_path):
    limited = f"ulimit -f 500; {sys.executable} -m sweepengine run capacity --out {tmp_path / 'd'}"
    done = subprocess.run(
        ["bash", "-c", f"trap '' XFSZ; {limited}"], cwd=root, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "File too large" in done.stderr
    assert done.stderr.count("\n") == 1
    assert list((tmp_path / "d").glob("points-*.parquet")) == []


TEXT = """name = "text"
model = "llama-3.1-8b"
[axes]
decode_steps = {start = 1, stop = 6000, step = 1}
"""
"""So many points that they are compiled, with one prompt, so that nothing else is."""


def test_first_starts_at_once_compile_safely(tmp_path, grid_file):
    command = [sys.executable, "-m", "sweepengine", "run", str(grid_file(TEXT)), "--out"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    runs = [
        subprocess.Popen(
            [*command, str(tmp_path / str(i))],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for i in range(2)
    ]
    assert [run.wait(timeout=600) for run in runs] == [0, 0]
    assert [run.stderr.read() for run in runs] == [b"", b""]
    assert hashes(tmp_path / "0") == hashes(tmp_path / "1")
    assert list((tmp_path / "cache").rglob("*.nbc"))
