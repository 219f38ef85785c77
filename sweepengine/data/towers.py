"""Reads the vision tower of a Hugging Face config.json by the tables of `towers.toml`."""

import json
from typing import Any, NamedTuple

from sweepengine.data.configs import PARTS, families
from sweepengine.data.errors import shown
from sweepengine.data.preprocessors import family_row
from sweepengine.data.preprocessors import rule_of as image_rule
from sweepengine.data.tower_stages import STAGES
from sweepengine.data.tower_tables import Config, Row, tower_tables
from sweepengine.data.tower_values import TowerValues
from sweepengine.formulas.quantities import quantities
from sweepengine.formulas.towers import Blocks, Join

MOST = 1000
"""Most joins of one kind."""
NUMBERS = {**quantities(Join), **quantities(Blocks)}
TOWER_PARTS = ("vision_config", "audio_config")
"""Keys of towers in a config of several parts."""
TEXTS = ("part", "kind", "operator")


class TowerReading(NamedTuple):
    """The section `vision` of a model file made from a config, and how the config was read."""

    section: Config
    assumed: Config
    """Missing keys, and the default of transformers that was assumed for each."""
    notes: tuple[str, ...]
    """What was simplified."""


def tower_part(config: Config) -> str | None:
    """Key of the part of a config that describes a tower; None where there is none."""
    row = tower_tables()["models"].get(str(config.get("model_type")), {})
    key: str = row.get("part", "vision_config")
    return key if isinstance(_part(config, key), dict) else None


def _part(config: Config, key: str) -> Any:
    """A part of a config; the empty key is all of it."""
    return config.get(key) if key else config


def unread_towers(config: Config) -> tuple[str, ...]:
    """A note for each tower of a config that no table knows."""
    part = tower_part(config)
    known = part if part is not None and _rows(config, part) else None
    return tuple(
        f"{key.removesuffix('_config')} tower of "
        f"{config[key].get('model_type') or config.get('model_type')} is not modelled"
        for key in TOWER_PARTS
        if isinstance(config.get(key), dict) and key != known
    )


def vision_section(
    config: Config, hidden: int, source: str, preprocessor: Config | None = None
) -> TowerReading | None:
    """Section `vision` of a config; None where it has no tower, or one that is not known.

    Parameters
    ----------
    config : dict
        The whole config.
    hidden : int
        Width of the decoder.
    source : str
        Path of the config, for errors.
    preprocessor : dict
        Content of preprocessor_config.json; None: there is no such file.

    Raises
    ------
    InputError
        When a key is missing, wrong or unknown; the message names the file, the key and the
        allowed values.
    """
    part = tower_part(config)
    rows = () if part is None else _rows(config, part)
    if not rows:
        return None
    values = TowerValues(source, config, rows, hidden)
    model, tower, _ = rows
    rule = rule_of(values, preprocessor)
    blocks: list[Config] = []
    joins: list[Config] = []
    if "stages" in tower.table:
        blocks, joins = STAGES[tower.table["stages"]](values)
    templates = tower_tables()["templates"]
    block = templates["block"]
    for row, template in ((tower, templates["tower"]), (model, templates["projector"])):
        blocks += [
            {**template, **numbers}
            for numbers in _filled(values, row.table.get("blocks", ()), block)
            if numbers["layers"]
        ]
        joins += [
            {**template, **numbers} for numbers in _filled(values, row.table.get("joins", ()), {})
        ]
    section = {
        "source": f"{source}, read as {config['model_type']}",
        "rule": rule,
        "merge": values.evaluate(model.table.get("merge", "merge")),
        "width": values.evaluate(model.table.get("width", "h")),
        "blocks": blocks,
        "joins": joins,
    }
    for name, formula in {**tower.table.get("equal", {}), **model.table.get("equal", {})}.items():
        values.require_equal(name, formula)
    _refuse_unknown(values)
    return TowerReading(section, values.assumed, tuple(model.table.get("notes", ())))


