"""The answer of `deploy` in a terminal."""

import json
from collections.abc import Mapping
from typing import Any

import polars as pl

from sweepengine.data.devices import GIGA
from sweepengine.data.models import Model
from sweepengine.search.deploy import Deployment
from sweepengine.search.engine_arguments import SERVE, UNKNOWN, UNKNOWN_DRAFT, Launch
from sweepengine.search.options import DeployOptions
from sweepengine.search.plans import FRONT_OF, precision_of
from sweepengine.search.ranking import BASES, TIE
from sweepengine.search.servers import placed, process_of
from sweepengine.search.steady_state import SECONDS_PER_DAY
from sweepengine.show.cards import lengths_text
from sweepengine.show.front_picture import front_picture
from sweepengine.show.launch_script import shell_words
from sweepengine.show.loads import show_load
from sweepengine.show.plan_texts import (
    arrangement,
    counted,
    devices_text,
    figures_text,
    plan_of,
)
from sweepengine.show.terminal import print_table, say, say_command, say_text, three_digits

TITLES = {
    BASES[0]: "Best plan of each precision and mode",
    BASES[1]: "With rates borrowed from a device like it",
    BASES[2]: "By the data sheet, a lower bound of times",
}


def show_deployment(deployment: Deployment, top: int) -> None:
    """Print the best plan, the best of each precision, the Pareto fronts, and how to start it."""
    options, model = deployment.options, deployment.model
    requests = lengths_text(deployment.lengths, model)
    share = f"for {options.serving.share:.0%} of requests"
    say_text(f"{model.name}: {requests}; {asked(options)}, {share}")
    say(f"{deployment.candidates:,} candidates compared")
    if deployment.best is None:
        assert deployment.reason is not None
        say_text(f"no candidate meets the targets: {deployment.reason.text}")
    else:
        _show_best(deployment.best, model, deployment.requests)
        _show_plans(deployment, top)
    if deployment.load is not None:
        show_load(deployment.load, deployment.options.attainment)
    if deployment.front.height > 1:
        say()
        chosen = [deployment.best] if deployment.best else []
        say(front_picture(fronts_of(deployment.front), options.targets.tpot_s, chosen))
    say()
    for note in (*deployment.bases, *(f"assumed: {text}" for text in deployment.assumed)):
        say_text(note)
    for launch in deployment.launches:
        _show_launch(launch)


def asked(options: DeployOptions) -> str:
    """The targets and the load of a deployment."""
    targets = options.targets
    texts = [f"{options.rate:g} requests/s"] if options.rate is not None else []
    texts += [counted(options.users, "user")] if options.users is not None else []
    texts += [f"TTFT {targets.ttft_s:g} s", f"TPOT {targets.tpot_s * 1000:g} ms"]
    texts += [f"whole answer {options.latency_s:g} s"] if options.latency_s is not None else []
    return ", ".join(texts)


def _show_plans(deployment: Deployment, top: int) -> None:
    """Print a table of plans for each basis of times."""
    plans, model = deployment.plans, deployment.model
    several = {name: plans[name].n_unique() > 1 for name in ("device", "framework")}
    priced = plans["usd_per_million_tokens"].null_count() < plans.height
    for basis in BASES:
        of_basis = plans.filter(basis=basis)
        if not of_basis.height:
            continue
        rows = [
            (
                plan["standing"],
                plan_of(model, plan, several["device"], several["framework"]),
                f"{plan['devices']:,}",
                three_digits(plan["requests_per_s"]),
                three_digits(plan["device_tokens_per_s"]),
                three_digits(plan["ttft_s"]),
                "" if plan["tpot_s"] is None else three_digits(plan["tpot_s"] * 1000),
                *([three_digits(plan["usd_per_million_tokens"] or 0)] if priced else []),
            )
            for plan in of_basis.head(top).to_dicts()
        ]
        titles = ("", "plan", "devices", "requests/s", "tokens/s/device", "TTFT s", "TPOT ms",
                  *(["USD/1M tokens"] if priced else []))  # fmt: skip
        shown = f", {top} of {of_basis.height}" if of_basis.height > top else ""
        say()
        print_table(f"{TITLES[basis]}{shown}", rows, titles)
        if TIE in of_basis["standing"]:
            say_text(
                "tie: within the errors of the best of its serving engine; of these the simplest "
                "is taken: aggregated, fewer nodes, no draft, fewer formats to convert to"
            )


def _show_best(best: Mapping[str, Any], model: Model, requests: pl.DataFrame) -> None:
    say_text(f"best: {devices_text(best)} on {counted(best['nodes'], 'node')} with "
             f"{best['framework']} in {precision_of(best, model)}, {best['mode']}: "
             f"{arrangement(best)}")  # fmt: skip
    pages = ""
    if model.has_vision:
        pages = f"; {three_digits(best['requests_per_s'] * SECONDS_PER_DAY)} pages/day"
    say_text(f"{figures_text(best)}{pages}; {best['memory_bytes'] / GIGA:,.1f} GB per device")
    money = [
        f"{three_digits(best[name])} {title}"
        for name, title in (
            ("usd_per_hour", "USD/hour"),
            ("usd_per_million_tokens", "USD/1M tokens"),
            ("usd_per_1000_requests",
             "USD/1000 " + ("pages" if model.has_vision else "requests")),
            ("measured_joules_per_token", "J/token"),
            ("joules_per_token", "J/token at rated power"),
        )
        if best[name] is not None
    ]  # fmt: skip
    say_text(", ".join(money))
    rows = [
        (
            "mean" if row["share"] is None else f"p{row['share'] * 100:.0f}",
            three_digits(row["ttft_s"]),
            three_digits(row["latency_s"]),
            three_digits(row["device_seconds"]),
            three_digits(row["cache_bytes"] / 1e6),
        )
        for row in requests.to_dicts()
    ]
    columns = ("percentile", "TTFT s", "whole answer s", "device s", "KV cache MB per device")
    if requests["ttft_s"].n_unique() > 1:
        print_table("Requests of all lengths", rows, columns)


def _show_launch(launch: Launch) -> None:
    """Print the command of the first server of a role, and what no argument can set."""
    say()
    role = "replica" if launch.role == SERVE else f"{launch.role} worker"
    nodes = -(-launch.devices // launch.node)
    spans = f", each on {nodes} nodes" if nodes > 1 else ""
    say_text(
        f"arguments of {launch.engine} {launch.version}, {counted(launch.copies, role)} of "
        f"{launch.devices} {launch.device.name}{spans}; --script FILE starts all",
        "# ",
    )
    (server,) = placed([launch._replace(copies=1)])
    if nodes > 1 and "spans" not in launch.rules:
        say_command(launch.command)
    else:
        process = process_of(server, 0, lambda server, rank: f"HOST{server.node + rank}")
        named = [f"{name}={value}" for name, value in process.environment.items()]
        say_command(shell_words([*named, *process.words]))
    if launch.config:
        say_text(f"--config FILE, which holds {json.dumps(launch.config)}", "# ")
    places = ((launch.checkpoint, UNKNOWN), (launch.draft, UNKNOWN_DRAFT))
    marks = {place.note: mark for place, mark in places if not place.path}
    for note in launch.notes:
        mark = marks.get(note, "")
        say_text(f"{mark}: {note}" if mark else note, "# ")


def fronts_of(front: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Split Pareto fronts by device, mode and, where there are several, serving engine."""
    named = ["device", "mode"] + ["framework"] * (front["framework"].n_unique() > 1)
    return {
        ", ".join(str(part[name][0]) for name in named): part
        for part in front.partition_by(FRONT_OF, maintain_order=True)
    }
