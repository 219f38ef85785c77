"""`validate`: formulas beside torch."""

import json
import os
import sys
from pathlib import Path

import click

from sweepengine.show.terminal import show_validation


@click.command()
@click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write JSON to FILE.",
)
def validate(json_file: Path | None) -> None:
    """Compare the default model's formulas with torch; exit 1 on a mismatch."""
    from sweepengine.data.errors import InputError
    from sweepengine.data.models import load_model

    try:
        from sweepengine.validation.summary import measure
    except ModuleNotFoundError as error:
        raise InputError(
            f"validate: {error.name} is not installed: expected the extra, "
            "pip install 'sweepengine[validate]'"
        ) from None
    if json_file is not None and not os.access(json_file.parent, os.W_OK | os.X_OK):
        raise InputError(f"{json_file}: cannot be written: expected a file in a writable directory")
    found = measure(load_model())
    show_validation(found)
    if json_file is not None:
        json_file.write_text(json.dumps(found.as_dict(), indent=2) + "\n", encoding="utf-8")
    if not found.passed:
        sys.exit(1)
