"""Pages that mkdocs makes from the code: formulas, accountings, columns, commands, Python."""

import inspect
from typing import Any

import click
from mkdocs.structure.files import File, Files

import sweepengine
from sweepengine import metrics
from sweepengine.accountings import causes
from sweepengine.architecture import SECTIONS, load_model
from sweepengine.cli import commands
from sweepengine.cost import FORMULAS, Cost
from sweepengine.datafiles import known
from sweepengine.device import GIGA, TERA, load_device
from sweepengine.schema import COLUMNS, INPUTS
from sweepengine.stages import Point
from sweepengine.tables import markdown

DIAGRAM = """
    image ──► global view ─► SAM ─► CLIP ─┐
          └─► n tiles ─────► SAM ─► CLIP ─┴─► projector ─► image tokens ─┐
                                                                         │
    prompt ─► text tokens ───────────────────────────────────────────────┤
                                                                         ▼
    prefill: decoder (1 dense + 11 MoE layers) and LM head over the context
                                                                         │ KV cache
                                                                         ▼
    decode:  the same, one token a step, K steps
"""


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages."""
    pages = {"method.md": method(), "accountings.md": accountings(), "reference.md": reference()}
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def document(function: Any) -> str:
    """A docstring as Markdown: its headings of sections become bold."""
    lines = (inspect.getdoc(function) or "").splitlines()
    shown = []
    for i, line in enumerate(lines):
        below = lines[i + 1] if i + 1 < len(lines) else ""
        if set(below) == {"-"}:
            shown += ["", f"**{line}**", ""]
        elif set(line) != {"-"}:
            shown.append(line)
    return "\n".join(shown)


def method() -> str:
    """Every layer's formula, from its docstring."""
    text = f"# Method\n\nOne multiply-add is 2 FLOPs.\n\n```text{DIAGRAM}```\n\n"
    text += "A layer is a function that returns a `Cost`; the sweep kernel compiles it, `explain`\n"
    text += "and the torch suite call it as it is. Its fields:\n\n"
    fields = [(name, "") for name in Cost._fields]
    text += "\n".join(f"- `{name}`" for name, _ in fields) + "\n"
    places: dict[str, list[Any]] = {}
    for formula in FORMULAS:
        places.setdefault(formula.__module__, []).append(formula)
    for module, formulas in places.items():
        text += f"\n## {module.removeprefix('sweepengine.')}\n"
        for formula in formulas:
            arguments = ", ".join(inspect.signature(formula).parameters)
            text += f"\n### {formula.__name__}\n\n`{formula.__name__}({arguments})`\n\n"
            text += document(formula) + "\n"
    return text


def accountings() -> str:
    """The two accountings, and why they differ."""
    released, published = load_model(), load_model("deepseek-ocr-3b-modelmeter")
    point = Point(1024, 640, 1, 2, 10, 100, 1, 10, 10, 1)
    rows = [
        (
            cause.key,
            str(cause.first),
            str(cause.second),
            cause.why,
            "; ".join(f"{f.column} {f.change:+.2%}" for f in cause.effects if f.change is not None)
            or "nothing alone",
        )
        for cause in causes(released, published, "1x2", point)
    ]
    text = "# Two accountings\n\n"
    for model in (released, published):
        text += f"- `{model.name}`: {model.description}. {model.parameter_count:,} parameters.\n"
    text += "\nThey share every formula and differ in these numbers; the last column is what the\n"
    text += "number alone changes at 1x2 tiles.\n\n"
    return text + markdown(("number", "released", "published", "why", "effect"), rows)


def reference() -> str:
    """Columns, commands, Python."""
    text = "# Reference\n\n## Columns\n\n"
    valid = {column.name: column.allowed for column in INPUTS}
    rows = [(c.name, c.dtype, c.unit, valid.get(c.name, ""), c.meaning) for c in COLUMNS]
    text += markdown(("column", "type", "unit", "valid", "meaning"), rows)
    text += "\n## Commands\n"
    for name, command in commands.commands.items():
        context = click.Context(command, info_name=f"sweepengine {name}")
        text += f"\n### {name}\n\n```text\n{command.get_help(context)}\n```\n"
    text += "\n## Python\n"
    for name in sweepengine.__all__:
        text += f"\n### {name}\n\n{document(getattr(sweepengine, name))}\n"
    text += "\n## Derived measures\n\nPolars expressions of `sweepengine.metrics`.\n"
    for name, function in inspect.getmembers(metrics, inspect.isfunction):
        if function.__module__ == metrics.__name__ and not name.startswith("_"):
            text += f"\n### {name}\n\n`{name}{inspect.signature(function)}`\n\n"
            text += document(function) + "\n"
    text += "\n## Devices\n\n"
    devices = [load_device(name) for name in known("devices")]
    text += markdown(
        ("device", "tensor TFLOP/s", "CUDA TFLOP/s", "GB/s", "GB", "source"),
        [
            (d.name, f"{d.tensor_flops_per_s / TERA:g}", f"{d.cuda_flops_per_s / TERA:g}",
             f"{d.bytes_per_s / GIGA:g}", f"{d.memory_bytes / GIGA:g}", d.sources["tensor_bf16"])
            for d in devices
        ],
    )  # fmt: skip
    text += "\n## Models\n\n"
    sections = [
        (model.name, section, model.sources[section])
        for model in map(load_model, known("models"))
        for section in SECTIONS
    ]
    return text + markdown(("model", "section", "source"), sections)
