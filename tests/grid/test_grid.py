import pytest
from hypothesis import given
from hypothesis import strategies as st

import sweepengine as se
from sweepengine import metrics
from sweepengine.data.errors import InputError
from sweepengine.grid.counted import point_columns
from sweepengine.grid.files import load_grid, load_grids, parse_grid, shipped_grids
from sweepengine.grid.products import expand


def grid_of(**axes):
    return parse_grid({"name": "g", "axes": axes}, "g.toml")


def values(grid, *names):
    columns = expand(grid.axes)
    return list(zip(*(columns[name].tolist() for name in names), strict=True))


def test_crop_range_lists_every_published_grid_once():
    grid = grid_of(crops={"min": 2, "max": 29})
    crops = values(grid, "crop_rows", "crop_cols")
    assert len(crops) == 53
    assert crops[:4] == [(1, 2), (1, 3), (1, 4), (2, 2)]
    assert all(r <= c and 2 <= r * c <= 29 for r, c in crops)


def test_axes_are_spelled_as_lists_ranges_and_powers():
    grid = grid_of(
        decode_steps={"start": 100, "stop": 300, "step": 100},
        batch_size={"geometric": [1, 10], "factor": 2},
        crops=["none", "2x3"],
    )
    assert values(grid, "decode_steps", "batch_size")[:2] == [(100, 1), (100, 1)]
    assert grid.points == 3 * 4 * 2
    assert sorted(set(values(grid, "batch_size"))) == [(1,), (2,), (4,), (8,)]
    assert sorted(set(values(grid, "decode_steps"))) == [(100,), (200,), (300,)]


def test_last_axis_is_fastest():
    grid = grid_of(batch_size=[1, 2], text_tokens=[5, 6])
    assert values(grid, "batch_size", "text_tokens") == [(1, 5), (1, 6), (2, 5), (2, 6)]


def test_axes_that_are_missing_take_the_defaults():
    grid = grid_of(batch_size=[3])
    names = ("view_size", "tile_size", "crop_rows", "text_tokens", "decode_steps",
             "attention_heads", "key_value_heads", "attention")  # fmt: skip
    assert values(grid, *names) == [(1024, 640, 0, 10, 100, 10, 10, 1)]


def test_modes_set_view_tile_and_crops_together():
    grid = grid_of(mode=["tiny", "gundam:2x3", {"name": "gundam-m", "min": 2, "max": 3}])
    assert values(grid, "view_size", "tile_size", "crop_rows", "crop_cols") == [
        (512, 640, 0, 0),
        (1024, 640, 2, 3),
        (1280, 1024, 1, 2),
        (1280, 1024, 1, 3),
    ]


def test_hash_follows_axes_and_model_but_not_names():
    base = parse_grid({"name": "a", "axes": {"batch_size": [1]}}, "a")
    renamed = parse_grid({"name": "b", "description": "x", "axes": {"batch_size": [1]}}, "b")
    other_axis = parse_grid({"name": "a", "axes": {"batch_size": [2]}}, "a")
    model = "deepseek-ocr-3b-modelmeter"
    other_model = parse_grid({"name": "a", "model": model, "axes": {"batch_size": [1]}}, "a")
    assert base.hash == renamed.hash
    assert len({base.hash, other_axis.hash, other_model.hash}) == 3


def test_a_column_that_an_axis_gained_is_no_part_of_the_hash_where_it_changes_nothing():
    def hashed(layout, fewer=False):
        grid = parse_grid({"name": "a", "model": "llama-3.1-8b", "axes": {"layout": layout}}, "a")
        *others, axis = grid.axes
        if fewer:
            axis = axis._replace(columns=axis.columns[:4], values=axis.values[:, :4])
        return grid._replace(axes=(*others, axis)).hash

    assert hashed(["tp1", "tp8"]) == hashed(["tp1", "tp8"], fewer=True)
    assert hashed(["tp1", "tp16-dcp2"]) != hashed(["tp1", "tp16"])


