"""Arguments of serving engines for a plan, from data/engine_arguments.toml."""

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from sweepengine.data.devices import Device
from sweepengine.data.files import shipped_table
from sweepengine.data.models import Model, choices_of
from sweepengine.data.speeds import TimingTarget
from sweepengine.formulas.formats import CACHE_FORMATS, OWN, WEIGHT_FORMATS
from sweepengine.formulas.layout import Layout
from sweepengine.formulas.layout import devices as devices_of
from sweepengine.formulas.memory import THOUSANDTHS, EngineSettings
from sweepengine.formulas.speculation import DRAFTS, EAGLE
from sweepengine.formulas.tokens import ceil_div
from sweepengine.search.checkpoints import Checkpoint, checkpoint_of, context_of
from sweepengine.search.engine_settings import engine_settings
from sweepengine.search.options import EngineOptions
from sweepengine.search.plans import ServedPlan

ENGINE_COMMANDS: Final[dict[str, dict[str, Any]]] = shipped_table("engine_arguments.toml")
UNKNOWN = "MODEL"
"""Stands for a checkpoint whose place is not known."""
UNKNOWN_DRAFT = "DRAFT_MODEL"
"""Stands for that of a draft."""
OTHER_MODEL = "model"
"""Key of the arguments of a draft that is a model of its own."""
SERVE, PREFILL, DECODE = "serve", "prefill", "decode"
Settings = Mapping[str, Any]
Rows = Sequence[Mapping[str, Any]]


class Arguments(NamedTuple):
    """What rows of arguments say with settings."""

    words: tuple[str, ...]
    """Of the command line."""
    config: dict[str, Any]
    """Of the engine's configuration file, nested."""
    notes: tuple[str, ...]
    """Settings that no argument can make."""


class Launch(NamedTuple):
    """How one kind of server of a plan is started."""

    engine: str
    role: str
    """"serve" (both phases), "prefill" or "decode"."""
    copies: int
    devices: int
    """Of one copy."""
    device: Device
    """Device type."""
    checkpoint: Checkpoint
    draft: Checkpoint
    """Of what drafts tokens; without path and note where there is none to load."""
    settings: dict[str, Any]
    """Values of arguments, by the names of the data file."""
    arguments: tuple[str, ...]
    """Arguments of the engine's program that do not depend on where it runs; the model comes
    first."""
    config: dict[str, Any]
    """Content of the engine's configuration file; empty where it needs none."""
    notes: tuple[str, ...]

    @property
    def rules(self) -> dict[str, Any]:
        """The engine's table in the data file."""
        return ENGINE_COMMANDS[self.engine]

    @property
    def draft_unknown(self) -> bool:
        """Whether `UNKNOWN_DRAFT` stands for the draft's checkpoint, whose place is not known."""
        return bool(self.draft.note) and not self.draft.path

    @property
    def folders(self) -> list[str]:
        """Local folders of checkpoints."""
        paths = (self.checkpoint.path, self.draft.path)
        return [path for path in paths if path.startswith("/")]

    @property
    def downloads(self) -> bool:
        """Whether a checkpoint is not known to be in a local folder."""
        return len(self.folders) < 1 + bool(self.draft.note or self.draft.path)

    @property
    def node(self) -> int:
        """Devices of a node."""
        return self.device.node_size

    @property
    def version(self) -> str:
        """Version of the engine whose arguments these are."""
        return str(self.rules["version"])

    @property
    def command(self) -> str:
        """The whole command, as a shell takes it."""
        return shlex.join([*self.rules["program"], *self.arguments])

    def as_dict(self) -> dict[str, Any]:
        """Fields for JSON, with the command and the version."""
        named = {"device": self.device.name, "checkpoint": self.checkpoint._asdict(),
                 "draft": self.draft._asdict()}  # fmt: skip
        return self._asdict() | named | {"command": self.command, "version": self.version}


def runs_layout(engine: str, layout: Layout) -> bool:
    """Tell whether an engine can run a layout: some split attention over all devices or none."""
    whole = ENGINE_COMMANDS[engine].get("whole_attention", False)
    return not whole or layout.data == 1 or layout.tensor == 1


