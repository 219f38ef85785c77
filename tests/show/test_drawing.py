"""Charts of a report are drawn by a process of their own, as this process would draw them."""

from contextlib import suppress

import altair as alt
import polars as pl
import pytest

import sweepengine as se
from sweepengine.show.drawing import painting
from sweepengine.show.look import Chart, styled
from sweepengine.show.rendering import drawn, specification_of


def chart(mark="bar", title="One"):
    rows = pl.DataFrame({"x": [1, 2, 3], "y": [3, 1, 2]})
    made = alt.Chart(rows, mark=mark).encode(x=alt.X("x:Q"), y=alt.Y("y:Q"))
    return Chart("one", title, styled(made, title, "Below"))


def test_files_are_those_that_this_process_makes():
    with painting() as painter:
        drawings = [painter.draw(chart(title=title)) for title in ("One", "Two")]
        files = [drawing.files((".svg", ".png", ".html")) for drawing in drawings]
    assert files == [drawn(specification_of(chart(title=title).drawn)) for title in ("One", "Two")]


def test_only_what_files_need_is_drawn():
    with painting((".html",)) as painter:
        drawing = painter.draw(chart())
    assert drawing.pictures is None
    assert [*drawing.files((".html",))] == [".html"]


def test_process_ends_with_what_it_was_started_for():
    with suppress(ZeroDivisionError), painting() as painter:
        painter.draw(chart())
        raise ZeroDivisionError
    assert painter._process.returncode is not None


def test_process_that_something_ended_is_one_line():
    with painting() as painter:
        painter._process.kill()
        drawing = painter.draw(chart())
        with pytest.raises(se.InputError, match="the process that draws charts was ended"):
            drawing.files((".svg",))


def test_chart_that_cannot_be_drawn_is_an_error_here():
    with painting() as painter:
        drawing = painter.draw(chart(mark="no such mark"))
        with pytest.raises(ValueError, match="conversion failed"):
            drawing.files((".svg",))
        assert painter.draw(chart()).files((".svg",))[".svg"].startswith(b"<svg")


def test_python_that_is_not_there_is_one_line(monkeypatch):
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    with pytest.raises(se.InputError, match="cannot start a process that draws"), painting():
        pass
