"""The wheel in a fresh environment, away from the checkout."""

import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory, root):
    """A virtual environment with the wheel, and the libraries of this one."""
    folder = tmp_path_factory.mktemp("package")
    source = folder / "source"  # a wheel is built within it: processes of tests share none
    for name in ("sweepengine", "grids"):
        shutil.copytree(root / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(root / name, source)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q",
             "-w", str(folder), str(source)]  # fmt: skip
    subprocess.run(build, check=True, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    home = folder / "venv"
    venv.create(home)
    install = [sys.executable, "-m", "pip", "--python", str(home), "install", "-q", "--no-deps"]
    subprocess.run([*install, wheel], check=True)
    libraries = Path(pytest.__file__).parent.parent
    (site,) = home.glob("lib/python*/site-packages")
    # Libraries by path alone: a .pth inside them, such as that of an editable install, is not read.
    (site / "libraries.pth").write_text(str(libraries))
    return home / "bin", wheel


def test_wheel_carries_data_and_types(installed):
    names = set(zipfile.ZipFile(installed[1]).namelist())
    for name in ("data/models/deepseek-ocr-3b.toml", "data/devices/h100-sxm.toml",
                 "grids/capacity.toml", "show/templates/page.html", "py.typed",
                 "data/measured/stages.csv", "validation/published_per_layer.csv"):  # fmt: skip
        assert f"sweepengine/{name}" in names
    assert not any(name.startswith(("tests", "benchmarks")) for name in names)


def test_commands_work_from_any_directory(installed, tmp_path):
    binaries, _ = installed

    def run(*arguments):
        return subprocess.run(
            [binaries / "sweepengine", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=600,
        )

    where = subprocess.run(
        [binaries / "python", "-c", "import sweepengine; print(sweepengine.__file__)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert str(binaries.parent) in where.stdout
    version = run("--version").stdout
    assert version == "sweepengine 0.2.0, model schema 2, dataset schema 4\n"
    assert "10,108,800" in run("plan", "capacity").stdout
    assert run("run", "serving", "--out", "d").returncode == 0
    assert "400" in run("query", "d", "--select", "count(*) AS n").stdout
    assert "h100-sxm" in run("devices").stdout
    assert "cheapest" in run("slo", "d", "--device", "h20", "--price", "h20=1").stdout
    grid = tmp_path / "small.toml"
    grid.write_text('name = "small"\nreport = ["vision"]\n[axes]\ncrops = ["1x2", "2x3"]\n')
    report = run("report", grid, "--out", "r")
    assert report.returncode == 0, report.stderr
    assert (tmp_path / "r" / "index.html").stat().st_size > 500_000
