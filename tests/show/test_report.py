import json
import os
import re
import subprocess
import sys
import tomllib

import polars as pl
import pytest

import sweepengine as se
from sweepengine import metrics
from sweepengine.costs.accountings import causes
from sweepengine.query.sources import open_source
from sweepengine.search.options import LatencyTargets
from sweepengine.show.report import write_report
from sweepengine.show.report_cards import cards_of, verdict_of
from sweepengine.show.slices import slice_of
from sweepengine.show.tables import compare, stage_tables
from sweepengine.show.time_charts import time_charts
from tests.conftest import MODELS
from tests.formulas.test_figures import ONE_BY_TWO

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def few_files(monkeypatch):
    """Reports of these tests are pages and tables, with the charts that pages hold."""
    monkeypatch.setattr("sweepengine.show.report.KINDS", ())


@pytest.fixture
def reference(root):
    return root / "tests/data/reference"


def test_every_printed_digit_of_the_published_tables_comes_out(reference, published_report):
    out, compared = published_report
    assert {c.name: (c.equal, c.different) for c in compared} == {
        "vision": (159, 0),
        "vision_prefill": (159, 0),
        "ttft": (53, 0),
        "decode": (159, 0),
        "tpot": (53, 0),
    }
    for comparison in compared:
        published = (reference / f"{comparison.name}.csv").read_text()
        assert (out / f"{comparison.name}.csv").read_text() == published


def test_report_of_datasets_is_that_of_their_grids(reference, tmp_path):
    se.run("published-decode", tmp_path / "data")
    write_report([str(tmp_path / "data")], tmp_path / "a")
    write_report(["published-decode"], tmp_path / "b")
    for path in (tmp_path / "a").glob("*.*"):
        assert path.read_text() == (tmp_path / "b" / path.name).read_text()


def test_other_accounting_differs_from_the_published_tables(reference):
    points = se.evaluate(pl.DataFrame({"crop_rows": [1, 3], "crop_cols": [2, 5]}))
    (table,) = stage_tables(points, "vision", None, None)
    comparison = compare(table, reference)
    assert (comparison.equal, comparison.different) == (0, 159)
    assert comparison.differences[0].endswith("1.916267e+00, published 1.913039e+00")


def test_published_table_that_is_missing_is_named(tmp_path):
    with pytest.raises(se.InputError, match=r"vision\.csv: expected the published table"):
        write_report(["published-vision"], tmp_path / "out", tmp_path)
    assert not (tmp_path / "out").exists()


def test_grid_too_large_for_tables_has_charts_alone(tmp_path, root):
    every_400th = (
        (root / "grids" / "capacity.toml").read_text().replace("step = 10 ", "step = 4000 ")
    )
    (tmp_path / "large.toml").write_text(every_400th)
    write_report([str(tmp_path / "large.toml")], tmp_path / "out")
    tmp_path /= "out"
    assert list(tmp_path.glob("*.csv")) == []
    page = (tmp_path / "index.html").read_text()
    assert f"{54 * 4 * 2 * 9 * 7:,} points, shown in charts only" in page
    assert re.search(r"; at decode steps [0-9,]+, batch 1, key value heads 1", page)
    assert len(page) < 3_000_000


def test_rows_name_every_input_that_varies():
    (table,) = stage_tables(se.scan("modes").collect(), "vision", None, None)
    assert table.columns[:3] == ("view_size", "tile_size", "crops")


def test_grid_without_steps_has_no_time_per_token():
    points = se.evaluate(pl.DataFrame({"decode_steps": [0]}))
    assert [table.name for table in stage_tables(points, "decode", 1.0, 0.05)] == ["decode"]


def test_two_grids_in_one_report_keep_their_names_apart(released_report):
    names = {path.name for path in released_report.glob("*.csv")}
    assert names >= {"decode.csv", "serving-decode.csv", "vision.csv"}
    charts = {path.stem for path in (released_report / "charts").iterdir()}
    assert charts >= {"roofline", "serving-roofline", "tpot_heat_map-h100-sxm", "weight_traffic"}


def test_accountings_stand_side_by_side_with_reasons(published_report):
    page = (published_report[0] / "accountings.md").read_text()
    assert "| sam.relative_position_flops | 128 | 16 | Counts an eighth" in page
    assert "| 1x2 | vision_tensor_flops | 1,916,266,708,992 | 1,913,039,446,016 | -0.17% |" in page
    released, published = (se.load_model(name) for name in MODELS)
    found = causes(released, published, "1x2", ONE_BY_TWO)
    assert [cause.key for cause in found if not cause.why] == []
    assert {cause.key for cause in found} == set(published.why)


