"""Plans of a deployment as rows: what runs where, how often, what it makes and what it costs."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import polars as pl

from sweepengine.data.devices import Device
from sweepengine.data.models import Model
from sweepengine.formulas.formats import CACHE_FORMATS, FORMAT_NAMES, WEIGHT_FORMATS
from sweepengine.formulas.layout import Layout
from sweepengine.grid.shorthand import layout_name, precision_text
from sweepengine.search.options import AGGREGATED, DeployOptions
from sweepengine.search.placements import Precision
from sweepengine.search.steady_state import FORMATS, LAID
from sweepengine.search.targets import SECONDS_PER_HOUR, meets_tpot, meets_ttft, pareto_front

KEY = ("device", "framework", *FORMATS)
"""Inputs that all groups of a plan share."""
PLAN = {
    "mode": "aggregated: each copy prefills and decodes; disaggregated: groups do one of both",
    "device": "kind",
    "framework": "serving engine",
    "weight_format": "of linear layers",
    "activation_format": "that their products take",
    "cache_format": "of cached values",
    "layout": "of a copy, or of a group that decodes",
    "batch_size": "sequences under way at most, in each of those",
    "replicas": "copies, or groups that decode",
    "prefill_layout": "of a group that prefills; null where copies do both",
    "prefill_groups": "how many of those; 0 where copies do both",
    "devices": "all together",
    "requests_per_s": "all together",
    "tokens_per_s": "output tokens, all together",
    "device_tokens_per_s": "output tokens of one device",
    "user_tokens_per_s": "output tokens that one user sees",
    "ttft_s": "seconds to the first token that so many of the requests see at most",
    "tpot_s": "seconds between tokens",
    "memory_bytes": "that a device needs",
}
"""Columns of a plan, and what they mean."""
MONEY = {
    "usd_per_hour": "of all devices",
    "usd_per_million_tokens": "output tokens",
    "usd_per_1000_requests": "pages, where a request is one",
    "joules_per_token": "at the devices' rated power: an upper bound",
}


def ordered(plans: pl.DataFrame, options: DeployOptions) -> pl.DataFrame:
    """Best plans first.

    With a rate those of least cost, which is USD an hour, or devices where nothing is priced.
    Else those that serve most requests on the devices that there are, for each USD where those
    are priced; where nobody says how many there are, on each device that is used.
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


def _on_devices_there_are(plans: pl.DataFrame, options: DeployOptions) -> pl.DataFrame:
    many = options.devices
    return plans if many is None else plans.filter(pl.col("devices") <= many)


class Kept(NamedTuple):
    """Plans that may be an answer: the best of each kind, and those on the front."""

    best: pl.DataFrame = pl.DataFrame()
    front: pl.DataFrame = pl.DataFrame()

    def beside(self, plans: pl.DataFrame, options: DeployOptions) -> "Kept":
        """With plans more; layouts may still be columns of their own."""
        if not plans.height:
            return self

        def first_of_each(frame: pl.DataFrame) -> pl.DataFrame:
            return ordered(frame, options).unique(["mode", *KEY], keep="first", maintain_order=True)

        targets = options.targets
        meeting = _on_devices_there_are(plans, options).filter(meets_ttft(targets))
        best, front = first_of_each(meeting.filter(meets_tpot(targets))), pareto_front(meeting)
        kept = [
            _laid(frame) if not old.width else pl.concat([old, _laid(frame)])
            for old, frame in zip(self, (best, front), strict=True)
        ]
        return Kept(first_of_each(kept[0]), pareto_front(kept[1]))


class ServedPlan(NamedTuple):
    """What of a plan decides how it serves requests, as values."""

    layout: Layout
    precision: Precision
    batch_size: int
    devices: int
    requests_per_s: float
    prefill_layout: Layout | None = None
    prefill_groups: int = 0


def served_plan(plan: Mapping[str, Any], layouts: Mapping[str, Layout]) -> ServedPlan:
    """A row of `PLAN` as values; `layouts` are those that were tried, by their names."""
    formats = zip(FORMATS, (WEIGHT_FORMATS, FORMAT_NAMES, CACHE_FORMATS), strict=True)
    weights, activations, cache = (codes.index(str(plan[name])) for name, codes in formats)
    return ServedPlan(
        layouts[plan["layout"]], (weights, activations, cache), plan["batch_size"],
        plan["devices"], plan["requests_per_s"], layouts.get(plan["prefill_layout"]),
        plan["prefill_groups"],
    )  # fmt: skip


def _laid(plans: pl.DataFrame) -> pl.DataFrame:
    """Plans with their layouts as texts."""
    if "layout" not in plans.columns:
        plans = plans.with_columns(spelled_layouts(plans))
    texts = [pl.col(name).cast(pl.String) for name in (*KEY, "mode", "layout", "prefill_layout")]
    return plans.with_columns(texts).select(*PLAN)


def spelled_layouts(frame: pl.DataFrame) -> pl.Series:
    """Layouts of rows as texts."""
    rows = frame.select(LAID).rows()
    texts = {row: layout_name(Layout(*row)) for row in dict.fromkeys(rows)}
    return pl.Series("layout", [texts[row] for row in rows], pl.String)


def aggregated(fitting: pl.DataFrame, options: DeployOptions) -> pl.DataFrame:
    """Plans of copies that each prefill and decode, as often as devices or a rate allow."""
    if options.rate is not None:
        replicas = (options.rate / pl.col("requests_per_s") * (1 - 1e-12)).ceil()
    else:
        replicas = pl.lit(options.devices, pl.Int64) // pl.col("devices")
    found = fitting.with_columns(
        replicas=replicas.cast(pl.Int64),
        mode=pl.lit(AGGREGATED),
        prefill_layout=pl.lit(None, pl.String),
        prefill_groups=pl.lit(0, pl.Int64),
    ).filter(pl.col("replicas") > 0)
    whole = [pl.col(name) * pl.col("replicas") for name in ("requests_per_s", "tokens_per_s")]
    many = pl.col("devices").cast(pl.Int64) * pl.col("replicas")
    return found.with_columns(*whole, many.alias("devices"),
                              pl.col("batch_size").cast(pl.Int64))  # fmt: skip


def priced(
    plans: pl.DataFrame, devices: Mapping[str, Device], prices: Mapping[str, float]
) -> pl.DataFrame:
    """Plans with `MONEY`; null where a price or the power of a device is not known."""
    watts = {name: device.watts for name, device in devices.items()}
    of = pl.col("device")

    def figure(known: Mapping[str, float | None]) -> pl.Expr:
        return of.replace_strict(dict(known), default=None, return_dtype=pl.Float64)

    hour = (pl.col("devices") * figure(prices)).alias("usd_per_hour")
    second = hour / SECONDS_PER_HOUR
    tokens = pl.when(pl.col("tokens_per_s") > 0).then(pl.col("tokens_per_s"))
    return plans.with_columns(
        hour,
        (second / tokens * 1e6).alias("usd_per_million_tokens"),
        (second / pl.col("requests_per_s") * 1e3).alias("usd_per_1000_requests"),
        (pl.col("devices") * figure(watts) / tokens).alias("joules_per_token"),
    )


def precision_of(plan: Mapping[str, Any], model: Model) -> str:
    """Text of a plan's precision."""
    return precision_text(model.architecture, *(str(plan[name]) for name in FORMATS))
