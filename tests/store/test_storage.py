import json
import os
import shutil
import subprocess
import sys
import urllib.request

import duckdb
import fsspec
import polars as pl
import pytest

import sweepengine as se
from sweepengine.grid.files import parse_grid
from sweepengine.query.sources import open_source
from sweepengine.store import runs
from sweepengine.store.manifest import MANIFEST
from sweepengine.store.storage import LocalFolder, RemoteFolder, open_storage
from tests.manifests import text_of, with_text
from tests.store.killed_runs import KILLS
from tests.waits import free_port, waiting

pytestmark = pytest.mark.slow

AXES = {"crops": ["none", "2x3"], "decode_steps": {"start": 1, "stop": 40, "step": 1}}


@pytest.fixture
def grid(monkeypatch):
    monkeypatch.setattr(runs, "ROWS_PER_FILE", 20)
    return parse_grid({"name": "small", "axes": AXES}, "small")


@pytest.fixture(scope="module")
def s3():
    """A local S3 server with one bucket; yields the URI of a folder and its parameters."""
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        address = f"http://127.0.0.1:{port}/bucket"
        making = urllib.request.Request(address, method="PUT")
        for _ in waiting("the S3 server does not answer"):
            try:
                urllib.request.urlopen(making, timeout=60).close()
                break
            except OSError:
                assert server.poll() is None
        yield (
            lambda folder: (
                f"s3://key:secret@bucket/{folder}?scheme=http&endpoint_override=127.0.0.1:{port}"
                "&region=us-east-1"
            )
        )
    finally:
        server.terminate()
        server.wait()


def contents(storage):
    return {name: storage.read(name) for name in storage.names() if name != ".lock"}


@pytest.mark.parametrize("kind", ["s3", "memory"])
def test_remote_dataset_holds_the_bytes_of_a_local_one(kind, grid, s3, tmp_path):
    place = s3("whole") if kind == "s3" else "memory://whole"
    summary = se.run(grid, place)
    assert (summary.written, summary.files) == (80, 4)
    assert summary.place == place.split("?")[0].replace("key:secret@", "")
    se.run(grid, tmp_path / "d")
    assert contents(open_storage(place)) == contents(open_storage(tmp_path / "d"))
    assert summary.bytes == sum(p.stat().st_size for p in (tmp_path / "d").glob("points-*.parquet"))
    again = se.run(grid, place)
    assert (again.written, again.points) == (0, 80)
    source = open_source(place)
    assert source.points.collect().equals(se.scan(grid).collect())


@pytest.mark.parametrize("kind", ["s3", "memory"])
def test_remote_run_goes_on_and_refuses_another_grid(kind, grid, s3, tmp_path):
    place = s3("resumed") if kind == "s3" else "memory://resumed"
    se.run(grid, place)
    storage = open_storage(place)
    before = contents(storage)
    gone = [name for name in before if name.startswith("points-")][1:3]
    for name in gone:
        storage.remove(name)
    text = text_of(before[MANIFEST]).replace('"complete": true', '"complete": false')
    storage.write(MANIFEST, lambda file: file.write(with_text(before[MANIFEST], text)))
    with pytest.raises(se.InputError, match="is not complete"):
        open_source(place)
    assert se.run(grid, place).written == 40
    assert contents(storage) == before
    other = parse_grid({"name": "small", "axes": {"batch_size": [1]}}, "small")
    with pytest.raises(se.InputError, match="grid_hash"):
        se.run(other, place)
    assert se.run(other, place, overwrite=True).points == 1
    assert len(storage.names()) == 2


