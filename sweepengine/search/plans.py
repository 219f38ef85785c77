"""Plans of a deployment, one row each: layout, replicas, throughput, latency and price."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import polars as pl

from sweepengine.data.devices import Device
from sweepengine.data.models import Model
from sweepengine.formulas.formats import CACHE_FORMATS, FORMAT_NAMES, WEIGHT_FORMATS
from sweepengine.formulas.layout import Layout
from sweepengine.grid.shorthand import layout_name, precision_text
from sweepengine.search.money import joules_per_token, power_share, usd_per_million
from sweepengine.search.money_options import EnergyOptions
from sweepengine.search.options import AGGREGATED, DeployOptions
from sweepengine.search.placements import Precision
from sweepengine.search.steady_state import FORMAT_COLUMNS, LAYOUT_COLUMNS
from sweepengine.search.targets import meets_tpot, meets_ttft, pareto_front

KEY = ("device", "framework", *FORMAT_COLUMNS, "draft")
"""Inputs of which each combination keeps its best plan."""
SHARED = (*KEY, "draft_tokens", "accepted_tokens")
"""Inputs that replicas of a plan share, and its decode workers."""
FRONT_OF = ("mode", "device", "framework")
"""Of whose values each has a Pareto front of its own."""
PLAN = {
    "mode": "aggregated: each replica does both phases; disaggregated: a worker does one",
    "device": "device type of a replica, or of a decode worker",
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
    "prefill_device": "device type of a prefill worker; null where aggregated",
    "prefill_layout": "of a prefill worker; null where aggregated",
    "prefill_groups": "prefill workers; 0 where aggregated",
    "prefill_devices": "devices of all prefill workers; 0 where aggregated",
    "devices": "devices of the plan",
    "group_nodes": "nodes that the largest of its replicas or workers spans",
    "users": "concurrent users that it serves: rate * (TTFT + K * TPOT), K decoded tokens",
    "requests_per_s": "requests/s of the plan",
    "tokens_per_s": "output tokens/s of the plan",
    "device_tokens_per_s": "output tokens/s per device",
    "user_tokens_per_s": "output tokens/s of one user",
    "ttft_s": "TTFT in seconds, at the percentile of the option share",
    "tpot_s": "mean seconds per further token",
    "latency_s": "seconds of a whole answer: TTFT + K * TPOT, K at the percentile of share",
    "memory_bytes": "bytes that the busiest device needs",
}
"""Columns of a plan, and what they mean."""
MONEY = {
    "usd_per_hour": "USD per hour, all devices",
    "usd_per_million_tokens": "USD per million output tokens",
    "usd_per_1000_requests": "USD per 1000 requests",
    "joules_per_token": "joules per output token at rated power, times PUE: an upper bound",
    "measured_joules_per_token": "at the power measured by load; null where it was not measured",
}


def cost_of(prices: Mapping[str, float]) -> pl.Expr:
    """USD per hour of a plan's devices; without prices the number of devices."""

    def price(column: str) -> pl.Expr:
        if not prices:
            return pl.lit(1.0)
        known = pl.col(column).replace_strict(dict(prices), default=None, return_dtype=pl.Float64)
        return known.fill_null(0.0)

    decode = (pl.col("devices") - pl.col("prefill_devices")) * price("device")
    return decode + pl.col("prefill_devices") * price("prefill_device")


def figure_of(options: DeployOptions) -> pl.Expr:
    """The figure that a search maximises.

    With a load it is the inverse of the cost: USD per hour, or devices without prices. Otherwise
    it is requests/s on the given devices, per USD where they have prices. Without a number of
    devices it is requests/s per device used.
    """
    cost, made = cost_of(options.prices), pl.col("requests_per_s")
    if options.has_load:
        return 1 / cost
    return made * pl.col("devices") / cost if options.devices is not None else made / cost


def ordered(plans: pl.DataFrame, options: DeployOptions) -> pl.DataFrame:
    """Sort plans by `figure_of`, best first."""
    made, last = pl.col("requests_per_s"), pl.col("user_tokens_per_s").fill_null(0.0)
    by = (-figure_of(options), pl.col("devices"), -made, -last)
    return plans.sort(by, maintain_order=True)


class KeptPlans(NamedTuple):
    """The best plans of each kind so far, and the Pareto fronts so far."""

    best: pl.DataFrame = pl.DataFrame()
    front: pl.DataFrame = pl.DataFrame()

    def with_plans(self, plans: pl.DataFrame, options: DeployOptions) -> "KeptPlans":
        """Add plans, whose layouts may be four columns or text."""
        if not plans.height:
            return self

        def first_of_each(frame: pl.DataFrame) -> pl.DataFrame:
            kind = ["mode", *KEY, "prefill_device", "group_nodes"]
            return ordered(frame, options).unique(kind, keep="first", maintain_order=True)

        targets = options.targets
        meeting = plans.filter(meets_ttft(targets))
        if options.devices is not None:
            meeting = meeting.filter(_of_one_type() <= options.devices)
        if options.latency_s is not None:
            meeting = meeting.filter(pl.col("latency_s") <= options.latency_s)
        best = first_of_each(meeting.filter(meets_tpot(targets)))
        front = pareto_front(meeting, FRONT_OF)
        kept = [
            _laid(frame) if not old.width else pl.concat([old, _laid(frame)])
            for old, frame in zip(self, (best, front), strict=True)
        ]
        return KeptPlans(first_of_each(kept[0]), pareto_front(kept[1], FRONT_OF))


