"""The section `vision` of a config: its tower, and the rule from an image to views."""

from pathlib import Path
from typing import Any

from sweepengine.data.errors import InputError
from sweepengine.data.files import CONFIG, exists
from sweepengine.data.preprocessors import PREPROCESSOR, family_row, read_preprocessor, rule_of
from sweepengine.data.towers import TowerReading, tower_section
from sweepengine.formulas.views import ImageRule


def preprocessor_of(path: Path) -> Path | None:
    """The file of the image processor beside a config.json; None where there is none."""
    beside = path.with_name(path.name.replace(CONFIG, PREPROCESSOR))
    return beside if path.name.endswith(CONFIG) and exists(beside) else None


def vision_section(config: dict[str, Any], hidden: int, path: Path) -> TowerReading | None:
    """Section `vision` of a config; None where it has no tower, or one that is not known.

    Parameters
    ----------
    config : dict
        The whole config.
    hidden : int
        Width of the decoder.
    path : Path
        Of the config; the file of its image processor lies beside it.

    Raises
    ------
    InputError
        When a key of either file is missing, wrong or unknown; the message names the file, the key
        and the allowed values.
    """
    row = family_row(config)
    tower = None if row is None else tower_section(config, hidden, str(path))
    if row is None or tower is None:
        return None
    beside = preprocessor_of(path)

    def fail(key: str, problem: str) -> InputError:
        return InputError(f"{path}: {key}: {problem}")

    processor = None if beside is None else read_preprocessor(beside)
    rule, assumed = rule_of(row, config, processor, fail)
    tower.section["rule"] = _written(rule)
    return TowerReading(tower.section, tower.assumed | assumed)


def _written(rule: ImageRule) -> dict[str, Any]:
    """A rule as a model file holds it: numbers that it uses."""
    numbers = {
        name: value for name, value in rule._asdict().items()
        if name == "patch" or value != rule._field_defaults.get(name)
    }  # fmt: skip
    if rule.pinpoints:
        numbers["pinpoints"] = [list(pair) for pair in rule.pinpoints]
    return numbers
