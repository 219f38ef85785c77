"""Command line: parses, calls, prints. What costs time to import is imported where it is used."""

import json
import os
import sys
from pathlib import Path
from typing import NoReturn

import click

from sweepengine import __version__
from sweepengine.schema import FILE_SCHEMA_VERSION, SCHEMA_VERSION
from sweepengine.terminal import (
    cell,
    print_table,
    show_answers,
    show_explanation,
    show_validation,
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(
    __version__,
    prog_name="sweepengine",
    message=f"%(prog)s %(version)s, model schema {FILE_SCHEMA_VERSION}, "
    f"dataset schema {SCHEMA_VERSION}",
)
def commands() -> None:
    """What DeepSeek-OCR inference costs, over millions of workloads at once.

    GRID is a grid file, or the stem of a shipped one such as capacity.
    """


TABLE_ROWS = 20
UPRIGHT_COLUMNS = 10
FEW_ROWS = 5
"""Rows of a table that is turned on its side, as it has more columns than a terminal."""

_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
_out = click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Directory to write into."
)


@commands.command()
@click.argument("grid")
@_json
def plan(grid: str, as_json: bool) -> None:
    """Say how large GRID is and whether it fits; compute nothing."""
    from sweepengine.grid import load_grid
    from sweepengine.schema import COLUMNS, INPUTS, OUTPUTS

    loaded = load_grid(grid)
    loaded.check()
    width = {"Int32": 4, "Int64": 8, "Float64": 8, "Enum": 1}
    per_point = sum(width[column.dtype] for column in COLUMNS)
    axes = {axis.name: len(axis.values) for axis in loaded.axes if axis.name != "defaults"}
    facts = {
        "name": loaded.name,
        "model": loaded.model.name,
        "points": loaded.points,
        "axes": axes,
        "columns": len(COLUMNS),
        "uncompressed_bytes": per_point * loaded.points,
        "fits_int64": True,
        "grid_hash": loaded.hash,
    }
    if as_json:
        click.echo(json.dumps(facts))
        return
    varying = ", ".join(f"{name} {count:,}" for name, count in axes.items() if count > 1)
    rows = [
        ("model", loaded.model.name),
        ("points", f"{loaded.points:,}"),
        ("axes", varying or "one point"),
        ("columns", f"{len(INPUTS)} inputs, {len(OUTPUTS)} outputs"),
        ("size", f"at most {per_point * loaded.points:,} bytes before compression"),
        ("overflow", "none: the largest corner fits Int64"),
        ("grid hash", loaded.hash[:12]),
    ]
    print_table(loaded.name, rows, ("", ""))


@commands.command()
@click.argument("grid")
@click.option("--out", required=True, help="Directory or URI, such as s3://bucket/folder.")
@click.option("--overwrite", is_flag=True, help="Replace another dataset that is there.")
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Threads here, or tasks of a Ray cluster.",
)
@click.option("--address", help="Of a Ray cluster [default: start a local one].")
@click.option(
    "--workers", type=click.IntRange(1), help="Files written at once [default: all cores]."
)
@click.option("--limit", type=click.IntRange(1), help="Only the first N points.")
def run(
    grid: str,
    out: str,
    overwrite: bool,
    engine: str,
    address: str | None,
    workers: int | None,
    limit: int | None,
) -> None:
    """Compute GRID into a Parquet dataset; a run that was stopped goes on."""
    # Measured: a tenth less memory, and faster, than the pool that pyarrow would choose.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    from sweepengine.grid import load_grid
    from sweepengine.running import run as run_grid

    if address is not None and engine != "ray":
        raise click.UsageError("--address is for --engine ray")
    loaded = load_grid(grid)
    total = loaded.points if limit is None else min(limit, loaded.points)
    try:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress

            with Progress(console=Console(stderr=True)) as bar:
                task = bar.add_task(loaded.name, total=total)
                summary = run_grid(
                    loaded, out, overwrite, workers, limit, lambda n: bar.advance(task, n),
                    engine, address,
                )  # fmt: skip
        else:
            summary = run_grid(
                loaded, out, overwrite, workers, limit, engine=engine, address=address
            )
    except KeyboardInterrupt:
        click.echo(f"{out}: interrupted: run the same command again to go on", err=True)
        sys.exit(130)
    kept = summary.points - summary.written
    click.echo(
        f"{summary.place}: {summary.points:,} points in {summary.files} files, "
        f"{summary.bytes:,} bytes" + (f", {kept:,} of them from before" if kept else "")
    )
    click.echo(
        f"{summary.written:,} points, {summary.seconds:.2f} seconds, "
        f"{summary.points_per_second:,.0f} points/s"
    )


