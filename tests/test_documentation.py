"""Every snippet of the documentation runs; the site builds without a network and its links hold."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib.util import find_spec

import polars as pl
import pytest

pytestmark = pytest.mark.slow

PAGES = ("index", "how-to", "answers", "sweeps", "models", "precision", "layouts", "fit",
         "deploy", "cost", "lengths", "map", "design", "compare")  # fmt: skip
NOT_RUN_HERE = ("make ", "eval ", ". ")
"""CI itself runs the two make commands; the others are for a shell."""
COLUMNS = 80
"""Characters of a line of a command or an output."""


def snippets(path):
    """Blocks of code with their language, in order."""
    return re.findall(
        r"^```(sh|python|toml|json|csv|text)\n(.*?)^```",
        path.read_text(encoding="utf-8"),
        re.M | re.S,
    )


CITED = re.compile(r"""docs/([\w-]+)\.md(?:, ["']([^"']+)["'])?""")
"""A page, and the heading of a section where one is named."""
GENERATED = {"accountings", "families", "configs", "silicon", "reference"}
"""Pages that mkdocs makes."""
WRITTEN = {"README.md", "comparison.md", "accountings.md", "FILE.md"}
"""Files that commands write."""


def package_texts(root):
    """Source and data files of the package without web addresses, white space as single spaces."""
    for path in sorted((root / "sweepengine").rglob("*")):
        if path.suffix in (".py", ".toml"):
            text = re.sub(r"https://\S+", "", path.read_text(encoding="utf-8"))
            yield path, " ".join(text.split())


def test_package_cites_pages_and_sections_that_exist(root):
    count = 0
    for path, text in package_texts(root):
        for page, heading in CITED.findall(text):
            count += 1
            if page in GENERATED:
                continue
            page_text = (root / "docs" / f"{page}.md").read_text(encoding="utf-8")
            headings = re.findall(r"^#+ (.+)$", page_text, re.M)
            assert not heading or heading in headings, (path, page, heading)
    assert count > 10


def test_package_cites_no_document_outside_the_repository(root):
    outside = [
        (path.name, name)
        for path, text in package_texts(root)
        for name in re.findall(r"[\w/.-]*\w\.md\b", text)
        if not name.startswith("docs/") and name not in WRITTEN
    ]
    assert outside == []


def file_names(text):
    """Names of files that the text tells a reader to save TOML as, in order of the blocks."""
    return re.findall(r"[Ss]aved? (?:this )?as `([\w-]+\.(?:toml|json|csv))`", text)


def run_python(root, folder, *arguments):
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=600,
        env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip
    assert done.returncode == 0, (arguments, done.stderr)
    return done.stdout


@pytest.fixture
def grids(root, tmp_path):
    """The folder of grids that pages name, with fewer images in the largest."""
    folder = shutil.copytree(root / "grids", tmp_path / "grids")
    large = folder / "capacity.toml"
    large.write_text(large.read_text().replace("max = 29", "max = 5"))


@pytest.mark.usefixtures("grids")
@pytest.mark.parametrize("page", ["README.md", *(f"docs/{p}.md" for p in PAGES)])
def test_every_snippet_runs(root, tmp_path, page, command, monkeypatch):
    for module in ("report", "model_comparison"):  # their other files have tests of their own
        monkeypatch.setattr(f"sweepengine.show.{module}.KINDS", (".svg",))
    text = (root / page).read_text(encoding="utf-8")
    monkeypatch.setenv("COLUMNS", f"{COLUMNS}")
    names = iter(file_names(text))
    ran, printed = 0, ""
    for language, code in snippets(root / page):
        if language in ("toml", "json", "csv"):
            (tmp_path / next(names)).write_text(code, encoding="utf-8")
            continue
        if language == "text":
            assert same_lines(printed, code), page
            continue
        if "pyspark" in code:
            continue  # has a test of its own
        if language == "python":
            commands = [["-c", code]]
        else:
            lines = code.replace("\\\n", " ").splitlines()
            commands = [
                ["-m", *shlex.split(line.removeprefix(".venv/bin/"), comments=True)]
                for line in lines
                if line and not line.startswith(NOT_RUN_HERE)
            ]
        for arguments in commands:
            if arguments[:2] == ["-m", "sweepengine"] and "ray" not in arguments:
                done = command(*arguments[2:], cwd=tmp_path)
                assert done.returncode == 0, (arguments, done.stderr)
                printed = done.stdout
            else:
                printed = run_python(root, tmp_path, *arguments)
            ran += 1
    assert ran >= 1


def same_lines(printed, shown):
    """Whether an output is what a page shows, whose last line may be "...".

    Files are as large as their compression makes them, which is compared for none.
    """
    size = re.compile(r"(?<=in 1 file, )[\d,]+")
    lines = [size.sub("N", line.rstrip()) for line in printed.strip("\n").splitlines()]
    *first, last = size.sub("N", shown).splitlines()
    return lines[: len(first)] == first if last == "..." else lines == [*first, last]


def test_tutorial_shows_the_output_of_every_command(root):
    text = (root / "docs" / "index.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```(\w+)\n", text, re.M)
    after = dict(zip(range(len(blocks)), blocks[1:], strict=False))
    silent = [i for i, kind in enumerate(blocks) if kind in ("sh", "python")
              and after.get(i) != "text"]  # fmt: skip
    assert silent == []
    assert blocks.count("sh") >= 9


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{p}.md" for p in PAGES)])
def test_commands_and_outputs_fit_80_columns(root, page):
    wide = [line for language, code in snippets(root / page) if language in ("sh", "text")
            for line in code.splitlines() if len(line) > COLUMNS]  # fmt: skip
    assert wide == []


@pytest.mark.skipif(
    find_spec("pyspark") is None or shutil.which("java") is None,
    reason="the extra spark or Java is not installed",
)
def test_spark_snippet_reads_a_dataset(root, tmp_path):
    run_python(root, tmp_path, "-m", "sweepengine", "run", "modes", "--out", "modes-data")
    (code,) = [code for _, code in snippets(root / "docs/how-to.md") if "pyspark" in code]
    shown = run_python(root, tmp_path, "-c", code)
    most = pl.scan_parquet(tmp_path / "modes-data/*.parquet").select(
        pl.col("decode_tensor_flops").max()
    )
    assert shown.count(str(most.collect().item())) == 2


def test_site_builds_strictly_and_shows_every_formula_and_column(root, tmp_path):
    from sweepengine.formulas.cost import FORMULAS
    from sweepengine.grid.columns import COLUMNS

    site = tmp_path / "site"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    pages = ("method", "decoders", "vision", "precision", "layouts", "memory", "times", "published")
    method = "".join((site / page / "index.html").read_text(encoding="utf-8") for page in pages)
    for formula in FORMULAS:
        assert f'id="{formula.__module__}.{formula.__name__}"' in method, formula
    reference = (site / "reference" / "index.html").read_text(encoding="utf-8")
    assert all(column.name in reference for column in COLUMNS)
    for name in re.findall(r"^ +\.(language-\w+)", (root / "docs/extra.css").read_text(), re.M):
        pages_of_site = (page.read_text(encoding="utf-8") for page in site.rglob("*.html"))
        assert any(f'class="{name} highlight"' in page for page in pages_of_site), name
    for page in site.rglob("*.html"):
        loaded = re.findall(r'(?:src|href)="(https?://[^"]+)"', page.read_text(encoding="utf-8"))
        fetched = [address for address in loaded if not address.startswith("https://squidfunk")]
        assert fetched == [], page