def test_runs_killed_at_random_instants_end_in_the_same_bytes_on_s3(root, s3):
    done = subprocess.run(
        [sys.executable, "-m", "tests.store.killed_runs", s3("kills-{}"), str(KILLS), "2"],
        cwd=root, capture_output=True, text=True, timeout=1800,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["kills"] >= KILLS
    assert found["midway"] >= KILLS // 5
    assert (found["untrue"], found["different"]) == (0, 0)


def test_failing_put_leaves_no_half_object(grid, monkeypatch):
    place = "memory://failing"

    def fill(file):
        file.write(b"half a fi")
        raise OSError("the computer is on fire")

    storage = open_storage(place)
    with pytest.raises(OSError, match="on fire"):
        storage.write("points-x.parquet", fill)
    assert storage.names() == []


def test_command_writes_and_queries_s3(process, command, grid_file, s3):
    text = 'name = "t"\n[axes]\nbatch_size = [1, 2, 4]\n'
    place = s3("command")
    done = process("run", grid_file(text), "--out", place)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("3 points")
    found = command("query", place, "--select", "max(batch_size) AS most", "--format", "json")
    assert json.loads(found.stdout) == [{"most": 4}]


BAD = {
    "scheme": ("abacus://x/y", "cannot be reached"),
    "server": (
        "s3://key:secret@bucket/x?scheme=http&endpoint_override=127.0.0.1:9",
        "s3://bucket/x: cannot be reached: ",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_place_that_is_not_there_is_one_line(process, case, monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    place, expected = BAD[case]
    done = process("run", "serving", "--out", place)
    assert (done.returncode, done.stdout) == (2, "")
    assert expected in done.stderr
    assert done.stderr.count("\n") == 1


def test_paths_and_uris_are_told_apart(tmp_path):
    assert open_storage("results/x") == LocalFolder(tmp_path.__class__("results/x"))
    assert open_storage(f"file://{tmp_path}") == LocalFolder(tmp_path)
    assert isinstance(open_storage("s3://bucket/x/"), RemoteFolder)
    assert open_storage("s3://bucket/x/").place == "s3://bucket/x"


@pytest.mark.parametrize("name", ["with space", "ünïcödé 页", "a" * 200, "per%20cent", "quo'te\"s"])
def test_hostile_directory_names_work(command, grid_file, tmp_path, name):
    folder = tmp_path / name
    path = grid_file('name = "t"\n[axes]\nbatch_size = [1, 2]\n')
    assert command("run", path, "--out", folder).returncode == 0
    assert json.loads(
        command("query", folder, "--select", "count(*) AS n", "--format", "json").stdout
    ) == [{"n": 2}]
    link = tmp_path / "link"
    link.symlink_to(folder)
    assert "from before" in command("run", path, "--out", link).stdout


def without_rights_of_root(root, folder, *words, **environment):
    """Run a command in a folder; root may write anywhere, unless it gives that right up."""
    rights = "-dac_override,-dac_read_search"
    plain = ["setpriv", "--bounding-set", rights, "--inh-caps", rights]
    return subprocess.run(
        [*([] if os.geteuid() else plain), sys.executable, "-m", "sweepengine", *words],
        cwd=folder, capture_output=True, text=True, timeout=600,
        env={**os.environ, "PYTHONPATH": str(root), **environment},
    )  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [
        ("run", "serving", "--out", "."),
        ("run", "serving", "--out", "new"),
        ("report", "serving", "--out", "."),
        ("report", "serving", "--out", "new"),
        ("query", "serving", "--format", "csv", "--out", "a.csv"),
        ("slo", "serving", "--device", "h20", "--chart", "a.svg"),
        ("validate", "--json", "a.json"),
    ],
    ids=" ".join,
)
def test_read_only_directory_is_one_line_and_stays_as_it_was(root, tmp_path, words):
    folder = tmp_path / "f"
    folder.mkdir()
    folder.chmod(0o555)
    done = without_rights_of_root(root, folder, *words)
    assert done.returncode == 2, done.stdout
    assert done.stderr.count("\n") == 1
    assert "ermission denied" in done.stderr or "writ" in done.stderr
    assert list(folder.iterdir()) == []


@pytest.mark.slow
def test_home_that_is_read_only_only_costs_the_time_to_compile(root, tmp_path):
    tmp_path.chmod(0o555)
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    words = ("query", "serving", "--select", "count(*) AS n", "--format", "csv")
    done = without_rights_of_root(root, tmp_path, *words, **home)
    assert (done.returncode, done.stdout, done.stderr) == (0, "n\n400\n", "")
    assert list(tmp_path.iterdir()) == []


def test_moved_dataset_is_read_by_others(grid, tmp_path):
    se.run(grid, "memory://moved")
    remote = fsspec.filesystem("memory")
    (tmp_path / "d").mkdir()
    for entry in remote.ls("/moved", detail=False):
        with (
            remote.open(entry) as source,
            (tmp_path / "d" / entry.split("/")[-1]).open("wb") as out,
        ):
            shutil.copyfileobj(source, out)
    rows = duckdb.sql(f"select count(*) from '{tmp_path}/d/*.parquet'").fetchall()
    assert rows == [(80,)]
    assert pl.read_parquet(tmp_path / "d" / "points-*.parquet").height == 80
