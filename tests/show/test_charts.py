import itertools
import json
import re
from functools import cache

import polars as pl
import pytest
from altair.utils.schemapi import validate_jsonschema
from altair.vegalite.v6.schema.core import load_schema

import sweepengine as se
from sweepengine import metrics
from sweepengine.data.measurements import measured_stages
from sweepengine.data.models import load_model
from sweepengine.query.sources import open_source
from sweepengine.search.options import LatencyTargets
from sweepengine.show import rendering
from sweepengine.show.charts import weight_traffic_chart
from sweepengine.show.curve_points import chart_frame
from sweepengine.show.curves import LABEL_WIDTH, line_chart
from sweepengine.show.heat_maps import heat_maps
from sweepengine.show.plans import plans
from sweepengine.show.rendering import save_chart
from sweepengine.show.report import write_report
from sweepengine.show.roofline_chart import roofline_chart
from sweepengine.show.slices import slice_of

pytestmark = pytest.mark.slow

PUBLISHED = {
    "published-vision": {"vision_flops", "vision_activation_io", "vision_intensity",
                         "vision_activation_memory", "vision_split"},
    "published-decode": {"decode_flops_per_step", "decode_flops", "decode_activation_io",
                         "decode_intensity", "decode_activation_memory", "decode_kv_cache",
                         "decode_split", "required_for_tpot", "kv_cache_by_shape"},
    "published-prefill": {"vision_prefill_flops", "vision_prefill_components",
                          "vision_prefill_activation_io", "vision_prefill_intensity",
                          "vision_prefill_activation_memory", "vision_prefill_kv_cache",
                          "vision_prefill_split", "required_for_ttft"},
}  # fmt: skip


@cache
def drawn(place, against=None):
    """Charts of a shipped grid by name."""
    source = open_source(place)
    chosen = plans(source, load_model(source.model))
    other = against and load_model(against)
    frame = chart_frame(slice_of(source), chosen, measured_stages(), other)
    return {plan.name: line_chart(plan, frame, source) for plan in chosen}


def subtitle(chart):
    return chart.drawn.to_dict()["title"]["subtitle"]


def data_of(chart):
    """Rows of the chart's curves, out of its Vega-Lite specification."""
    specification = chart.drawn.to_dict()
    return next(rows for rows in specification["datasets"].values() if "curve" in rows[0])


@pytest.mark.parametrize("grid", PUBLISHED)
def test_published_charts_are_all_there(grid):
    charts = drawn(grid)
    assert set(charts) == PUBLISHED[grid]
    for chart in charts.values():
        assert ":" in chart.title
        assert "to" in chart.title or "everywhere" in chart.title


def expected(points, measure):
    """Values of a measure by curve and crop grid, from the very points of the tables."""
    return {
        (row["attention"], f"{row['crop_rows']}x{row['crop_cols']}"): row["value"]
        for row in points.select("attention", "crop_rows", "crop_cols", measure.alias("value"))
        .iter_rows(named=True)
    }  # fmt: skip


CHECKED = {
    "vision_activation_io": metrics.total("activation_io_bytes", ["vision"]) * 8 / 1e12,
    "vision_intensity": metrics.arithmetic_intensity(["vision"], per="bit"),
    "decode_activation_memory": metrics.total("activation_bytes", ["decode"]) / 2**20,
    "decode_activation_io": metrics.total("activation_io_bytes", ["decode"]) * 8 / 1e12,
    "vision_prefill_activation_memory": metrics.total("activation_bytes", ["vision", "prefill"])
    / 2**30,
}


@pytest.mark.parametrize("name", CHECKED)
def test_figures_in_a_chart_are_those_of_the_points(name):
    grid = next(grid for grid, names in PUBLISHED.items() if name in names)
    points = se.scan(grid).collect()
    found = {
        (row["curve"], row["crops"]): row["value"]
        for row in data_of(drawn(grid)[name])
        if row["curve"] != "measured by torch"
    }
    wanted = expected(points, CHECKED[name])
    assert len(found) == 106
    assert found == pytest.approx(wanted, rel=1e-12)