def rule_of(values: TowerValues, preprocessor: Config | None) -> Config:
    """The rule from an image to views; its numbers are also numbers of the tower, as `rule_most`.

    A row of `projectors.toml` states it where `image_rules.toml` has none.
    """
    if (family := family_row(values.config)) is None:
        stated: Config = values.rows[0].table["rule"]
        name = str(stated["name"])
        return {"name": name} | {
            number: values.evaluate(formula)
            for number, formula in stated.items()
            if number != "name"
        }
    rule, assumed = image_rule(family, _with_defaults(values, family), preprocessor, values.fail)
    values.assumed |= assumed
    values.read |= {
        address
        for entry in family["numbers"].values()
        if isinstance(entry, dict)
        for address in entry["keys"]
    } | set(family["required"])
    values.numbers |= {
        f"rule_{name}": number for name, number in rule._asdict().items() if type(number) is int
    }
    return {
        name: [list(pair) for pair in number] if name == "pinpoints" else number
        for name, number in rule._asdict().items()
        if number != rule._field_defaults.get(name)
    }


def _with_defaults(values: TowerValues, family: Config) -> Config:
    """The config with defaults of the tower's class for missing keys that the rule needs."""
    config = values.config
    for entry in family["numbers"].values():
        for path in entry["keys"] if isinstance(entry, dict) else ():
            part, _, key = path.rpartition(".")
            if ":" in path or part not in ("", values.rows[1].part):
                continue
            if (default := values.default(path)) is not None:
                table = {**(config[part] if part else config), key: default}
                config = {**config, part: table} if part else table
    return config


def _rows(config: Config, part: str) -> tuple[Row, ...]:
    """Rows of the model, of its tower, and of what all towers have; empty for unknown ones."""
    tables = tower_tables()
    model = tables["models"].get(str(config.get("model_type")))
    if model is None:
        return ()
    default = "" if "named" in model else model["towers"][0]
    kind = str(_part(config, part).get(model.get("named", "model_type")) or default)
    name = tables["other_names"].get(kind, kind)
    if name not in model["towers"]:
        return ()
    return Row(model, ""), Row(tables["towers"][name], part), Row(tables["all"], part)


def _filled(values: TowerValues, tables: Any, template: Config) -> list[Config]:
    """Blocks or joins with their numbers in place of names; `times` of each."""
    made: list[Config] = []
    for table in tables:
        fields = {**template, **table}
        repeated = fields.pop("times", 1)
        times = values.evaluate(repeated)
        if times > MOST:
            raise values.fail(values.rows[1].part, f"{repeated} = {times}: expected at most {MOST}")
        numbers: Config = {}
        for name, formula in fields.items():
            if name in TEXTS:
                numbers[name] = formula
                continue
            number, quantity = values.evaluate(formula), NUMBERS[name]
            if number < quantity.least:
                raise values.fail(
                    values.rows[1].part,
                    f"{name}: {formula} = {number}: expected at least {quantity.least}",
                )
            numbers[name] = bool(number) if quantity.switch else number
        made += [numbers] * times
    return made


def _refuse_unknown(values: TowerValues) -> None:
    """Refuse a key that no row knows, or that changes a cost at the value it has."""
    tables, config = tower_tables(), values.config
    rows = values.rows[:2]
    harmless = {*families()["harmless"]["keys"], *tables["harmless"]["keys"]}
    known = values.read | {row.path(key) for row in rows for key in row.table.get("harmless", ())}
    neutral = {
        row.path(key): allowed
        for row in rows
        for key, allowed in row.table.get("neutral", {}).items()
    }
    parts = {rows[1].part, *rows[0].table.get("parts", ())}
    if any(isinstance(config.get(key), dict) for key in PARTS):
        parts.add("")
    for part in sorted(parts):
        table = _part(config, part)
        for key, value in table.items() if isinstance(table, dict) else ():
            path = f"{part}.{key}" if part else key
            if value is None or key in harmless or path in known:
                continue
            if isinstance(value, dict) and (key.endswith("_config") or key in {*PARTS, *parts}):
                continue
            if path in neutral:
                if value not in neutral[path]:
                    allowed = " or ".join(map(json.dumps, neutral[path])) or "null"
                    raise values.fail(path, f"= {shown(value)}: expected {allowed}")
            elif not key.endswith(tuple(tables["harmless"]["endings"])):
                raise values.fail(
                    path,
                    f"unknown key for the vision tower of {config['model_type']}, which may "
                    "change a cost: remove it, or describe the tower in a TOML model file",
                )
