"""What is known of the error of times: the class that each point takes, and its figures."""

import tomllib
from importlib import resources

import polars as pl
import pytest

import sweepengine as se
from sweepengine.data.error_classes import (
    BASES,
    FACTORS,
    FAMILY,
    IMAGE_WORK,
    KINDS,
    LAYOUT_KINDS,
    LEAST_RUNS,
    LOADS,
    MODES,
    NOT_MEASURED,
    ClassKey,
    closest,
    model_kind,
)
from sweepengine.data.generations import GENERATION_TITLES
from sweepengine.grid.columns import ERRORS, RANGES
from sweepengine.query.sources import open_source

TABLE = tomllib.loads(
    (resources.files("sweepengine.data") / "measured" / "error_classes.toml").read_text("utf-8")
)
ORDER = ("layout", "load", "generation", "engine")
# model, device, serving engine, layout, batch size; kind, generation, layout kind, load; factors
POINTS = [
    ("llama-3.1-8b", "h100-sxm", "vllm", "tp1", 16, "dense", "hopper", "single", "steady", False),
    ("llama-3.1-8b", "h200", "trtllm", "tp1", 16, "dense", "hopper", "single", "steady", True),
    ("llama-3.1-8b", "b200", "sglang", "tp2", 16, "dense", "blackwell", "tensor", "steady", False),
    ("llama-3.1-70b", "h200", "vllm", "tp4", 64, "dense", "hopper", "tensor", "steady", False),
    ("llama-3.1-70b", "b200", "trtllm", "tp8", 8, "dense", "blackwell", "tensor", "steady", False),
    ("qwen3-32b", "h100-sxm", "vllm", "tp4", 8, "dense", "hopper", "tensor", "steady", True),
    ("qwen3-32b", "h200", "vllm", "tp2-pp2", 8, "dense", "hopper", "pipeline", "steady", True),
    ("qwen3-32b", "b200", "vllm", "tp1", 1, "dense", "blackwell", "single", "one", False),
    ("qwen3-8b", "h20", "vllm", "tp1", 4, "dense", "hopper", "single", "steady", False),
    ("qwen3-8b", "h800", "sglang", "dp2", 4, "dense", "hopper", "data", "steady", False),
    ("gemma-2-9b", "gb200", "trtllm", "tp1", 4, "dense", "blackwell", "single", "steady", False),
    ("gpt-oss-20b", "h100-sxm", "vllm", "tp1", 16, "moe", "hopper", "single", "steady", False),
    ("gpt-oss-20b", "b200", "trtllm", "tp2", 16, "moe", "blackwell", "tensor", "steady", False),
    ("gpt-oss-120b", "h200", "trtllm", "tp4-ep4", 16, "moe", "hopper", "expert", "steady", True),
    ("gpt-oss-120b", "b200", "vllm", "tp4", 32, "moe", "blackwell", "tensor", "steady", True),
    ("qwen3-30b-a3b", "h200", "sglang", "tp1", 64, "moe", "hopper", "single", "steady", False),
    ("qwen3-30b-a3b", "b300", "sglang", "tp8", 64, "moe", "blackwell", "tensor", "steady", False),
    ("qwen3-30b-a3b", "gb300", "vllm", "tp1", 1, "moe", "blackwell", "single", "one", False),
    ("deepseek-v3", "b200", "sglang", "tp8", 16, "latent", "blackwell", "tensor", "steady", True),
    ("deepseek-v3", "h200", "trtllm", "tp8-ep8", 64, "latent", "hopper", "expert", "steady", True),
    ("deepseek-v3", "b200", "trtllm", "dp8-ep8", 64, "latent", "blackwell", "data", "steady", None),
    ("deepseek-v3", "h200", "vllm", "tp8", 8, "latent", "hopper", "tensor", "steady", None),
    ("llama-3.1-8b", "a100-80gb", "vllm", "tp1", 8, "dense", "ampere", "single", "steady", False),
    ("qwen3-30b-a3b", "l40s", "sglang", "tp2", 8, "moe", "ada", "tensor", "steady", False),
    ("qwen3-8b", "rtx-5090", "vllm", "tp1", 1, "dense", "blackwell-rtx", "single", "one", False),
    ("qwen3-8b", "mi300x", "vllm", "tp1", 8, "dense", "cdna3", "single", "steady", False),
    ("gpt-oss-20b", "mi325x", "sglang", "tp1", 8, "moe", "cdna3", "single", "steady", False),
    ("qwen3-8b", "gaudi-3", "vllm", "tp1", 8, "dense", "gaudi3", "single", "steady", False),
    (
        "deepseek-ocr-3b",
        "h100-sxm",
        "vllm",
        "tp1",
        8,
        "vision",
        "hopper",
        "single",
        "steady",
        False,
    ),
    (
        "deepseek-ocr-3b",
        "a100-40gb",
        "vllm",
        "tp1",
        8,
        "vision",
        "ampere",
        "single",
        "steady",
        False,
    ),
]
"""30 points over models, devices and serving engines."""


