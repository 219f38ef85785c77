"""Every snippet of the documentation runs; the site builds without a network and its links hold."""

import os
import re
import shlex
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

NOT_RUN_HERE = ("make ", "eval ")
"""CI itself runs the two make commands; completion is for a shell."""


def snippets(path):
    """Blocks of code with their language, in order."""
    return re.findall(
        r"^```(sh|python|toml)\n(.*?)^```", path.read_text(encoding="utf-8"), re.M | re.S
    )


def file_names(text):
    """Names of files that the text tells a reader to save TOML as, in order of the blocks."""
    return re.findall(r"[Ss]aved? (?:this )?as `([\w-]+\.toml)`", text)


@pytest.mark.parametrize("page", ["README.md", "docs/index.md", "docs/how-to.md"])
def test_every_snippet_runs(root, tmp_path, page):
    (tmp_path / "grids").symlink_to(root / "grids")
    text = (root / page).read_text(encoding="utf-8")
    names = iter(file_names(text))
    ran = 0
    for language, code in snippets(root / page):
        if language == "toml":
            if page != "README.md":
                (tmp_path / next(names)).write_text(code, encoding="utf-8")
            continue
        if language == "python":
            commands = [[sys.executable, "-c", code]]
        else:
            lines = code.replace("\\\n", " ").splitlines()
            commands = [
                [sys.executable, "-m", *shlex.split(line, comments=True)]
                for line in lines
                if line and not line.startswith(NOT_RUN_HERE)
            ]
        for command in commands:
            if command[1] == "-m":
                command[2] = command[2].removeprefix(".venv/bin/")
            done = subprocess.run(
                command, cwd=tmp_path, capture_output=True, text=True, timeout=300,
                env={**os.environ, "PYTHONPATH": str(root)},
            )  # fmt: skip
            assert done.returncode == 0, (command, done.stderr)
            ran += 1
    assert ran >= 6


def test_site_builds_strictly_and_shows_every_formula_and_column(root, tmp_path):
    from sweepengine.cost import FORMULAS
    from sweepengine.schema import COLUMNS

    site = tmp_path / "site"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    method = (site / "method" / "index.html").read_text(encoding="utf-8")
    for formula in FORMULAS:
        assert f'id="{formula.__name__}"' in method, formula
    reference = (site / "reference" / "index.html").read_text(encoding="utf-8")
    assert all(column.name in reference for column in COLUMNS)
    for page in site.rglob("*.html"):
        loaded = re.findall(r'(?:src|href)="(https?://[^"]+)"', page.read_text(encoding="utf-8"))
        fetched = [address for address in loaded if not address.startswith("https://squidfunk")]
        assert fetched == [], page
