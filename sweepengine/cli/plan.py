"""`plan`: the size of a grid."""

import click

from sweepengine.cli.options import as_json_option
from sweepengine.show.terminal import print_table, say_json


@click.command(epilog="Example: sweepengine plan grids/capacity.toml")
@click.argument("grid")
@as_json_option
def plan(grid: str, as_json: bool) -> None:
    """Print the size of GRID and whether its results fit Int64; compute nothing."""
    from sweepengine.grid.columns import DTYPES, TYPES
    from sweepengine.grid.files import load_grid
    from sweepengine.grid.points import output_names

    loaded = load_grid(grid)
    loaded.check()
    model = loaded.model
    columns = (*model.inputs, *output_names(model))
    per_point = sum(DTYPES[TYPES[name]].size for name in columns)
    axes = {axis.name: len(axis.values) for axis in loaded.axes if axis.name != "defaults"}
    facts = {
        "name": loaded.name,
        "model": model.name,
        "points": loaded.points,
        "axes": axes,
        "columns": len(columns),
        "uncompressed_bytes": per_point * loaded.points,
        "fits_int64": True,
        "grid_hash": loaded.hash,
        "times": loaded.bases,
    }
    if as_json:
        say_json(facts)
        return
    from sweepengine.costs.spec_sheet import checkpoint_text

    varying = ", ".join(f"{name} {count:,}" for name, count in axes.items() if count > 1)
    rows = [
        ("model", model.name),
        ("checkpoint", checkpoint_text(model.architecture)),
        ("points", f"{loaded.points:,}"),
        ("axes", varying or "one point"),
        ("columns", f"{len(model.inputs)} inputs, {len(columns) - len(model.inputs)} outputs"),
        ("size", f"at most {per_point * loaded.points:,} bytes before compression"),
        *[("times", basis) for basis in loaded.bases],
        ("overflow", "none: the largest point fits Int64"),
        ("grid hash", loaded.hash[:12]),
    ]
    print_table(loaded.name, rows, ("", ""))
