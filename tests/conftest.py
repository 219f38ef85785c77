import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from sweepengine.data.models import load_model
from tests.fuzz import outcome

settings.register_profile(
    "ours",
    deadline=None,
    max_examples=60,
    derandomize=True,  # a landing fails by what it changes; --hypothesis-profile=explore draws anew
    suppress_health_check=list(HealthCheck),
)
settings.register_profile("explore", settings.get_profile("ours"), derandomize=False)
settings.load_profile("ours")

if (
    signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    and threading.current_thread() is threading.main_thread()
):
    # As in the background of a script, where commands that tests start would ignore it too.
    signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ.pop("COLUMNS", None)  # commands write as into a pipe, however wide the terminal is

MODELS = ("deepseek-ocr-3b", "deepseek-ocr-3b-modelmeter")


@pytest.fixture(params=MODELS)
def model(request):
    return load_model(request.param)


@pytest.fixture
def released():
    return load_model("deepseek-ocr-3b").architecture


@pytest.fixture
def published():
    return load_model("deepseek-ocr-3b-modelmeter").architecture


@pytest.fixture(scope="session")
def root():
    return Path(__file__).parent.parent


@pytest.fixture
def command(root):
    """Run a command within this process; what it says, and its exit status."""

    def run(*arguments, cwd=root):
        before = Path.cwd()
        os.chdir(cwd)
        try:
            said = outcome(list(map(str, arguments)))
        finally:
            os.chdir(before)
        return subprocess.CompletedProcess(arguments, *said)

    return run


@pytest.fixture
def process(root):
    """Run a command as users do, in a process of its own."""

    def run(*arguments, cwd=root):
        return subprocess.run(
            [sys.executable, "-m", "sweepengine", *map(str, arguments)],
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=600,
        )

    return run


@contextmanager
def made_once(tmp_path_factory, name):
    """A folder that one worker makes while the others wait, and whether it is still to be filled.

    It lies in the folder that all workers of a session share. One that was not filled to its end
    is emptied.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder, done = shared / name, shared / f"{name}.done"
    with (shared / f"{name}.lock").open("w") as lock:
        flock(lock, LOCK_EX)
        todo = not done.exists()
        if todo:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        yield folder, todo
        done.touch()


@pytest.fixture(scope="session")
def published_report(tmp_path_factory):
    """The published report as `make report` writes it, without PNG files, and its comparisons."""
    from sweepengine.show import report
    from sweepengine.show.tables import Comparison

    grids = ["published-vision", "published-prefill", "published-decode"]
    reference = Path(__file__).parent / "data" / "reference"
    with (
        made_once(tmp_path_factory, "published") as (folder, todo),
        pytest.MonkeyPatch.context() as patch,
    ):
        kept = folder / "compared.json"
        if todo:
            patch.setattr(report, "KINDS", (".svg", ".html"))
            compared = report.write_report(grids, folder / "out", reference, "deepseek-ocr-3b")
            kept.write_text(json.dumps(compared))
    return folder / "out", [Comparison(*one) for one in json.loads(kept.read_text())]


@pytest.fixture(scope="session")
def released_report(tmp_path_factory):
    """The report on the released model; its charts as SVG alone."""
    from sweepengine.show import report

    with (
        made_once(tmp_path_factory, "released") as (folder, todo),
        pytest.MonkeyPatch.context() as patch,
    ):
        if todo:
            patch.setattr(report, "KINDS", (".svg",))
            report.write_report(["released", "serving"], folder)
    return folder


@pytest.fixture
def grid_file(tmp_path):
    def write(text, name="grid.toml"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write
