"""Every check value in the documentation is what the code computes, so that no page goes stale.

Three kinds of tables are read, by their headers: inputs and outputs of `se.cost`, parts of an
`sweepengine explain` that stands above the table, and calls of formulas.
"""

import importlib
import json
import pkgutil
import re
import shlex
from functools import lru_cache
from pathlib import Path

import pytest
from click.testing import CliRunner

import sweepengine as se
from sweepengine import formulas
from sweepengine.cli import commands
from sweepengine.data.serving_engines import ENGINES
from sweepengine.formulas.deepseek_ocr import ocr_towers
from sweepengine.formulas.parameters import parameter_parts
from sweepengine.formulas.points import INPUTS
from sweepengine.formulas.published import PUBLISHED_LAYERS
from sweepengine.grid.columns import DEVICE_OUTPUTS, OUTPUTS

DOCS = Path(__file__).parent.parent / "docs"
LEAST = {"decoders": 290, "vision": 190, "memory": 64, "layouts": 32, "times": 74, "published": 57}
"""Values that each page holds at least: a header that is no longer understood would lose some."""
COSTED = {column.name for column in (*OUTPUTS, *DEVICE_OUTPUTS)}
FITTED = (
    "room_bytes",
    "weight_bytes",
    "activation_bytes",
    "kv_pool_bytes",
    "kv_pool_tokens",
    "sequence_bytes",
    "largest_batch",
)


def text_of(page):
    """A page, each command on one line."""
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    return re.sub(r"\\\n *", "", text)


def tables(page):
    """Header, rows and the last command above each table of a page."""
    command, header, rows, found, in_code = "", None, [], [], False
    for line in [*text_of(page).splitlines(), ""]:
        if line.startswith("```"):
            in_code = line.startswith("```sh")
        elif in_code and line.startswith("sweepengine explain"):
            command = line
        if line.startswith("|"):
            cells = [cell.strip(" `") for cell in line.strip().strip("|").split("|")]
            if header is None:
                header = cells
            elif set(line) - set("|-: "):
                rows.append(cells)
        elif header is not None:
            found.append((header, rows, command))
            header, rows = None, []
    return found


def agrees(shown, value):
    """Whether a number is the value, rounded as it is shown; an empty cell says there is none."""
    if not shown:
        return value is None
    digits = shown.replace(",", "")
    if "." not in digits:
        return int(digits) == (value if isinstance(value, int) else round(value))
    half = 0.5000001 * 10.0 ** -len(digits.split(".")[1])
    return abs(float(digits) - value) <= half


def given_inputs(row):
    found = {}
    for name, cell in row.items():
        if not cell:
            continue
        if name == "crops":
            found["crop_rows"], found["crop_cols"] = map(int, cell.split("x"))
        elif name in INPUTS:
            found[name] = cell if INPUTS[name].choices else int(cell.replace(",", ""))
    return found


@lru_cache
def explained(command):
    arguments = shlex.split(command)[1:]
    done = CliRunner().invoke(commands, [*arguments, "--json"])
    assert done.exit_code == 0, (command, done.output)
    return json.loads(done.output)


def parts(tree, path=()):
    """Parts of an explanation by their path."""
    for part in tree["parts"]:
        here = (*path, part["name"])
        yield " / ".join(here), part
        yield from parts(part, here)


def microseconds(found):
    """Operators by pass and name; of decode those of one step."""
    for time in found["times"][0]["operators"]:
        steps = found["inputs"]["decode_steps"] if time["stage"] == "decode" else 1
        stage = "step" if time["stage"] == "decode" else time["stage"]
        yield (
            (
                ": ".join(filter(None, (stage, time["group"]))),
                time["operator"],
            ),
            1e6 * time["seconds"] / steps,
        )


@lru_cache
def names_of_formulas():
    found = {}
    for module in pkgutil.iter_modules(formulas.__path__):
        home = importlib.import_module(f"{formulas.__name__}.{module.name}")
        own = {n: v for n, v in vars(home).items() if not n.startswith("_")}
        found |= {
            n: v for n, v in own.items() if getattr(v, "__module__", home.__name__) == home.__name__
        }
    return found


def published_layer(name, arguments):
    arch = se.load_model("deepseek-ocr-3b").architecture
    clip = arch.ocr.clip._replace(blocks=2)  # as published
    short = arch._replace(towers=ocr_towers(arch.ocr._replace(clip=clip)))
    return PUBLISHED_LAYERS[name](short, *eval(f"({arguments},)"))


def engine_constant(framework, column):
    value = ENGINES[framework]
    for key in column.split("."):
        value = value.get(key) if value else None
    return value


