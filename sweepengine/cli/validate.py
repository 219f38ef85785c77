"""`validate`: compare formulas with torch, and times with measurements."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from sweepengine.cli.options import OutputFile, needs_extra
from sweepengine.formulas.speeds import FRAMEWORKS
from sweepengine.show.terminal import print_table, say
from sweepengine.show.validation_tables import show_validation


@click.command(epilog="Example: sweepengine validate --config path/to/config.json")
@click.option("--json", "json_file", type=OutputFile(), help="Write JSON to FILE.")
@click.option(
    "--config", help="A Hugging Face config.json, or its folder, instead of the default model."
)
@click.option("--silicon", is_flag=True, help="Compare times with measured operators and serving.")
@click.option(
    "--measured",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="With --silicon: compare a folder of your own measurements, as benchmarks/on_gpu makes "
    "them.",
)
@click.option("--device", help="With --measured: the device, by name or file.")
@click.option(
    "--framework",
    type=click.Choice(FRAMEWORKS),
    help=f"With --measured: the serving engine whose rates are taken [default: {FRAMEWORKS[0]}].",
)
@click.option("--memory", is_flag=True, help="Compare memory with logged starts of engines.")
@click.option(
    "--page",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the tables of --silicon (and charts in the same folder) or --memory to FILE.md.",
)
@click.option("--model", help="Another vision model: its phases, parameters and KV cache.")
def validate(
    json_file: Path | None,
    config: str | None,
    silicon: bool,
    measured: Path | None,
    device: str | None,
    framework: str | None,
    memory: bool,
    page: Path | None,
    model: str | None,
) -> None:
    """Compare formulas with torch, or times and memory with measurements; exit 1 on a mismatch."""
    from sweepengine.data.errors import InputError
    from sweepengine.data.models import load_model

    facts: Any
    if json_file is not None and not os.access(json_file.parent, os.W_OK | os.X_OK):
        raise InputError(f"{json_file}: cannot be written: expected a file in a writable directory")
    if measured is not None and not silicon:
        raise InputError("--measured: expected --silicon")
    if measured is None and (device or framework):
        raise InputError(f"{'--device' if device else '--framework'}: expected --measured")
    if silicon or memory:
        flag = "--silicon" if silicon else "--memory"
        if config is not None or model is not None:
            raise InputError(f"{flag}: remove it, or --config and --model")
        if silicon and memory:
            raise InputError("--memory: remove it, or --silicon")
        if measured is not None:
            facts = _measured(measured, device, framework or FRAMEWORKS[0], page)
            _write(json_file, facts, passed=True)
            return
        _write(json_file, *(_silicon(page) if silicon else _memory(page)))
        return
    if page is not None:
        raise InputError("--page: expected --silicon or --memory")
    with needs_extra("validate", "validate"):
        from sweepengine.validation.configs import measure as measure_config
        from sweepengine.validation.end_to_end import measure as measure_stages
        from sweepengine.validation.summary import measure
    if config is not None and model is not None:
        raise InputError("--config: remove it, or --model")
    if config is not None:
        compared = measure_config(config)
        facts, passed = _shown(load_model(config).name, compared.figures)
        for note in compared.notes:
            say(note)
    elif model is not None:
        chosen = load_model(model)
        if not chosen.has_vision:
            raise InputError(
                f"--model {model}: takes no images: expected --config with its config.json"
            )
        facts, passed = _shown(chosen.name, measure_stages(chosen))
    else:
        validation = measure(load_model())
        show_validation(validation)
        facts, passed = validation.as_dict(), validation.passed
    _write(json_file, facts, passed)


def _write(json_file: Path | None, facts: Any, passed: bool) -> None:
    """Write facts to a file, if there is one; exit with 1 if a check failed."""
    from sweepengine.data.outputs import write_text

    if json_file is not None:
        write_text(json_file, json.dumps(facts, indent=2) + "\n")
    if not passed:
        sys.exit(1)


def _silicon(page: Path | None) -> tuple[dict[str, Any], bool]:
    """Print the errors of times; return their facts, and whether none is worse than recorded."""
    with needs_extra("validate", "silicon"):
        from sweepengine.validation.silicon import measure
    from sweepengine.show.rendering import save_chart
    from sweepengine.show.silicon import as_markdown, show_silicon
    from sweepengine.show.silicon_chart import charts, titles

    errors = measure()
    show_silicon(errors)
    drawn = charts(errors)
    _write_page(page, as_markdown(errors, titles(drawn)))
    if page is not None:
        for name, chart in drawn.items():
            save_chart(chart, page.with_name(f"{name}.svg"))
    return errors.as_dict(), not errors.problems


def _measured(
    folder: Path, device: str | None, framework: str, page: Path | None
) -> dict[str, Any]:
    """Print measurements of a user with predictions; return their facts."""
    from sweepengine.data.errors import InputError

    if device is None:
        raise InputError("--measured: expected --device: a name that `sweepengine devices` lists")
    with needs_extra("validate", "silicon"):
        from sweepengine.validation.measured_folder import compare_folder
    from sweepengine.show.measured_folder import as_markdown, show_measured_folder

    found = compare_folder(folder, device, framework)
    show_measured_folder(found)
    _write_page(page, as_markdown(found))
    return found.as_dict()


def _memory(page: Path | None) -> tuple[dict[str, Any], bool]:
    """Print the errors of memory; return their facts, and whether none is worse than recorded."""
    from sweepengine.show.memory_errors import as_markdown, show_memory_errors
    from sweepengine.validation.memory_errors import measure

    errors = measure()
    show_memory_errors(errors)
    _write_page(page, as_markdown(errors))
    return errors.as_dict(), not errors.problems


def _write_page(page: Path | None, text: str) -> None:
    """Write a page, if a file is given."""
    from sweepengine.data.outputs import write_text

    if page is not None:
        page.parent.mkdir(parents=True, exist_ok=True)
        write_text(page, text)


def _shown(name: str, figures: Sequence[Any]) -> tuple[list[dict[str, Any]], bool]:
    """Print figures with torch's; return their facts, and whether all are equal."""
    differences = [figure.analytic - figure.measured for figure in figures]
    rows = [
        (f.what, f"{f.measured:,}", f"{f.analytic:,}", f"{difference:,}", f.unit)
        for f, difference in zip(figures, differences, strict=True)
    ]
    print_table(
        f"{name}: formulas against torch",
        rows,
        ("figure", "torch", "formula", "difference", "unit"),
    )
    say(f"{differences.count(0)} of {len(figures)} figures equal")
    return [figure._asdict() for figure in figures], not any(differences)