def test_required_rates_in_charts_are_those_of_the_published_table(root):
    import csv

    with (root / "tests/data/reference/ttft.csv").open() as file:
        published = {f"{r['crop_rows']}x{r['crop_cols']}": r for r in csv.DictReader(file)}
    rows = data_of(drawn("published-prefill")["required_for_ttft"])
    ours = [row for row in rows if row["curve"] == "eager and flash"]
    assert {row["crops"]: f"{row['value']:.3f}" for row in ours} == {
        crops: row["required_tflops_per_s"] for crops, row in published.items()
    }


def test_torch_is_beside_the_formulas_and_the_released_model_equals_it():
    for name, grid in (("vision_flops", "vision"), ("decode_flops", "decode")):
        chart = drawn("released")[name]
        torch = [row for row in data_of(chart) if row["curve"] == "measured by torch"]
        assert len(torch) == (53 if grid == "vision" else 6)
        assert chart.title.endswith("equal to torch")
    published = drawn("published-vision")["vision_flops"]
    assert "tensor FLOPs within" in published.title


def test_the_released_model_is_drawn_at_every_image_and_equals_torch_where_that_ran():
    grids = {"vision_flops": "published-vision", "vision_prefill_flops": "published-prefill",
             "required_for_ttft": "published-prefill", "decode_flops": "published-decode",
             "decode_flops_per_step": "published-decode",
             "required_for_tpot": "published-decode"}  # fmt: skip
    points = se.scan("released").filter(pl_flash()).collect()
    for name, grid in grids.items():
        chart = drawn(grid, "deepseek-ocr-3b")[name]
        curve = [row for row in data_of(chart) if row["curve"] == "deepseek-ocr-3b"]
        assert len(curve) == 53
        assert re.search(r"torch counts the same in (\d+) of \1 runs", subtitle(chart))
    both = points["vision_tensor_flops"] + points["prefill_tensor_flops"]
    wanted = sorted(both / 1e12)  # a TTFT of a second
    found = [row["value"] for row in data_of(drawn("published-prefill", "deepseek-ocr-3b")[
        "required_for_ttft"]) if row["curve"] == "deepseek-ocr-3b"]  # fmt: skip
    assert sorted(found) == pytest.approx(wanted, rel=1e-12)


def test_labels_of_crop_grids_do_not_overlap():
    specification = drawn("published-vision")["vision_flops"].drawn.to_dict()
    x = specification["layer"][1]["encoding"]["x"]
    (low, high), pixels = x["scale"]["domain"], specification["width"]
    shown = json.loads(x["axis"]["labelExpr"].removesuffix("[datum.value]"))
    grids = [grid for text in shown.values() for grid in text.split(", ")]
    assert len(set(grids)) == len(grids) == 53
    assert [float(tokens) for tokens in shown] == x["axis"]["values"]
    for left, right in itertools.pairwise(x["axis"]["values"]):
        assert (right - left) * pixels / (high - low) >= LABEL_WIDTH


def test_no_line_joins_images_of_different_families():
    chart = drawn("modes")["vision_flops"]
    rows = next(rows for rows in chart.drawn.to_dict()["datasets"].values() if len(rows) > 20)
    families = {row["family"] for row in rows}
    assert families == {"no tiles", "tiles of 640 px", "tiles of 1024 px"}
    lines = [layer for layer in chart.drawn.to_dict()["layer"][0]["layer"]
             if layer["mark"]["type"] == "line"]  # fmt: skip
    assert [layer["encoding"]["detail"]["field"] for layer in lines] == ["family"]


def test_a_chart_holds_every_input_that_it_does_not_draw(root, grid_file):
    text = (root / "grids" / "capacity.toml").read_text()
    source = open_source(str(grid_file(text.replace("max = 29", "max = 5"))))
    shown = slice_of(source)
    plan = next(plan for plan in plans(source, source.loaded) if plan.name == "decode_flops")
    rows = chart_frame(shown, [plan], measured_stages()).rows
    assert rows.height == 2 * 6  # attentions x images
    held = {name: shown.point[name] for name in ("batch_size", "decode_steps", "key_value_heads")}
    assert held == {"batch_size": 1, "decode_steps": 13_010, "key_value_heads": 1}
    points = se.evaluate(rows.select(source.inputs), source.loaded)
    assert (rows["decode_flops:0"] * 1e12).to_list() == pytest.approx(
        points.select(metrics.flops(["decode"])).to_series().to_list(), rel=1e-12
    )
    assert rows.select(pl.struct("tokens", "attention").n_unique()).item() == rows.height