@commands.command()
@click.argument("grid_or_dir")
@click.option("--where", help='SQL condition, such as "batch_size = 8 AND crop_rows <= 2".')
@click.option("--select", help='SQL expressions, such as "max(decode_tensor_flops) AS most".')
@click.option("--group-by", help="Columns to group by, separated by commas.")
@click.option("--sort", help='Column to sort by, largest first; "COLUMN asc" is smallest first.')
@click.option("--top", type=click.IntRange(1), help="Only the first N rows.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["table", "csv", "json", "parquet"]),
    default="table",
    show_default=True,
    help=f"A table shows {TABLE_ROWS} rows unless --top says more.",
)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="File instead of the terminal."
)
def query(
    grid_or_dir: str,
    where: str | None,
    select: str | None,
    group_by: str | None,
    sort: str | None,
    top: int | None,
    kind: str,
    out: Path | None,
) -> None:
    """Filter and aggregate with SQL while computing a grid, or read a dataset."""
    from sweepengine.errors import InputError
    from sweepengine.output import write_frames
    from sweepengine.queries import query as find
    from sweepengine.source import open_source

    if kind == "parquet" and out is None and sys.stdout.isatty():
        raise InputError("query: --format parquet is not for a terminal: expected --out FILE")
    source = open_source(grid_or_dir)
    if kind != "table":
        write_frames(find(source, where, select, group_by, sort, top), kind, out)
        return
    found = find(source, where, select, group_by, sort, None)
    upright = len(found.collect_schema()) <= UPRIGHT_COLUMNS
    shown = top or (TABLE_ROWS if upright else FEW_ROWS)
    rows = found.head(shown + (top is None)).collect(engine="streaming")
    cells = [tuple(cell(value) for value in row) for row in rows.head(shown).iter_rows()]
    title = f"{source.name}, model {source.model}"
    if upright:
        print_table(title, cells, tuple(rows.columns))
    else:
        turned = [(name, *(row[i] for row in cells)) for i, name in enumerate(rows.columns)]
        print_table(title, turned, ("column", *(f"row {i + 1}" for i in range(len(cells)))))
    if rows.height > shown:
        click.echo("... and more rows: --top says how many, --format csv writes all")


