"""Attacks by pairs of options, streams, variables, names, limits, and files in two roles."""

from collections.abc import Iterator
from itertools import combinations

from tests.attacks.attack import CONFIG, Attack
from tests.attacks.contents import DEVICE, MANY, SMALL, copy_of_data, link_to
from tests.attacks.dialect_cases import COUNT, FIT, LENGTHS

PAIRS = {
    "fit": (FIT, {"--lengths": "l.csv", "--prompt": "2k", "--cached-tokens": "100", "--shared-prefix": "64",
                  "--users": "4", "--rate": "2", "--layout": "tp2", "--framework": "sglang", "--times": "roofline",
                  "--max-num-seqs": "8", "--max-num-batched-tokens": "4096", "--draft": "eagle"}),
    "explain": (["explain"], {"--mode": "gundam:2x3", "--crops": "1x2", "--image": "700x900", "--page": "a4@100dpi",
                              "--view-size": "640", "--heads": "10,5", "--text-tokens": "5", "--cached-tokens": "9",
                              "--images": "2", "--precision": "fp8-kv8"}),
    "slo": (["slo", "g.toml", "--device", "h100-sxm", "--times", "roofline"],
            {"--where": "batch_size = 1", "--serving": "static", "--top": "1", "--compute-fraction": "0.5",
             "--price": "h100-sxm=2", "--max-num-seqs": "4"}),
    "query": (["query", "g.toml"], {"--where": "batch_size = 1", "--select": "max(decode_tensor_flops) AS m",
                                    "--group-by": "attention", "--sort": "attention", "--top": "1", "--format": "csv"}),
}  # fmt: skip
"""Command to its words, and options with a value that is valid alone."""
REFUSED = {
    **{("fit", "--lengths", option): f"{option}: remove it, or --lengths"
       for option in ("--prompt", "--cached-tokens", "--shared-prefix")},
    ("explain", "--mode", "--crops"): "sets crop_rows, as mode does", ("explain", "--mode", "--view-size"): "as mode does",
    ("explain", "--image", "--page"): "sets image_height, as image does",
    **{("explain", first, second): "expected no crops with an image"
       for first in ("--mode", "--crops") for second in ("--image", "--page")},
}  # fmt: skip
"""Pairs of options that contradict each other, and what is said."""


def pairs() -> Iterator[Attack]:
    """Every pair of some options of a command."""
    for command, (words, options) in PAIRS.items():
        for first, second in combinations(options, 2):
            says = REFUSED.get((command, first, second))
            yield Attack("pairs", f"{command} {first} {second}",
                         [*words, first, options[first], second, options[second]], {"l.csv": LENGTHS},
                         (0,) if says is None else (2,), says or "")  # fmt: skip


def streams() -> Iterator[Attack]:
    """Outputs that are full or closed early."""
    lines = {"help of all": "$SE --help", "fit": "$SE fit llama-3.1-8b --device l4", "fit in JSON": "$SE fit llama-3.1-8b --device l4 --json",
             "map": "$SE map llama-3.1-8b --device l4 --cells 100", "explain": "$SE explain", "help": "$SE fit --help",
             "version": "$SE --version", "schema": "$SE schema", "models": "$SE models", "plan": "$SE plan g.toml",
             "sheet": "$SE models llama-3.1-8b --json", "slo": "$SE slo g.toml --device l4 --json",
             "query in JSON": "$SE query g.toml --format json"}  # fmt: skip
    for name, line in lines.items():
        yield Attack("streams", f"{name} into a full device", [], status=(2,), says="no space left",
                     shell=f"{line} > /dev/full")  # fmt: skip
        yield Attack("streams", f"{name} to nobody", [], status=(0, 141),
                     shell=f"set -o pipefail; {line} | true")  # fmt: skip
    for name, line in {
        "error": "$SE plan nope",
        "option": "$SE fit --nope",
        "refusal": "$SE models nope",
    }.items():
        yield Attack("streams", f"{name} on a full stderr", [], shell=f"{line} 2> /dev/full")
    for kind in ("csv", "json", "parquet"):
        yield Attack("streams", f"{kind} to a full device", ["query", "g.toml", "--format", kind, "--out", "/dev/full"],
                     says="no space left")  # fmt: skip