def recorded(**key):
    """The row of the table with exactly these keys."""
    rows = [
        row for row in TABLE["classes"] if {n: row[n] for n in ClassKey._fields if n in row} == key
    ]
    return rows[0] if rows else None


def expected(point):
    """The row that a point must take: none where nothing like it was measured."""
    _, _, engine, _, _, kind, generation, layout, load, factors = point
    key = {"basis": FACTORS if factors else FAMILY, "kind": kind, "engine": engine,
           "generation": generation, "load": load, "layout": layout}  # fmt: skip
    of_family = [row for row in TABLE["classes"] if row["basis"] == FAMILY]
    if (kind, generation) not in {(row["kind"], row.get("generation")) for row in of_family}:
        return None
    for name in ("", *ORDER):
        key.pop(name, None)
        if row := recorded(**key):
            return row
    return None


@pytest.mark.parametrize("point", POINTS, ids=lambda point: "-".join(map(str, point[:5])))
def test_thirty_points_take_class_count_and_figures_of_the_table(point):
    model, device, engine, layout, batch, *_, factors = point
    cost = se.cost(model, device=device, framework=engine, layout=layout, batch_size=batch,
                   serving="continuous")  # fmt: skip
    if factors is None:  # a family that may have factors: either table row is one of the table
        factors = "without a factor" not in cost["error_class"]
    row = expected((*point[:-1], factors))
    if row is None:
        assert cost["error_class"].startswith(NOT_MEASURED)
        assert cost["error_runs"] == 0
        assert all(
            cost[f"{t}_{e}_seconds"] is None for t in ("tpot", "ttft") for e in ("low", "high")
        )
        return
    assert row["runs"] >= LEAST_RUNS
    assert cost["error_runs"] == row["runs"]
    for time in ("tpot", "ttft"):
        median, p90, low, high = row[time]
        assert f"{time.upper()} +-{median:.0f} % (" in cost["error_class"]
        assert f"{p90:.0f} %)" in cost["error_class"]
        assert cost[f"{time}_low_seconds"] == pytest.approx(low * cost[f"{time}_seconds"])
        assert cost[f"{time}_high_seconds"] == pytest.approx(high * cost[f"{time}_seconds"])
    described = f"{row['runs']:,} runs of {KINDS[row['kind']]}"
    assert described in cost["error_class"]
    for name, titles in (
        ("generation", GENERATION_TITLES),
        ("layout", LAYOUT_KINDS),
        ("load", LOADS),
    ):
        for value, title in titles.items():
            stated = cost["error_class"].split(", without")[0].split(" runs of ")[1].split(", ")
            assert (title in stated) == (row.get(name) == value)


@pytest.mark.parametrize(("device", "generation"), [("mi300x", "cdna3"), ("mi350x", "cdna4")])
def test_a_device_whose_kernels_nobody_timed_names_runs_of_its_own_generation(device, generation):
    cost = se.cost("qwen3-8b", device=device, serving="continuous", batch_size=8)
    row = recorded(basis=FAMILY, kind="latent", engine="sglang", generation=generation)
    errors = f"other models: TPOT +-{row['tpot'][0]:.0f} % (90 % within {row['tpot'][1]:.0f} %)"
    assert errors in cost["error_class"]
    runs = f"{row['runs']} runs of {KINDS['latent']} on SGLang, {GENERATION_TITLES[generation]}"
    assert runs in cost["error_class"]
    assert cost["error_runs"] == 0
    assert cost["tpot_low_seconds"] is None


