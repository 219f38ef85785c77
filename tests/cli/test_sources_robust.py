"""Whatever SQL, configs, datasets, references and options hold: an answer, or one line."""

import json
import shutil

import click
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sweepengine as se
from sweepengine import cli
from sweepengine.data.errors import InputError
from sweepengine.data.models import load_model
from sweepengine.query.query import query
from sweepengine.query.sources import open_source
from sweepengine.show.report import write_report
from sweepengine.store.storage import open_storage
from tests.attacks.attack import CONFIG, GRID
from tests.fuzz import examples, right
from tests.manifests import facts_of, write_facts

PIECES = st.one_of(
    st.sampled_from(
        ["batch_size", "decode_steps", "attention", "crop_rows", "decode_tensor_flops", "nope",
         "'eager'", "'x'", "1", "0", "-1", "2.5", "1e300", str(2**63), str(2**127), "NULL", "TRUE",
         "+", "-", "*", "/", "%", "=", "<", ">=", "<>", "AND", "OR", "NOT", "IN", "(", ")", ",",
         "BETWEEN", "LIKE", "IS NULL", "CASE", "WHEN", "THEN", "ELSE", "END", "AS", "x", "max(",
         "sum(", "count(*)", "avg(", "abs(", "CAST(", "AS INT)", "AS VARCHAR)", "OVER ()", "[1]",
         "DISTINCT", "*", ";", "--", "/*", "'", '"', "FROM", "SELECT", "::", "||", ".",
         "array_agg(", "COLUMNS(", "row_number()", "{", "}", "@", "?", ":", "INTERVAL '1 d'",
         "DATE '2020-01-01'"]
    ),
    st.text(max_size=5),
)  # fmt: skip
FRAGMENTS = st.lists(PIECES, min_size=1, max_size=9).map(" ".join)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzzed")
    (folder / "g.toml").write_text(GRID)
    se.run(folder / "g.toml", folder / "data")
    return folder


def one_line(work):
    """What work gives; an error is one line."""
    try:
        return work()
    except InputError as error:
        message = str(error)
    assert "\n" not in message.strip()
    return None


@examples(150)
@given(st.none() | FRAGMENTS, st.none() | FRAGMENTS, st.none() | FRAGMENTS, st.none() | FRAGMENTS,
       st.booleans(), st.sampled_from(["csv", "json", "table"]))  # fmt: skip
def test_sql(home, where, select, group, sort, dataset, kind):
    arguments = ["query", str(home / ("data" if dataset else "g.toml")), "--format", kind]
    for name, text in (("where", where), ("select", select), ("group-by", group), ("sort", sort)):
        arguments += [] if text is None else [f"--{name}={text}"]
    right(arguments)


@examples(100)
@given(condition=FRAGMENTS)
def test_condition_finds_the_same_in_a_grid_and_in_its_dataset(home, condition):
    def found(place):
        return one_line(lambda: query(open_source(home / place), where=condition).collect())

    try:
        first = found("g.toml")
    except pl.exceptions.PolarsError:  # that it runs into, which commands say in one line
        return
    second = found("data")
    assert (first is None) == (second is None)
    if first is not None:
        assert first.equals(second)


LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=6),
    st.sampled_from([0, 1, 2**31, 2**63, "silu", "bfloat16", "fp8", "full_attention", "nvfp4"]),
)  # fmt: skip
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["quant_method", "bits", "config_groups", "type", "ignore", "format"])
        | st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)  # fmt: skip
KEYS = ["hidden_size", "num_attention_heads", "num_key_value_heads", "head_dim", "hidden_act",
        "num_hidden_layers", "vocab_size", "model_type", "torch_dtype", "quantization_config",
        "layer_types", "sliding_window", "rope_scaling", "text_config", "num_experts",
        "moe_intermediate_size", "num_experts_per_tok", "tie_word_embeddings", "nope"]  # fmt: skip
FAMILIES = ["qwen3", "qwen3_moe", "deepseek_v3", "gpt_oss", "llama", "gemma3_text", "nemotron_h",
            "mixtral", "glm4_moe", "qwen3_next"]  # fmt: skip


@examples(150)
@given(st.sampled_from(FAMILIES), st.dictionaries(st.sampled_from(KEYS), JSON, max_size=4),
       st.none() | JSON)  # fmt: skip
def test_configs(home, family, changes, beside):
    place = home / "config"
    place.mkdir(exist_ok=True)
    config = json.loads(CONFIG) | {"model_type": family} | changes
    (place / "config.json").write_text(json.dumps(config))
    sidecar = place / "hf_quant_config.json"
    sidecar.unlink(missing_ok=True)
    if beside is not None:
        sidecar.write_text(json.dumps(beside))
    loaded = one_line(lambda: load_model(place))
    if loaded is not None:
        assert loaded.parameter_count >= 0
        right(["models", str(place)])


@examples(100)
@given(st.data())
def test_manifests(home, data):
    place = home / "manifest"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(home / "data", place)
    facts = facts_of(place)
    for _ in range(data.draw(st.integers(1, 2))):
        part = facts
        key = data.draw(st.sampled_from(sorted(part)))
        while isinstance(part[key], dict) and part[key] and data.draw(st.booleans()):
            part = part[key]
            key = data.draw(st.sampled_from(sorted(part)))
        if data.draw(st.booleans()):
            part[key] = data.draw(JSON)
        else:
            del part[key]
        if not facts:
            break
    write_facts(place, facts)
    right(["query", str(place), "--select", "count(*) AS n, sum(decode_tensor_flops) AS s"])
    right(["slo", str(place), "--device", "h100-sxm", "--ttft", "1", "--tpot", "1"])
    right(["run", str(home / "g.toml"), "--out", str(place)])


