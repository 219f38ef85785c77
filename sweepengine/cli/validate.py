"""`validate`: formulas beside torch."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from sweepengine.show.terminal import print_table, say, show_validation


@click.command()
@click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write JSON to FILE.",
)
@click.option(
    "--config", help="A Hugging Face config.json, or its folder, instead of the default model."
)
def validate(json_file: Path | None, config: str | None) -> None:
    """Compare formulas with torch, of the default model or of any config; exit 1 on a mismatch."""
    from sweepengine.data.errors import InputError
    from sweepengine.data.models import load_model

    try:
        from sweepengine.validation.configs import measure as measure_config
        from sweepengine.validation.summary import measure
    except ModuleNotFoundError as error:
        raise InputError(
            f"validate: {error.name} is not installed: expected the extra, "
            "pip install 'sweepengine[validate]'"
        ) from None
    if json_file is not None and not os.access(json_file.parent, os.W_OK | os.X_OK):
        raise InputError(f"{json_file}: cannot be written: expected a file in a writable directory")
    facts: Any
    if config is not None:
        figures = measure_config(config)
        equal = sum(not figure.difference for figure in figures)
        facts, passed = [figure._asdict() for figure in figures], equal == len(figures)
        rows = [
            (f.what, f"{f.measured:,}", f"{f.analytic:,}", f"{f.difference:,}", f.unit)
            for f in figures
        ]
        columns = ("figure", "torch", "formula", "difference", "unit")
        print_table(f"{load_model(config).name} on the meta device", rows, columns)
        say(f"{equal} of {len(figures)} figures equal")
    else:
        found = measure(load_model())
        show_validation(found)
        facts, passed = found.as_dict(), found.passed
    if json_file is not None:
        json_file.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    if not passed:
        sys.exit(1)