def test_a_frame_a_grid_and_a_dataset_say_what_a_point_says(grid_file, tmp_path):
    text = """
name = "errors"
model = "qwen3-32b"
[axes]
device = ["h100-sxm", "mi300x"]
serving = ["static", "continuous"]
layout = ["tp1", "tp4"]
batch_size = [1, 8]
prompt_tokens = [1000]
decode_steps = [0, 100]
"""
    names = [column.name for column in ERRORS]
    path = grid_file(text)
    swept = se.scan(path).collect()
    se.run(path, tmp_path / "d")
    stored = open_source(tmp_path / "d").points.collect()
    files = pl.read_parquet(str(tmp_path / "d" / "*.parquet")).columns
    assert set(names) - set(files) == set(RANGES)
    inputs = ["device", "serving", "tensor_parallel", "batch_size", "prompt_tokens", "decode_steps"]
    evaluated = se.evaluate(swept.select(inputs), "qwen3-32b")
    assert swept.select(names).equals(evaluated.select(names))
    assert swept.select(names).equals(stored.select(names))
    for row in swept.rows(named=True):
        values = {name: row[name] for name in names}
        cost = se.cost("qwen3-32b", **{name: row[name] for name in inputs})
        assert values == {name: pytest.approx(cost[name]) if isinstance(cost[name], float)
                          else cost[name] for name in names}  # fmt: skip
    assert swept["error_class"].n_unique() > 3
    assert swept["tpot_low_seconds"].null_count() == 24


def test_the_compiled_backend_agrees_with_the_plain_one(grid_file):
    text = """
name = "errors"
model = "qwen3-30b-a3b"
[axes]
device = ["h200", "a100-80gb"]
serving = ["static", "continuous"]
layout = ["tp1", "tp4", "tp4-ep4"]
batch_size = [1, 2, 3]
prompt_tokens = { start = 1000, stop = 1200, step = 1 }
decode_steps = [100]
"""
    from sweepengine.engine.compute import computed_columns, plain_columns
    from sweepengine.grid.files import load_grid
    from sweepengine.grid.products import expand

    grid = load_grid(grid_file(text))
    names = [column.name for column in ERRORS]
    compiled = computed_columns(grid.model, grid.axes, grid.points, names)
    plain = plain_columns(grid.model, expand(grid.axes), names)
    for name in names:
        assert compiled[name].astype(float) == pytest.approx(plain[name].astype(float), nan_ok=True)


def test_no_class_is_taken_from_an_unmeasured_generation_or_another_kind():
    measured = {row.get("generation") for row in TABLE["classes"] if row["basis"] == FAMILY}
    assert not {"", "ada", "blackwell-rtx", "gaudi3"} & measured
    for kind in KINDS:
        for generation in {*GENERATION_TITLES, ""}:
            for engine in ("vllm", "trtllm", "sglang"):
                key = ClassKey(FAMILY, "", kind, engine, generation, "steady", "tensor")
                known = closest(key)
                if known.runs:
                    assert f"runs of {KINDS[kind]}" in known.text
                    assert generation in measured


def test_every_class_of_the_table_holds_enough_runs_and_known_keys():
    for row in TABLE["classes"]:
        assert row["runs"] >= LEAST_RUNS
        assert row["basis"] in BASES
        assert row["kind"] in KINDS
        assert row.get("mode", "") in MODES
        assert row.get("layout", "single") in LAYOUT_KINDS
        assert row.get("load", "one") in LOADS
        assert row.get("generation", "hopper") in GENERATION_TITLES
        assert "tpot" in row
        for time in {"tpot", "ttft"} & set(row):
            median, p90, low, high = row[time]
            assert 0 <= median <= p90
            assert low <= high


def test_every_shipped_device_has_a_generation():
    from sweepengine.data.files import known

    found = {se.load_device(name).generation for name in known("devices")}
    assert found == set(GENERATION_TITLES)


def test_requests_without_images_take_the_class_of_the_decoder():
    arch = se.load_model("deepseek-ocr-3b").architecture
    assert model_kind(arch) == "vision"
    assert model_kind(arch, images=False) == "moe"


def test_answers_about_images_say_that_work_of_the_host_is_missing():
    for model, inputs in (("deepseek-ocr-3b", {}), ("qwen3-vl-8b", {"serving": "static"})):
        for device in ("a100-40gb", "gaudi-3"):
            seen = se.cost(model, device=device, **inputs)
            assert seen["error_class"].endswith(IMAGE_WORK), (model, device)
    assert IMAGE_WORK not in se.cost("llama-3.1-8b", device="a100-40gb")["error_class"]
