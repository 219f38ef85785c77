import itertools
from functools import cache

import polars as pl
import pytest

import sweepengine as se
from sweepengine import metrics
from sweepengine.data.measurements import measured_stages
from sweepengine.data.models import load_model
from sweepengine.query.sources import open_source
from sweepengine.show.charts import heat_map, weight_traffic_chart
from sweepengine.show.curves import chart_frame, line_chart
from sweepengine.show.plans import plans
from sweepengine.show.rendering import save_chart
from sweepengine.show.report import write_report
from sweepengine.show.roofline_chart import roofline_chart
from sweepengine.show.tables import MOST_ROWS

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
def drawn(place):
    """Charts of a shipped grid by name."""
    source = open_source(place)
    chosen = plans(source, load_model(source.model))
    frame = chart_frame(source, chosen)
    return {plan.name: line_chart(plan, frame, measured_stages(), source) for plan in chosen}


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
    assert {row["crops"]: f"{row['value']:.3f}" for row in rows} == {
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


def test_labels_of_crop_grids_do_not_overlap():
    specification = drawn("published-vision")["vision_flops"].drawn.to_dict()
    rows = next(rows for rows in specification["datasets"].values() if "line" in rows[0])
    assert len({row["crops"] for row in rows}) == len(rows) == 53
    domain = specification["vconcat"][1]["encoding"]["x"]["scale"]["domain"]
    pixels = specification["vconcat"][1]["width"] / (domain[1] - domain[0])
    for _, line in itertools.groupby(sorted(rows, key=lambda r: (r["line"], r["tokens"])),
                                     key=lambda r: r["line"]):  # fmt: skip
        boxes = [(r["tokens"] * pixels, 5 * len(r["crops"])) for r in line]
        for (left, one), (right, other) in itertools.pairwise(boxes):
            assert right - left > (one + other) / 2


def test_large_grids_are_aggregated_and_no_point_is_left_out(root, grid_file):
    text = (root / "grids" / "capacity.toml").read_text()
    part = grid_file(text.replace("max = 29", "max = 5"))
    source = open_source(str(part))
    assert source.point_count > MOST_ROWS
    model = load_model(source.model)
    plan = next(plan for plan in plans(source, model) if plan.name == "decode_flops")
    frame = chart_frame(source, [plan])
    assert frame.height == 2 * 6
    most = se.scan(part).select(metrics.flops(["decode"]).max() / 1e12).collect().item()
    assert frame["decode_flops:0:max"].max() == pytest.approx(most, rel=1e-12)
    chart = heat_map(source, se.load_device("h100-sxm"))
    cells = next(iter(chart.drawn.to_dict()["datasets"].values()))
    assert len(cells) <= 48 * 9
    assert "bins" in chart.drawn.to_dict()["title"]["subtitle"]


def test_heat_map_holds_the_mean_time_of_its_cells():
    source, device = open_source("serving"), se.load_device("h100-sxm")
    chart = heat_map(source, device)
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
    assert heat_map(open_source("released"), device) is None


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
    chart = weight_traffic_chart(open_source(str(place)), load_model("deepseek-v3"))
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
    assert (
        "tp2-ep16-dp8, weights checkpoint, GEMMs fp8, KV cache bf16"
        in (chart.drawn.to_dict()["title"]["subtitle"])
    )


def test_no_point_stands_above_its_roof():
    device = se.load_device("h100-sxm")
    chart = roofline_chart(open_source("serving"), [device], device)
    specification = chart.drawn.to_dict()
    dots = next(rows for rows in specification["datasets"].values() if "stage" in rows[0])
    for dot in dots:
        roof = min(device.bytes_per_s * dot["intensity"], device.tensor_flops_per_s) / 1e12
        assert dot["rate"] <= roof * (1 + 1e-9)


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
    names = set().union(*PUBLISHED.values(), {"parameters", "roofline"})
    files = {path.name for path in (published_report[0] / "charts").iterdir()}
    assert files == {f"{name}.{kind}" for name in names for kind in ("svg", "html")}


def test_report_writes_every_chart_in_three_formats(grid_file, tmp_path):
    grid = grid_file('name = "g"\nreport = ["vision"]\n[axes]\ncrops = ["1x2", "2x3"]\n')
    write_report([str(grid)], tmp_path / "out")
    names = PUBLISHED["published-vision"] | {"parameters", "roofline"}
    files = {path.name for path in (tmp_path / "out" / "charts").iterdir()}
    assert files == {f"{name}.{kind}" for name in names for kind in ("svg", "png", "html")}
    for path in (tmp_path / "out" / "charts").glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG")
        assert path.stat().st_size > 10_000
