"""Attacks by options of commands, and by what is valid but rare."""

import struct
from collections.abc import Iterator

from tests.attacks.attack import GRID, MODEL, Attack
from tests.attacks.contents import BIG, LONG, SLO, SMALL, fifo

SERVED = """{"model_id": "meta-llama/Meta-Llama-3.1-8B", "completed": %s, "total_input_tokens": 99,
 "total_output_tokens": 99, "output_throughput": 9, "max_concurrency": 4, "server_info": {"tp_size": %s}}"""
"""What a serving benchmark writes."""


def rare() -> Iterator[Attack]:
    """Grids that are valid, but rare."""
    yield Attack("rare", "no decode steps", ["slo", "x.toml", *SLO, "--price", "h100-sxm=2"],
                 {"x.toml": SMALL + "decode_steps = [0]\n"}, (0,))  # fmt: skip
    yield Attack("rare", "no decode steps, json", ["slo", "x.toml", *SLO, "--price", "h100-sxm=2", "--json"],
                 {"x.toml": SMALL + "decode_steps = [0]\n"}, (0,))  # fmt: skip
    yield Attack("rare", "report without steps", ["report", "x.toml", "--out", "page"],
                 {"x.toml": GRID.replace("[0, 10, 100]", "[0]")}, (0,), leaves=["page/"])  # fmt: skip
    yield Attack("rare", "report of three of one name", ["report", "g.toml", "g.toml", "data", "--out", "page"],
                 status=(0,), leaves=["page/"])  # fmt: skip
    yield Attack("rare", "report of 6,000 batches", ["report", "x.toml", "--out", "page"], {
        "x.toml": SMALL + 'crops = ["none", "2x3"]\nbatch_size = {start = 1, stop = 6000, step = 1}\n'},
        (0,), leaves=["page/"])  # fmt: skip
    yield Attack("rare", "report of 1,000 crops", ["report", "x.toml", "--out", "page"], {
        "x.toml": SMALL + "crops = {min = 1, max = 1000}\n"}, (0,), leaves=["page/"])  # fmt: skip
    yield Attack("rare", "report of many views", ["report", "x.toml", "--out", "page"], {
        "x.toml": SMALL + "view_size = {start = 64, stop = 4096, step = 64}\ntile_size = {start = 64, stop = 4096,"
        ' step = 64}\ncrops = ["2x3", "3x3"]\n'}, (0,), leaves=["page/"])  # fmt: skip
    yield Attack("rare", "report of long texts", ["report", "x.toml", "--out", "page"], {
        "x.toml": SMALL + "text_tokens = {start = 0, stop = 100000, step = 1}\n"}, (0,), leaves=["page/"])  # fmt: skip
    yield Attack("rare", "report of one point", ["report", "x.toml", "--out", "page"], {
        "x.toml": SMALL + "batch_size = [1]\n"}, (0,), leaves=["page/"])  # fmt: skip
    yield Attack("rare", "report with a reference of a large grid", ["report", "capacity", "--out", "page",
                 "--reference", "."], says="no tables")  # fmt: skip
    yield Attack("rare", "reference with a huge field", ["report", "g.toml", "--out", "page", "--reference", "ref"],
                 {"ref/vision.csv": "x" * 200_000}, says="vision.csv")  # fmt: skip
    yield Attack(
        "rare",
        "reference that is not there",
        ["report", "g.toml", "--out", "page", "--reference", "nope"],
    )
    yield Attack("rare", "a model of one's own", [], {"x.toml": GRID.replace("[axes]", 'model = "own.toml"\n[axes]', 1)},
                 (0,), leaves=["own-data", "page/"], output="own",
                 shell="$SE run x.toml --out own-data && rm own.toml && $SE report own-data --out page && "
                 "$SE slo own-data --device h100-sxm --ttft 1 --tpot 1 --json; touch own.toml")._replace(
                 leaves=["own-data", "page/", "own.toml"])  # fmt: skip
    yield Attack(
        "rare", "top of a front", ["slo", "g.toml", *SLO, "--top", str(2**40)], status=(0, 2)
    )
    yield Attack("rare", "positions beyond", ["query", "o.toml", "--select", "max(weight_bytes) AS w"], {
        "own.toml": MODEL + "[sam]\nposition_edge = 2147483647\n",
        "o.toml": SMALL.replace("[axes]", 'model = "own.toml"\n[axes]') + "batch_size = [1]\n"},
        says="weight_bytes reaches")  # fmt: skip
    yield Attack("rare", "counting 5e9 points", ["query", "x.toml", "--select", "count(*) AS n", "--format", "json"],
                 {"x.toml": SMALL + "decode_steps = {start = 1, stop = 1000000, step = 1}\n"
                  "text_tokens = {start = 1, stop = 5000, step = 1}\n"}, (0,), output='"n":5000000000')  # fmt: skip