@commands.command()
@click.argument("grid_or_dir")
@click.option("--device", "device_names", multiple=True, required=True, help="Name or file.")
@click.option("--ttft", type=float, help="Seconds to the first token [default: the grid's].")
@click.option("--tpot", type=float, help="Seconds for each further token [default: the grid's].")
@click.option("--price", "prices", multiple=True, help="USD an hour, such as h100-sxm=2.5.")
@click.option("--where", help='Only these points: an SQL condition, such as "crop_rows = 2".')
@click.option("--model", help="Model file, for a dataset of a model of your own.")
@click.option(
    "--compute-fraction",
    type=float,
    default=1.0,
    show_default=True,
    help="Fraction of the compute peaks that kernels reach.",
)
@click.option(
    "--bandwidth-fraction",
    type=float,
    default=1.0,
    show_default=True,
    help="Fraction of the memory bandwidth that kernels reach.",
)
@click.option(
    "--top",
    type=click.IntRange(1),
    default=12,
    show_default=True,
    help="Rows of each Pareto front.",
)
@click.option(
    "--chart",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the fronts to FILE.svg, .png or .html.",
)
@_json
def slo(
    grid_or_dir: str,
    device_names: tuple[str, ...],
    ttft: float | None,
    tpot: float | None,
    prices: tuple[str, ...],
    where: str | None,
    model: str | None,
    compute_fraction: float,
    bandwidth_fraction: float,
    top: int,
    chart: Path | None,
    as_json: bool,
) -> None:
    """Say what meets TTFT and TPOT on devices, and what serves most."""
    import polars as pl
    from polars.exceptions import PolarsError

    from sweepengine.device import load_device
    from sweepengine.errors import InputError
    from sweepengine.metrics import Achievable
    from sweepengine.objectives import Objectives, find_answers, seconds_target
    from sweepengine.source import open_source

    asked = {}
    for price in prices:
        name, _, usd = price.partition("=")
        try:
            asked[name] = float(usd)
        except ValueError:
            raise InputError(
                f"slo: --price {price}: expected DEVICE=USD an hour, such as h100-sxm=2.5"
            ) from None
    devices = [load_device(name) for name in dict.fromkeys(device_names)]
    source = open_source(grid_or_dir)
    if model is not None:
        source = source._replace(model=model)
    targets = Objectives(
        seconds_target("ttft_s", ttft, source.targets.ttft_s),
        seconds_target("tpot_s", tpot, source.targets.tpot_s),
    )
    try:
        condition = None if where is None else pl.sql_expr(where)
        answers = find_answers(
            source,
            devices,
            targets,
            asked,
            condition,
            Achievable(compute_fraction, bandwidth_fraction),
        )
    except PolarsError as error:
        raise InputError(f"slo: --where: {str(error).splitlines()[0]}") from None
    if chart is not None:
        from sweepengine.charts import front_chart
        from sweepengine.rendering import save_chart

        save_chart(front_chart(answers, targets, source), chart)
    if as_json:
        facts = {
            "source": source.place,
            "model": source.model,
            "targets": targets._asdict(),
            "achievable": {"compute": compute_fraction, "bandwidth": bandwidth_fraction},
            "answers": [answer.as_dict() for answer in answers],
        }
        click.echo(json.dumps(facts))
        return
    show_answers(answers, targets, source, top)


@commands.command()
@click.argument("grids_or_dirs", nargs=-1, required=True, metavar="GRID_OR_DIR...")
@_out
@click.option(
    "--reference",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Published tables (NAME.csv) to compare with; exit 1 when a cell differs.",
)
@click.option("--against", help="A model whose accounting is laid beside that of the grids.")
def report(
    grids_or_dirs: tuple[str, ...], out: Path, reference: Path | None, against: str | None
) -> None:
    """Write a page of charts and tables, and each as files of its own."""
    from sweepengine.report import write_report

    compared = write_report(grids_or_dirs, out, reference, against)
    if compared:
        rows = [(c.name, str(c.equal), str(c.different)) for c in compared]
        print_table("Against the published tables", rows, ("table", "equal", "different"))
        for comparison in compared:
            for line in comparison.differences[:10]:
                click.echo(line)
    click.echo(f"{out / 'index.html'}: written")
    if compared:
        equal = sum(c.equal for c in compared)
        different = sum(c.different for c in compared)
        click.echo(f"{equal} cells equal, {different} different")
        if different:
            sys.exit(1)


@commands.command()
@click.option("--crops", help='Crop grid, such as 2x3, or "none".')
@click.option("--mode", help="Resolution mode instead of sizes and crops, such as gundam:2x3.")
@click.option("--view-size", type=int, help="Side of the global view, pixels.")
@click.option("--tile-size", type=int, help="Side of a tile, pixels.")
@click.option("--text-tokens", type=int, help="Text tokens of the prompt.")
@click.option("--decode-steps", type=int, help="Tokens decoded.")
@click.option("--batch-size", type=int, help="Images per step.")
@click.option("--heads", help="Query heads and key-value heads, such as 10,5.")
@click.option("--attention", type=click.Choice(["eager", "flash"]), help="Implementation.")
@click.option("--model", default="deepseek-ocr-3b", show_default=True, help="Name or file.")
@click.option("--formulas", is_flag=True, help="Add each layer's formula.")
@_json
def explain(heads: str | None, model: str, formulas: bool, as_json: bool, **axes: object) -> None:
    """Show what one workload costs, layer by layer."""
    from sweepengine.architecture import load_model
    from sweepengine.errors import InputError
    from sweepengine.explanation import explain as explain_point
    from sweepengine.grid import expand, parse_grid
    from sweepengine.layers.residual import ATTENTIONS
    from sweepengine.stages import Point

    given: dict[str, object] = {axis: value for axis, value in axes.items() if value is not None}
    if heads is not None:
        try:
            given["heads"] = [[int(number) for number in heads.split(",")]]
        except ValueError:
            raise InputError(
                f"explain: --heads {heads}: expected query and key-value heads, such as 10,5"
            ) from None
    load_model(model)
    grid = parse_grid({"name": "explain", "model": model, "axes": given}, "explain")
    columns = expand(grid.axes)
    point = Point(**{name: int(columns[name][0]) for name in Point._fields})
    total = explain_point(grid.model.architecture, point)
    inputs = {**point._asdict(), "attention": ATTENTIONS[point.attention]}
    if as_json:
        facts = {"model": grid.model.name, "inputs": inputs, "cost": total.as_dict()}
        click.echo(json.dumps(facts))
        return
    said = ", ".join(f"{name} {value}" for name, value in inputs.items())
    show_explanation(f"{grid.model.name}: {said}", total, formulas)