def launches(
    plan: ServedPlan,
    row: Mapping[str, Any],
    model: Model,
    timing: TimingTarget,
    prefill: TimingTarget,
    options: EngineOptions,
    longest_tokens: int,
) -> list[Launch]:
    """How a plan is started under its serving engine.

    Parameters
    ----------
    plan : ServedPlan
    row : mapping
        The plan's row of `search.plans.PLAN`.
    model : Model
    timing, prefill : TimingTarget
        Of replicas or decode workers, and of prefill workers.
    options : EngineOptions
        What they leave out is the engine's default for the device.
    longest_tokens : int
        Tokens of the longest request, prompt and answer.
    """
    servers = {SERVE: (plan.layout, row["replicas"], plan.batch_size, timing)}
    if plan.prefill_layout is not None:
        servers = {
            PREFILL: (plan.prefill_layout, plan.prefill_groups, 1, prefill),
            DECODE: (plan.layout, row["replicas"], plan.batch_size, timing),
        }
    engine, checkpoint = timing.framework, checkpoint_of(model)
    tokens, short = context_of(model, longest_tokens)
    drafted, draft = drafting_settings(plan, model), draft_checkpoint(plan, model)
    commands = []
    for role, (layout, copies, batch, target) in servers.items():
        taken = engine_settings(options, engine, target.device, layout)
        if plan.chunk_tokens:
            taken = taken._replace(chunk_tokens=min(plan.chunk_tokens, taken.chunk_tokens))
        values = settings(plan, layout, batch, taken, tokens) | drafted
        rules = ENGINE_COMMANDS[engine]
        made = read_rows(rules, [*rules["arguments"], *added_rows(rules, role, values)], values)
        named = [*rules["model"], checkpoint.path or UNKNOWN]
        commands.append(Launch(
            engine, role, copies, devices_of(layout), target.device, checkpoint, draft, values,
            (*named, *made.words), made.config,
            tuple(note for note in (checkpoint.note, draft.note, short, *made.notes) if note),
        ))  # fmt: skip
    return commands


def draft_checkpoint(plan: ServedPlan, model: Model) -> Checkpoint:
    """The checkpoint of the draft of a plan; without path and note where there is none to load."""
    name = _draft_name(plan, model)
    if name == EAGLE:
        return Checkpoint("", f"the folder or Hub id of an EAGLE head trained for {model.name}")
    found = {draft.name: checkpoint_of(draft) for draft in model.drafts}
    return found.get(name, Checkpoint("", ""))


def _draft_name(plan: ServedPlan, model: Model) -> str:
    """What drafts tokens in a plan: "mtp", "eagle" or a model; empty where nothing does."""
    if not plan.draft_tokens:
        return ""
    (draft,) = plan.speculation["draft"]
    return choices_of(model, "draft")[int(draft)]


def drafting_settings(plan: ServedPlan, model: Model) -> dict[str, Any]:
    """Values of the arguments of speculative decoding; none where a plan drafts nothing."""
    name = _draft_name(plan, model)
    if not name:
        return {}
    return {
        "draft": name if name in DRAFTS else OTHER_MODEL,
        "draft_tokens": plan.draft_tokens,
        "verified_tokens": 1 + plan.draft_tokens,
        "draft_model": draft_checkpoint(plan, model).path or UNKNOWN_DRAFT,
    }


def added_rows(rules: Mapping[str, Any], role: str, values: Settings) -> Rows:
    """Rows of arguments of a prefill or decode worker, and of the draft of its plan.

    Parameters
    ----------
    rules : mapping
        The engine's table.
    role : str
        As `Launch.role`.
    values : mapping of str to value
        Settings by name.
    """
    of_role: Rows = rules.get(role, {}).get("arguments", ())
    of_draft: Rows = rules["draft"][values["draft"]] if "draft" in values else ()
    return [*of_role, *of_draft]


def settings(
    plan: ServedPlan, layout: Layout, batch: int, taken: EngineSettings, model_tokens: int
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
    model_tokens : int
        Tokens of the longest context.
    """
    weights, _, cache = plan.precision
    return {
        "tensor": layout.tensor,
        "stage_devices": layout.tensor * layout.data,
        "pipeline": layout.pipeline,
        "data": layout.data,
        "attention_groups": layout.data > 1,
        "expert": layout.expert,
        "model_tokens": model_tokens,
        "sequences": max(batch, layout.data),
        "rank_sequences": ceil_div(batch, layout.data),
        "chunk_tokens": taken.chunk_tokens,
        "memory_share": taken.memory_share / THOUSANDTHS,
        "cache": CACHE_FORMATS[cache],
        "weights": WEIGHT_FORMATS[weights],
    }


def read_rows(rules: Mapping[str, Any], rows: Rows, values: Settings) -> Arguments:
    """What rows of the data file say with settings; settings of `values` alone count.

    Parameters
    ----------
    rules : mapping
        The engine's table.
    rows : sequence of mapping
    values : mapping of str to value
        Settings by name; rows of settings that are not among them are left out.
    """
    words, config, notes = list[str](), dict[str, Any](), list[str]()
    for row in rows:
        setting = row.get("setting", "")
        if setting and setting not in values:
            continue
        if "json" in row:
            given = {key: values[name] for key, name in row["settings"].items()}
            words += [row["flag"], json.dumps(row["json"] | given, separators=(",", ":"))]
            continue
        value = values[setting] if setting else row.get("value")
        if value == row.get("unless", OWN):
            continue
        if setting in rules["values"]:
            if value not in rules["values"][setting]:
                notes.append(f"{setting} = {value}: load a checkpoint in this format")
                continue
            value = rules["values"][setting][value]
        if "key" in row:
            table = config
            *path, last = row["key"].split(".")
            for name in path:
                table = table.setdefault(name, {})
            table[last] = value
        elif "flag" in row:
            words += [row["flag"]] if row.get("alone") else [row["flag"], f"{value}"]
    return Arguments(tuple(words), config, tuple(notes))
