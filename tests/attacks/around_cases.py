"""Attacks around a run: layouts, locks, devices and names of others, versions, signals."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.attacks.attack import GRID, Attack
from tests.attacks.contents import (
    DEVICE,
    MANY,
    SMALL,
    copy_of_data,
    fifo,
    link_to,
    manifest_with,
)

HUGE = (SMALL.replace("[axes]", 'model = "llama-3.1-8b"\n[axes]')
        + "prompt_tokens = {start = 1, stop = 1000000, step = 1}\n"
        + "decode_steps = {start = 1, stop = 1000000, step = 1}\n")  # fmt: skip
"""1e12 points."""
TIMED = SMALL.replace("[axes]", 'model = "llama-3.1-8b"\n[axes]') + "batch_size = [1, 4]\n"
MODELS = ("llama-3.1-8b", "gemma-3-27b", "deepseek-v3", "gpt-oss-20b", "deepseek-ocr-3b",
          "deepseek-ocr-3b-modelmeter", "nougat-base", "qwen3-vl-8b", "qwen3.5-9b")  # fmt: skip
LAYOUTS = ("tp1", "pp2", "pp3", "tp2", "tp2-pp2", "dp2", "ep8", "tp8-ep8")


def layouts() -> Iterator[Attack]:
    """Operators, times and memory of every kind of model in every kind of layout."""
    for model in MODELS:
        for layout in LAYOUTS:
            yield Attack("layouts", f"explain {model} {layout}", [
                "explain", "--model", model, "--layout", layout, "--device", "h200", "--json"],
                status=(0, 2))  # fmt: skip


def command_on(command: str, grid: str) -> list[str]:
    """A command that takes a grid, with what else it needs."""
    more = {"slo": ["--device", "l4", "--ttft", "9", "--tpot", "9"], "run": ["--out", "new"],
            "report": ["--out", "page"]}  # fmt: skip
    return [command, grid, *more.get(command, [])]


def instead(make: Callable[[Path], object]) -> Callable[[Path], object]:
    """What makes something in the place of a file that may be there."""

    def replace(path: Path) -> None:
        path.unlink(missing_ok=True)
        make(path)

    return replace


def locks() -> Iterator[Attack]:
    """What stands in the place of a lock."""
    for name, make in {"pipe": fifo, "dangling link": link_to("nowhere"),
                       "device": link_to("/dev/zero"), "folder": Path.mkdir,
                       "loop": link_to(".lock")}.items():  # fmt: skip
        for place in ("new", "data"):
            yield Attack("locks", f"{name} in {place}", ["run", "g.toml", "--out", place],
                         {f"{place}/.lock": instead(make)}, says=".lock")  # fmt: skip


def devices() -> Iterator[Attack]:
    """Devices of one's own, and two of one name."""
    same = DEVICE.replace('"own"', '"h100-sxm"')
    words = {"fit": ["fit", "llama-3.1-8b"], "map": ["map", "llama-3.1-8b"],
             "deploy": ["deploy", "llama-3.1-8b"], "slo": ["slo", "t.toml", "--ttft", "1", "--tpot", "1"],
             "explain": ["explain", "--model", "llama-3.1-8b"]}  # fmt: skip
    for command, line in words.items():
        for order in (("d.toml", "h100-sxm"), ("h100-sxm", "d.toml")):
            named = [word for device in order for word in ("--device", device)]
            yield Attack("devices", f"{command} of two of one name, {order[0]} first", [*line, *named],
                         {"d.toml": same, "t.toml": TIMED}, says="h100-sxm")  # fmt: skip
    grid = TIMED + 'device = ["d.toml"]\n'
    for name, text in {"own": DEVICE, "h100-sxm": same}.items():
        for command in ("query", "slo", "report"):
            more = ["--device", name, "--ttft", "9", "--tpot", "9"] if command == "slo" else []
            more = ["--out", "page"] if command == "report" else more
            line = " ".join([command, "new", *more])
            yield Attack("devices", f"{command} of a dataset of {name}, its file gone", [], {
                "d.toml": text, "t.toml": grid}, (0,), leaves=["new", "page", "d.toml"],
                shell=f"$SE run t.toml --out new && rm d.toml && $SE {line}")  # fmt: skip
    yield Attack("devices", "both in one grid", ["query", "t.toml"], {
        "d.toml": same, "t.toml": TIMED + 'device = ["d.toml", "h100-sxm"]\n'}, says="device")  # fmt: skip


