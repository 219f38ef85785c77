"""The answer of `deploy` in a terminal."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from sweepengine.data.devices import GIGA
from sweepengine.data.models import Model
from sweepengine.search.deploy import Deployment
from sweepengine.search.options import DISAGGREGATED
from sweepengine.search.plans import precision_of
from sweepengine.search.steady_state import SECONDS_PER_DAY
from sweepengine.show.cards import lengths_text
from sweepengine.show.terminal import front_picture, print_table, say


def show_deployment(deployment: Deployment, top: int) -> None:
    """Print the best plan, the best of each precision, the Pareto front, and how to start it."""
    targets, model = deployment.options.targets, deployment.model
    requests = lengths_text(deployment.lengths, model)
    say(f"{model.name}: {requests}; TTFT {targets.ttft_s:g} s and TPOT "
        f"{targets.tpot_s * 1000:g} ms for {deployment.options.serving.share:.0%} of requests"
    )  # fmt: skip
    say(f"{deployment.candidates:,} candidates considered in {deployment.points:,} points")
    if deployment.best is None:
        assert deployment.reason is not None
        say(f"no candidate meets the targets: {deployment.reason.text}")
    else:
        _show_best(deployment.best, model, deployment.requests)
        say()
        plans = deployment.plans
        rows = [_row(plan, model) for plan in plans.head(top).to_dicts()]
        shown = f", {top} of {plans.height}" if plans.height > top else ""
        print_table(f"Best plan of each precision and mode{shown}", rows, PLAN_TITLES)
    if deployment.front.height > 1:
        say()
        say(front_picture(fronts_of(deployment.front), targets.tpot_s))
    say()
    for note in (*deployment.bases, *(f"assumed: {text}" for text in deployment.assumed)):
        say(note)
    for launch in deployment.launches:
        say()
        role = "replicas" if launch.role == "serve" else f"{launch.role} workers"
        say(f"# {launch.engine}, {launch.copies} {role}")
        say(launch.command)
        for note in launch.notes:
            say(f"# {note}")


PLAN_TITLES = ("mode", "device", "precision", "layout and batch", "devices", "requests/s",
               "tokens/s/device", "tokens/s/user", "TTFT s", "TPOT ms",
               "USD/1M tokens")  # fmt: skip


def _row(plan: Mapping[str, Any], model: Model) -> tuple[str, ...]:
    price, tpot = plan["usd_per_million_tokens"], plan["tpot_s"]
    user = plan["user_tokens_per_s"]
    return (
        plan["mode"],
        plan["device"],
        precision_of(plan, model),
        arrangement(plan),
        f"{plan['devices']:,}",
        f"{plan['requests_per_s']:,.4g}",
        f"{plan['device_tokens_per_s']:,.0f}",
        "" if user is None else f"{user:,.1f}",
        f"{plan['ttft_s']:.3g}",
        "" if tpot is None else f"{tpot * 1000:.3g}",
        "" if price is None else f"{price:.4f}",
    )


def arrangement(plan: Mapping[str, Any]) -> str:
    """Describe the groups of devices of a plan."""
    drafted = plan["draft_tokens"]
    speculation = f", {drafted} drafted by {plan['draft']}" if drafted else ""
    if plan["mode"] == DISAGGREGATED:
        return (
            f"{plan['prefill_groups']} x {plan['prefill_layout']} prefill, "
            f"{plan['replicas']} x {plan['layout']} decode at batch {plan['batch_size']}"
            f"{speculation}"
        )
    return f"{plan['replicas']} x {plan['layout']}, batch {plan['batch_size']}{speculation}"


def _show_best(best: Mapping[str, Any], model: Model, requests: pl.DataFrame) -> None:
    each = best["devices"] // max(best["replicas"], 1)
    devices = f"{best['devices']} {best['device']}"
    if best["mode"] != DISAGGREGATED:
        devices = f"{best['replicas']} replicas of {each} {best['device']}"
    say(f"best: {devices} in {precision_of(best, model)}, {best['mode']}: {arrangement(best)}")
    rates = f"{best['requests_per_s']:,.4g} requests/s, {best['tokens_per_s']:,.0f} tokens/s"
    if model.has_vision:
        rates += f", {best['requests_per_s'] * SECONDS_PER_DAY:,.0f} pages/day"
    tpot = "" if best["tpot_s"] is None else f", TPOT {best['tpot_s'] * 1000:.3g} ms"
    say(f"{rates}; TTFT {best['ttft_s']:.3g} s{tpot}; "
        f"{best['memory_bytes'] / GIGA:,.1f} GB per device")  # fmt: skip
    money = [
        f"{best[name]:{form}} {title}"
        for name, form, title in (
            ("usd_per_hour", ",.2f", "USD/hour"),
            ("usd_per_million_tokens", ".4f", "USD/1M tokens"),
            ("usd_per_1000_requests", ".4f",
             "USD/1000 " + ("pages" if model.has_vision else "requests")),
            ("joules_per_token", ".3g", "J/token at rated power"),
        )
        if best[name] is not None
    ]  # fmt: skip
    say(", ".join(money))
    rows = [
        (
            "mean" if row["share"] is None else f"p{row['share'] * 100:.0f}",
            f"{row['ttft_s']:.3g}",
            f"{row['latency_s']:.3g}",
            f"{row['device_seconds']:.3g}",
            f"{row['cache_bytes'] / 1e6:,.1f}",
        )
        for row in requests.to_dicts()
    ]
    columns = ("percentile", "TTFT s", "whole answer s", "device s", "KV cache MB per device")
    if requests["ttft_s"].n_unique() > 1:
        print_table("Requests of all lengths", rows, columns)


def fronts_of(front: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Split the Pareto front by device and mode."""
    named = front.with_columns(kind=pl.format("{}, {}", "device", "mode"))
    return {
        str(name): part
        for (name,), part in named.partition_by("kind", as_dict=True, maintain_order=True).items()
    }