VARIABLES = {
    "NO_COLOR": ("1", ""), "FORCE_COLOR": ("1",), "CLICOLOR_FORCE": ("1",), "COLUMNS": ("1", "0", "-5", "x", "100000"),
    "LINES": ("0", "x"), "TERM": ("dumb", "", "nope"), "PYTHONWARNINGS": ("error", "always"),
    "PYTHONOPTIMIZE": ("2",), "LC_ALL": ("tr_TR.UTF-8", "nope"), "TZ": ("Nope/Nowhere",), "HOME": ("", "/dev/null"),
    "TMPDIR": ("/nope",), "XDG_CACHE_HOME": ("", "g.toml", "relative/\U0001f642"), "NUMBA_CACHE_DIR": ("/proc/nope",),
    "NUMBA_DEBUG_CACHE": ("0",), "POLARS_FMT_MAX_ROWS": ("0",), "POLARS_FMT_MAX_COLS": ("x",), "HF_HOME": ("/dev/null",),
    "PYTHONUTF8": ("0",), "PYTHONINSPECT": ("",), "PYTHONDEVMODE": ("1",), "PYTHONFAULTHANDLER": ("1",),
    "MALLOC_PERTURB_": ("85",),
}  # fmt: skip


def variables() -> Iterator[Attack]:
    """Variables of the environment, each with values that others set."""
    for variable, values in VARIABLES.items():
        for value in values:
            setting = {variable: value}
            leaves = ["relative"] if value.startswith("relative") else []
            yield Attack("variables", f"{variable}={value} fit", FIT, {}, (0,), output="h100-sxm",
                         variables=setting, leaves=leaves)  # fmt: skip
            yield Attack("variables", f"{variable}={value} query", ["query", "data", *COUNT], {}, (0,),
                         output='"n":24', variables=setting, leaves=leaves)  # fmt: skip
    for name in ("--help", "models", "devices", "schema"):
        yield Attack(
            "variables",
            f"{name} without docstrings",
            [name],
            {},
            (0,),
            variables={"PYTHONOPTIMIZE": "2"},
        )
    yield Attack("variables", "nothing at all", [], {}, (0,), output='"n":24',
                 shell="env -i $SE query data --select 'count(*) AS n' --format json")  # fmt: skip


SCRIPTS = ("данные", "数据", "بيانات", "नमस्ते", "\U0001f642", "e\u0301", "ｆｕｌｌ", "ß", "İi", "a\u200db", "\u00a0", "-", "'", '"', "$HOME", "`id`",
           "a;b", "a&b", "a b  c", "NUL", "..a", "a" * 200)  # fmt: skip

UNPRINTABLE = {"a\u200db": "expected printable characters", "-": "starts with -"}
"""Names of a model that are refused, and what is said."""


def scripts() -> Iterator[Attack]:
    """Names in other scripts, and names that shells take for something else."""
    for name in SCRIPTS:
        copied = f"d/{name}"
        yield Attack(
            "scripts",
            f"dataset {name}",
            ["query", copied, *COUNT],
            {copied: copy_of_data},
            (0,),
            output='"n":24',
        )
        says = UNPRINTABLE.get(name)
        yield Attack("scripts", f"model {name}", ["models", f"d/{name}/config.json"], {f"d/{name}/config.json": CONFIG},
                     (0,) if says is None else (2,), says or "")  # fmt: skip
    for name in SCRIPTS[:9]:
        yield Attack("scripts", f"grid {name}", ["run", f"{name}.toml", "--out", "new"],
                     {f"{name}.toml": SMALL.replace('"x"', f'"{name}"') + "batch_size = [1]\n"}, (0,), leaves=["new"])  # fmt: skip
        yield Attack("scripts", f"device {name}", ["fit", "config.json", "--device", f"{name}.toml", "--times", "roofline"],
                     {f"{name}.toml": DEVICE.replace('"own"', f'"{name}"')}, (0,))  # fmt: skip


LIMITS = (2**31, 2**53 + 1, 2**63, -(2**63))
WHOLE = {"--prompt": FIT, "--answer": FIT, "--cached-tokens": FIT, "--users": FIT, "--max-num-seqs": FIT,
         "--max-num-batched-tokens": FIT, "--batch-size": ["explain"], "--view-size": ["explain"], "--images": ["explain"],
         "--cells": ["map", "llama-3.1-8b", "--device", "l4"], "--longest": ["map", "llama-3.1-8b", "--device", "l4"]}  # fmt: skip
REAL = {"--ttft": FIT, "--tpot": FIT, "--rate": FIT, "--share": FIT, "--memory-share": FIT,
        "--device-bandwidth-gbs": ["explain", "--device", "l4"]}  # fmt: skip
FLOATS = ("1e308", "5e-324", "-0.0", "1e-400", "0x1p3", "1_0.5", "١.٥", "+inf")


def limits() -> Iterator[Attack]:
    """Numbers at the limits of types, in options that take them: an answer or one line, no wrapping."""
    for values, options in ((LIMITS, WHOLE), (FLOATS, REAL)):
        for option, words in options.items():
            for value in values:
                yield Attack(
                    "limits",
                    f"{words[0]} {option} {value}",
                    [*words, option, str(value)],
                    {},
                    (0, 2),
                )