@examples(100)
@given(st.data())
def test_bytes_of_points(home, data):
    place = home / "bytes"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(home / "data", place)
    path = next(place.glob("points-*"))
    content = bytearray(path.read_bytes())
    whole = bytes(content)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    changed = bytes(content[: data.draw(st.sampled_from([None, len(content) // 2, -1]))])
    path.write_bytes(changed)
    status, _ = right(["query", str(place)])
    assert status == (0 if changed == whole else 2)
    se.run(home / "g.toml", place)
    assert path.read_bytes() == whole


LINES = st.lists(st.lists(st.text(max_size=4), max_size=4).map(",".join)).map("\n".join)


@examples(60)
@given(st.binary(max_size=60) | st.one_of(st.text(max_size=60), LINES).map(str.encode))
def test_references(home, content):
    from sweepengine.show.tables import Table, compare

    (home / "vision.csv").write_bytes(content)
    table = Table("vision", "Vision", ("crops", "tensor_tflops"), [("1", "2.0")], 1)
    one_line(lambda: compare(table, home))


@examples(100)
@given(st.text(max_size=30) | st.tuples(st.sampled_from(
    ["s3", "memory", "file", "nope", "", "a b", "data", "dir", "github", "zip", "local"]),
    st.text(max_size=12)).map("://".join))  # fmt: skip
def test_places(place):
    one_line(lambda: open_storage(place).place)
    if "s3://" not in place.lower() and "file:" not in place and "://" in place:
        one_line(lambda: open_source(place))


@examples(60)
@given(st.text(max_size=40), st.text(max_size=40))
def test_names_of_grids_end_in_pages_that_hold_together(home, name, description):
    (home / "named.toml").write_text(
        f"name = {json.dumps(name)}\ndescription = {json.dumps(description)}\n[axes]\n"
        "batch_size = [1]\n"
    )
    right(["plan", str(home / "named.toml")])
    right(["query", str(home / "named.toml"), "--top", "1"])


def test_hostile_but_valid_names_are_text_on_a_page(home, tmp_path, monkeypatch):
    monkeypatch.setattr("sweepengine.show.report.KINDS", (".svg", ".html"))  # pages hold text
    name = '<script>alert(1)</script> & "x" | `y` [z](http://x) ../../w'
    grid = GRID.replace('"small"', json.dumps(name)).replace(
        "[axes]", 'report = ["vision"]\n[axes]'
    )
    (home / "page.toml").write_text(grid)
    write_report([str(home / "page.toml")] * 2, tmp_path / "page")
    page = (tmp_path / "page" / "index.html").read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    assert all(path.is_relative_to(tmp_path / "page") for path in tmp_path.rglob("*"))
    readme = (tmp_path / "page" / "README.md").read_text()
    assert "<script>" not in readme


VALUES = st.one_of(
    st.sampled_from(
        ["0", "1", "-1", "2", "1.5", "nan", "inf", "1e400", str(2**70), "", "x", "h100-sxm",
         "g.toml", "data", "config.json", "nope", "tp2", "fp8", "2x3", "10,5", "json", "csv",
         "silicon", "vllm", "continuous", "batch_size = 1", "max(batch_size) AS m", "a=b"]
    ),
    st.text(max_size=6),
)  # fmt: skip
FORBIDDEN = {"explore", "validate", "calibrate", "report", "design"}
"""Commands that start a server, or take minutes when they are right."""
WRITES = {"out", "chart", "json_file", "page"}


@examples(250)
@given(st.data())
def test_every_option_of_every_command(home, tmp_path_factory, data):
    names = sorted(set(cli.commands.commands) - FORBIDDEN)
    name = data.draw(st.sampled_from(names))
    command = cli.commands.commands[name]
    folder = tmp_path_factory.getbasetemp() / "options"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    arguments = [name]
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            given = data.draw(
                st.sampled_from(["g.toml", "data", "config.json", "nope", "", "qwen3-8b"])
            )
            arguments.append(
                str(home / given) if given in ("g.toml", "data", "config.json") else given
            )
    options = [one for one in command.params if isinstance(one, click.Option)]
    for option in data.draw(st.lists(st.sampled_from(options), max_size=4, unique=True)):
        if option.is_flag:
            arguments.append(option.opts[0])
        elif option.name == "engine":
            continue
        elif option.name in WRITES:
            ending = data.draw(st.sampled_from(["x.svg", "x.csv", "x", "no/x.svg", ""]))
            arguments.append(f"{option.opts[0]}={folder / ending if ending else ''}")
        else:
            arguments.append(f"{option.opts[0]}={data.draw(VALUES)}")
    if name in ("fit", "deploy", "map", "slo", "compare"):
        arguments += ["--device", "h100-sxm"]
    if name == "run":
        arguments = [one for one in arguments if not one.startswith("--out")]
        arguments += ["--out", str(folder / "new"), "--limit", "100"]
    if name == "map":
        arguments += ["--cells", "16"]
    if name == "deploy":
        arguments += ["--batch", "4", "--devices", "4"]
    right(arguments)
