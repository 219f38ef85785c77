"""`validate`: formulas beside torch."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from sweepengine.cli.options import OutputFile
from sweepengine.show.terminal import print_table, say, show_validation


@click.command(epilog="Example: sweepengine validate --config path/to/config.json")
@click.option(
    "--json",
    "json_file",
    type=OutputFile(),
    help="Write JSON to FILE.",
)
@click.option(
    "--config", help="A Hugging Face config.json, or its folder, instead of the default model."
)
@click.option("--silicon", is_flag=True, help="Times beside measured operators and serving.")
@click.option(
    "--page",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the tables of --silicon to FILE.md.",
)
@click.option("--model", help="Another model that sees images: its stages, parameters and cache.")
def validate(
    json_file: Path | None,
    config: str | None,
    silicon: bool,
    page: Path | None,
    model: str | None,
) -> None:
    """Compare formulas with torch, or times with silicon; exit 1 on a mismatch."""
    from sweepengine.data.errors import InputError
    from sweepengine.data.models import load_model

    if json_file is not None and not os.access(json_file.parent, os.W_OK | os.X_OK):
        raise InputError(f"{json_file}: cannot be written: expected a file in a writable directory")
    if silicon:
        if config is not None or model is not None:
            raise InputError("--silicon beside --config or --model: expected one of them")
        _write(json_file, _silicon(page))
        return
    if page is not None:
        raise InputError("--page: expected --silicon beside it")
    try:
        from sweepengine.validation.configs import measure as measure_config
        from sweepengine.validation.end_to_end import measure as measure_stages
        from sweepengine.validation.summary import measure
    except ModuleNotFoundError as error:
        raise InputError(
            f"validate: {error.name} is not installed: expected the extra, "
            "pip install 'sweepengine[validate]'"
        ) from None
    if config is not None and model is not None:
        raise InputError("--config beside --model: expected one of them")
    facts: Any
    if config is not None:
        facts, passed = _shown(load_model(config).name, measure_config(config))
    elif model is not None:
        chosen = load_model(model)
        if not chosen.has_vision:
            raise InputError(
                f"--model {model}: sees no images: expected --config with its config.json"
            )
        facts, passed = _shown(chosen.name, measure_stages(chosen))
    else:
        found = measure(load_model())
        show_validation(found)
        facts, passed = found.as_dict(), found.passed
    _write(json_file, (facts, passed))


def _write(json_file: Path | None, found: tuple[Any, bool]) -> None:
    """Write facts, and exit with 1 where they did not pass."""
    from sweepengine.data.outputs import write_text

    facts, passed = found
    if json_file is not None:
        write_text(json_file, json.dumps(facts, indent=2) + "\n")
    if not passed:
        sys.exit(1)


def _silicon(page: Path | None) -> tuple[dict[str, Any], bool]:
    """Print times beside silicon; their facts, and whether none is worse than recorded."""
    from sweepengine.data.errors import InputError

    try:
        from sweepengine.validation.silicon import measure
    except ModuleNotFoundError as error:
        raise InputError(
            f"validate: {error.name} is not installed: expected the extra, "
            "pip install 'sweepengine[silicon]'"
        ) from None
    from sweepengine.data.outputs import write_text
    from sweepengine.show.silicon import as_markdown, show_silicon

    found = measure()
    show_silicon(found)
    if page is not None:
        page.parent.mkdir(parents=True, exist_ok=True)
        write_text(page, as_markdown(found))
    return found.as_dict(), not found.problems


def _shown(name: str, figures: Sequence[Any]) -> tuple[list[dict[str, Any]], bool]:
    """Print figures beside torch's; their facts, and whether all are equal."""
    different = [figure.analytic - figure.measured for figure in figures]
    rows = [
        (f.what, f"{f.measured:,}", f"{f.analytic:,}", f"{difference:,}", f.unit)
        for f, difference in zip(figures, different, strict=True)
    ]
    print_table(f"{name} beside torch", rows, ("figure", "torch", "formula", "difference", "unit"))
    say(f"{different.count(0)} of {len(figures)} figures equal")
    return [figure._asdict() for figure in figures], not any(different)