@commands.command()
@click.option("--port", type=click.IntRange(1, 65535), help="Of the page [default: a free one].")
@click.option("--headless", is_flag=True, help="Do not open a browser.")
def explore(port: int | None, headless: bool) -> None:
    """Open a page to choose a workload and a device and watch the costs."""
    import subprocess
    from importlib.util import find_spec

    from sweepengine.errors import InputError

    if find_spec("marimo") is None:
        raise InputError(
            "explore: marimo is not installed: expected the extra, pip install "
            "'sweepengine[explore]'"
        )
    page = str(Path(__file__).with_name("explorer.py"))
    command = [sys.executable, "-m", "marimo", "run", page]
    command += ["--headless"] if headless else []
    command += ["--port", str(port)] if port else []
    sys.exit(subprocess.run(command, check=False).returncode)


@commands.command()
@_json
def devices(as_json: bool) -> None:
    """List the devices that are known, with their peaks and sources."""
    from sweepengine.datafiles import known
    from sweepengine.device import GIGA, TERA, load_device

    found = [load_device(name) for name in known("devices")]
    if as_json:
        click.echo(json.dumps([device._asdict() for device in found]))
        return
    rows = [
        (
            device.name,
            f"{device.tensor_flops_per_s / TERA:,g}",
            f"{device.cuda_flops_per_s / TERA:,g}",
            f"{device.bytes_per_s / GIGA:,g}",
            f"{device.memory_bytes / GIGA:,g}",
            device.sources["tensor_bf16"],
        )
        for device in found
    ]
    title = "Peaks: dense bf16 tensor and fp32 CUDA-core TFLOP/s, memory bandwidth, memory"
    print_table(title, rows, ("device", "tensor", "CUDA", "GB/s", "GB", "source"))


@commands.command()
@_json
def models(as_json: bool) -> None:
    """List the models that are known, with their sources."""
    from sweepengine.architecture import load_model
    from sweepengine.datafiles import known

    found = [load_model(name) for name in known("models")]
    if as_json:
        facts = [
            {
                "name": model.name,
                "description": model.description,
                "parameter_count": model.parameter_count,
                "weight_bytes": model.weight_bytes,
                "sources": model.sources,
            }
            for model in found
        ]
        click.echo(json.dumps(facts))
        return
    for model in found:
        head = f"{model.name}: {model.description}. {model.parameter_count:,} parameters"
        print_table(head, list(model.sources.items()), ("section", "source"))
        click.echo()


@commands.command()
@click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write JSON to FILE.",
)
def validate(json_file: Path | None) -> None:
    """Compare the default model's formulas with torch; exit 1 on a mismatch."""
    from sweepengine.architecture import load_model
    from sweepengine.errors import InputError

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


def _fail(message: str, code: int) -> NoReturn:
    click.echo(f"sweepengine: {' '.join(message.split())}", err=True)
    sys.exit(code)


def main() -> None:
    """Run the command line; every problem is one line on stderr."""
    from sweepengine.errors import InputError

    try:
        commands.main(standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        sys.exit(2)
    except click.ClickException as error:
        _fail(error.format_message(), 2)
    except InputError as error:
        _fail(str(error), 2)
    except OSError as error:
        _fail(f"{error.filename or 'system'}: {error.strerror or error}", 2)
    except (click.Abort, KeyboardInterrupt):
        _fail("interrupted", 130)
