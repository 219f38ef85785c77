import re
import shlex
import subprocess
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def printed(root):
    """Commands of README and pages, and the output below each, with the page."""
    pattern = r"```sh\n((?:(?!```).)*?)```\n\n```text\n(.*?)```"
    for page in ("README.md", "docs/times.md"):
        for code, answer in re.findall(pattern, (root / page).read_text(), re.S):
            asked = code.replace("\\\n", " ").splitlines()[-1]
            yield pytest.param(asked, answer, id=f"{page}: {asked[:30]}")


@pytest.mark.parametrize(("asked", "answer"), list(printed(ROOT)))
def test_answers_in_pages_are_what_the_commands_print(command, monkeypatch, asked, answer):
    monkeypatch.setenv("COLUMNS", "80")
    lines = [line.rstrip() for line in command(*shlex.split(asked)[1:]).stdout.splitlines()]
    lines = lines[next(i for i, line in enumerate(lines) if line) :]
    *shown, last = answer.splitlines()
    shown += [] if last == "..." else [last]
    assert lines[: len(shown)] == shown
    assert last == "..." or len(lines) == len(shown)


def test_pages_show_outputs(root):
    assert [one.id.split(":")[0] for one in printed(root)].count("README.md") == 1
    assert len(list(printed(root))) == 2


def test_evidence_of_the_readme_is_that_of_the_committed_pages(root):
    """Each row of its table, from the page that a command writes."""
    rows = {
        cells[1].strip(): tuple(cell.strip() for cell in cells[2:5])
        for line in (root / "README.md").read_text().splitlines()
        if len(cells := re.sub(r"\[(.*?)\]\(.*?\)", r"\1", line).split("|")) == 6
    }

    def page(name):
        return (root / name).read_text()

    def row_of(name, start):
        (line,) = re.findall(rf"^\| {re.escape(start)} \|(.*)\|$", page(name), re.M)
        return [cell.strip() for cell in line.split("|")]

    def rounded(text):
        return f"{Decimal(text).quantize(Decimal('0.1'), ROUND_HALF_UP)} %"

    equal, configs = re.search(r"(\d+) of (\d+) configs equal", page("results/configs/README.md")
                               ).groups()  # fmt: skip
    assert rows["FLOPs, parameters and KV cache against torch"] == (
        f"{configs} public configs",
        f"{equal} equal to the FLOP, {int(configs) - int(equal)} refused by name", "",
    )  # fmt: skip
    cells, different = row_of("results/published/comparison.md", "all")
    assert (rows["published tables of DeepSeek-OCR"], different) == (
        (f"{cells} cells", f"{cells} equal", ""), "0",
    )  # fmt: skip
    for what, start in (
        ("weights against logs of serving engines", "all | weights"),
        ("tokens of the KV cache, pools of 8 GiB or more", "pools of 8 GiB or more | tokens"),
    ):
        count, median, p90, _ = row_of("results/memory/README.md", start)
        assert rows[what] == (f"{count} starts", f"off by {rounded(median)}", rounded(p90))
    head = page("results/silicon/README.md").split("\n## ")[0]
    (runs,) = re.findall(r"On ([\d,]+) held-out runs of servers", head)
    figures = re.findall(r"by ([\d.]+) %[^(]*\(90 % within (\d+) %\)", head)
    named = [f"{what}{of}" for what in ("TPOT", "TTFT")
             for of in (" of held-out runs of servers", ", family of the model left out of the fit")
             ]  # fmt: skip
    assert [rows[what] for what in named] == [
        (f"{runs} runs", f"off by {median} %", f"{p90} %") for median, p90 in figures
    ]
    for start in ("InferenceX, NVIDIA, aggregated", "pages, under a limit, all of NVIDIA",
                  "pages, bursts, MoE"):  # fmt: skip
        count, errors, _ = row_of("docs/times.md", start)
        median, p90 = errors.split(" / ")
        (what,) = [name for name in rows if name.endswith(start)]
        assert rows[what] == (f"{count} runs", f"off by {median} %", f"{p90} %")


def test_comparison_of_models_is_what_the_command_writes(root, command, tmp_path, monkeypatch):
    monkeypatch.setattr("sweepengine.show.model_comparison.KINDS", (".svg",))
    make = (root / "Makefile").read_text()
    (prices,) = re.findall(r"^PRICES := (.*)$", make, re.M)
    assert "report ocr-models --out results/ocr-models $(PRICES)" in make
    folder = root / "results" / "ocr-models"
    asked = ("report", "ocr-models", "--out", tmp_path, *prices.split())
    assert command(*asked).returncode == 0
    for name in ("README.md", "models.csv"):
        assert (tmp_path / name).read_text() == (folder / name).read_text()
    (picture,) = re.findall(r"!\[(.*)\]\(charts/flops.svg\)", (folder / "README.md").read_text())
    text = (root / "README.md").read_text()
    assert f"![{picture}](results/ocr-models/charts/flops.svg)" in text
    svg = (folder / "charts" / "flops.svg").read_text()
    assert all(word in svg for word in picture.split(" TFLOP")[0].split())


def test_every_claim_names_commands_that_are_there(root):
    text = (root / "docs" / "checked.md").read_text()
    table = text.split("## How to check each claim")[1].split("\n## ")[0]
    commands = re.findall(r"`((?:P|make|\.venv/bin/sweepengine) [^`]+)`", table)
    assert len(commands) >= table.count("\n| ") - 1
    targets = set(re.findall(r"^(\w+):", (root / "Makefile").read_text(), re.M))
    for command in commands:
        first, *words = command.split()
        if first == "make":
            assert set(words) <= targets, command
        for word in words:
            if word.startswith("tests") and first == "P":
                path = root / (word if "/" in word else word.replace(".", "/"))
                assert path.exists() or path.with_suffix(".py").exists(), command
        if "-k" in words:
            named = [p for p in (root / "tests").rglob("test_*.py") if words[-1] in p.read_text()]
            assert named, command


def test_every_invariant_names_a_test_that_is_there(root):
    text = (root / "docs" / "checked.md").read_text()
    table = text.split("## What always holds")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (\d+) \| .+ \| `(tests/\S+\.py)::(test_\w+)` \|$", table, re.M)
    assert [int(number) for number, *_ in rows] == list(range(1, table.count("\n| ")))
    for _, path, name in rows:
        assert f"def {name}(" in (root / path).read_text(), name


def test_readme_is_read_in_five_minutes(root):
    assert (root / "README.md").read_text().count("\n") < 200


@pytest.mark.parametrize(
    "page",
    ["README.md", "CONTRIBUTING.md", "results/published/README.md", "results/ocr-models/README.md"],
)
def test_every_link_leads_to_a_committed_file(root, page):
    listed = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True)
    files = {root / name for name in listed.stdout.splitlines()}
    folders = {folder for file in files for folder in file.parents}
    links = re.findall(r"\]\(([^)#\s]+)\)", (root / page).read_text())
    lost = [link for link in links if (root / page).parent / link not in files | folders]
    assert lost == []
    assert links or page == "CONTRIBUTING.md"
