"""Attacks by dialects of TOML, JSON, CSV and Parquet."""

from collections.abc import Iterator
from pathlib import Path

from tests.attacks.attack import CONFIG, Attack
from tests.attacks.contents import SMALL

COUNT = ["--select", "count(*) AS n", "--format", "json"]
FIT = ["fit", "llama-3.1-8b", "--device", "h100-sxm"]
LENGTHS = "prompt,answer\n300,70\n"

TOML = {
    "hex": ("batch_size = [0x10]", 3), "underscores": ("batch_size = [1_0]", 3), "octal": ("batch_size = [0o10, 0b11]", 6),
    "quoted key": ('"batch_size" = [1, 2]', 6), "escaped key": ('"batch\\u005fsize" = [1, 2]', 6),
    "literal key": ("'batch_size' = [1, 2]", 6), "lines of an array": ("batch_size = [\n  1, # one\n  2,\n]", 6),
    "inline table": ("batch_size = {start = 1, stop = 3, step = 1}", 9),
    "dotted table": ("batch_size.start = 1\nbatch_size.stop = 3\nbatch_size.step = 1", 9),
    "table of an axis": ("[axes.batch_size]\nstart = 1\nstop = 3\nstep = 1", 9), "windows": ("batch_size = [1]\r\n", 3),
    "infinity": ("batch_size = [inf]", 0), "minus zero": ("batch_size = [-0]", 0), "plus": ("batch_size = [+4]", 3),
    "date": ("batch_size = [2026-01-01]", 0), "time": ("batch_size = [07:32:00]", 0),
    "moment": ("batch_size = 1979-05-27T00:32:00.999-07:00", 0), "text of lines": ('batch_size = ["""\n1"""]', 0),
    "mixed": ('batch_size = [1, "2"]', 0), "array of tables": ("[[axes.batch_size]]\nstart = 1", 0),
    "twice by dots": ('batch_size = [1]\n"batch_size".x = 1', 0), "empty key": ('"" = [1]', 0),
    "key of spaces": ('" batch_size" = [1]', 0), "other script": ('"batch_sizе" = [1]', 0), "nested": ("batch_size = [[1], [2]]", 0),
    "escape": ('batch_size = ["\\U0010ffff"]', 0), "form feed": ("batch_size = [1]\f", 0), "reopened": ("batch_size = [1]\n[axes]", 0),
}  # fmt: skip
"""What stands below `[axes]`, and how many points of 3 crops it makes; 0: it is refused."""


def toml() -> Iterator[Attack]:
    """What TOML has beside numbers and texts."""
    crops = 'crops = ["none", "1x2", "2x3"]\n'
    for name, (text, points) in TOML.items():
        says, output = ("", f'"n":{points}') if points else ("x.toml", None)
        yield Attack("toml", name, ["query", "x.toml", *COUNT], {"x.toml": SMALL + crops + text + "\n"},
                     (0,) if points else (2,), says, output=output)  # fmt: skip
    tops = {"dotted axes": 'name = "x"\naxes.batch_size = [1, 2]\n', "inline axes": 'name = "x"\naxes = {batch_size = [1, 2]}\n',
            "quoted header": 'name = "x"\n["axes"]\nbatch_size = [1, 2]\n', "name of a date": 'name = 2026-01-01\n[axes]\nbatch_size = [1]\n',
            "marked": '\ufeffname = "x"\n[axes]\nbatch_size = [1]\n', "infinite target": 'name = "x"\ntargets = {ttft_s = inf}\n[axes]\nbatch_size = [1]\n'}  # fmt: skip
    for name, text in tops.items():
        fine = "batch_size = [1, 2]" in text
        yield Attack("toml", name, ["query", "x.toml", *COUNT], {"x.toml": text}, (0,) if fine else (2,),
                     "" if fine else "x.toml", output='"n":2' if fine else None)  # fmt: skip


JSON = {
    "whole float": ('"hidden_size": 1024', '"hidden_size": 1024.0'), "exponent": ('"hidden_size": 1024', '"hidden_size": 1.024e3'),
    "minus zero": ('"num_hidden_layers": 2', '"num_hidden_layers": -0'), "tiny": ('"num_hidden_layers": 2', '"num_hidden_layers": 1e-400'),
    "twice by an escape": ('"head_dim"', '"head\\u005fdim": 64, "head_dim"'), "comma": ("}", ",}"), "comment": ("{", "{ // x\n"),
    "single quotes": ('"qwen3"', "'qwen3'"), "half a surrogate": ('"qwen3"', '"\\ud800"'), "nul in a key": ('"head_dim"', '"a\\u0000b": 1, "head_dim"'),
    "another after it": ("}", "} {}"), "padded type": ('"qwen3"', '"qwen3 "'), "type in capitals": ('"qwen3"', '"Qwen3"'),
    "other script": ('"head_dim"', '"hеad_dim": 64, "head_dim"'), "infinity": ('"head_dim": 128', '"head_dim": -Infinity'),
}  # fmt: skip
"""Text of a config, and what stands in its place."""