BAD = {
    "unknown axis": (
        {"axes": {"crop": ["1x2"]}},
        "axes.crop: unknown key (did you mean crops?): expected some of mode",
    ),
    "unknown key": (
        {"axes": {}, "axis": 1},
        "axis: unknown key (did you mean axes?): expected one of name, ",
    ),
    "axis outside": ({"axes": {}, "device": ["l4"]}, "device: an axis: expected it in the table"),
    "empty axis": ({"axes": {"crops": []}}, "axes.crops = []: expected at least one value"),
    "zero": ({"axes": {"batch_size": [0]}}, "axes.batch_size[0] = 0: expected an integer, 1..65"),
    "negative": ({"axes": {"text_tokens": [5, -1]}}, "axes.text_tokens[1] = -1: expected"),
    "float": ({"axes": {"batch_size": [1.0]}}, "axes.batch_size[0] = 1.0: expected an integer"),
    "bool": ({"axes": {"batch_size": [True]}}, "axes.batch_size[0] = true: expected an integer"),
    "text": ({"axes": {"batch_size": ["4"]}}, 'axes.batch_size[0] = "4": expected an integer'),
    "crops": (
        {"axes": {"crops": ["1x2", "3by2"]}},
        'axes.crops[1] = "3by2": expected ROWSxCOLS, such as "2x3", or "none"',
    ),
    "zero crops": ({"axes": {"crops": ["0x2"]}}, 'axes.crops[0] = "0x2": expected ROWSxCOLS'),
    "many crops": ({"axes": {"crops": ["1x1001"]}}, "rows and columns 1..1000"),
    "heads": (
        {"axes": {"heads": [[10, 10], [7, 7]]}},
        "axes.heads[1] = [7, 7]: expected attention_heads that divide 1280",
    ),
    "kv heads": (
        {"axes": {"heads": [[10, 3]]}},
        "axes.heads[0] = [10, 3]: expected key_value_heads that divide 10",
    ),
    "head pair": ({"axes": {"heads": [10]}}, "axes.heads[0] = 10: expected [attention_heads, "),
    "view": (
        {"axes": {"view_size": [1000]}},
        "axes.view_size[0] = 1000: expected a multiple of 64, 64..4,096",
    ),
    "step": ({"axes": {"decode_steps": {"start": 1, "stop": 9, "step": 0}}}, "step: "),
    "order": (
        {"axes": {"decode_steps": {"start": 10, "stop": 9, "step": 1}}},
        "axes.decode_steps: start = 10 is beyond stop = 9",
    ),
    "factor": ({"axes": {"batch_size": {"geometric": [1, 8], "factor": 1}}}, "factor: "),
    "range beyond": (
        {"axes": {"batch_size": {"start": 1, "stop": 65537, "step": 1}}},
        "axes.batch_size = 65537: expected an integer, 1..65,536",
    ),
    "duplicates": ({"axes": {"batch_size": [1, 2, 1]}}, "axes.batch_size: duplicate value 1"),
    "crop twice": (
        {"axes": {"crops": ["1x2", {"min": 2, "max": 3}]}},
        "axes.crops: duplicate value [1, 2]",
    ),
    "attention": ({"axes": {"attention": ["sdpa"]}}, 'expected "eager" or "flash"'),
    "mode": ({"axes": {"mode": ["huge"]}}, "expected one of tiny, small, base, large, gundam"),
    "mode tiles": ({"axes": {"mode": ["tiny:1x2"]}}, 'no crops, as mode "tiny" has no tiles'),
    "mode no tiles": ({"axes": {"mode": ["gundam"]}}, 'expected crops, such as "gundam:2x3"'),
    "mode and crops": ({"axes": {"mode": ["tiny"], "crops": ["1x2"]}}, "expected no axes.crops"),
    "model": (
        {"model": "gpt", "axes": {}},
        'model: model "gpt" does not exist (did you mean gpt-oss-120b or gpt-oss-20b?): '
        "expected a path to a config.json or a TOML file, or one that",
    ),
    "target": ({"axes": {}, "targets": {"ttft_s": 0}}, "targets.ttft_s: "),
    "stage": ({"axes": {}, "report": ["train"]}, "report: expected some of vision, prefill"),
    "no axes": ({}, "axes: required key is missing"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_grid_is_one_line_with_file_key_and_what_is_allowed(case):
    data, expected = BAD[case]
    with pytest.raises(InputError) as error:
        parse_grid({"name": "g", **data}, "grids/bad.toml")
    message = str(error.value)
    assert message.startswith("grids/bad.toml: ")
    assert expected in message
    assert "\n" not in message


def test_file_that_is_no_toml_or_no_file_is_named(grid_file, tmp_path):
    with pytest.raises(InputError, match=r"grid\.toml: not a TOML file"):
        load_grid(grid_file("= ="))
    with pytest.raises(InputError, match=r"none\.toml: cannot be read: No such file"):
        load_grid(tmp_path / "none.toml")
    with pytest.raises(
        InputError, match=r'grid "none" does not exist: .* one of accelerators, capacity'
    ):
        load_grid("none")


@given(st.text())
def test_any_text_is_a_grid_or_an_input_error(text):
    import tomllib

    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    with pytest.raises(InputError):
        parse_grid(data, "fuzz")


def test_grid_that_overflows_is_refused_by_its_largest_corner():
    grid = grid_of(
        crops=["none", "100x100"],
        batch_size=[1, 65536],
        decode_steps=[1, 1_000_000],
        text_tokens=[1_000_000],
    )
    with pytest.raises(InputError, match=r"g\.toml: \w+ reaches [\d,]+ at its largest corner"):
        grid.check()
    grid_of(crops=["100x100"], text_tokens=[1000]).check()


def test_grid_with_more_tokens_than_int32_is_refused():
    with pytest.raises(InputError, match="image_tokens reaches"):
        grid_of(crops=["1000x1000"], tile_size=[4096]).check()


def test_long_and_wide_crops_do_not_overflow_as_their_square_would():
    grid_of(crops=["1x1000", "1000x1"], tile_size=[1024], text_tokens=[0]).check()


@pytest.mark.parametrize("name", sorted(shipped_grids()))
def test_shipped_grids_are_valid_and_fit(name):
    for grid in load_grids(name):
        grid.check()
        assert grid.name == name


def test_capacity_has_the_promised_size():
    assert load_grid("capacity").points >= 10_000_000
    assert {load_grid(f"published-{s}").points for s in ("vision", "prefill", "decode")} == {106}


def test_sums_of_columns_must_fit_too():
    """Each column fits Int64 here; FLOPs of two stages together, as reports add them, do not."""
    axes = {"crops": ["60x60"], "batch_size": [1000], "text_tokens": [10], "decode_steps": [1]}
    grid = parse_grid({"name": "g", "axes": axes}, "g")
    columns = point_columns(grid.model.architecture, grid.point)
    assert all(columns[f"{stage}_tensor_flops"] < 2**63 for stage in ("vision", "prefill"))
    with pytest.raises(InputError, match=r"the sum of all flops reaches 9,\d{3},.* at its largest"):
        grid.check()
    with pytest.raises(InputError, match="the sum of all flops reaches"):
        se.cost(crop_rows=60, crop_cols=60, batch_size=1000, decode_steps=1)
    fewer = parse_grid({"name": "g", "axes": axes | {"batch_size": [900]}}, "g")
    fewer.check()
    both = metrics.flops(("vision", "prefill"))
    exact = sum(
        value for name, value in se.cost(crop_rows=60, crop_cols=60, batch_size=900,
                                         decode_steps=1).items()
        if name in [f"{s}_{k}_flops" for s in ("vision", "prefill") for k in ("tensor", "cuda")]
    )  # fmt: skip
    assert se.scan(fewer).select(both).collect().item() == exact > 2**62