HOSTILE = "</script><script>console.error(1)</script><b>&amp;\"'"


def test_text_of_files_is_escaped_in_pages(grid_file, tmp_path, monkeypatch):
    monkeypatch.setattr("sweepengine.show.report.KINDS", (".html",))
    text = f"name = {json.dumps(HOSTILE)}\ndescription = {json.dumps(HOSTILE)}\n[axes]\n"
    text = text.replace("[axes]", 'report = ["vision", "decode"]\n[axes]')
    text += 'crops = ["1x2", "2x3"]\n'
    write_report([str(grid_file(text))], tmp_path / "out")
    pages = [tmp_path / "out" / "index.html", *(tmp_path / "out" / "charts").glob("*.html")]
    assert len(pages) > 10
    for page in pages:
        assert "console.error(1)</script>" not in page.read_text()


LAYOUTS = """name = "laid"
description = "three layouts, two formats"
model = "llama-3.1-70b"
[axes]
layout = ["tp1", "tp4", "tp8"]
precision = ["bf16", "w4a16"]
batch_size = [1, 8]
prompt_tokens = [1000]
decode_steps = [100]
"""


def test_layouts_and_formats_stand_side_by_side(grid_file, tmp_path):
    write_report([str(grid_file(LAYOUTS))], tmp_path)
    table = pl.read_csv(tmp_path / "layouts-h100-sxm.csv")
    assert table["layout"].to_list()[::2] == ["one device", "tp4", "tp8"]
    assert table["fit h100-sxm"].to_list() == ["0 of 2"] + ["2 of 2"] * 5
    # 70.55 G parameters of 2 bytes; 4.125 bits a value but for table and head (2.1 G in bf16).
    assert table["weights, GB"].to_list()[:2] == [141.1, 39.5]
    fastest = table["tokens/s/user, at most"].to_list()
    assert fastest[0] is None
    assert fastest[1] < fastest[3] < fastest[5]


def test_one_layout_needs_no_table_of_layouts(grid_file, tmp_path):
    text = LAYOUTS.replace(', "tp4", "tp8"', "").replace(', "w4a16"', "")
    write_report([str(grid_file(text))], tmp_path)
    assert not (tmp_path / "layouts-h100-sxm.csv").exists()
    assert (tmp_path / "decode.csv").exists()


def test_unknown_model_to_lay_beside_is_named(command, tmp_path):
    done = command("report", "published-vision", "--out", tmp_path / "o", "--against", "nope")
    assert done.returncode == 2
    assert 'model "nope" does not exist' in done.stderr
    assert not (tmp_path / "o").exists()


def test_card_of_what_binds_counts_points():
    source, at = open_source("serving"), se.load_device("h100-sxm")
    card = cards_of(slice_of(source), verdict_of(source, [at]), at)[-1]
    points = se.scan("serving").select(bound=metrics.bound(at, "prefill")).collect()["bound"]
    compute = (points == "compute").mean()
    assert 0.5 < compute < 1
    assert dict(card.lines)["prefill"].startswith(
        f"compute {compute:.0%}, bandwidth {1 - compute:.0%}; "
    )


def test_the_note_on_decode_activations_is_what_the_published_picture_adds(reference):
    points = se.scan("published-decode").filter(pl.col("attention") == "flash").collect()
    tokens = pl.col("context_tokens") + pl.col("decode_steps") - 2
    shown = (pl.col("decode_activation_bytes") + 3 * 61_440 * tokens) / 2**30
    row = points.select(low=shown.min(), high=shown.max()).row(0, named=True)
    assert (f"{row['low']:.4f}", f"{row['high']:.3f}") == ("0.1025", "0.566")
    note = tomllib.loads((reference / "notes.toml").read_text())["decode_activation_memory"]
    assert "0.1025 to 0.566 GB" in note
    assert "3 x 61,440 bytes x (context + K - 2)" in note


def test_the_published_page_opens_with_equal_cells_and_states_weights(published_report):
    page = (published_report[0] / "index.html").read_text()
    answers = page[page.index('id="answers"') :]
    assert answers.index("583 of 583 cells equal") < answers.index("Required rates")
    for text in ("1.4876 GiB", "0.6873 GiB", "2.1749 GiB"):
        assert text in answers
    sums = se.scan("published-decode").filter(crop_rows=1, crop_cols=2).collect().select(
        (pl.col("prefill_kv_cache_bytes") + pl.col("decode_kv_cache_bytes")) / 2**30
    )  # fmt: skip
    assert f"{sums.row(0)[0]:.4f}" == "0.0621"
    assert "0.0621 GB at 1x2" in page


