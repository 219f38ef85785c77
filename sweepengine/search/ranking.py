"""Ranking of plans: bases of times apart, ties to the simplest, a plan for each serving engine."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from sweepengine.data.devices import Device
from sweepengine.data.speeds import TimingTarget
from sweepengine.formulas.formats import OWN
from sweepengine.formulas.speeds import ROOFLINE
from sweepengine.search.margins import margin_of
from sweepengine.search.options import AGGREGATED, DeployOptions
from sweepengine.search.plans import KEY, figure_of, ordered

BASES = ("measured", "borrowed", "data sheet")
"""Where times come from: kernels of the device, those of a device like it, or its peaks."""
BEST, TIE = "best", "tie"
RANKED = {
    "nodes": "nodes of the plan",
    "basis": "where its times come from: measured, borrowed rates, or the data sheet",
    "standing": "best of its basis and serving engine; tie: within the margin of it; else empty",
}
"""Columns that a ranking adds to plans."""
Row = dict[str, Any]


def basis_kind(timing: TimingTarget) -> str:
    """Where the times of a device and serving engine come from: one of `BASES`."""
    if timing.times == ROOFLINE:
        return BASES[2]
    return BASES[1] if timing.borrowed else BASES[0]


def nodes_of(plan: Mapping[str, Any], devices: Mapping[str, Device]) -> int:
    """Nodes of a plan: replicas or workers that fit in a node share it, those of one role alone.

    Parameters
    ----------
    plan : mapping
        A row of `search.plans.PLAN`.
    devices : mapping of str to Device
        By name.
    """
    decode_devices = plan["devices"] - plan["prefill_devices"]
    node = devices[plan["device"]].node_size
    if plan["mode"] == AGGREGATED:
        return nodes_of_groups(plan["replicas"], decode_devices, node)
    prefill_node = devices[plan["prefill_device"]].node_size
    if plan["prefill_device"] == plan["device"] and plan["devices"] <= node:
        return 1
    return nodes_of_groups(plan["replicas"], decode_devices, node) + nodes_of_groups(
        plan["prefill_groups"], plan["prefill_devices"], prefill_node
    )


def nodes_of_groups(groups: int, devices: int, node: int) -> int:
    """Nodes of groups of devices of one size, all `devices` together, `node` devices a node."""
    each = devices // groups
    return -(-groups // (node // each)) if each <= node else groups * -(-each // node)


def ranked(
    plans: pl.DataFrame,
    devices: Mapping[str, Device],
    targets: Sequence[TimingTarget],
    options: DeployOptions,
    own_cache: str,
) -> pl.DataFrame:
    """Plans with the columns `RANKED`, the best first.

    Of the plans of a basis and a serving engine, those whose figure lies within the margin of the
    best one are ties, and the simplest of them is taken: aggregated before disaggregated, then
    fewer nodes, then without a draft, then fewer formats that are not the checkpoint's. Plans of
    measured times come before those of borrowed rates and of data sheets.

    Parameters
    ----------
    plans : polars.DataFrame
        The columns `search.plans.PLAN`, one row of each kind.
    devices : mapping of str to Device
        By name.
    targets : sequence of TimingTarget
        Of each device and serving engine.
    options : DeployOptions
    own_cache : str
        Format of the KV cache that the checkpoint states.
    """
    if not plans.height:
        return plans.with_columns(
            pl.lit(None, pl.Int64).alias("nodes"),
            *(pl.lit(None, pl.String).alias(name) for name in ("basis", "standing")),
        )
    timings = {(timing.device.name, timing.framework): timing for timing in targets}
    rows = ordered(plans, options).with_columns(figure_of(options).alias("figure")).to_dicts()
    for row in rows:
        used = {row["device"], row["prefill_device"]} - {None}
        kinds = [basis_kind(timings[name, row["framework"]]) for name in used]
        row["basis"] = max(kinds, key=BASES.index)
        row["nodes"] = nodes_of(row, devices)
        row["standing"] = ""

    def error(row: Row) -> float:
        return margin_of(timings[row["device"], row["framework"]], row["mode"], options).rate

    def complexity(row: Row) -> tuple[bool, int, bool, int]:
        """What makes a plan harder to run: kinds of workers, nodes, a draft, other formats."""
        formats = (row["weight_format"] != OWN) + (row["cache_format"] != own_cache)
        return row["mode"] != AGGREGATED, row["nodes"], row["draft_tokens"] > 0, formats

    def simplest(group: list[Row]) -> list[Row]:
        """Those within the margin of the first, the simplest first."""
        first = group[0]
        ties = [r for r in group if r["figure"] * (1 + max(error(r), error(first)))
                >= first["figure"]]  # fmt: skip
        return sorted(ties, key=complexity)

    ranks = []
    for basis in BASES:
        of_basis = [row for row in rows if row["basis"] == basis]
        winners = []
        for framework in options.frameworks:
            group = [row for row in of_basis if row["framework"] == framework]
            if group:
                best, *ties = simplest(group)
                best["standing"] = BEST
                for row in ties:
                    row["standing"] = TIE
                winners.append(best)
        winners.sort(key=rows.index)
        lead = simplest(winners)[:1] if winners else []
        first = lead + [row for row in winners if row not in lead]
        ranks += first + [row for row in of_basis if row not in first]
    table = pl.DataFrame(ranks, schema={**plans.schema, "figure": pl.Float64, "nodes": pl.Int64,
                                        "basis": pl.String, "standing": pl.String})  # fmt: skip
    kind = ["mode", *KEY, "prefill_device"]
    return table.drop("figure").unique(kind, keep="first", maintain_order=True)
