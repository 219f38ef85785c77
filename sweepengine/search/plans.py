"""Plans of a deployment, one row each: layout, replicas, throughput, latency and price."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import polars as pl

from sweepengine.data.devices import Device
from sweepengine.data.models import Model
from sweepengine.formulas.formats import CACHE_FORMATS, FORMAT_NAMES, WEIGHT_FORMATS
from sweepengine.formulas.layout import Layout
from sweepengine.formulas.points import DRAFT_COLUMNS
from sweepengine.grid.shorthand import layout_name, precision_text
from sweepengine.search.options import AGGREGATED, DeployOptions
from sweepengine.search.placements import Precision
from sweepengine.search.steady_state import FORMAT_COLUMNS, LAYOUT_COLUMNS
from sweepengine.search.targets import SECONDS_PER_HOUR, meets_tpot, meets_ttft, pareto_front

KEY = ("device", "framework", *FORMAT_COLUMNS)
"""Inputs of which each combination keeps its best plan."""
SHARED = (*KEY, *DRAFT_COLUMNS)
"""Inputs that all workers of a plan share."""
PLAN = {
    "mode": "aggregated: each replica does both phases; disaggregated: a worker does one",
    "device": "device type",
    "framework": "serving engine",
    "weight_format": "format of linear weights",
    "activation_format": "input format of their GEMMs",
    "cache_format": "format of the KV cache",
    "layout": "of a replica, or of a decode worker",
    "batch_size": "most concurrent sequences of each of those",
    "max_sequences": "most sequences that a data-parallel group is set to run at once",
    "chunk_tokens": "most tokens of a pass that the serving engine is set to",
    "draft": "what drafts tokens: mtp, eagle, a model, or none",
    "draft_tokens": "tokens drafted a step; 0: no speculative decoding",
    "accepted_tokens": "tokens that a step yields on average",
    "replicas": "replicas, or decode workers",
    "prefill_layout": "of a prefill worker; null where aggregated",
    "prefill_groups": "prefill workers; 0 where aggregated",
    "devices": "devices of the plan",
    "requests_per_s": "requests/s of the plan",
    "tokens_per_s": "output tokens/s of the plan",
    "device_tokens_per_s": "output tokens/s per device",
    "user_tokens_per_s": "output tokens/s of one user",
    "ttft_s": "TTFT in seconds, at the percentile of the option share",
    "tpot_s": "mean seconds per further token",
    "memory_bytes": "bytes that the busiest device needs",
}
"""Columns of a plan, and what they mean."""
MONEY = {
    "usd_per_hour": "USD per hour, all devices",
    "usd_per_million_tokens": "USD per million output tokens",
    "usd_per_1000_requests": "USD per 1000 requests",
    "joules_per_token": "joules per output token at rated power: an upper bound",
}


def ordered(plans: pl.DataFrame, options: DeployOptions) -> pl.DataFrame:
    """Sort plans, best first.

    With a rate the cheapest come first: USD per hour, or devices without prices. Otherwise the
    highest requests/s on the given devices, per USD where they have prices. Without a number of
    devices it is requests/s per device used.
    """
    if options.prices:
        price = pl.col("device").replace_strict(dict(options.prices), return_dtype=pl.Float64)
    else:
        price = pl.lit(1.0)
    cost, made = pl.col("devices") * price, pl.col("requests_per_s")
    worth = made / price if options.devices is not None else made / cost
    first = cost if options.rate is not None else -worth
    last = pl.col("user_tokens_per_s").fill_null(0.0)
    return plans.sort(first, pl.col("devices"), -made, -last, maintain_order=True)


class KeptPlans(NamedTuple):
    """The best plans of each kind so far, and the Pareto front so far."""

    best: pl.DataFrame = pl.DataFrame()
    front: pl.DataFrame = pl.DataFrame()

    def with_plans(self, plans: pl.DataFrame, options: DeployOptions) -> "KeptPlans":
        """Add plans, whose layouts may be four columns or text."""
        if not plans.height:
            return self

        def first_of_each(frame: pl.DataFrame) -> pl.DataFrame:
            return ordered(frame, options).unique(["mode", *KEY], keep="first", maintain_order=True)

        targets = options.targets
        meeting = plans.filter(meets_ttft(targets))
        if options.devices is not None:
            meeting = meeting.filter(pl.col("devices") <= options.devices)
        best, front = first_of_each(meeting.filter(meets_tpot(targets))), pareto_front(meeting)
        kept = [
            _laid(frame) if not old.width else pl.concat([old, _laid(frame)])
            for old, frame in zip(self, (best, front), strict=True)
        ]
        return KeptPlans(first_of_each(kept[0]), pareto_front(kept[1]))


class ServedPlan(NamedTuple):
    """The values of a plan that decide how it serves requests."""

    layout: Layout
    precision: Precision
    batch_size: int
    devices: int
    requests_per_s: float
    prefill_layout: Layout | None = None
    prefill_groups: int = 0
    chunk_tokens: int = 0
    """0: the engine's default."""
    speculation: Mapping[str, Any] = {}
    """Stored values of the axes of speculative decoding."""