def values_of(header, rows, command):
    """What a table shows and what the code computes, with where; nothing of other tables."""
    if header == ["call", "value"]:
        for call, shown in rows:
            yield call, shown, eval(call, dict(names_of_formulas()))
    elif header[0] == "part" and command:
        costs = dict(parts(explained(command)["cost"]))
        for part, *cells in rows:
            for name, shown in zip(header[1:], cells, strict=True):
                yield (part, name), shown, costs[part][name]
    elif header == ["pass", "operator", "microseconds"]:
        times = dict(microseconds(explained(command)))
        assert len(rows) == len(times)
        for stage, operator, shown in rows:
            yield (stage, operator), shown, times[stage, operator]
    elif header[:2] == ["layer", "arguments"]:
        for name, arguments, shown, *_ in rows:
            yield name, shown, published_layer(name, arguments).tensor_flops
    elif header[:2] == ["model", "part"]:
        for model, part, shown in rows:
            yield (model, part), shown, parameter_parts(se.load_model(model).architecture)[part]
    elif header[0] == "framework":
        for framework, *cells in rows:
            for name, shown in zip(header[1:], cells, strict=True):
                yield (framework, name), shown, engine_constant(framework, name)
    elif header[:2] == ["model", "device"] and "largest_batch" in header:
        for model, device, *cells in rows:
            fitted = se.fit(model, [device]).row(0, named=True)
            for name, shown in zip(header[2:], cells, strict=True):
                assert name in FITTED
                yield (model, device, name), shown, fitted[name]
    elif header[0] == "model" and set(header) & (COSTED | {"parameters"}):
        assert set(header) <= {"model", "crops", "parameters", *INPUTS, *COSTED}, header
        for cells in rows:
            row = dict(zip(header, cells, strict=True))
            computed = se.cost(row["model"], **given_inputs(row))
            computed |= {"parameters": se.load_model(row["model"]).parameter_count}
            for name in header:
                if name in computed and name not in INPUTS:
                    yield (*cells[:4], name), row[name], computed[name]


@pytest.mark.parametrize("page", LEAST)
def test_check_values_are_what_the_code_computes(page):
    count = 0
    for header, rows, command in tables(page):
        for where, shown, value in values_of(header, rows, command):
            assert agrees(shown, value), (page, where, shown, value)
            count += 1
    assert count >= LEAST[page], f"{page}: {count} check values"


@pytest.mark.parametrize(
    ("shown", "value", "expected"),
    [("1,024", 1024, True), ("1,024", 1025, False), ("7.863", 7.86321, True),
     ("7.863", 7.8641, False), ("12", 12.4, True), ("", None, True), ("", 0, False)],
)  # fmt: skip
def test_numbers_agree_in_the_digits_shown(shown, value, expected):
    assert agrees(shown, value) == expected


def test_towers_add_up_to_what_the_page_says():
    text = " ".join(text_of("vision").split())
    found = explained("sweepengine explain --model deepseek-ocr-3b --crops 1x2")["cost"]
    flops = {name: part["tensor_flops"] for name, part in parts(found)}
    for seen, images in (("global view", 1), ("tiles", 2)):
        kinds = ("SAM patches and neck", "SAM blocks, global", "SAM blocks, windows")
        sam = sum(flops[f"vision / {seen} / {kind}"] for kind in kinds) // images
        clip = flops[f"vision / {seen} / CLIP blocks"] // images
        assert f"{sam:,}" in text
        assert f"{clip:,}" in text
    one = se.cost("deepseek-ocr-3b", crop_rows=1, crop_cols=1)["vision_tensor_flops"]
    assert f"{one - se.cost('deepseek-ocr-3b')['vision_tensor_flops']:,}" in text


def test_the_sum_of_memory_is_what_the_page_says():
    command = "sweepengine explain --model llama-3.1-8b --device h100-sxm --batch-size 395"
    (found,) = explained(command)["devices"]
    held = found["memory"]
    parts = [found["weight_bytes"], *(held[f"{name}_bytes"] for name in (
        "runtime", "activation", "graph"))]  # fmt: skip
    shown = " - ".join(f"{value / 1e9:.2f}" for value in (held["room_bytes"], *parts))
    page = " ".join(text_of("memory").split())
    assert f"`{shown} = {held['pool_bytes'] / 1e9:.2f}` GB" in page
    assert (held["fits"], held["largest_batch"]) == (True, 395)


def test_published_figures_of_layers_are_those_of_the_reference():
    (table,) = [rows for header, rows, _ in tables("published") if header[0] == "layer"]
    reference = DOCS.parent / "tests" / "data" / "reference" / "per_layer.csv"
    lines = [line.split(",") for line in reference.read_text().splitlines()[1:]]
    assert [[float(row[3]), float(row[4])] for row in table] == [
        [float(f"{float(line[2]):.5g}"), float(f"{float(line[3]):.5g}")] for line in lines
    ]
    assert [row[0] for row in table] == [line[1] for line in lines]


def test_every_rate_is_explained():
    from sweepengine.data.rates import FORMS, fields_of

    text = text_of("times")
    missing = {
        name for form in FORMS.values() for name in fields_of(form) if f"`{name}`" not in text
    }
    assert missing == set()


@pytest.mark.parametrize("page", LEAST)
def test_commands_and_snippets_of_these_pages_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = text_of(page)
    files = iter(re.findall(r"saved as `([\w-]+\.toml)`", text))
    for language, code in re.findall(r"^```(sh|python|toml)\n(.*?)^```", text, re.M | re.S):
        if language == "toml":
            (tmp_path / next(files)).write_text(code, encoding="utf-8")
        elif language == "python":
            exec(compile(code, page, "exec"), {})
        else:
            for line in code.splitlines():
                done = CliRunner().invoke(commands, shlex.split(line)[1:])
                assert done.exit_code == 0, (line, done.output)
