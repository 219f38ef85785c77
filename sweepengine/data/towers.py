"""Reads the vision tower of a Hugging Face config.json by the tables of `towers.toml`."""

import json
from typing import Any, NamedTuple

from sweepengine.data.configs import PARTS, families
from sweepengine.data.tower_stages import STAGES
from sweepengine.data.tower_values import Config, Row, TowerValues, tower_tables
from sweepengine.formulas.quantities import quantities
from sweepengine.formulas.towers import Blocks, Join

SOURCE = "transformers 5.23"
SWITCHES = {
    name
    for record in (Blocks, Join)
    for name, quantity in quantities(record).items()
    if quantity.switch
}
TEXTS = ("part", "kind", "operator")


class TowerReading(NamedTuple):
    """The section `vision` of a model file made from a config, and how the config was read."""

    section: Config
    assumed: Config
    """Missing keys, and the default of transformers that was assumed for each."""


def tower_part(config: Config) -> str | None:
    """Key of the part of a config that describes a tower; None where there is none."""
    row = tower_tables()["models"].get(config.get("model_type"), {})
    key: str = row.get("part", "vision_config")
    return key if isinstance(config.get(key), dict) else None


def unread_tower(config: Config) -> str | None:
    """Type of a tower that no table knows; None where it is known, or where there is none."""
    part = tower_part(config)
    if part is None or _rows(config, part):
        return None
    return str(config[part].get("model_type") or config.get("model_type"))


def vision_section(config: Config, hidden: int, source: str) -> TowerReading | None:
    """Section `vision` of a config; None where it has no tower, or one that is not known.

    Parameters
    ----------
    config : dict
        The whole config.
    hidden : int
        Width of the decoder.
    source : str
        Path of the config, for errors.

    Raises
    ------
    InputError
        When a key is missing, wrong or unknown; the message names the file, the key and the
        allowed values.
    """
    part = tower_part(config)
    rows = _rows(config, part) if part else ()
    if not rows:
        return None
    values = TowerValues(source, config, rows, hidden)
    model, tower, _ = rows
    blocks, joins = [], []
    if "stages" in tower.table:
        blocks, joins = STAGES[tower.table["stages"]](values)
    for row in (tower, model):
        template = tower_tables()["templates"]["tower" if row is tower else "projector"]
        made = _filled(values, row.table.get("blocks", ()), tower_tables()["templates"]["block"])
        blocks += [{**template, **one} for one in made if one["layers"]]
        joins += [{**template, **one} for one in _filled(values, row.table.get("joins", ()), {})]
    section = {
        "source": SOURCE,
        "rule": rule_of(values),
        "merge": values.evaluate(model.table.get("merge", "merge")),
        "width": values.evaluate(model.table.get("width", "h")),
        "blocks": blocks,
        "joins": joins,
    }
    _refuse_unknown(values)
    return TowerReading(section, values.assumed)


def rule_of(values: TowerValues) -> Config:
    """How an image becomes views: a placeholder with the edge of a patch."""
    model = values.rows[0].table
    return {"name": model["rule"], "patch": values.evaluate("patch"), "merge": values.evaluate(
        model.get("merge", "merge"))}  # fmt: skip


def _rows(config: Config, part: str) -> tuple[Row, ...]:
    """Rows of the model, of its tower, and of what all towers have; empty for unknown ones."""
    tables = tower_tables()
    model = tables["models"].get(config.get("model_type"))
    if model is None:
        return ()
    kind = config[part].get("model_type")
    name = next(iter(model["towers"])) if kind is None else tables["other_names"].get(kind, kind)
    if name not in model["towers"]:
        return ()
    return Row(model, ""), Row(tables["towers"][name], part), Row(tables["all"], part)


def _filled(values: TowerValues, tables: Any, template: Config) -> list[Config]:
    """Blocks or joins with their numbers in place of names; `times` of each."""
    made: list[Config] = []
    for table in tables:
        fields = {**template, **table}
        times = values.evaluate(fields.pop("times", 1))
        one = {}
        for name, what in fields.items():
            if name in TEXTS:
                one[name] = what
                continue
            number = values.evaluate(what)
            if number < 0:
                raise values.fail(values.rows[1].part, f"{name}: {what} = {number}: expected at "
                                  "least 0")  # fmt: skip
            one[name] = bool(number) if name in SWITCHES else number
        made += [one] * times
    return made


def _refuse_unknown(values: TowerValues) -> None:
    """Refuse a key that no row knows, or that changes a cost at the value it has."""
    tables, config = tower_tables(), values.config
    model, tower, _ = values.rows
    harmless = set(families()["harmless"]["keys"]) | set(tables["harmless"]["keys"])
    parts = [tower.part, *model.table.get("parts", ())]
    if any(isinstance(config.get(key), dict) for key in PARTS):
        parts.append("")
    for part in parts:
        known = set(harmless)
        neutral = dict(tables["neutral"])
        for row in (model, tower):
            here = len(row.part) + 1 if row.part else 0
            for kind in ("harmless", "rule_keys"):
                paths = (row.path(key) for key in row.table.get(kind, ()))
                known |= {path[here or len(part) + bool(part):] for path in paths
                          if path.rpartition(".")[0] == part}  # fmt: skip
            for key, allowed in row.table.get("neutral", {}).items():
                if row.path(key).rpartition(".")[0] == part:
                    neutral[row.path(key).rpartition(".")[2]] = allowed
        known |= {path.rpartition(".")[2] for path in values.read if path.rpartition(".")[0] == part}
        for key, value in (config[part] if part else config).items():
            path = f"{part}.{key}" if part else key
            if value is None or key in known or (not part and isinstance(value, dict)):
                continue
            if key in neutral:
                if value not in neutral[key]:
                    allowed = " or ".join(map(json.dumps, neutral[key])) or "null"
                    raise values.fail(path, f"= {json.dumps(value)}: expected {allowed}")
            elif not key.endswith(tuple(tables["harmless"]["endings"])):
                raise values.fail(
                    path,
                    f"unknown key for the vision tower of {config['model_type']}, which may "
                    "change a cost: remove it, or describe the tower in a TOML model file",
                )