def test_cells_of_a_heat_map_are_points_and_grow_with_the_batch():
    source, device = open_source("serving"), se.load_device("h100-sxm")
    (chart,) = heat_maps(slice_of(source), [device], LatencyTargets(1.0, 0.005))
    cells = next(iter(chart.drawn.to_dict()["datasets"].values()))
    wanted = {
        (row["decode_steps"], row["batch_size"]): row["tpot_seconds"] * 1000
        for row in se.evaluate(
            se.scan("serving")
            .select("crop_rows", "crop_cols", "batch_size", "decode_steps")
            .collect()
            .with_columns(device=pl.lit("h100-sxm"))
        ).iter_rows(named=True)
    }
    found = {(cell["decode_steps"], cell["batch_size"]): cell["tpot_ms"] for cell in cells}
    assert found == pytest.approx({key: wanted[key] for key in found}, rel=1e-12)
    assert len(found) > 200
    for steps in {key[0] for key in found}:
        of_steps = [found[key] for key in sorted(found) if key[0] == steps]
        assert of_steps == sorted(of_steps)
    assert heat_maps(slice_of(open_source("released")), [device], LatencyTargets()) == []


def test_weight_traffic_of_layouts_is_that_of_the_first(grid_file):
    place = grid_file("""
name = "laid"
description = "two layouts"
model = "deepseek-v3"
[axes]
layout = ["dp8-ep16-tp2", "tp8"]
batch_size = [1, 64]
prompt_tokens = [1000]
decode_steps = [10]
""")
    chart = weight_traffic_chart(slice_of(open_source(str(place))))
    rows = next(iter(chart.drawn.to_dict()["datasets"].values()))
    wanted = [
        se.cost(
            "deepseek-v3", prompt_tokens=1000, decode_steps=10, batch_size=batch,
            tensor_parallel=2, data_parallel=8, expert_parallel=16,
        )["decode_weight_io_bytes"] / 10 / 1e9
        for batch in (1, 64)
    ]  # fmt: skip
    assert [row["bytes"] for row in rows] == pytest.approx(wanted, rel=1e-12)
    # 16 of 256 experts on a device; batches of 1 and 8 sequences a group, of 8 groups.
    assert [row["experts"] for row in rows] == pytest.approx(
        [16 * (1 - (1 - 8 / 256) ** 8), 16 * (1 - (1 - 8 / 256) ** 64)], rel=1e-12
    )
    assert subtitle(chart).endswith("; at tp2-ep16-dp8 checkpoint")


def test_no_point_stands_above_the_roof_of_its_format(grid_file):
    device = se.load_device("h100-sxm")
    place = grid_file("""
name = "formats"
description = "two formats"
model = "qwen3-8b"
[axes]
precision = ["bf16", "fp8"]
batch_size = [1, 64]
prompt_tokens = [100, 4000]
decode_steps = [10]
""")
    for source in (open_source("serving"), open_source(str(place))):
        specification = roofline_chart(slice_of(source), [device], device).drawn.to_dict()
        dots = next(rows for rows in specification["datasets"].values() if "stage" in rows[0])
        roofs = next(rows for rows in specification["datasets"].values() if "at" in rows[0])
        for dot in dots:
            peak = device.peaks.get(dot["format"], device.tensor_flops_per_s)
            roof = min(device.bytes_per_s * dot["intensity"], peak) / 1e12
            assert dot["rate"] <= roof * (1 + 1e-9)
    assert {roof["device"] for roof in roofs} == {"h100-sxm", "h100-sxm fp8"}
    assert max(dot["rate"] for dot in dots) > device.tensor_flops_per_s / 1e12


