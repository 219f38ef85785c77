import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from sweepengine.data.models import load_model

settings.register_profile(
    "ours",
    deadline=None,
    max_examples=60,
    derandomize=True,  # a landing fails by what it changes; --hypothesis-profile=explore draws anew
    suppress_health_check=list(HealthCheck),
)
settings.register_profile("explore", settings.get_profile("ours"), derandomize=False)
settings.load_profile("ours")

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


@pytest.fixture
def root():
    return Path(__file__).parent.parent


@pytest.fixture
def command(root):
    def run(*arguments, cwd=root):
        return subprocess.run(
            [sys.executable, "-m", "sweepengine", *map(str, arguments)],
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


@pytest.fixture(scope="session")
def published_report(tmp_path_factory):
    """The published report as `make report` writes it, and its comparisons."""
    from sweepengine.show.report import write_report

    out = tmp_path_factory.mktemp("published")
    grids = ["published-vision", "published-prefill", "published-decode"]
    reference = Path(__file__).parent / "data" / "reference"
    return out, write_report(grids, out, reference, "deepseek-ocr-3b")


@pytest.fixture(scope="session")
def released_report(tmp_path_factory):
    """The report on the released model."""
    from sweepengine.show.report import write_report

    out = tmp_path_factory.mktemp("released")
    write_report(["released", "serving"], out)
    return out


@pytest.fixture
def grid_file(tmp_path):
    def write(text, name="grid.toml"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write