CHANGED = {
    "grid rewritten while it is read": "(for i in $(seq 300); do cp g.toml h.toml; mv h.toml x.toml; done) & while kill -0 $! 2>&-; do "
                                       "$SE plan x.toml > out || exit 1; done",
    "points gone while they are read": "$SE run x.toml --out new > out && ($SE query new --select 'sum(decode_tensor_flops) AS s' > out & "
                                       "rm new/points-*; wait $!; test $? -le 2)",
    "two runs into one folder": "$SE run x.toml --out new > out & $SE run x.toml --out new > out2; wait; $SE query new " + " ".join(
        ["--select", "'count(*) AS n'", "--format", "json"]),
    "run and reader": "$SE run x.toml --out new > out; $SE run g.toml --out new --overwrite > out & $SE query new --select "
                      "'count(*) AS n' --format json > out2; test $? -eq 0 -o $? -eq 2; wait; $SE query new --select 'count(*) AS n' --format json",
    "folder gone while it is run": "$SE run x.toml --out new > out & sleep 0.9; rm -rf new; wait $!; test $? -eq 0 -o $? -eq 2",
    "model replaced between two points": "cp config.json m.json; $SE fit m.json --device l4 --json > out; echo '{}' > m.json; "
                                         "$SE fit m.json --device l4 > out2; test $? -eq 2",
    "readers of one dataset": "for i in 1 2 3; do $SE query data --select 'count(*) AS n' --format json > o$i & done; wait; cmp o1 o2 && cmp o1 o3 && cat o1",
    "output over its input": "cp g.toml own.toml; $SE query own.toml --format csv --out own.toml; test $? -le 2",
}  # fmt: skip


def changed() -> Iterator[Attack]:
    """Files that change while they are read, and processes that share them."""
    for name, line in CHANGED.items():
        yield Attack("changed", name, [], {"x.toml": MANY}, (0,), leaves=["new", "out", "o", "x.toml", "h.toml", "m.json"],
                     shell=line)  # fmt: skip


def selves() -> Iterator[Attack]:
    """Files that name themselves, and one file in two roles."""
    own = 'extends = "{}"\nname = "own"\ndescription = "d"\n'
    loops = {"by a dot": {"o.toml": own.format("./o.toml")}, "by the folder above": {"f/o.toml": own.format("../f/o.toml"), "o.toml": own.format("f/o.toml")},
             "by a link": {"o.toml": own.format("l.toml"), "l.toml": link_to("o.toml")},
             "two of each other": {"o.toml": own.format("p.toml"), "p.toml": own.format("o.toml").replace('"own"', '"other"')}}  # fmt: skip
    for name, files in loops.items():
        yield Attack(
            "selves",
            f"model that extends itself {name}",
            ["models", "o.toml"],
            files,
            says="extends",
        )
    roles = {
        "grid whose model is itself": (["plan", "x.toml"], {"x.toml": SMALL.replace("[axes]", 'model = "x.toml"\n[axes]') + "batch_size = [1]\n"}),
        "grid whose device is itself": (["query", "x.toml"], {"x.toml": SMALL + 'device = ["x.toml"]\n'}),
        "device with the rates of itself": (["fit", "config.json", "--device", "d.toml"], {"d.toml": DEVICE + 'rates = {like = "own"}\n'}),
        "device that is its model": (["fit", "own.toml", "--device", "own.toml"], {}),
        "lengths that are its device": (["fit", "config.json", "--device", "d.toml", "--lengths", "d.toml"], {"d.toml": DEVICE}),
        "runs that are the config": (["compare", "config.json", "--device", "l4"], {}),
        "draft that is a device": (["fit", "llama-3.1-8b", "--device", "l4", "--draft", "l4"], {}),
        "chart over its model": (["deploy", "config.json", "--device", "l4", "--chart", "config.json"], {}),
        "script over its model": (["deploy", "config.json", "--device", "l4", "--script", "config.json"], {}),
        "run into its own grid": (["run", "g.toml", "--out", "g.toml"], {}),
        "points as a grid": (["plan", "data/_manifest.parquet"], {}),
        "dataset of a dataset": (["query", "data/data"], {}),
    }  # fmt: skip
    for name, (words, files) in roles.items():
        yield Attack("selves", name, words, files)
    yield Attack(
        "selves",
        "draft that is its model",
        [*FIT, "--draft", "llama-3.1-8b", "--draft-tokens", "2"],
        {},
        (0, 2),
    )
    yield Attack("selves", "answer into its dataset", ["query", "data", "--format", "csv", "--out", "data/points.csv"], {}, (0, 2),
                 leaves=["data/points.csv"])  # fmt: skip