MINE = """name = "mine"
description = "devices in the points"
model = "qwen3-8b"
[axes]
device = ["l4", "h200"]
layout = ["tp1", "tp2"]
precision = ["bf16", "fp8"]
batch_size = [1, 8, 64]
prompt_tokens = [500, 4000]
decode_steps = [200]
[targets]
ttft_s = 2.0
tpot_s = 0.03
"""


def test_a_report_answers_for_the_devices_of_its_points(grid_file, tmp_path):
    write_report([str(grid_file(MINE))], tmp_path / "out")
    page = (tmp_path / "out" / "index.html").read_text()
    answers = page[page.index('id="answers"') : page.index('id="times"')]
    assert "Within TTFT 2 s and TPOT 30 ms" in answers
    assert "<td>h200</td><td>yes</td>" in answers
    assert "<td>l4</td>" in answers
    assert "a100" not in answers
    opened = re.sub(r'<details class="more">.*?</details>', "", page, flags=re.S)
    figures = re.findall(r'<figure id="chart-([^"]*)"', opened)
    assert figures[:3] == ["fronts", "ttft_by_batch", "tpot_by_batch"]
    assert {"ttft_parts-h200", "tpot_parts-h200", "tpot_by_layout-h200", "limits"} <= set(figures)
    assert len(figures) <= 20 < len(re.findall("<figure id=", page))


def test_times_in_charts_are_those_of_the_points(grid_file):
    source = open_source(str(grid_file(MINE)))
    targets = LatencyTargets(2.0, 0.03)
    charts = {c.name: c for c in time_charts(slice_of(source), source.loaded.devices, targets)}
    rows = next(
        rows for rows in charts["tpot_by_batch"].drawn.to_dict()["datasets"].values()
        if "seconds" in rows[0]
    )  # fmt: skip
    points = source.points.filter(prompt_tokens=4000, batch_size=8).collect()
    for row in rows:
        if row["batch_size"] != 8:
            continue
        device, laid = row["line"].split(", ")
        layout, precision = laid.split()
        of = points.filter(
            pl.col("device").cast(pl.String) == device,
            pl.col("tensor_parallel") == int(layout[2:]),
            pl.col("weight_format").cast(pl.String) == precision,
        )
        assert [row["seconds"]] == pytest.approx((of["tpot_seconds"] * 1000).to_list())
    parts = next(iter(charts["tpot_parts-h200"].drawn.to_dict()["datasets"].values()))
    total = sum(part["ms"] for part in parts if part["at"] == "8")
    assert total == pytest.approx(
        next(r["seconds"] for r in rows if r["line"].startswith("h200") and r["batch_size"] == 8)
    )


TWICE = """
import sys
from pathlib import Path
from sweepengine.show import report
from sweepengine.cli import commands
report.KINDS = ()  # the page holds every chart
out, grid = Path(sys.argv[1]), sys.argv[2]
for words in (
    ["report", grid, "--out", str(out / "report")],
    ["map", "llama-3.1-8b", "--device", "l4", "--cells", "400", "--chart", str(out / "map.svg")],
    ["explore", "qwen3-8b", "--device", "l4", "--prompt", "100", "--answer", "50", "--batch", "1",
     "--export", str(out / "page.html")],
):
    commands.main(words, standalone_mode=False)
"""


def test_two_runs_write_the_same_bytes(grid_file, tmp_path):
    small = MINE.replace('"tp1", "tp2"', '"tp2"').replace('"bf16", "fp8"', '"bf16"')
    grid = grid_file(small.replace("[500, 4000]", "[500]"))
    written = []
    for seed in ("1", "2"):
        out = tmp_path / seed
        out.mkdir()
        subprocess.run([sys.executable, "-c", TWICE, out, str(grid)], check=True,
                       env=os.environ | {"PYTHONHASHSEED": seed})  # fmt: skip
        files = [path for path in sorted(out.rglob("*")) if path.is_file()]
        written.append({str(path.relative_to(out)): path.read_bytes() for path in files})
    assert len(written[0]) > 10
    assert {"map.svg", "page.html", "report/index.html"} <= set(written[0])
    assert [name for name in written[0] if written[0][name] != written[1][name]] == []
