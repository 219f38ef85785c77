"""Pages that mkdocs generates from code and data: accountings, families, columns, commands."""

from pathlib import Path
from typing import Any

import click
from mkdocs.structure.files import File, Files

import sweepengine
from sweepengine.cli import commands
from sweepengine.costs.accountings import causes
from sweepengine.costs.peaks import HEADER, TITLE, row_of_device
from sweepengine.data.configs import families
from sweepengine.data.devices import load_device
from sweepengine.data.files import known
from sweepengine.data.models import load_model
from sweepengine.data.tower_tables import tower_tables
from sweepengine.formulas.points import INPUTS, Input, Point
from sweepengine.grid.columns import AXIS_TEXTS, DEVICE_OUTPUTS, OUTPUTS
from sweepengine.search.declarations import declared
from sweepengine.search.options import CompareOptions, DeployOptions, FitOptions
from sweepengine.show.tables import markdown
from sweepengine.validation.operator_kinds import FORMAT_OF_TABLE, KINDS
from sweepengine.validation.sparse_tables import MODULES
from sweepengine.validation.table_columns import COLUMNS, OPTIONAL_SIZES, OPTIONAL_WORDS

CONFIGS = Path(__file__).parent.parent / "results" / "configs" / "README.md"
"""Written by `make configs`."""
SILICON = CONFIGS.parent.parent / "silicon" / "README.md"
"""Written by `make silicon`."""
STARTS = CONFIGS.parent.parent / "memory" / "README.md"
"""Written by `make memory`."""


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages."""
    pages = {
        "accountings.md": accountings(),
        "families.md": model_types(),
        "configs.md": CONFIGS.read_text(encoding="utf-8"),
        "silicon.md": SILICON.read_text(encoding="utf-8"),
        "starts.md": STARTS.read_text(encoding="utf-8"),
        "reference.md": reference(),
    }
    pages |= {chart.name: chart.read_text("utf-8") for chart in SILICON.parent.glob("*.svg")}
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def accountings() -> str:
    """Page that compares the two accountings and states the reason of each difference."""
    released, published = load_model(), load_model("deepseek-ocr-3b-modelmeter")
    point = Point(1024, 640, 1, 2, 10, 100, 1, 10, 10, 1)
    text = "# Two accountings\n\n"
    for model in (released, published):
        text += f"- `{model.name}`: {model.description}. {model.parameter_count:,} parameters.\n"
    text += (
        "\nBoth use the same formulas and differ in the numbers below. The effect of each number\n"
    )
    text += (
        "is that of changing it alone in the released model, at 1x2 tiles with flash attention.\n"
    )
    for cause in causes(released, published, "1x2", point):
        effects = ", ".join(
            f"`{f.column}` {f.change:+.2%}" for f in cause.effects if f.change is not None
        )
        text += f"\n### {cause.key}\n\nReleased {cause.first}, published {cause.second}. "
        text += f"{cause.why} Effect: {effects or 'none at this point'}.\n"
    return text


KEYS = {
    "attention": "attention",
    "input_bias": "bias of Q, K, V",
    "output_bias": "bias of the output",
    "mlp_bias": "bias of MLPs",
    "query_norm": "norms of Q and K",
    "windows": "sliding-window layers",
    "moe_layers": "MoE layers",
    "router_flops": "router FLOPs per logit",
    "norms": "norms per layer",
}
"""Keys of a family to the title of their column."""
DETAILS = ("like", "keys", "neutral", "defaults", "modules", "tables", "mixer_keys")
"""Keys that control how a file is read; they have no column."""


def model_types() -> str:
    """Page of what each `model_type` of a config.json fixes."""
    text = "# Families\n\nWhat the code of each `model_type` fixes "
    text += "(`sweepengine/data/families.toml`).\n"
    text += (
        "A name in code style is the config key or the pattern that decides. An empty cell means\n"
    )
    text += "none. Types that are read the same way share a row.\n"
    text += "[Decoders](decoders.md#what-a-configjson-type-fixes) explains how a file is read.\n\n"
    names_of: dict[str, list[str]] = {}
    rows = families()["families"]
    for name, family in rows.items():
        names_of.setdefault(repr(family), []).append(name)
    shown = []
    for names in names_of.values():
        family = rows[names[0]]
        known = {
            "attention": "grouped",
            "router_flops": 6 if "moe_layers" in family else "",
        } | family
        further = [key for key in family if key not in KEYS and key not in DETAILS]
        rest = ", ".join(
            f"{key.replace('_', ' ')} {stated(family[key]) or 'no'}" for key in further
        )
        shown.append((", ".join(names), *(stated(known.get(key, "")) for key in KEYS), rest))
    text += markdown(("model_type", *KEYS.values(), "other"), shown, "---")
    return text + "\n## Vision towers\n\n" + towers()


def towers() -> str:
    """Table of the towers that a config.json may have, and of what stands behind them."""
    text = (
        "What stands behind the tower of each `model_type` (`sweepengine/data/projectors.toml`).\n"
        "Names are numbers that the row, or that of the tower (`towers.toml`), explains: `d` is\n"
        "the width of the tower, `h` that of the decoder.\n"
        "[Vision](vision.md#towers-of-a-configjson) explains how a tower is read.\n\n"
    )
    shown = []
    for name, row in tower_tables()["models"].items():
        layers = [join for join in row.get("joins", ()) if "inputs" in join]
        times = [f", {join['times']} times" if "times" in join else "" for join in layers]
        behind = [f"`{join['inputs']}` to `{join['outputs']}`" for join in layers]
        joined = "; ".join(map("".join, zip(behind, times, strict=True)))
        shown.append((name, ", ".join(row["towers"]), joined))
    return text + markdown(("model_type", "towers", "linear layers behind"), shown, "---")


def stated(value: Any) -> str:
    """A value of a family as text: yes, empty, a number, or a key or pattern in code style."""
    if value is True or value is False:
        return "yes" if value else ""
    if isinstance(value, list):
        return " or ".join(f"`{key}`" for key in value)
    text = str(value)
    return f"`{text}`" if "_" in text else text.replace("none", "")


OPTIONS = {"fit": FitOptions, "deploy": DeployOptions, "compare": CompareOptions}
"""Functions whose arguments are the options of a record."""


def default(column: Input) -> str:
    """The default of an input as text."""
    if column.choices:
        return column.choices[column.default]
    return f"{column.default:,}" if column.minimum <= column.default else "the model's"


def operator_tables() -> str:
    """Columns of the tables that `calibrate --data` and `validate --measured` read."""
    sizes = " and ".join(f"`{name}`" for name in OPTIONAL_SIZES)
    text = (
        "A table NAME is a file NAME_perf.csv or NAME_perf.parquet. It needs all of its columns;\n"
    )
    text += (
        "`latency` is of one call, in ms (moe_a2a: in us). Rows of 0 or in formats without rates\n"
    )
    text += f"are left out. Other columns are not read, except {sizes} (0 where they are missing)\n"
    text += f"and `{', '.join(OPTIONAL_WORDS)}` (one kernel where it is missing).\n\n"
    kinds = {
        name: [kind.name for kind in KINDS if name in (kind.table, *dict(kind.instead).values())]
        for name in COLUMNS
    }
    kinds[MODULES] = ["sparse-prefill with a KV cache in fp8, beside glm5_dsa_attn_module"]
    rows = [
        (name, ", ".join(kinds[name]), ", ".join(f"`{column}`" for column in columns.names()))
        for name, columns in COLUMNS.items()
    ]
    text += markdown(("table", "rates of", "columns"), rows, "---")
    names = ", ".join(f"`{name}`" for name in FORMAT_OF_TABLE)
    return f"{text}\nFormats with rates: {names}.\n"


def reference() -> str:
    """Page of columns, commands, Python functions, devices and models."""
    text = "# Reference\n\n## Columns\n\n"
    inputs = [(c.name, c.dtype, c.unit, default(c), c.allowed, c.meaning) for c in INPUTS.values()]
    outputs = [(c.name, c.dtype, c.unit, c.meaning) for c in (*OUTPUTS, *DEVICE_OUTPUTS)]
    text += "### Inputs\n\n"
    text += markdown(("column", "type", "unit", "default", "valid", "meaning"), inputs, "---")
    texts = [(c.name, c.dtype, c.meaning) for c in AXIS_TEXTS]
    text += "\n### Texts of inputs\n\n"
    text += markdown(("column", "type", "meaning"), texts, "---")
    text += "\n### Outputs\n\n"
    text += markdown(("column", "type", "unit", "meaning"), outputs, "---")
    text += "\n## Tables of operators\n\n" + operator_tables()
    text += "\n## Commands\n"
    for name, command in commands.commands.items():
        context = click.Context(command, info_name=f"sweepengine {name}")
        text += f"\n### {name}\n\n```text\n{command.get_help(context)}\n```\n"
    text += "\n## Python\n\nCall these as `se.evaluate` after `import sweepengine as se`. "
    text += "Derived measures are in `se.metrics`.\n"
    for name in sweepengine.__all__:
        if name == "metrics":
            continue
        home = getattr(sweepengine, name).__module__
        text += f"\n::: {home}.{name}\n"
        if name in OPTIONS:
            rows = [(f"`{option.keyword}`", option.help) for option in declared(OPTIONS[name])]
            text += "\n" + markdown(("option", "meaning"), rows, "---")
    text += "\n::: sweepengine.costs.metrics\n"
    text += "\n## Devices\n\n"
    devices = [load_device(name) for name in known("devices")]
    text += f"{TITLE}.\n\n"
    text += markdown(HEADER, [row_of_device(device) for device in devices])
    text += "\nSource of each figure:\n\n"
    sources = [(d.name, figure, source) for d in devices for figure, source in d.sources.items()]
    text += markdown(("device", "figure", "source"), sources, "---")
    text += "\n## Models\n\n"
    sections = [
        (model.name, section, model.sources[section])
        for model in map(load_model, known("models"))
        for section in model.sources
    ]
    return text + markdown(("model", "section", "source"), sections, "---")
