"""The answer of a search in a terminal."""

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

KIND = "device"


def show_deployment(found: Deployment, top: int) -> None:
    """Print the best, what each format gives, the front, and how to start it."""
    targets, model = found.options.targets, found.model
    what = f"{lengths_text(found.lengths, model)}; TTFT {targets.ttft_s:g} s"
    say(f"{model.name}: {what}, TPOT {targets.tpot_s * 1000:g} ms for "
        f"{found.options.serving.share:.0%} of requests")  # fmt: skip
    say(f"{found.candidates:,} candidates considered in {found.points:,} points")
    if found.best is None:
        assert found.reason is not None
        say(f"nothing serves it: {found.reason.text}")
    else:
        _show_best(found.best, model, found.requests)
        say()
        rows = [_row(plan, model) for plan in found.plans.head(top).to_dicts()]
        print_table(f"The best of each format and mode{_of(found.plans, top)}", rows, PLAN_TITLES)
    if found.front.height > 1:
        say()
        say(front_picture(fronts_of(found.front), targets.tpot_s))
    say()
    for said in (*found.bases, *(f"assumed: {text}" for text in found.assumed)):
        say(said)
    for launch in found.launches:
        say()
        role = "" if launch.role == "serve" else f" that {launch.role}"
        say(f"# {launch.engine}, {launch.copies} x{role}")
        say(launch.command)
        for note in launch.notes:
            say(f"# {note}")


PLAN_TITLES = ("mode", "device", "precision", "at", "devices", "requests/s", "tokens/s/device",
           "tokens/s/user", "TTFT s", "TPOT ms", "USD/1M tokens")  # fmt: skip


def _of(plans: pl.DataFrame, top: int) -> str:
    return f", {top} of {plans.height}" if plans.height > top else ""


def _row(plan: Mapping[str, Any], model: Model) -> tuple[str, ...]:
    price, pace, user = (
        plan[name] for name in ("usd_per_million_tokens", "tpot_s", "user_tokens_per_s")
    )
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
        "" if pace is None else f"{pace * 1000:.3g}",
        "" if price is None else f"{price:.4f}",
    )


def arrangement(plan: Mapping[str, Any]) -> str:
    """Which groups there are, in words."""
    if plan["mode"] == DISAGGREGATED:
        return (
            f"{plan['prefill_groups']} {plan['prefill_layout']} prefill, "
            f"{plan['replicas']} {plan['layout']} decode at batch {plan['batch_size']}"
        )
    return f"{plan['replicas']} x {plan['layout']}, batch {plan['batch_size']}"


def _show_best(best: Mapping[str, Any], model: Model, requests: pl.DataFrame) -> None:
    each = best["devices"] // max(best["replicas"], 1)
    many = f"{best['devices']} {best['device']}"
    if best["mode"] != DISAGGREGATED:
        many = f"{best['replicas']} replicas of {each} {best['device']}"
    say(f"best: {many} in {precision_of(best, model)}, {best['mode']}: {arrangement(best)}")
    made = f"{best['requests_per_s']:,.4g} requests/s, {best['tokens_per_s']:,.0f} tokens/s"
    if model.has_vision:
        made += f", {best['requests_per_s'] * SECONDS_PER_DAY:,.0f} pages a day"
    pace = "" if best["tpot_s"] is None else f", TPOT {best['tpot_s'] * 1000:.3g} ms"
    say(f"{made}; TTFT {best['ttft_s']:.3g} s{pace}; "
        f"{best['memory_bytes'] / GIGA:,.1f} GB a device")  # fmt: skip
    money = [
        f"{best[name]:{form}} {title}"
        for name, form, title in (
            ("usd_per_hour", ",.2f", "USD an hour"),
            ("usd_per_million_tokens", ".4f", "USD a million tokens"),
            ("usd_per_1000_requests", ".4f",
             "USD a thousand " + ("pages" if model.has_vision else "requests")),
            ("joules_per_token", ".3g", "joules a token at rated power"),
        )
        if best[name] is not None
    ]  # fmt: skip
    say(", ".join(money))
    rows = [
        (
            "mean" if row["share"] is None else f"{row['share']:.0%} of requests",
            f"{row['ttft_s']:.3g}",
            f"{row['latency_s']:.3g}",
            f"{row['device_seconds']:.3g}",
            f"{row['cache_bytes'] / 1e6:,.1f}",
        )
        for row in requests.to_dicts()
    ]
    columns = ("at most", "TTFT s", "answered s", "device seconds", "cache MB a device")
    if requests["ttft_s"].n_unique() > 1:
        print_table("Requests by their length", rows, columns)


def fronts_of(front: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Fronts by kind of device and mode."""
    named = front.with_columns(kind=pl.format("{}, {}", KIND, "mode"))
    return {
        str(name): part
        for (name,), part in named.partition_by("kind", as_dict=True, maintain_order=True).items()
    }
