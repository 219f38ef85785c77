"""`plan`: the size of a grid."""

from typing import TYPE_CHECKING, Any

import click

from sweepengine.cli.options import as_json_option
from sweepengine.show.terminal import print_table, say_json

if TYPE_CHECKING:
    from sweepengine.grid.grid import Grid


@click.command(epilog="Example: sweepengine plan grids/capacity.toml")
@click.argument("grid")
@as_json_option
def plan(grid: str, as_json: bool) -> None:
    """Print the size of GRID and whether its results fit Int64; compute nothing."""
    from sweepengine.grid.files import load_grids

    grids = load_grids(grid)
    facts = [_facts(loaded) for loaded in grids]
    if as_json:
        say_json(facts[0] if len(facts) == 1 else facts)
        return
    for loaded, known in zip(grids, facts, strict=True):
        _show(loaded, known)


def _facts(loaded: "Grid") -> dict[str, Any]:
    """Size and columns of the grid of one model."""
    from sweepengine.grid.columns import DTYPES, TYPES
    from sweepengine.grid.points import stored_names

    loaded.check()
    model = loaded.model
    columns = stored_names(model)
    per_point = sum(DTYPES[TYPES[name]].size for name in columns)
    return {
        "name": loaded.name,
        "model": model.name,
        "points": loaded.points,
        "axes": {axis.name: len(axis.values) for axis in loaded.axes if axis.name != "defaults"},
        "columns": len(columns),
        "uncompressed_bytes": per_point * loaded.points,
        "fits_int64": True,
        "grid_hash": loaded.hash,
        "times": loaded.bases,
        "assumed": loaded.assumed,
    }


def _show(loaded: "Grid", facts: dict[str, Any]) -> None:
    """Print the size of the grid of one model."""
    from sweepengine.costs.spec_sheet import checkpoint_text

    model = loaded.model
    several = {name: count for name, count in facts["axes"].items() if count > 1}
    inputs = len(model.inputs)
    rows = [
        ("model", model.name),
        ("checkpoint", checkpoint_text(model.architecture)),
        ("points", f"{loaded.points:,}"),
        ("axes", ", ".join(f"{name} {count:,}" for name, count in several.items()) or "one point"),
        ("columns", f"{inputs} inputs, {facts['columns'] - inputs} outputs"),
        ("size", f"at most {facts['uncompressed_bytes']:,} bytes before compression"),
        *[("times", basis) for basis in loaded.bases],
        *[("assumed", text) for text in loaded.assumed],
        ("overflow", "none: the largest point fits Int64"),
        ("grid hash", loaded.hash[:12]),
    ]
    print_table(loaded.name, rows, ("", ""))