def jsons() -> Iterator[Attack]:
    """Spellings of JSON, in a config and in its encoding."""
    for name, (old, new) in JSON.items():
        assert old in CONFIG, old
        yield Attack("json", name, ["models", "c.json"], {"c.json": CONFIG.strip()[::-1].replace(old[::-1], new[::-1], 1)[::-1]},
                     says="c.json")  # fmt: skip
    for encoding in ("utf-16", "utf-32", "utf-16-le", "cp037"):
        yield Attack(
            "json",
            encoding,
            ["models", "c.json"],
            {"c.json": CONFIG.encode(encoding)},
            says="c.json",
        )


CSV = {
    "quoted": ('"prompt","answer"\n"300","70"\n', 0), "carriage returns": ("prompt,answer\r300,70\r", 2), "sign": ("prompt,answer\n+300,70\n", 0),
    "blank lines": ("prompt,answer\n\n300,70\n\n", 2), "no last line end": ("prompt,answer\n300,70", 0), "header alone": ("prompt,answer\n", 2),
    "doubled quotes": ('prompt,answer\n"3""00",70\n', 2), "line in a cell": ('prompt,answer\n"300\n",70\n', 0), "open quote": ('prompt,answer\n"300,70\n', 2),
    "more cells": ("prompt,answer\n300,70,1\n", 2), "fewer cells": ("prompt,answer\n300\n", 2), "comment": ("# x\nprompt,answer\n300,70\n", 2),
    "exponent": ("prompt,answer\n3e2,70\n", 2), "hex": ("prompt,answer\n0x10,70\n", 2), "wide digits": ("prompt,answer\n３００,70\n", 2),
    "arabic digits": ("prompt,answer\n٣٠٠,70\n", 2), "underscores": ("prompt,answer\n3_00,70\n", 2), "apostrophes": ("prompt,answer\n1'000,70\n", 2),
    "half": ("prompt,answer\n300.5,70\n", 2), "whole": ("prompt,answer\n300.0,70\n", 2), "nul": ("prompt,answer\n3\x0000,70\n", 2),
    "2^63": (f"prompt,answer\n{2**63},70\n", 2), "minus": ("prompt,answer\n-1,70\n", 2), "formula": ("prompt,answer\n=300,70\n", 2),
    "true": ("prompt,answer\ntrue,70\n", 2), "infinite weight": ("prompt,answer,weight\n300,70,inf\n", 2), "weight of nothing": ("prompt,answer,weight\n300,70,0\n", 2),
    "null": ("prompt,answer\nNULL,70\n", 2), "long line": ("prompt,answer\n300,70" + " " * 1_000_000 + "\n", 0), "capitals": ("Prompt,Answer\n300,70\n", 2),
}  # fmt: skip
"""A table of lengths, and the status it ends in."""


def tables() -> Iterator[Attack]:
    """Dialects of CSV, and types of Parquet."""
    for name, (text, status) in CSV.items():
        yield Attack("dialects", f"csv {name}", [*FIT, "--lengths", "l.csv"], {"l.csv": text}, (status,),
                     "l.csv" if status else "")  # fmt: skip
    yield Attack(
        "dialects",
        "csv of two bytes each",
        [*FIT, "--lengths", "l.csv"],
        {"l.csv": LENGTHS.encode("utf-16")},
        says="l.csv",
    )
    for name, (status, columns) in parquet_columns().items():
        yield Attack("dialects", f"parquet {name}", [*FIT, "--lengths", "l.parquet"], {"l.parquet": written(columns)},
                     (status,), "l.parquet" if status else "")  # fmt: skip


def parquet_columns() -> dict:
    """Types of columns of lengths: status, and columns of polars."""
    import datetime
    from decimal import Decimal

    import polars as pl

    def column(values, kind=None) -> dict:
        return {"prompt": pl.Series(values, dtype=kind), "answer": pl.Series([70] * len(values))}

    return {
        "8 bits": (0, column([100, 120], pl.Int8)), "unsigned": (0, column([300], pl.UInt64)), "unsigned limit": (2, column([2**64 - 1], pl.UInt64)),
        "128 bits": (2, column([2**100], pl.Int128)), "whole floats": (2, column([300.0])), "not a number": (2, column([float("nan")])),
        "decimal": (2, column([Decimal("300.50")], pl.Decimal(10, 2))), "list": (2, column([[300]])), "struct": (2, column([{"a": 300}])),
        "categories": (2, column(["300"], pl.Categorical)), "text": (2, column(["x"])), "bytes": (2, column([b"300"])), "date": (2, column([datetime.date(2026, 1, 1)])),
        "duration": (2, column([datetime.timedelta(1)])), "truth": (2, column([True])), "nothing": (2, column([None])), "no rows": (2, column([], pl.Int64)),
        "a null": (2, column([300, None])), "two of a name": (2, {"prompt ": pl.Series([1]), "prompt": pl.Series([1]), "answer": pl.Series([1])}),
    }  # fmt: skip


def written(columns: dict):
    """A file of Parquet with some columns."""

    def make(path: Path) -> None:
        import polars as pl

        pl.DataFrame(columns).write_parquet(path)

    return make
