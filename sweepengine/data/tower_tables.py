"""The tables that towers of configs are read by, and their rows."""

from functools import cache
from typing import Any, NamedTuple

from sweepengine.data.files import shipped_table

Config = dict[str, Any]


@cache
def tower_tables() -> Config:
    """The tables of `towers.toml` and `projectors.toml`.

    A row that is like another has its keys, save those that it states.
    """
    tables: Config = {}
    for name in ("towers.toml", "projectors.toml"):
        tables |= shipped_table(name)
    for rows in (tables["towers"], tables["models"]):
        for name, row in rows.items():
            if "like" in row:
                rows[name] = _joined(rows[row["like"]], row)
    return tables


def _joined(base: Config, row: Config) -> Config:
    joined = {**base, **row}
    for key in ("keys", "let", "defaults", "neutral"):
        joined[key] = {**base.get(key, {}), **row.get(key, {})}
    return joined


class Row(NamedTuple):
    """A row of a table, and the part of the config that its keys stand in."""

    table: Config
    part: str
    """Such as "vision_config"; empty: the whole config."""

    def path(self, key: str) -> str:
        """A key of the row as written from the whole config."""
        return key if "." in key or not self.part else f"{self.part}.{key}"
