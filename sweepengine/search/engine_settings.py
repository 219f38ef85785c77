"""Settings of a serving engine from the options of a command, and those that it takes itself."""

from sweepengine.data.devices import Device
from sweepengine.data.serving_engines.memory import (
    NEWEST,
    settings_of,
    version_names,
    version_of,
)
from sweepengine.formulas.layout import WHOLE, Layout
from sweepengine.formulas.memory import EngineSettings
from sweepengine.formulas.points import INPUTS
from sweepengine.grid.checks import checked_value
from sweepengine.search.options import EngineOptions


def engine_values(command: str, options: EngineOptions, framework: str) -> dict[str, int]:
    """Stored inputs of a point that the options state; 0 where they state none.

    Parameters
    ----------
    command : str
        Name of the command in messages.
    options : EngineOptions
    framework : str
        The serving engine.

    Raises
    ------
    InputError
        When the engine has no such version, or a value is not valid.
    """
    values = options._asdict()
    version = values.pop("framework_version")
    code = 0
    if version not in (None, NEWEST):
        code = version_names().index(version_of(framework, version).version)
    stored = {
        name: 0 if value is None else checked_value(INPUTS[name], value, f"{command}: {name}")
        for name, value in values.items()
    }
    return stored | {"framework_version": code}


def engine_settings(
    options: EngineOptions, framework: str, device: Device, layout: Layout = WHOLE
) -> EngineSettings:
    """Settings that a serving engine runs with: those of the options, and its defaults.

    Parameters
    ----------
    options : EngineOptions
    framework : str
        The serving engine.
    device : Device
    layout : Layout
    """
    values = engine_values(framework, options, framework)
    given = EngineSettings(*(values[name] for name in EngineSettings._fields))
    engine = version_of(framework, options.framework_version or NEWEST)
    return settings_of(engine, device.product, device.usable_bytes, layout, given)
