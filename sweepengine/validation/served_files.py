"""Writes fitted constants and factors to the files that hold them."""

import re
from collections.abc import Iterator
from typing import Any

from sweepengine.data.family_factors import Family


def written(value: Any) -> str:
    """A value as TOML."""
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {written(one)}' for key, one in value.items())} }}"
    return f'"{value}"' if isinstance(value, str) else str(value)


def with_constants(text: str, constants: dict[str, Any]) -> str:
    """The text of a serving engine's file with constants of its last version replaced."""
    head, mark, version = text.rpartition("[versions.")
    for name, value in constants.items():
        version = re.sub(rf"(?m)^{name} = .*$", f"{name} = {written(value)}", version)
    return head + mark + version


def factors_text(
    families: dict[Family, dict[str, Any]], means: dict[str, dict[str, float]]
) -> Iterator[str]:
    """Lines of data/measured/family_factors.toml.

    Parameters
    ----------
    families : dict
        Factors of each family.
    means : dict
        What the mean TTFT of rows has beyond the median, by serving engine.
    """
    yield "# Measured over predicted serving times, of families and of their layouts (tensor,"
    yield "# expert, data parallel; TPOT, TTFT), and what the mean TTFT of the extra's rows has"
    yield "# more than the median, as constants of a load."
    yield '# Made by `make serving` (docs/times.md, "Factors of families").'
    yield "\n[means]"
    yield from (f"{engine} = {written(added)}" for engine, added in means.items())
    for family, row in families.items():
        yield "\n[[families]]"
        for name, value in (family._asdict() | row).items():
            if name == "layouts":
                yield "layouts = ["
                yield from (f"    {layout}," for layout in value)
                yield "]"
            else:
                yield f"{name} = {written(value)}"