def commands() -> Iterator[Attack]:
    """Options of commands, and the tables that they read."""
    fit = ["fit", "config.json", "--device", "h100-sxm"]
    for option in ("--prompt", "--answer", "--cached-tokens"):
        for value in ("-1", BIG, LONG, "1.5", "x", ""):
            yield Attack("commands", f"fit {option} {value[:8]}", [*fit, option, value])
    for option, values in {"--layout": ["tp0", "tp", "tp3", "x", "tp1-tp1", "tp" + LONG, "", "tp-1", "\x1b"],
                           "--precision": ["nope", "", "w4a16-x", "\x1b[31m", "x" * 10_000, "w0a0"]}.items():  # fmt: skip
        for value in values:
            yield Attack("commands", f"fit {option} {value[:8]!r}", [*fit, option, value])
    tables = {
        "empty": "", "no rows": "prompt,answer\n", "unknown": "nope\n1\n", "negative": "prompt,answer\n-1,1\n",
        "text": "prompt,answer\na,b\n", "null": "prompt,answer\n,1\n", "huge": f"prompt,answer\n{BIG},1\n",
        "nan weight": "prompt,answer,weight\n1,1,nan\n", "zero weight": "prompt,answer,weight\n1,1,0\n",
        "float": "prompt,answer\n1.5,1\n", "ragged": "prompt,answer\n1,2,3\n", "binary": b"\xff\xfe\x00\x01",
        "pipe": fifo, "folder": lambda path: path.mkdir(), "inf": "prompt,answer,weight\n1,1,inf\n",
        "control": "prompt,\x1b[31m\n1,1\n", "same twice": "prompt,prompt\n1,1\n", "quotes": 'prompt,answer\n"1,1\n',
    }  # fmt: skip
    for name, content in tables.items():
        yield Attack(
            "commands", f"lengths {name}", [*fit, "--lengths", "l.csv"], {"l.csv": content}
        )
        yield Attack(
            "commands",
            f"runs {name}",
            ["compare", "l.csv", "--device", "h100-sxm"],
            {"l.csv": content},
        )
    for name, content in {
        "not parquet": b"PAR1",
        "empty": b"",
        "cut": b"PAR1" + struct.pack("<I", 5) + b"PAR1",
    }.items():
        yield Attack(
            "commands",
            f"lengths parquet {name}",
            [*fit, "--lengths", "l.parquet"],
            {"l.parquet": content},
        )
    jsons = {"deep": "[" * 100_000, "null": "null", "number": "1", "cut": "{", "lines": "{}\n{}\n", "huge": "9" * 6000,
             "nan": '{"a": NaN}', "twice": '{"a": 1, "a": 2}',
             "few": SERVED % ("1e-38", "1"), "devices": SERVED % ("9", BIG)}  # fmt: skip
    for name, content in jsons.items():
        yield Attack(
            "commands",
            f"runs json {name}",
            ["compare", "r.json", "--device", "h100-sxm"],
            {"r.json": content},
        )
    base = ["deploy", "config.json", "--device", "h100-sxm"]
    for option in ("--ttft", "--tpot", "--rate", "--share", "--memory-share"):
        for value in ("0", "-1", "nan", "inf", "x", "1e400"):
            yield Attack("commands", f"deploy {option} {value}", [*base, option, value])
    for option, values in {"--devices": ["0", "-1", BIG, "x"], "--price": ["x", "h100-sxm=", "h100-sxm=nan", "nope=1",
                           "h100-sxm=-1", "=1", "\x1b=1"], "--device": ["nope", ""]}.items():  # fmt: skip
        for value in values:
            yield Attack("commands", f"deploy {option} {value[:13]!r}", [*base, option, value])
    for arguments in (["map", "nope", "--device", "h100-sxm"], ["map", "config.json", "--device", "nope"],
                      ["design", "nope"], ["design", "g.toml"], ["calibrate", "nope"], ["calibrate", "mi300x"],
                      ["calibrate", "h100-sxm", "--data", "nope"], ["calibrate", "h100-sxm", "--data", "data"],
                      ["calibrate", "h100-sxm", "--framework", "nope"], ["explain", "--crops", "0x0x0"],
                      ["explain", "--batch-size", BIG], ["explain", "--batch-size", LONG], ["explain", "--heads", "1"],
                      ["explain", "--decode-steps", "-1"], ["explain", "--layout", "\x1b"], ["explain", "--nope"],
                      ["models", "nope"], ["models", ""], ["nope"], ["--nope"], ["run"], ["run", "g.toml"],
                      ["run", "g.toml", "--out", "x", "--workers", "0"], ["run", "g.toml", "--out", "x", "--limit", "0"],
                      ["run", "g.toml", "--out", "x", "--engine", "nope"], ["run", "g.toml", "--out", "x", "--address", "x"],
                      ["explore", "--port", "0"], ["explore", "--port", "99999"], ["explore", "--host", "nope.invalid"],
                      ["explore", "nope"], ["explore", "--device", "nope"], ["explore", "--layout", "nope"],
                      ["explore", "--batch", "0"], ["explore", "--batch", BIG], ["explore", "--export", "page.txt"],
                      ["explore", "--export", "page.html", "--batch", "0"],
                      ["explore", "--export", "page.html", "--precision", "nope"],
                      ["explore", "--host", "\x01"], ["explore", "--port", "8080", "--host", "192.0.2.1"],
                      ["query", "g.toml", "--format", "nope"], ["plan", "g.toml", "extra"]):  # fmt: skip
        yield Attack(
            "commands",
            " ".join(arguments)[:50].replace("\x1b", "^").replace("\x01", "^"),
            arguments,
        )