def names() -> Iterator[Attack]:
    """Folders named like what is shipped, and names with characters of control."""
    folder = {"capacity/x.txt": "x"}
    for command in ("plan", "query"):
        more = (
            [] if command == "plan" else ["--select", "max(batch_size) AS most", "--format", "json"]
        )
        yield Attack("names", f"{command} beside a folder named like its grid",
                     [command, "capacity", *more], folder, (0,), output="256" if more else "")  # fmt: skip
    config = {"llama-3.1-8b/config.json": json.dumps({"model_type": "llama"})}
    for words in (["models", "llama-3.1-8b"], ["fit", "llama-3.1-8b", "--device", "l4"],
                  ["explain", "--model", "llama-3.1-8b"], ["query", "t.toml"],
                  ["deploy", "llama-3.1-8b", "--device", "l4"]):  # fmt: skip
        yield Attack("names", f"{words[0]} beside a folder named like its model", words,
                     config | {"t.toml": TIMED}, says="./llama-3.1-8b")  # fmt: skip
    for name in ("a\nb", "a\rb", "a\tb", "a\x1b[31mb", "a\u202eb", "\u2028", "a\x7f"):
        for command in ("plan", "query", "run", "report", "slo"):
            yield Attack("names", f"{command} of {name!r}", command_on(command, name))
        for words in (["models", name], ["fit", "llama-3.1-8b", "--device", name],
                      ["compare", name, "--device", "l4"],
                      ["fit", "llama-3.1-8b", "--device", "l4", "--lengths", name]):  # fmt: skip
            yield Attack("names", f"{words[0]} {words[-2][:9]} {name!r}", words)
        yield Attack("names", f"dataset in {name!r}", ["query", f"d/{name}/", "--select",
                     "count(*) AS n", "--format", "json"], {f"d/{name}": copy_of_data}, (0,),
                     output='"n":24')  # fmt: skip


def tables() -> Iterator[Attack]:
    """Tables as spreadsheets write them."""
    fit = ["fit", "llama-3.1-8b", "--device", "h100-sxm", "--lengths", "l.csv"]
    good = {"spaces": "prompt,answer\n300, 70\n 400 ,80\n", "names": "prompt , answer\n300,70\n",
            "weights": "prompt, answer, weight\n300, 70, 0.5\n1, 2, 1\n",
            "quotes": '"prompt","answer"\n"300","70"\n', "windows": "prompt,answer\r\n300,70\r\n",
            "mark": "\ufeffprompt,answer\n300,70\n", "tabs": "prompt,answer\n\t300,70\t\n"}  # fmt: skip
    for name, text in good.items():
        yield Attack("tables", f"lengths {name}", fit, {"l.csv": text}, (0,))
    bad = {"thousands": 'prompt,answer\n"1,000",70\n', "comma": "prompt;answer\n300;70\n",
           "unit": "prompt,answer\n4k,70\n", "blank": "prompt,answer\n , \n",
           "twice": "prompt, prompt\n1,2\n", "nothing": " , \n1,2\n"}  # fmt: skip
    for name, text in bad.items():
        yield Attack("tables", f"lengths {name}", fit, {"l.csv": text}, says="l.csv")


def versions() -> Iterator[Attack]:
    """Datasets of another version, and clocks that go back."""
    old = {"version": ('"engine_version": "', '"engine_version": "0.0.'),
           "formulas": ('"formulas_hash": "', '"formulas_hash": "0')}  # fmt: skip
    for name, change in old.items():
        place = {"data/_manifest.parquet": manifest_with(*change)}
        yield Attack("versions", f"run over another {name}", ["run", "g.toml", "--out", "data"],
                     place, says="--overwrite")  # fmt: skip
        yield Attack("versions", f"query of another {name}", ["query", "data", "--select",
                     "count(*) AS n", "--format", "json"], place, (0,), output='"n":24')  # fmt: skip
    for date in ("1971-01-01", "2107-01-01"):
        for name, line in {"query": "$SE query data --select 'count(*) AS n' --format json",
                           "run": "$SE run g.toml --out data"}.items():  # fmt: skip
            yield Attack("versions", f"{name} of files of {date}", [], status=(0,), leaves=["data/"],
                         shell=f"find data -exec touch -d {date} {{}} + ; {line}")  # fmt: skip


