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


def test_readme_is_read_in_five_minutes(root):
    assert (root / "README.md").read_text().count("\n") < 200


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "results/published/README.md"])
def test_every_link_leads_to_a_committed_file(root, page):
    listed = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True)
    files = {root / name for name in listed.stdout.splitlines()}
    folders = {folder for file in files for folder in file.parents}
    links = re.findall(r"\]\(([^)#\s]+)\)", (root / page).read_text())
    lost = [link for link in links if (root / page).parent / link not in files | folders]
    assert lost == []
    assert links or page == "CONTRIBUTING.md"
