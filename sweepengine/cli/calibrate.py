"""`calibrate`: rates of operators from measured tables."""

from pathlib import Path

import click

from sweepengine.cli.options import OutputFile
from sweepengine.formulas.speeds import FRAMEWORKS
from sweepengine.show.terminal import print_table, say


@click.command(
    epilog="Example: sweepengine calibrate h100-sxm --framework vllm --out h100-sxm-vllm.toml"
)
@click.argument("device")
@click.option(
    "--framework", type=click.Choice(FRAMEWORKS), default=FRAMEWORKS[0], show_default=True,
    help="Serving engine whose kernels were measured.",
)  # fmt: skip
@click.option(
    "--data",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="Folder of NAME_perf.parquet or .csv with the columns of the public tables.",
)
@click.option("--out", type=OutputFile(), help="Write the rates to FILE.")
def calibrate(device: str, framework: str, data: Path | None, out: Path | None) -> None:
    """Fit rates of operators to measured tables, as TOML; errors are of rows that no fit saw."""
    from sweepengine.data.devices import load_device
    from sweepengine.data.errors import InputError
    from sweepengine.data.outputs import write_text

    try:
        from sweepengine.validation.calibration import as_toml
        from sweepengine.validation.calibration import calibrate as fit_rates
    except ModuleNotFoundError as error:
        raise InputError(
            f"calibrate: {error.name} is not installed: expected the extra, "
            "pip install 'sweepengine[silicon]'"
        ) from None
    found = fit_rates(load_device(device), framework, data)
    if out is None:
        say(as_toml(found).rstrip())
        return
    write_text(out, as_toml(found))
    rows = [
        (kind, name, f"{fit.rows:,}", f"{fit.judged:,}", fit.version,
         *(f"{figure:.1f}" for figure in (fit.median, fit.p90, fit.roofline_median,
                                          fit.roofline_p90)))
        for kind, fits in found.fits.items()
        for name, fit in fits.items()
    ]  # fmt: skip
    columns = ("operator", "format", "rows", "judged", "version", "median %", "90th %",
               "data sheet median %", "90th %")  # fmt: skip
    print_table(f"{device}, {framework}: errors on rows that no fit saw", rows, columns)
