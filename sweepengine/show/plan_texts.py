"""Texts of a plan that the terminal, charts and generated files share."""

from collections.abc import Mapping, Sequence
from typing import Any

from sweepengine.data.errors import printable
from sweepengine.data.models import Model
from sweepengine.search.deploy import Deployment
from sweepengine.search.engine_arguments import Launch
from sweepengine.search.options import DISAGGREGATED
from sweepengine.search.plans import precision_of


def counted(number: int, what: str) -> str:
    """A number of things: "1 replica", "2 replicas"."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def arrangement(plan: Mapping[str, Any]) -> str:
    """Describe the replicas or workers of a plan."""
    drafted = plan["draft_tokens"]
    speculation = f", {drafted} drafted by {plan['draft']}" if drafted else ""
    if plan["mode"] == DISAGGREGATED:
        on = plan["prefill_device"]
        where = f" on {on}" if on != plan["device"] else ""
        return (
            f"{plan['prefill_groups']} x {plan['prefill_layout']} prefill{where}, "
            f"{plan['replicas']} x {plan['layout']} decode at batch {plan['batch_size']}"
            f"{speculation}"
        )
    return f"{plan['replicas']} x {plan['layout']}, batch {plan['batch_size']}{speculation}"


def devices_text(plan: Mapping[str, Any]) -> str:
    """The devices of a plan, by type, such as "24 h100-sxm"."""
    decode = plan["devices"] - plan["prefill_devices"]
    if plan["prefill_device"] in (None, plan["device"]):
        return f"{plan['devices']:,} {plan['device']}"
    return f"{plan['prefill_devices']:,} {plan['prefill_device']} and {decode:,} {plan['device']}"


def figures_text(plan: Mapping[str, Any]) -> str:
    """Requests/s, tokens/s, users and latencies of a plan."""
    tpot = "" if plan["tpot_s"] is None else f", TPOT {plan['tpot_s'] * 1000:.3g} ms"
    return (f"{plan['requests_per_s']:,.4g} requests/s, {plan['tokens_per_s']:,.0f} tokens/s, "
            f"{plan['users']:,.0f} users at once; TTFT {plan['ttft_s']:.3g} s{tpot}, "
            f"whole answer {plan['latency_s']:.3g} s")  # fmt: skip


def headline(deployment: Deployment, launches: Sequence[Launch]) -> list[str]:
    """Lines that say what a generated file starts."""
    first, model = launches[0], deployment.model
    (plan,) = (row for row in deployment.plans.to_dicts()
               if row["framework"] == first.engine and row["standing"] == "best"
               and row["basis"] == deployment.plans["basis"][0])  # fmt: skip
    lines = [
        f"{model.name} on {devices_text(plan)} with {first.engine} {first.version}, "
        f"{precision_of(plan, model)}, {plan['mode']}: {arrangement(plan)}",
        f"predicted: {figures_text(plan)}",
    ]
    lines += dict.fromkeys(note for launch in launches for note in launch.notes)
    return [printable(line) for line in lines]


def plan_of(model: Model, plan: Mapping[str, Any], device: bool, engine: bool) -> str:
    """A plan in one line, with its device and its serving engine where they differ.

    Parameters
    ----------
    model : Model
    plan : mapping
        A row of `search.plans.PLAN`.
    device, engine : bool
        Whether to name them.
    """
    parts = [plan["device"]] * device + [plan["framework"]] * engine
    return ", ".join([*parts, precision_of(plan, model), f"{plan['mode']}: {arrangement(plan)}"])
