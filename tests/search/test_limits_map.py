import json

import numpy as np
import polars as pl
import pytest

from sweepengine.data.errors import InputError
from sweepengine.data.models import load_model
from sweepengine.grid.lengths import lengths_of
from sweepengine.search.limits_map import MEMORY, SERVES, TPOT, TTFT, find_maps
from sweepengine.search.options import LatencyTargets, MapOptions
from sweepengine.show.map_chart import bands, contours, maps_chart, rectangles
from sweepengine.show.maps import picture
from tests.search.by_hand import Requests, formats_of, room_of, served

MODEL = "llama-3.1-8b"
TARGETS = LatencyTargets(0.5, 0.015)


def mapped(model=MODEL, device="h100-sxm", table=None, **asked):
    table = {"answer": [200]} if table is None else table
    ways = {"cells": 400, "longest": 20_000, "most_batch": 256} | asked
    lengths = lengths_of("test", load_model(model), table)
    return find_maps(model, [device], lengths, MapOptions(TARGETS, **ways))


def test_each_point_is_stopped_by_what_single_costs_say():
    (panel,) = mapped().panels
    inputs = formats_of(MODEL, "checkpoint", "tp1")
    assert set(np.unique(panel.stops)) == {SERVES, MEMORY, TTFT, TPOT}
    best = 0.0
    for row in range(0, len(panel.batches), 3):
        for column in range(0, len(panel.lengths), 3):
            batch, tokens = int(panel.batches[row]), int(panel.lengths[column])
            found = served(MODEL, "h100-sxm", [Requests(tokens, 200, 1.0)], batch, inputs)
            stop = SERVES
            if found["memory_bytes"] > room_of("h100-sxm"):
                stop = MEMORY
            elif found["ttft_s"] > TARGETS.ttft_s:
                stop = TTFT
            elif found["tpot_s"] > TARGETS.tpot_s:
                stop = TPOT
            assert panel.stops[row, column] == stop, (batch, tokens)
            assert panel.made[row, column] == pytest.approx(found["tokens_per_s"], rel=1e-9)
            if stop == SERVES:
                best = max(best, found["tokens_per_s"])
    assert panel.best["device_tokens_per_s"] >= best * (1 - 1e-9)
    assert panel.made[panel.stops == SERVES].max() == panel.best["device_tokens_per_s"]


def test_map_of_pages_lies_over_answers():
    maps = mapped("deepseek-ocr-3b", "a100-40gb", {"mode": ["gundam:2x3"]}, longest=0)
    assert (maps.over, maps.unit) == ("answer", "pages a day")
    assert maps.panels[0].lengths[-1] == 8192


def test_axes_have_about_as_many_points_as_asked_and_no_twins():
    (panel,) = mapped(cells=10_000).panels
    assert 0.8 * 10_000 <= panel.stops.size <= 1.2 * 10_000
    for values in (panel.lengths, panel.batches):
        assert (np.diff(values) > 0).all()
    assert panel.lengths[-1] == 20_000


def test_drawn_areas_cover_the_panel_once_with_the_points_own_colours():
    (panel,) = mapped(cells=2500).panels
    drawn = pl.DataFrame(rectangles(panel))
    width = np.log(drawn["to"].to_numpy() / drawn["from"].to_numpy())
    height = np.log(drawn["high"].to_numpy() / drawn["low"].to_numpy())
    whole = np.log(panel.lengths[-1] / panel.lengths[0]) * np.log(panel.batches[-1])
    assert (width * height).sum() == pytest.approx(whole)
    for row, low, _ in bands(panel)[::7]:
        for column in range(0, len(panel.lengths), 5):
            at = float(panel.lengths[column])
            inside = drawn.filter(pl.col("from") <= at, pl.col("to") >= at,
                                  pl.col("low") <= low, pl.col("high") > low)  # fmt: skip
            names = ("within targets", "memory", "TTFT", "TPOT")
            assert names[panel.stops[row, column]] in inside["limit"].to_list()


def test_lines_lie_where_as_much_is_made():
    (panel,) = mapped(cells=10_000).panels
    lines = contours(panel)
    assert lines
    for line in lines[:: max(len(lines) // 20, 1)]:
        row = int(np.flatnonzero(panel.batches == line["batch"])[0])
        made = np.interp(np.log(line["length"]), np.log(panel.lengths), panel.made[row])
        assert made == pytest.approx(line["level"], rel=0.01)


def test_million_points_are_few_marks():
    maps = mapped(cells=1_000_000, longest=100_000, most_batch=1024)
    assert maps.panels[0].stops.size > 900_000
    assert len(rectangles(maps.panels[0])) < 2000
    assert len(json.dumps(maps_chart(maps).to_dict())) < 1_000_000


def test_picture_has_the_letters_of_its_limits():
    (panel,) = mapped(cells=2500).panels
    drawn = picture(panel)
    assert all(letter in drawn for letter in ".MFT*")
    assert max(map(len, drawn.splitlines())) <= 100


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"over": "night"}, "--over night: expected prompt or answer"),
        ({"cells": 5}, "--cells 5: expected 100"),
        ({"longest": 10**9}, "--longest 1000000000: expected 2..10,000,000"),
        ({"most_batch": 10**6}, "--batch 1000000: expected 1..65,536"),
        ({"table": {"prompt": [1], "answer": [1]}}, "expected one length without prompt"),
        ({"table": {"answer": [1, 2]}}, "expected one length"),
    ],
)
def test_wrong_asks_are_named(change, said):
    with pytest.raises(InputError, match=said):
        mapped(**change)


def test_command_writes_the_chart_and_says_the_same(tmp_path, command):
    out = tmp_path / "map.svg"
    done = command("map", MODEL, "--device", "h100-sxm", "--cells", 400, "--chart", out)
    assert done.returncode == 0, done.stderr
    assert out.read_text().startswith("<svg")
    facts = json.loads(
        command("map", MODEL, "--device", "h100-sxm", "--cells", 400, "--json").stdout
    )
    assert sum(facts["panels"][0]["points"].values()) > 300