def _of_one_type() -> pl.Expr:
    """Devices of a plan, of the type of which it uses the most."""
    prefill = pl.col("prefill_devices")
    apart = pl.max_horizontal(prefill, pl.col("devices") - prefill)
    same = (pl.col("prefill_device") == pl.col("device").cast(pl.String)).fill_null(True)
    return pl.when(same).then(pl.col("devices")).otherwise(apart)


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

    @property
    def draft_tokens(self) -> int:
        """Tokens drafted a step."""
        return int(self.speculation.get("draft_tokens", [0])[0])


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


def aggregated(
    fitting: pl.DataFrame, device: Device, options: DeployOptions, answer: float
) -> pl.DataFrame:
    """Plans of replicas that each do both phases, as many as the devices allow or a load needs.

    Parameters
    ----------
    fitting : polars.DataFrame
        Candidates that fit (`search.steady_state`).
    device : Device
    options : DeployOptions
    answer : float
        Decoded tokens of an answer, at the percentile of `ServingAssumptions.share`.
    """
    if options.rate is not None:
        replicas = (options.rate / pl.col("requests_per_s") * (1 - 1e-12)).ceil()
    elif options.users is not None:
        replicas = (options.users / pl.col("batch_size")).ceil()
    else:
        replicas = pl.lit(options.devices, pl.Int64) // pl.col("devices")
    tokens = answer * pl.col("tpot_s").fill_null(0.0)
    plans = fitting.with_columns(
        replicas=replicas.cast(pl.Int64),
        mode=pl.lit(AGGREGATED),
        prefill_device=pl.lit(None, pl.String),
        prefill_layout=pl.lit(None, pl.String),
        prefill_groups=pl.lit(0, pl.Int64),
        prefill_devices=pl.lit(0, pl.Int64),
        group_nodes=(pl.col("devices").cast(pl.Int64) + device.node_size - 1) // device.node_size,
        latency_s=pl.col("ttft_s") + tokens,
    ).filter(pl.col("replicas") > 0)
    totals = [pl.col(name) * pl.col("replicas") for name in ("requests_per_s", "tokens_per_s")]
    devices = pl.col("devices").cast(pl.Int64) * pl.col("replicas")
    batch = pl.col("batch_size").cast(pl.Int64)
    users = (batch * pl.col("replicas")).cast(pl.Float64).alias("users")
    return plans.with_columns(*totals, devices, batch, users)


class MoneyInputs(NamedTuple):
    """What money and energy of plans follow from."""

    model: Model
    devices: Mapping[str, Device]
    """By name; their rated power is in watts."""
    prices: Mapping[str, float]
    """USD per hour of a device, by name."""
    energy: EnergyOptions
    request_tokens: float
    """Mean tokens of a request, prompt and answer."""


def priced(plans: pl.DataFrame, of: MoneyInputs) -> pl.DataFrame:
    """Plans with the columns `MONEY`; null where a price or the power of a device is not known.

    Parameters
    ----------
    plans : polars.DataFrame
        With the columns `PLAN`.
    of : MoneyInputs
    """
    alone = pl.col("prefill_device").is_null()
    watts = {name: device.watts for name, device in of.devices.items() if device.watts is not None}
    known = pl.col("device").is_in(list(watts)) & (
        alone | pl.col("prefill_device").is_in(list(watts))
    )
    power = pl.when(known & pl.lit(bool(watts))).then(cost_of(watts))
    worked_off = pl.col("requests_per_s") * of.request_tokens / pl.col("devices")
    share = pl.lit(None, pl.Float64)
    for name, device in of.devices.items():
        measured = power_share(device, of.model, worked_off, of.energy.idle_share)
        if isinstance(measured, pl.Expr):
            share = pl.when(alone & (pl.col("device") == name)).then(measured).otherwise(share)
    hour = (cost_of(of.prices) if of.prices else pl.lit(None, pl.Float64)).alias("usd_per_hour")
    tokens = pl.when(pl.col("tokens_per_s") > 0).then(pl.col("tokens_per_s"))
    thousand = usd_per_million(hour, pl.col("requests_per_s")) / 1e3
    return plans.with_columns(
        hour,
        usd_per_million(hour, tokens).alias("usd_per_million_tokens"),
        thousand.alias("usd_per_1000_requests"),
        joules_per_token(power, tokens, of.energy.pue).alias("joules_per_token"),
        joules_per_token(power * share, tokens, of.energy.pue).alias("measured_joules_per_token"),
    )


def precision_of(plan: Mapping[str, Any], model: Model) -> str:
    """A plan's precision as text, such as "fp8-kv8"."""
    return precision_text(model.architecture, *(str(plan[name]) for name in FORMAT_COLUMNS))