def served_plan(
    plan: Mapping[str, Any], layouts: Mapping[str, Layout], speculation: Mapping[str, Any]
) -> ServedPlan:
    """The values of a row of `PLAN`.

    Parameters
    ----------
    plan : mapping of str to object
    layouts : mapping of str to Layout
        Of the search, by name.
    speculation : mapping of str to list of int
        Axes of the search; the plan has one of the numbers of drafted tokens.
    """
    if speculation:
        speculation = {**speculation, "draft_tokens": [plan["draft_tokens"]]}
    formats = zip(FORMAT_COLUMNS, (WEIGHT_FORMATS, FORMAT_NAMES, CACHE_FORMATS), strict=True)
    weights, activations, cache = (codes.index(str(plan[name])) for name, codes in formats)
    return ServedPlan(
        layouts[plan["layout"]], (weights, activations, cache), plan["batch_size"],
        plan["devices"], plan["requests_per_s"], layouts.get(plan["prefill_layout"]),
        plan["prefill_groups"], plan["chunk_tokens"], speculation,
    )  # fmt: skip


def _laid(plans: pl.DataFrame) -> pl.DataFrame:
    """Plans with their layouts as text, and the columns `PLAN`."""
    if "layout" not in plans.columns:
        plans = plans.with_columns(spelled_layouts(plans))
    texts = [pl.col(name).cast(pl.String) for name in (*KEY, "mode", "layout", "prefill_layout")]
    return plans.with_columns(texts).select(*PLAN)


def spelled_layouts(frame: pl.DataFrame) -> pl.Series:
    """The column `layout`: layouts of rows as text."""
    rows = frame.select(LAYOUT_COLUMNS).rows()
    texts = {row: layout_name(Layout(*row)) for row in dict.fromkeys(rows)}
    return pl.Series("layout", [texts[row] for row in rows], pl.String)


def aggregated(fitting: pl.DataFrame, options: DeployOptions) -> pl.DataFrame:
    """Plans of replicas that each do both phases, as many as the devices allow or a rate needs."""
    if options.rate is not None:
        replicas = (options.rate / pl.col("requests_per_s") * (1 - 1e-12)).ceil()
    else:
        replicas = pl.lit(options.devices, pl.Int64) // pl.col("devices")
    plans = fitting.with_columns(
        replicas=replicas.cast(pl.Int64),
        mode=pl.lit(AGGREGATED),
        prefill_layout=pl.lit(None, pl.String),
        prefill_groups=pl.lit(0, pl.Int64),
    ).filter(pl.col("replicas") > 0)
    totals = [pl.col(name) * pl.col("replicas") for name in ("requests_per_s", "tokens_per_s")]
    devices = pl.col("devices").cast(pl.Int64) * pl.col("replicas")
    return plans.with_columns(*totals, devices, pl.col("batch_size").cast(pl.Int64))


def priced(
    plans: pl.DataFrame, devices: Mapping[str, Device], prices: Mapping[str, float]
) -> pl.DataFrame:
    """Plans with the columns `MONEY`; null where a price or the power of a device is not known.

    Parameters
    ----------
    plans : polars.DataFrame
        With the columns `PLAN`.
    devices : mapping of str to Device
        By name; their rated power is in watts.
    prices : mapping of str to float
        USD per hour of a device, by name.
    """
    watts = {name: device.watts for name, device in devices.items()}

    def by_device(known: Mapping[str, float | None]) -> pl.Expr:
        column = pl.col("device")
        return column.replace_strict(dict(known), default=None, return_dtype=pl.Float64)

    hour = (pl.col("devices") * by_device(prices)).alias("usd_per_hour")
    second = hour / SECONDS_PER_HOUR
    tokens = pl.when(pl.col("tokens_per_s") > 0).then(pl.col("tokens_per_s"))
    return plans.with_columns(
        hour,
        (second / tokens * 1e6).alias("usd_per_million_tokens"),
        (second / pl.col("requests_per_s") * 1e3).alias("usd_per_1000_requests"),
        (pl.col("devices") * by_device(watts) / tokens).alias("joules_per_token"),
    )


def precision_of(plan: Mapping[str, Any], model: Model) -> str:
    """A plan's precision as text, such as "fp8-kv8"."""
    return precision_text(model.architecture, *(str(plan[name]) for name in FORMAT_COLUMNS))
