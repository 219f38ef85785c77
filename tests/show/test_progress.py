import io
import time

import pytest

from sweepengine.engine import progress
from sweepengine.show.progress import TerminalProgress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown(stream, word):
    until = time.monotonic() + 20
    while word not in stream.getvalue() and time.monotonic() < until:
        time.sleep(0.02)
    return word in stream.getvalue()


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr("sweepengine.show.progress.DELAY", 0.0)


@pytest.mark.usefixtures("at_once")
def test_progress_names_the_phase_and_how_much_of_it_is_done():
    stream = Terminal()
    with progress.heard_by(TerminalProgress(stream)):
        assert shown(stream, "working")
        progress.begin("candidates", 4_000)
        progress.advance(1_500)
        progress.advance(500)
        assert shown(stream, "2,000 of 4,000")
        progress.begin("rows")
        progress.advance(7)
        assert shown(stream, "7")
        assert "rows" in stream.getvalue()
    assert stream.getvalue().endswith("\x1b[2K")  # the line is gone


@pytest.mark.usefixtures("at_once")
def test_answers_end_the_progress(capsys):
    from sweepengine.show.terminal import say

    stream = Terminal()
    with progress.heard_by(TerminalProgress(stream)):
        assert shown(stream, "working")
        say("the answer")
        before = stream.getvalue()
        progress.begin("more", 3)
        progress.advance()
        time.sleep(0.3)
    assert stream.getvalue() == before
    assert capsys.readouterr().out == "the answer\n"


def test_nothing_is_shown_before_a_second_or_without_a_terminal(monkeypatch):
    stream = Terminal()
    with progress.heard_by(TerminalProgress(stream)):
        progress.begin("points", 2)
        progress.advance()
    assert stream.getvalue() == ""
    monkeypatch.setattr("sweepengine.show.progress.DELAY", 0.0)
    file = io.StringIO()
    with progress.heard_by(TerminalProgress(file)):
        time.sleep(0.3)
    assert file.getvalue() == ""


@pytest.mark.parametrize(
    ("words", "counted"),
    [
        (("map", "llama-3.1-8b", "--device", "l4", "--device", "l40s", "--cells", "400"), 800),
        (("run", "modes", "--out", "modes-data"), 56),
        (("design", "accelerators"), None),
        (("deploy", "llama-3.1-8b", "--device", "l4"), None),
    ],
)
def test_commands_say_how_far_they_are(command, tmp_path, monkeypatch, words, counted):
    class Heard(TerminalProgress):
        def begin(self, what, total):
            super().begin(what, total)
            totals.append(total)

        def advance(self, count):
            counts.append(count)

    totals, counts = [], []
    monkeypatch.setattr("sweepengine.cli.TerminalProgress", Heard)
    assert command(*words, cwd=tmp_path).returncode == 0
    assert sum(counts) > 0
    assert len(totals) == 1
    if counted is not None:
        assert totals[0] == counted
    if words[0] in ("map", "run"):
        assert sum(counts) == totals[0]
