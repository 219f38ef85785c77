"""Options of a command: its record, the command line and Python say the same."""

import inspect

import click
import pytest

import sweepengine as se
from sweepengine.cli import commands
from sweepengine.data.errors import InputError
from sweepengine.search.declarations import checked, declared, record_of
from sweepengine.search.options import (
    CompareOptions,
    DeployOptions,
    FitOptions,
    GridTargets,
    MapOptions,
    PlaceOptions,
    RequestOptions,
    ServingAssumptions,
    SloOptions,
)

RECORDS = {
    "fit": (RequestOptions, FitOptions),
    "deploy": (RequestOptions, DeployOptions),
    "map": (RequestOptions, MapOptions),
    "slo": (GridTargets, SloOptions),
    "design": (GridTargets, ServingAssumptions),
    "compare": (CompareOptions,),
    "explain": (PlaceOptions,),
}
PYTHON = {"fit": FitOptions, "deploy": DeployOptions, "compare": CompareOptions}


@pytest.mark.parametrize("command", RECORDS)
def test_each_declared_option_is_one_of_the_command_line(command):
    options = {option.name: option for option in commands.commands[command].params}
    values = {}
    for record in RECORDS[command]:
        for one in declared(record):
            option = options[one.keyword]
            assert option.opts == [name for name in (one.flag, one.option.alias) if name]
            assert option.help == one.help
            if one.option.choices:
                assert tuple(option.type.choices) == one.option.choices
            assert option.multiple == (one.several or one.default == {})
            assert one.help.endswith((".", "]."))
    context = commands.commands[command].make_context(
        command, ["x", "--device", "h100-sxm"] if "device" in str(options) else ["x"],
        resilient_parsing=True,
    )  # fmt: skip
    values = {name: value for name, value in context.params.items() if name in options}
    for record in RECORDS[command]:
        given = {
            one.keyword: values[one.keyword] for one in declared(record)
            if values.get(one.keyword) is not None and one.default != {}
        }  # fmt: skip
        assert record_of(record, given) == record()


@pytest.mark.parametrize("name", PYTHON)
def test_each_declared_option_is_an_argument_in_python(name):
    function, record = getattr(se, name), PYTHON[name]
    arguments = inspect.signature(function).parameters
    for one in declared(record):
        assert arguments[one.keyword].default == one.default
        assert f"    {one.keyword} : " in function.__doc__
        assert one.help in function.__doc__
    assert record.__name__ not in function.__doc__
    with pytest.raises(TypeError, match="unexpected keyword argument 'tpx'"):
        function("llama-3.1-8b", "h100-sxm", tpx=1)


def test_defaults_of_a_record_are_valid():
    for records in RECORDS.values():
        for record in records:
            checked("test", record())


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (FitOptions(serving=ServingAssumptions(share=0)), "--share 0: expected above 0, at most 1"),
        (DeployOptions(devices=0), "--devices 0: expected 1..65,536"),
        (DeployOptions(rate=float("nan")), "--rate nan: expected requests a second above 0"),
        (DeployOptions(modes=("both",)), "expected aggregated or disaggregated"),
        (MapOptions(cells=5), "--cells 5: expected 100..100,000,000"),
        (FitOptions(framework="tgi"), "--framework tgi: expected vllm or"),
    ],
)
def test_options_that_are_not_valid_are_named(record, said):
    with pytest.raises(InputError) as error:
        checked("fit", record)
    assert said in str(error.value)


def test_nested_records_are_made_of_flat_values():
    found = record_of(DeployOptions, {"ttft": 1.0, "memory_share": 0.5, "layouts": ["tp2"]})
    assert found.targets == (1.0, 0.05)
    assert found.engine.memory_share == 0.5
    assert found.layouts == ("tp2",)


def test_prices_are_read_once():
    found = []

    @click.command()
    @click.pass_context
    def probe(ctx, **given):
        found.append(given["prices"])

    from sweepengine.cli.options import options_of

    options_of(SloOptions)(probe)
    probe.main(["--price", "h100-sxm=2.5"], standalone_mode=False)
    assert found == [{"h100-sxm": 2.5}]


def test_package_lists_its_public_names_alone():
    assert set(dir(se)) == {*se.__all__, "__version__"}
    assert all(getattr(se, name) is not None for name in se.__all__)
