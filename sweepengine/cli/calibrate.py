"""`calibrate`: fit the rates of operators to measured tables."""

from pathlib import Path

import click

from sweepengine.cli.options import OutputFile, needs_extra
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
    help="Folder of NAME_perf.parquet or .csv files, with the columns of the public tables "
    "[default: the public tables].",
)
@click.option("--out", type=OutputFile(), help="Write the rates to FILE.")
def calibrate(device: str, framework: str, data: Path | None, out: Path | None) -> None:
    """Fit rates of operators to measured tables; print them as TOML.

    Errors are measured on held-out rows.
    """
    from sweepengine.data.devices import load_device
    from sweepengine.data.outputs import write_text

    with needs_extra("calibrate", "silicon"):
        from sweepengine.validation.calibration import as_toml
        from sweepengine.validation.calibration import calibrate as fit_rates
    rates = fit_rates(load_device(device), framework, data)
    if out is None:
        say(as_toml(rates).rstrip())
        return
    write_text(out, as_toml(rates))
    rows = [
        (kind, name, f"{fit.rows:,}", f"{fit.judged:,}", fit.version,
         *(f"{figure:.1f}" for figure in (fit.median, fit.p90, fit.roofline_median,
                                          fit.roofline_p90)))
        for kind, fits in rates.fits.items()
        for name, fit in fits.items()
    ]  # fmt: skip
    columns = ("operator", "format", "rows", "held-out rows", "version", "median error %",
               "90th percentile %", "data sheet median %", "90th percentile %")  # fmt: skip
    print_table(f"{device}, {framework}: errors on held-out rows", rows, columns)
