"""Examples of README, pages and help name a device that holds what they ask about."""

import json
import re
import shlex

import pytest

from sweepengine.cli import commands


def examples(root, name):
    """Arguments of each example of a command that names a device.

    Left out are files of readers' own, and checks of kernels at batches that no device holds, which
    are static.
    """
    pages = [root / "README.md", *sorted((root / "docs").glob("*.md"))]
    texts = [page.read_text() for page in pages] + [commands.commands[name].epilog or ""]
    found = []
    for text in texts:
        joined = text.replace("\\\n", " ")
        for line in re.findall(rf"sweepengine ({name} [^\n`;|]*)", joined):
            words = shlex.split(line)
            if "--device" in words and not {"--lengths", "static"} & {*words}:
                found.append(words)
    return found


@pytest.mark.parametrize("name", ["explain", "fit"])
def test_examples_fit_their_devices(root, command, name):
    found = examples(root, name)
    assert len(found) >= 3
    for words in found:
        if any(word.endswith((".toml", ".json")) for word in words):
            continue
        done = command(*words, "--json")
        assert done.returncode == 0, (words, done.stderr)
        facts = json.loads(done.stdout)
        if name == "fit":
            assert all(card["fits"] for card in facts["cards"]), words
            assert any(card["verdict"]["yes"] for card in facts["cards"]), words
        else:
            assert all(place["memory"]["fits"] for place in facts["devices"]), words
