import re
import shlex
import subprocess

import pytest


def test_answers_in_the_readme_are_what_the_commands_print(root, command):
    text = (root / "README.md").read_text() + (root / "docs" / "sweeps.md").read_text()
    pattern = r"```sh\n(\S*sweepengine (?:slo|fit) .*?)```.*?```\n(.*?)```"
    found = re.findall(pattern, text, re.S)
    assert len(found) == 3
    for asked, answer in found:
        arguments = shlex.split(asked.replace("\\\n", " "))[1:]
        lines = [line.rstrip() for line in command(*arguments).stdout.splitlines()]
        assert lines[: answer.count("\n")] == answer.splitlines()


def test_comparison_of_models_is_what_the_command_writes(root, command, tmp_path, monkeypatch):
    monkeypatch.setattr("sweepengine.show.model_comparison.KINDS", (".svg",))
    text = (root / "README.md").read_text()
    (asked,) = re.findall(r"^\.venv/bin/sweepengine (report ocr-models .*)$", text, re.M)
    folder = "results/ocr-models"
    assert command(*asked.replace(folder, str(tmp_path)).split()).returncode == 0
    for name in ("README.md", "models.csv"):
        assert (tmp_path / name).read_text() == (root / folder / name).read_text()
    page = (tmp_path / "README.md").read_text()
    first = re.search(r"(?:^\|.*\n)+", page, re.M)[0].splitlines()[:6]
    assert "\n".join(first) in text
    (picture,) = re.findall(r"!\[(.*)\]\(charts/flops.svg\)", page)
    assert f"![{picture}]({folder}/charts/flops.svg)" in text
    svg = (root / folder / "charts" / "flops.svg").read_text()
    assert all(word in svg for word in picture.split(" TFLOP")[0].split())
    make = (root / "Makefile").read_text()
    assert asked.split(folder)[1].strip() in make


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