def machines() -> Iterator[Attack]:
    """Compilers that are off, sizes without end, and processes that are stopped and continued."""
    for command in ("query", "run", "slo"):
        words = command_on(command, "x.toml") + ["--sort", "decode_steps"] * (command == "query")
        yield Attack("machines", f"{command} without a compiler", words, {"x.toml": MANY},
                     says="NUMBA_DISABLE_JIT", variables={"NUMBA_DISABLE_JIT": "1"}, leaves=["new"])  # fmt: skip
    words = {"query": "query x.toml --sort decode_steps", "count": "query x.toml --select 'count(*) AS n'",
             "slo": "slo x.toml --device l4 --ttft 1 --tpot 1", "report": "report x.toml --out page",
             "export": "query x.toml --out x.csv", "two": "report x.toml g.toml --out page"}  # fmt: skip
    for name, line in words.items():
        yield Attack("machines", f"{name} of 1e12 points", [], {"x.toml": HUGE}, (143,), "hours",
                     shell=f"$SE {line} & sleep 15; kill -TERM $!; wait $!")  # fmt: skip
    yield Attack("machines", "run of 1e12 points", ["run", "x.toml", "--out", "new"], {"x.toml": HUGE},
                 shell="$SE run x.toml --out new", says="are free", leaves=["new"])  # fmt: skip
    groups = SMALL.replace("[axes]", 'model = "m.toml"\n[axes]') + "batch_size = [1]\n"
    model = 'extends = "llama-3.1-8b"\nname = "m"\ndescription = ""\n[decoder]\nlayers = [%s]\n'
    model += "[decoder.attention.window]\nheads = 32\nkey_value_heads = 8\nkey_width = 128\nwindow = 64\n"
    equal, other = '[1, "full", "dense"]', '[1, "window", "dense"]'
    for line in (["plan", "x.toml"], ["models", "m.toml"], ["fit", "m.toml", "--device", "l4"]):
        for name, kinds, status in (("equal", [equal, equal], 0), ("different", [equal, other], 2)):
            layers = {"x.toml": groups, "m.toml": model % ", ".join(kinds * 10_000)}
            yield Attack("machines", f"{line[0]} of 20,000 {name} groups", line, layers, (status,),
                         says="m.toml" if status else "")  # fmt: skip
    stopped = {"query": "query x.toml --select 'sum(decode_tensor_flops) AS s'",
               "run": "run x.toml --out new", "fit": "fit llama-3.1-8b --device l4",
               "slo": "slo x.toml --device l4 --ttft 9 --tpot 9", "export": "query x.toml --out x.csv",
               "map": "map llama-3.1-8b --device l4 --cells 400"}  # fmt: skip
    for name, line in stopped.items():
        stops = "kill -STOP $!; sleep 0.3; kill -CONT $!; sleep 0.2; "
        yield Attack("machines", f"{name} stopped and continued", [], {"x.toml": MANY}, (0,),
                     leaves=["new", "x.csv"], shell=f"$SE {line} & sleep 0.6; {stops * 3} wait $!")  # fmt: skip
    charts = {"deploy": "deploy llama-3.1-8b --device l4 --chart x.svg",
              "map": "map llama-3.1-8b --device l4 --chart x.svg",
              "slo": "slo x.toml --device l4 --ttft 9 --tpot 9 --chart x.svg",
              "explore": "explore llama-3.1-8b --export x.html"}  # fmt: skip
    for name, line in charts.items():
        for seconds in ("0.2", "1", "2.5", "4"):
            # Whole or not there: an interrupt after the chart is written finds the command done.
            whole = "test ! -e x.svg || tail -c 8 x.svg | grep -q '</svg>'"
            yield Attack("machines", f"{name} interrupted after {seconds} s", [], {"x.toml": GRID}, (0, 143),
                         leaves=["x."], shell=f"$SE {line} > out & sleep {seconds}; kill -TERM $!; wait $!; "
                         f"s=$?; rm out; {whole} && exit $s")  # fmt: skip
