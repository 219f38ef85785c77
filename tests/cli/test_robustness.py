"""Whatever files and options hold, the outcome is a result or one line that names the place."""

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweepengine import cli
from sweepengine.data.devices import load_device
from sweepengine.data.errors import InputError
from sweepengine.data.files import known
from sweepengine.data.models import load_model
from sweepengine.grid.files import load_grid, load_grids, shipped_grids
from tests.fuzz import examples, outcome

SCALARS = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=True),
    st.booleans(),
    st.text(max_size=12),
    st.sampled_from(["none", "2x3", "0x0", "eager", "flash", "gundam", "gundam:2x3", "tiny:1x2"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.one_of(
                st.sampled_from(["min", "max", "start", "stop", "step", "geometric", "factor",
                                 "name", "value", "unit", "source"]),
                st.text(max_size=6),
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=8,
)  # fmt: skip
AXES = ["crops", "mode", "heads", "attention", "view_size", "tile_size", "text_tokens",
        "decode_steps", "batch_size", "abacus"]  # fmt: skip


def toml_value(value):
    """A value as TOML; floats and texts as TOML spells them."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return {"inf": "inf", "-inf": "-inf", "nan": "nan"}.get(repr(value), repr(value))
    if isinstance(value, str):
        escaped = "".join(
            f"\\U{ord(c):08x}" if not c.isalnum() and not 0xD800 <= ord(c) < 0xE000 else c
            for c in value
            if not 0xD800 <= ord(c) < 0xE000
        )
        return f'"{escaped}"'
    if isinstance(value, list):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    if isinstance(value, dict):
        items = (f"{toml_value(key)} = {toml_value(item)}" for key, item in value.items())
        return "{ " + ", ".join(items) + " }"
    return str(value)


def one_line(load, path):
    """Load a file; an error is one line that begins with the file."""
    try:
        return load(path)
    except InputError as error:
        message = str(error)
    assert "\n" not in message
    assert str(path) in message
    return None


REST = ["model", "description", "targets", "report", "foo"]


@examples(300)
@given(
    st.dictionaries(st.sampled_from(AXES), VALUES, max_size=4),
    st.dictionaries(st.sampled_from(REST), VALUES, max_size=2),
)
def test_any_grid_is_a_grid_or_one_line(tmp_path_factory, axes, more):
    path = tmp_path_factory.getbasetemp() / "fuzzed-grid.toml"
    lines = [f"{key} = {toml_value(value)}" for key, value in {"name": "g", **more}.items()]
    lines += ["[axes]", *(f"{key} = {toml_value(value)}" for key, value in axes.items())]
    path.write_text("\n".join(lines), encoding="utf-8")
    grid = one_line(load_grid, path)
    if grid is not None:
        assert grid.points >= 1
        one_line(lambda _: grid.check(), path)


@examples(200)
@given(st.one_of(st.text(max_size=200), st.binary(max_size=200)),
       st.sampled_from([load_grid, load_model, load_device]))  # fmt: skip
def test_any_text_is_one_line(tmp_path_factory, content, load):
    path = tmp_path_factory.getbasetemp() / "fuzzed-text.toml"
    data = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
    path.write_bytes(data)
    getattr(load, "cache_clear", lambda: None)()
    one_line(load, path)


@examples(200)
@given(st.data(), st.sampled_from(["models", "devices"]), VALUES)
def test_shipped_files_with_one_value_changed_load_or_say_what_is_wrong(
    tmp_path_factory, data, kind, value
):
    source = data.draw(st.sampled_from(sorted(known(kind).values())))
    lines = source.read_text(encoding="utf-8").splitlines()
    places = [i for i, line in enumerate(lines) if " = " in line]
    place = data.draw(st.sampled_from(places))
    key = lines[place].split(" = ")[0]
    changed = data.draw(st.sampled_from(["value", "key", "gone"]))
    lines[place] = {"value": f"{key} = {toml_value(value)}", "key": f"foo_{lines[place]}",
                    "gone": ""}[changed]  # fmt: skip
    path = tmp_path_factory.getbasetemp() / f"fuzzed-{kind}.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    load = load_model if kind == "models" else load_device
    one_line(load, path)


COMMANDS = ("plan", "run", "query", "report", "explain", "slo", "models", "devices", "calibrate",
            "nope")  # fmt: skip
WORDS = st.one_of(
    st.sampled_from(["capacity", "modes", "serving", "nope", "--json", "--top", "--where", "--out",
                     "--device", "h100-sxm", "--ttft", "--crops", "2x3", "--batch-size", "0", "-1",
                     "1e9", "--limit", "--format", "csv", "--help", "--", "", "--model",
                     "--times", "silicon", "--serving", "continuous", "--framework", "trtllm",
                     "--data", "mi300x", "--engine", "--group-by", "--sort", "batch_size",
                     "batch_size = 1"]),
    st.text(max_size=8),
)  # fmt: skip


@examples(250)
@given(st.sampled_from(COMMANDS), st.lists(WORDS, max_size=6))
def test_any_options_give_a_result_or_one_line(tmp_path_factory, name, words):
    folder = tmp_path_factory.getbasetemp() / "fuzzed-out"
    arguments = [str(folder) if word == "x" else word for word in words]
    if name in ("run", "report"):
        # What they write must land in a folder of ours, whatever the words are.
        arguments = [word for word in arguments if word not in ("--out", "--engine", "capacity")]
        arguments += ["--out", str(folder)]
    code, _, error = outcome([name, *arguments])
    assert code in (0, 2)
    if code == 2:
        assert error.count("\n") == 1
        assert error.startswith("sweepengine: ")
    assert "Traceback" not in error


@pytest.mark.parametrize("name", ["plan", "run", "report", "query", "slo"])
def test_directory_that_cannot_be_read_is_one_line(name, command, tmp_path):
    folder = tmp_path / "f.toml"
    folder.mkdir()
    out = ["--out", tmp_path / "out"] if name in ("run", "report") else []
    device = ["--device", "h20"] if name == "slo" else []
    done = command(name, folder, *out, *device)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


def test_every_shipped_grid_loads_and_every_command_has_help():
    for path in shipped_grids().values():
        for grid in load_grids(path):
            grid.check()
    for name, command in cli.commands.commands.items():
        assert command.help, name
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.help, (name, option.name)