def test_shipped_measurements_equal_the_formulas_and_torch():
    from sweepengine.validation.measured_stages import measure

    measured = pl.DataFrame(measured_stages()).select(
        pl.col("crop_rows", "crop_cols").cast(pl.Int32),
        pl.col("vision", "vision_prefill", "decode").replace("", None).cast(pl.Int64),
    )
    assert measured.height == 53
    points = se.scan("released").filter(pl_flash()).collect()
    joined = measured.join(points, on=["crop_rows", "crop_cols"], validate="1:1")
    assert joined.height == 53
    assert (joined["vision"] == joined["vision_tensor_flops"]).all()
    run = joined.drop_nulls("decode")
    assert run.height == 6
    assert (run["decode"] == run["decode_tensor_flops"]).all()
    both = run["vision_tensor_flops"] + run["prefill_tensor_flops"]
    assert (run["vision_prefill"] == both).all()
    again = measure(1024, 640, 1, 5)
    row = measured.filter((measured["crop_rows"] == 1) & (measured["crop_cols"] == 5))
    assert again["vision"] == row["vision"].item()


def pl_flash():
    return pl.col("attention") == "flash"


def test_other_file_names_are_refused(tmp_path):
    chart = drawn("published-vision")["vision_split"]
    with pytest.raises(se.InputError, match=r"ends in \.svg, \.png, \.html"):
        save_chart(chart.drawn, tmp_path / "chart.jpg")


def test_report_of_the_published_grids_holds_every_chart(published_report):
    names = set().union(*PUBLISHED.values(), {"weights_by_phase", "roofline"})
    files = {path.name for path in (published_report[0] / "charts").iterdir()}
    assert files == {f"{name}.{kind}" for name in names for kind in ("svg", "html")}


def test_report_writes_every_chart_in_three_formats(grid_file, tmp_path, monkeypatch):
    monkeypatch.setattr("sweepengine.show.report_sections._device_charts", lambda *_: [])
    grid = grid_file('name = "g"\nreport = ["vision"]\n[axes]\ncrops = ["1x2", "2x3"]\n')
    write_report([str(grid)], tmp_path / "out")
    names = PUBLISHED["published-vision"]
    files = {path.name for path in (tmp_path / "out" / "charts").iterdir()}
    assert files == {f"{name}.{kind}" for name in names for kind in ("svg", "png", "html")}
    for path in (tmp_path / "out" / "charts").glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG")
        assert path.stat().st_size > 10_000
    for path in (tmp_path / "out" / "charts").glob("*.html"):
        shown = re.search(r"const CHARTS = (.*), views|const CHARTS = (.*);\n", path.read_text())
        for _, specification in json.loads(next(filter(None, shown.groups()))):
            validate_jsonschema(specification, load_schema())


def test_script_of_pages_is_kept_between_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = rendering._scripts.__wrapped__()
    (path,) = tmp_path.glob("sweepengine/vega-*.js")
    monkeypatch.setattr("vl_convert.javascript_bundle", None)
    assert rendering._scripts.__wrapped__() == made
    path.write_bytes(b"damaged")
    with pytest.raises(TypeError, match="not callable"):
        rendering._scripts.__wrapped__()


SIZES = "{start = 64, stop = 4096, step = 64}"


@pytest.mark.parametrize(
    "axes",
    ["crops = {min = 1, max = 1000}",
     f'view_size = {SIZES}\ntile_size = {SIZES}\ncrops = ["2x3", "3x3"]'],
)  # fmt: skip
def test_of_many_images_as_many_are_drawn_as_a_chart_takes(axes, grid_file):
    source = open_source(str(grid_file(f'name = "x"\n[axes]\n{axes}\n')))
    chosen, shown = plans(source, load_model(source.model)), slice_of(source)
    frame = chart_frame(shown, chosen, measured_stages())
    images = source.points.select("image_tokens").collect().to_series()
    assert frame.rows.height > 500
    assert (frame.rows["tokens"].min(), frame.rows["tokens"].max()) == (images.min(), images.max())
    most = max(chosen, key=lambda plan: len(plan.curves))
    assert len(data_of(line_chart(most, frame, source))) <= 5_000  # Altair's limit
