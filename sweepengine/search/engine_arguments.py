"""Start commands of serving engines for a plan, from data/engine_arguments.toml."""

import re
import shlex
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from sweepengine.data.devices import Device
from sweepengine.data.files import shipped_table
from sweepengine.data.models import Model, choices_of
from sweepengine.formulas.formats import CACHE_FORMATS, OWN, WEIGHT_FORMATS
from sweepengine.formulas.layout import Layout
from sweepengine.formulas.memory import THOUSANDTHS, EngineSettings
from sweepengine.formulas.speculation import DRAFTS
from sweepengine.formulas.tokens import ceil_div
from sweepengine.search.engine_settings import engine_settings
from sweepengine.search.options import EngineOptions
from sweepengine.search.plans import ServedPlan

ENGINE_COMMANDS: Final[dict[str, dict[str, Any]]] = shipped_table("engine_arguments.toml")


class Launch(NamedTuple):
    """The command that starts one kind of server of a plan."""

    engine: str
    role: str
    """"serve" (both phases), "prefill" or "decode"."""
    copies: int
    arguments: tuple[str, ...]
    """Arguments of the serving engine's program; the model comes first."""
    notes: tuple[str, ...]
    """Settings that no argument can make."""

    @property
    def command(self) -> str:
        """The whole command, as a shell takes it."""
        return f"{ENGINE_COMMANDS[self.engine]['program']} {shlex.join(self.arguments)}"


def launches(
    plan: ServedPlan,
    replicas: int,
    model: Model,
    device: Device,
    options: EngineOptions,
    longest_tokens: int,
) -> list[Launch]:
    """Start commands of a plan, for each serving engine.

    Parameters
    ----------
    plan : ServedPlan
    replicas : int
        Replicas, or decode workers.
    model : Model
    device : Device
    options : EngineOptions
        What they leave out is each engine's default for the device.
    longest_tokens : int
        Tokens of the longest request, prompt and answer.
    """
    commands = []
    for engine in ENGINE_COMMANDS:
        servers = {"serve": (plan.layout, replicas, plan.batch_size)}
        if plan.prefill_layout is not None:
            servers = {
                "prefill": (plan.prefill_layout, plan.prefill_groups, 1),
                "decode": (plan.layout, replicas, plan.batch_size),
            }
        for role, (layout, copies, batch) in servers.items():
            taken = engine_settings(options, engine, device, layout)
            if plan.chunk_tokens:
                chunk = min(plan.chunk_tokens, taken.chunk_tokens)
                taken = taken._replace(chunk_tokens=chunk)
            values = settings(plan, layout, batch, taken, longest_tokens)
            launch = _launch(engine, role, copies, model, values)
            drafting = (*launch.arguments, *drafting_arguments(engine, plan, model))
            commands.append(launch._replace(arguments=drafting))
    return commands


def drafting_arguments(engine: str, plan: ServedPlan, model: Model) -> list[str]:
    """Arguments of speculative decoding; none where a plan drafts nothing.

    Parameters
    ----------
    engine : str
        A serving engine of the data file.
    plan : ServedPlan
    model : Model
        With the models that draft for it.
    """
    (drafted,) = plan.speculation.get("draft_tokens", [0])
    if not drafted:
        return []
    (code,) = plan.speculation["draft"]
    name = choices_of(model, "draft")[code]
    repositories = {draft.name: repository(draft) for draft in model.drafts}
    values = {"{tokens}": f"{drafted}", "{verified}": f"{drafted + 1}",
              "{draft}": repositories.get(name, "")}  # fmt: skip
    arguments = []
    for text in ENGINE_COMMANDS[engine]["draft"][name if name in DRAFTS else "model"]:
        for mark, value in values.items():
            text = text.replace(mark, value)
        arguments.append(text)
    return arguments


def settings(
    plan: ServedPlan, layout: Layout, batch: int, taken: EngineSettings, longest_tokens: int
) -> dict[str, Any]:
    """Values of the arguments, by the names of the data file.

    Parameters
    ----------
    plan : ServedPlan
    layout : Layout
        Of the server: the plan's own, or that of its prefill workers.
    batch : int
        Sequences of the server.
    taken : EngineSettings
        Share of the memory, and tokens of a pass.
    longest_tokens : int
        Tokens of the longest request, prompt and answer.
    """
    weights, _, cache = plan.precision
    return {
        "tensor": layout.tensor,
        "stage_devices": layout.tensor * layout.data,
        "pipeline": layout.pipeline,
        "data": layout.data,
        "expert": layout.expert,
        "model_tokens": longest_tokens,
        "sequences": max(batch, layout.data),
        "rank_sequences": ceil_div(batch, layout.data),
        "chunk_tokens": taken.chunk_tokens,
        "memory_share": taken.memory_share / THOUSANDTHS,
        "cache": CACHE_FORMATS[cache],
        "weights": WEIGHT_FORMATS[weights],
    }


def _launch(engine: str, role: str, copies: int, model: Model, values: Mapping[str, Any]) -> Launch:
    rules = ENGINE_COMMANDS[engine]
    arguments = [*rules["model"], repository(model)]
    notes = []
    for row in rules["arguments"]:
        setting = row["setting"]
        value = values[setting]
        if value == row.get("unless") or value == OWN:
            continue
        if setting in rules["values"]:
            if value not in rules["values"][setting]:
                notes.append(f"{setting} = {value}: load a checkpoint in this format")
                continue
            value = rules["values"][setting][value]
        arguments += [row["flag"]] if row.get("alone") else [row["flag"], f"{value}"]
    if role != "serve":
        arguments += rules[role]
    return Launch(engine, role, copies, tuple(arguments), tuple(notes))


def repository(model: Model) -> str:
    """The repository that a serving engine loads: that of the model's source, else its name."""
    match = re.match(r"[\w.-]+/[\w.-]+", model.sources.get("decoder", ""))
    return match[0] if match else model.name
