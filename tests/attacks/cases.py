"""The attacks, as data: what hostile users try, by group, and what each must end in."""

from tests.attacks import (
    around_cases,
    command_cases,
    dataset_cases,
    dialect_cases,
    file_cases,
    machine_cases,
    pair_cases,
    query_cases,
)
from tests.attacks.attack import Attack

GROUPS = (
    query_cases.sql,
    query_cases.storage,
    dataset_cases.datasets,
    file_cases.grids,
    file_cases.models,
    file_cases.configs,
    machine_cases.machine,
    machine_cases.outputs,
    command_cases.rare,
    command_cases.commands,
    around_cases.layouts,
    around_cases.locks,
    around_cases.devices,
    around_cases.names,
    around_cases.tables,
    around_cases.versions,
    around_cases.machines,
    pair_cases.pairs,
    pair_cases.streams,
    pair_cases.variables,
    dialect_cases.toml,
    dialect_cases.jsons,
    dialect_cases.tables,
    pair_cases.scripts,
    pair_cases.limits,
    pair_cases.changed,
    pair_cases.selves,
)


def attacks() -> list[Attack]:
    """All of them."""
    return [attack for group in GROUPS for attack in group()]
