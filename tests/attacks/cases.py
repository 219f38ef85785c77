"""The attacks, as data: what hostile users try, by group, and what each must end in."""

import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

from tests.attacks.attack import CONFIG, GRID, MODEL, Attack
from tests.manifests import text_of, with_text

SMALL = 'name = "x"\n[axes]\n'
BIG = str(2**70)
LONG = "9" * 5_000
DEVICE = """schema_version = 1
name = "own"
description = ""
tensor_bf16 = {value = 100.0, unit = "TFLOP/s", source = "s"}
cuda_fp32 = {value = 10.0, unit = "TFLOP/s", source = "s"}
bandwidth = {value = 1000.0, unit = "GB/s", source = "s"}
memory = {value = 80.0, unit = "GB", source = "s"}
"""
SERVED = """{"model_id": "meta-llama/Meta-Llama-3.1-8B", "completed": %s, "total_input_tokens": 99,
 "total_output_tokens": 99, "output_throughput": 9, "max_concurrency": 4, "server_info": {"tp_size": %s}}"""
"""What a serving benchmark writes."""
SLO = ("--device", "h100-sxm", "--ttft", "1", "--tpot", "0.05")


def fifo(path: Path) -> None:
    """A pipe that nobody writes to."""
    os.mkfifo(path)


def link_to(target: str):
    """A symbolic link."""
    return lambda path: path.symlink_to(target)


def large(size: int):
    """A sparse file."""

    def make(path: Path) -> None:
        with path.open("wb") as file:
            file.truncate(size)

    return make


def read_only(path: Path) -> None:
    """A file that is precious."""
    path.write_text("precious")
    path.chmod(stat.S_IRUSR)


def sql() -> Iterator[Attack]:
    """Group 1: SQL."""
    conditions = {
        "text with numbers": "batch_size = 'a'", "empty": "", "blank": "  ", "cut": "batch_size = ",
        "unknown column": "nope = 1", "unknown function": "nope(batch_size) = 1",
        "statement": "batch_size = 1; DROP TABLE points", "comment": "batch_size = 1 -- x",
        "block comment": "batch_size = 1 /* x */", "subquery": "batch_size IN (SELECT 1)",
        "table function": "batch_size IN (SELECT * FROM read_csv('g.toml'))",
        "rest": "batch_size = 1 garbage", "no condition": "batch_size", "number": "1",
        "aggregate": "max(batch_size) = 8", "star": "*", "tuple": "(batch_size, 1)",
        "not closed": "batch_size = 'x", "not closed name": '"batch_size = 1', "paren": "(batch_size",
        "many parens": "(" * 600 + "1" + ")" * 600, "not not": "NOT " * 1500 + "true",
        "5,000 ORs": " OR ".join(f"batch_size = {i}" for i in range(5_000)),
        "30,000 sums": "+".join(["1"] * 30_000), "control": "batch_size = 1\x1b[31m",
        "cast": "CAST(attention AS BIGINT) = 1", "backslash": "\\x = 1",
        "dollar": "$$x$$ = 1", "union": "true UNION SELECT 1", "regex": "attention RLIKE '('",
        "between": "batch_size BETWEEN 'a' AND 'b'", "like": "batch_size LIKE 'a'",
        "huge literal": f"batch_size = {10**60}", "interval": "batch_size > INTERVAL '1 day'",
        "into": "batch_size = 1 INTO x", "date": "batch_size = DATE '2020-99-99'",
        "null device": "device = 'x'", "case": "CASE WHEN batch_size THEN 1 END = 'a'",
        "pointless": "batch_size[1] = 1", "struct": "batch_size.x = 1",
    }  # fmt: skip
    for name, text in conditions.items():
        yield Attack("sql", f"where {name}", ["query", "g.toml", "--where", text])
        if len(text) < 10_000 and name not in ("control",):
            yield Attack("sql", f"slo where {name}", ["slo", "g.toml", *SLO, "--where", text])
    yield Attack("sql", "surrogate", ["query", "g.toml", "--where", b"batch_size = '\xff'"])
    yield Attack("sql", "surrogate select", ["query", "g.toml", "--select", b"1 AS \xff"])
    chosen = {
        "file": "* FROM read_csv('g.toml') --", "file without comment": "* FROM read_csv('g.toml')",
        "parquet": "* FROM read_parquet('data/*.parquet')", "second": "1; SELECT 2",
        "other": "(SELECT max(batch_size) FROM points)", "nothing": "", "comma": ",",
        "no aggregate": "max(batch_size), batch_size", "unknown": "nope", "twice": "batch_size, batch_size",
        "join": "* FROM points JOIN points", "window": "row_number() OVER (ORDER BY nope)",
        "bad cast": "CAST(attention AS INT) AS x", "control": "1 AS \"\x1b[31m\"", "into": "1 INTO x",
        "show": "SHOW TABLES", "values": "VALUES (1)",
        "5,000 columns": ", ".join(f"batch_size AS c{i}" for i in range(5_000)),
    }  # fmt: skip
    for name, text in chosen.items():
        yield Attack("sql", f"select {name}", ["query", "g.toml", "--select", text])
        yield Attack("sql", f"select {name} of a dataset to a file",
                     ["query", "data", "--select", text, "--format", "csv", "--out", "x.csv"])  # fmt: skip
    for kind in ("csv", "json", "parquet"):
        yield Attack("sql", f"cast that fails to {kind}", [
            "query", "g.toml", "--where", "CAST(attention AS BIGINT) > 1", "--out", f"x.{kind}"])  # fmt: skip
    yield Attack("sql", "nested to csv", ["query", "g.toml", "--select", "array_agg(batch_size) AS x",
                                          "--format", "csv"], says="format json")  # fmt: skip
    yield Attack("sql", "nested to json", ["query", "g.toml", "--select", "array_agg(batch_size) AS x",
                                           "--format", "json"], status=(0,), output="[{")  # fmt: skip
    yield Attack("sql", "wide to parquet", [
        "query", "g.toml", "--select", "sum(decode_tensor_flops)*1000000000 AS x", "--out", "x.parquet"],
        says="Int64")  # fmt: skip
    yield Attack("sql", "markup", ["query", "g.toml", "--select", 'max(batch_size) AS "[/b]"'],
                 status=(0,), output="[/b]")  # fmt: skip
    yield Attack("sql", "products do not wrap", [
        "query", "g.toml", "--where", "decode_steps * 100000000 * 1000 > 9000000000000", "--select",
        "count(*) AS n", "--format", "json"], status=(0,), output='[{"n":8}]')  # fmt: skip
    yield Attack("sql", "division", ["query", "g.toml", "--select", "batch_size / decode_steps AS x",
                                     "--format", "json"], status=(0,))  # fmt: skip
    yield Attack("sql", "modulo", ["query", "g.toml", "--select", "batch_size % decode_steps AS x",
                                   "--format", "csv"], status=(0,))  # fmt: skip
    yield Attack("sql", "formula", ["query", "g.toml", "--select", "'=1+1' AS x, batch_size",
                                    "--format", "csv"], status=(0,), output="'=1+1")  # fmt: skip
    for name, text in {
        "sort": "batch_size; DROP",
        "sort unknown": "nope",
        "sort empty": "",
    }.items():
        yield Attack("sql", name, ["query", "g.toml", "--sort", text])
    for name, text in {"group": "nope", "group empty": "", "group comma": "batch_size,,",
                       "group sql": "1; DROP"}.items():  # fmt: skip
        yield Attack("sql", name, ["query", "g.toml", "--group-by", text])
    for top in ("0", "-1", BIG, str(2**33), "1e3", "x"):
        yield Attack("sql", f"top {top}", ["query", "g.toml", "--top", top])
        yield Attack("sql", f"slo top {top}", ["slo", "g.toml", "--device", "l4", "--top", top])
        yield Attack("sql", f"deploy top {top}",
                     ["deploy", "llama-3.1-8b", "--device", "h200", "--top", top])  # fmt: skip


def storage() -> Iterator[Attack]:
    """Group 2: places."""
    nowhere = ["s3://", "://", "memory://", "memory://a://b", "//:x://", "github://x", "data://x",
               "dir://x", "reference://x", "jupyter://x", "hf://datasets/x", "dbfs://x", "generic://x",
               "blockcache://x", "abfs://x", "az://x/y", "sftp://x/y", "zip://x", "nope://x/y",
               "local://x", "s3a://b/x", "gdrive://x", "smb://x/y", "git://x", "file://", "file:///",
               "x y://z", "wandb://x", "http://localhost:1/x", "ftp://localhost:1/y", "tar://x",
               "s3://[::1/x", "s3://b/x?scheme=nope", "s3://b/x?nope=1", "hdfs://x/y",
               "simplecache::file:///x", "memory://%zz://x"]  # fmt: skip
    for place in nowhere:
        for command in (["query", place], ["run", "g.toml", "--out", place]):
            says = place.partition("://")[0]
            yield Attack("storage", f"{command[0]} {place}", command, says=says)
    for place in ("gs://bucket/x", "s3://bucket/x"):
        yield Attack("storage", f"network {place}", ["query", place], says=place[:4])
    # Azure's library runs a command `az` of its own, whose absence its shell says on stderr.
    yield Attack("storage", "network abfs", [], shell="$SE query abfs://c@a.dfs.core.windows.net/x",
                 says="abfs://a")  # fmt: skip
    for name in (
        "a[1]",
        "b*",
        "c?",
        "~",
        "{d}",
        "e f",
        "#g",
        "%20",
        "h\\i",
        "é",
        "-x",
        "a'b",
        'q"',
    ):
        copied = f"d/{name}"
        yield Attack("storage", f"directory {name}", ["query", copied, "--select", "count(*) AS n",
                     "--format", "json"], {copied: copy_of_data}, (0,), output='[{"n":24}]')  # fmt: skip
        yield Attack("storage", f"run into {name}", ["run", "g.toml", "--out", f"new/{name}"],
                     status=(0,), leaves=[f"new/{name}"])  # fmt: skip
    yield Attack("storage", "star names nothing else", ["query", "da*"], says="da*")
    yield Attack("storage", "not utf-8", ["run", "g.toml", "--out", b"\xff\xfe"], says="utf-8")
    yield Attack("storage", "not utf-8 grid", ["plan", b"g\xff.toml"], says="cannot be read")
    for locale in ("C", "POSIX"):
        yield Attack("storage", f"locale {locale}", ["query", "d/é", "--top", "1"],
                     {"d/é": copy_of_data}, (0,), variables={"LC_ALL": locale})  # fmt: skip
    yield Attack("storage", "a file", ["run", "g.toml", "--out", "g.toml"], says="is a file")
    yield Attack(
        "storage", "below a file", ["run", "g.toml", "--out", "g.toml/x"], says="is a file"
    )
    yield Attack("storage", "not empty", ["run", "g.toml", "--out", "other"], {"other/x": "x"},
                 says="not empty")  # fmt: skip
    yield Attack("storage", "empty", ["run", "g.toml", "--out", ""], says="expected a directory")
    yield Attack("storage", "long", ["run", "g.toml", "--out", "x" * 5000], says="name too long")
    yield Attack("storage", "no grid", ["query", "nope"], says="does not exist")
    yield Attack("storage", "empty grid", ["query", ""], says="expected a directory")
    yield Attack("storage", "dot", ["query", ".", "--select", "count()"], {}, (0,))  # of datasets
    yield Attack("storage", "folder", ["query", "f"], {"f/x": "x"}, says="not a dataset")
    yield Attack("storage", "device", ["query", "/dev/zero"], says="regular file")
    yield Attack(
        "storage", "file uri", ["run", "g.toml", "--out", "file:///proc/nope"], says="/proc"
    )
    yield Attack(
        "storage", "report to a uri", ["report", "g.toml", "--out", "s3://b/x"], says="local"
    )


def copy_of_data(path: Path) -> None:
    """The dataset that is there, under another name."""
    root = next(parent for parent in path.parents if (parent / "data").is_dir())
    path.mkdir(parents=True)
    for file in (root / "data").iterdir():
        (path / file.name).write_bytes(file.read_bytes())


def points_of(path: Path) -> Path:
    """The first file of points beside a path."""
    return next(path.parent.glob("points-*.parquet"))


def damaged(change):
    """Change the bytes of the dataset's file of points; made as `data/x` and gone again."""

    def make(path: Path) -> None:
        place = points_of(path)
        place.write_bytes(change(place.read_bytes()))

    return make


def manifest_with(old: str, new: str):
    """Change the text of a manifest."""

    def make(path: Path) -> None:
        text = text_of(path.read_bytes())
        assert old in text, old
        path.write_bytes(with_text(path.read_bytes(), text.replace(old, new, 1)))

    return make


def manifest_of(text: str | bytes):
    """Another text as the JSON of a manifest."""

    def make(path: Path) -> None:
        path.write_bytes(with_text(path.read_bytes(), text))

    return make


def flipped(content: bytes, at: float) -> bytes:
    """One bit of a file changed."""
    place = int(len(content) * at)
    return content[:place] + bytes([content[place] ^ 8]) + content[place + 1 :]


def removed(path: Path) -> None:
    """No file of points."""
    points_of(path).unlink()


def as_directory(path: Path) -> None:
    """A directory in the place of the points."""
    place = points_of(path)
    place.unlink()
    place.mkdir()


def foreign(path: Path) -> None:
    """Points of another table."""
    import polars as pl

    pl.DataFrame({"x": [1]}).write_parquet(points_of(path))


def without_column(path: Path) -> None:
    """Points that lack one."""
    import polars as pl

    place = points_of(path)
    pl.read_parquet(place).drop("decode_tensor_flops").write_parquet(place)


def with_nulls(path: Path) -> None:
    """Points of which one is empty."""
    import polars as pl

    place = points_of(path)
    pl.read_parquet(place).with_columns(batch_size=pl.lit(None, pl.Int32)).write_parquet(place)


def as_fifo(path: Path) -> None:
    """A pipe in the place of the points."""
    place = points_of(path)
    place.unlink()
    os.mkfifo(place)


DAMAGES = {
    "truncated": damaged(lambda content: content[: len(content) // 2]),
    "empty": damaged(lambda content: b""), "garbled": damaged(lambda content: b"x" * len(content)),
    "no footer": damaged(lambda content: content[:-8]), "longer": damaged(lambda content: content + b"x"),
    **{f"bit at {at}": damaged(lambda content, at=at: flipped(content, at))
       for at in (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99)},
    "removed": removed, "directory": as_directory, "foreign": foreign, "fifo": as_fifo,
    "without column": without_column, "nulls": with_nulls,
}  # fmt: skip
MANIFESTS = {
    "not json": "{", "empty": "", "null": "null", "list": "[]", "number": "1", "nan": "NaN",
    "not utf-8": b"\xff", "deep": "[" * 100_000, "deep table": '{"a":' * 1000 + "1" + "}" * 1000,
    "other program": '{"name": "x", "version": 3}', "older": '{"schema_version": 2, "grid_hash": "x"}',
    "huge version": '{"schema_version": ' + LONG + "}",
}  # fmt: skip
CHANGES = {
    "negative target": ('"ttft_s": 1.0', '"ttft_s": -1.0'), "text target": ('"ttft_s": 1.0', '"ttft_s": "x"'),
    "nan target": ('"ttft_s": 1.0', '"ttft_s": NaN'), "infinite target": ('"ttft_s": 1.0', '"ttft_s": 1e999'),
    "unknown target": ('"ttft_s": 1.0', '"nope": 1.0'), "nul": ('"model": "deepseek-ocr-3b"', '"model": "a\\u0000b"'),
    "escape": ('"grid_name": "small"', '"grid_name": "a\\u001b[31m"'), "no rows": ('"points": 24', '"points": 0'),
    "more rows": ('"points": 24', '"points": 25'), "negative rows": ('"points": 24', '"points": -1'),
    "huge rows": ('"points": 24', f'"points": {BIG}'), "true rows": ('"points": 24', '"points": "24"'),
    "path": ('"name": "points-', '"name": "../points-'), "file rows": ('"rows": 24', '"rows": 23'),
    "file size": ('"bytes": ', '"bytes": 1'), "file sum": ('"crc32": ', '"crc32": 1'),
    "unknown column": ('"view_size"', '"nope"'), "lost column": ('"view_size",', ""),
    "stage": ('"vision"', '"nope"'), "unknown key": ('"points": 24', '"points": 24, "nope": 1'),
    "twice": ('"points": 24', '"points": 24, "points": 24'), "device": ('"devices": []', '"devices": ["nope"]'),
    "model": ('"width": ', '"width": -'), "incomplete": ('"complete": true', '"complete": false'),
    "value bytes": ('"value_bytes": 2', '"value_bytes": 0'), "engine": ('"engine": "plain"', '"engine": ""'),
}  # fmt: skip


def datasets() -> Iterator[Attack]:
    """Group 3: datasets that are not what they say."""
    commands = {
        "query": ["query", "data"], "slo": ["slo", "data", *SLO],
        "report": ["report", "data", "--out", "page"],
    }  # fmt: skip
    for name, make in DAMAGES.items():
        for command, arguments in commands.items():
            yield Attack(
                "datasets", f"{command} {name}", arguments, {"data/x": make}, says="points-"
            )
    for name, make in DAMAGES.items():
        if name in ("directory", "fifo"):
            yield Attack("datasets", f"run over {name}", ["run", "g.toml", "--out", "data"],
                         {"data/x": make}, leaves=["data/_manifest.parquet"])  # fmt: skip
        else:
            line = (
                "$SE run g.toml --out data && $SE query data --select 'count(*) AS n' --format json"
            )
            yield Attack("datasets", f"run mends {name}", [], {"data/x": make}, (0,), output='"n":24',
                         leaves=["data/"], shell=line)  # fmt: skip
    for name, content in MANIFESTS.items():
        yield Attack("datasets", f"manifest {name}", commands["query"],
                     {"data/_manifest.parquet": manifest_of(content)}, says="_manifest.parquet")  # fmt: skip
        yield Attack("datasets", f"run over manifest {name}", ["run", "g.toml", "--out", "data"],
                     {"data/_manifest.parquet": manifest_of(content)},
                     says="_manifest.parquet")  # fmt: skip
    for name, (old, new) in CHANGES.items():
        yield Attack("datasets", f"manifest {name}", commands["query"],
                     {"data/_manifest.parquet": manifest_with(old, new)}, says="data")  # fmt: skip
    yield Attack("datasets", "manifest is a pipe", commands["query"], {"pipe/_manifest.parquet": fifo},
                 )._replace(arguments=["query", "pipe"], says="not a dataset")  # fmt: skip
    yield Attack("datasets", "a stray copy", ["query", "data", "--select", "count(*) AS n", "--format",
                 "json"], {"data/points-copy.parquet": b"PAR1"}, (0,), output='"n":24')  # fmt: skip
    yield Attack("datasets", "foreign manifest stays", ["run", "g.toml", "--out", "other", "--overwrite"],
                 {"other/manifest.json": '{"name": "an app"}'}, says="no run wrote it")  # fmt: skip
    yield Attack("datasets", "foreign points stay", ["run", "g.toml", "--out", "data", "--overwrite"],
                 {"data/points-mine.parquet": b"precious"}, (0,),
                 leaves=["data/points-0", "data/_manifest.parquet"])  # fmt: skip
    yield Attack("datasets", "another grid", ["run", "other.toml", "--out", "data"],
                 {"other.toml": SMALL + "batch_size = [1]\n"}, says="--overwrite replaces")  # fmt: skip


def grids() -> Iterator[Attack]:
    """Group 4a: grid files."""
    values = {
        "huge": f"batch_size = [{BIG}]", "long": f"batch_size = [{LONG}]", "hex": f"batch_size = [0x{'f' * 5000}]",
        "long stop": f"batch_size = {{start = 1, stop = {LONG}, step = 1}}",
        "huge stop": f"batch_size = {{start = 1, stop = {BIG}, step = 1}}",
        "huge step": f"batch_size = {{start = 1, stop = 8, step = {BIG}}}",
        "step 2^62": f"batch_size = {{start = 1, stop = 8, step = {2**62}}}",
        "huge factor": f"batch_size = {{geometric = [1, 8], factor = {BIG}}}",
        "factor 2^62": f"batch_size = {{geometric = [1, 8], factor = {2**62}}}",
        "zero step": "batch_size = {start = 1, stop = 8, step = 0}", "nan": "batch_size = [nan]",
        "backwards": "batch_size = {start = 8, stop = 1, step = 1}", "infinity": "batch_size = [inf]",
        "bool": "batch_size = [true]", "text": 'batch_size = ["1"]', "float": "batch_size = [1.0]",
        "zero": "batch_size = [0]", "negative": "batch_size = [-1]", "nothing": "batch_size = []",
        "twice": "batch_size = [1, 1]", "key twice": "batch_size = [1]\nbatch_size = [1]",
        "unknown": "nope = [1]", "nested": "batch_size = [[1]]", "table": "batch_size = {}",
        "date": "batch_size = 2020-01-01", "deep": "batch_size = " + "[" * 5000 + "]" * 5000,
        "dotted": "a" + ".a" * 5000 + " = 1", "crops": 'crops = ["1001x1"]', "crops zero": 'crops = ["0x1"]',
        "crops text": 'crops = ["axb"]', "crops digits": f'crops = ["{LONG}x1"]', "heads": "heads = [[7, 7]]",
        "heads long": f"heads = [[{BIG}, 1]]", "mode": 'mode = ["nope"]', "device": 'device = ["nope"]',
        "device path": 'device = ["../x.toml"]', "device nul": 'device = ["a\\u0000b"]',
        "layout": 'layout = ["tp0"]', "layout text": 'layout = ["' + "tp1-" * 5000 + '"]',
        "layout huge": f'layout = ["tp{LONG}"]', "precision": 'precision = ["nope"]',
        "precision empty": 'precision = [""]', "view": "view_size = [65]", "step of view": "view_size = [4160]",
        "overflow": 'crops = ["1000x1000"]\nbatch_size = [65536]', "vision and text": "prompt_tokens = [1]",
        "endless": "batch_size = {start = 1, stop = 65536, step = 1}\ndecode_steps = {start = 0, stop = 1000000,"
                   " step = 1}\ntext_tokens = {start = 0, stop = 1000000, step = 1}",
    }  # fmt: skip
    for name, text in values.items():
        for command in (["plan", "x.toml"], ["query", "x.toml"]):
            if name == "endless":
                continue
            yield Attack("grids", f"{command[0]} {name}", command, {"x.toml": SMALL + text + "\n"},
                         says="x.toml")  # fmt: skip
    tops = {
        "name control": 'name = "a\\u001b[31mb"', "name nul": 'name = "a\\u0000"', "name empty": 'name = ""',
        "name long": f'name = "{"x" * 100_000}"', "name lines": 'name = "a\\nb"', "name number": "name = 1",
        "name turned": 'name = "a\\u202eb"', "name formula": 'name = "=1+1"', "name at": 'name = "@x"',
        "model": 'name = "x"\nmodel = "nope"', "model nul": 'name = "x"\nmodel = "a\\u0000"',
        "model number": 'name = "x"\nmodel = 1', "report": 'name = "x"\nreport = ["nope"]',
        "times": 'name = "x"\ntimes = "nope"', "times alone": 'name = "x"\ntimes = "silicon"',
        "unknown": 'name = "x"\nnope = 1', "description": f'name = "x"\ndescription = "{"x" * 20_000}"',
        "description control": 'name = "x"\ndescription = "\\u001b]0;x\\u0007"',
        "targets text": 'name = "x"\ntargets = {ttft_s = "1"}', "targets true": 'name = "x"\ntargets = {ttft_s = true}',
        "targets negative": 'name = "x"\ntargets = {ttft_s = -1}', "targets nan": 'name = "x"\ntargets = {tpot_s = nan}',
        "targets huge": 'name = "x"\ntargets = {tpot_s = 1e300}', "targets unknown": 'name = "x"\ntargets = {x = 1}',
        "lengths": 'name = "x"\nlengths = []', "lengths number": 'name = "x"\nlengths = 1',
        "lengths unknown": 'name = "x"\nlengths = [{nope = 1}]', "cost": 'name = "x"\ncost = 1',
    }  # fmt: skip
    for name, text in tops.items():
        yield Attack("grids", name, ["plan", "x.toml"], {"x.toml": f"{text}\n[axes]\nbatch_size = [1]\n"},
                     says="x.toml")  # fmt: skip
    files = {
        "pipe": fifo, "device": link_to("/dev/zero"), "directory": lambda path: path.mkdir(),
        "loop": link_to("x.toml"), "dangling": link_to("nope"), "huge": large(1 << 34), "binary": b"\xff\xfe\x00",
        "nul bytes": b"name = \x00", "empty": "", "json": "{}", "17 MiB": large(17 << 20),
        "comment": "#" * 1_000_000, "no axes": 'name = "x"\n', "axes list": 'name = "x"\naxes = []\n',
    }  # fmt: skip
    for name, content in files.items():
        for command in ("plan", "query"):
            yield Attack("grids", f"{command} file {name}", [command, "x.toml"], {"x.toml": content},
                         says="x.toml")  # fmt: skip
    yield Attack("grids", "nul in a path", ["plan", "a\x01b.toml"], says="a\\x01b.toml")
    yield Attack("grids", "plan of 6e15 points", ["plan", "x.toml"],
                 {"x.toml": SMALL + "batch_size = {start = 1, stop = 6, step = 1}\ndecode_steps = {start = 0,"
                  " stop = 1000000, step = 1}\ntext_tokens = {start = 0, stop = 100000, step = 1}\n"},
                 (0,))  # fmt: skip


def models() -> Iterator[Attack]:
    """Group 4b: model and device files."""
    keys = [("sam", "width"), ("sam", "heads"), ("sam", "blocks"), ("clip", "layers"), ("clip", "width"),
            ("decoder", "hidden"), ("decoder", "vocabulary"), ("sam", "position_edge"), ("clip", "patch_size")]  # fmt: skip
    for section, key in keys:
        for value in (2**31, 2**63, 2**64, 2**200, -1, 0, "true", '"1"', "1.5", LONG):
            yield Attack("models", f"{section}.{key} = {str(value)[:12]}",
                         ["plan", "m.toml"], {"o.toml": f"{MODEL}[{section}]\n{key} = {value}\n",
                         "m.toml": SMALL.replace("[axes]", 'model = "o.toml"\n[axes]') + "batch_size = [1]\n"},
                         (0, 2) if (key, value) in (("vocabulary", 0), ("position_edge", 0)) else (2,),
                         says="" if value == 0 else "o.toml")  # fmt: skip
    texts = {
        "no name of its own": MODEL.replace('name = "own"\n', ""),
        "the name of another": MODEL.replace('"own"', '"deepseek-ocr-3b"'),
        "name control": MODEL.replace('"own"', '"a\\u001bb"'), "name long": MODEL.replace('"own"', f'"{"x" * 100_000}"'),
        "extends itself": MODEL.replace("deepseek-ocr-3b", "o.toml"), "extends number": 'extends = 1\nname = "x"\n',
        "extends nothing": MODEL.replace("deepseek-ocr-3b", "nope"), "extends nul": 'extends = "a\\u0000"\nname = "x"\n',
        "extends a folder": MODEL.replace("deepseek-ocr-3b", "data"), "unknown": MODEL + "nope = 1\n",
        "unknown section": MODEL + "[nope]\nx = 1\n", "why": MODEL + '[why]\n"sam.width" = 1\n',
        "not whole": "name = 'x'\n", "empty": "", "operators": MODEL + "[accounting.counts.nope]\noperators = []\n",
        "hidden 1": MODEL + "[decoder]\nhidden = 1\n", "heads 7": MODEL + "[sam]\nheads = 7\n",
        "patch": MODEL + "[clip]\npatch_size = 100000\n", "modes": MODEL + '[modes."\\u001b"]\nview_size = 640\n',
        "layers": MODEL + "[decoder]\nlayers = []\n", "layer names": MODEL + '[decoder]\nlayers = [[1, "nope", "nope"]]\n',
        "schema": MODEL + "schema_version = 1\n", "deep": MODEL + "x = " + "[" * 3000 + "]" * 3000 + "\n",
    }  # fmt: skip
    for name, text in texts.items():
        for command in (["models", "o.toml"], ["explain", "--model", "o.toml"]):
            yield Attack("models", f"{command[0]} {name}", command, {"o.toml": text},
                         (0, 1, 2) if name == "hidden 1" else (2,), says="" if name == "hidden 1" else "o.toml")  # fmt: skip

    def chain(path: Path) -> None:
        for i in range(1200):
            (path.parent / f"c{i}.toml").write_text(f'extends = "c{i + 1}.toml"\nname = "c{i}"\n')
        path.write_text("")

    yield Attack(
        "models",
        "1,200 that extend each other",
        ["models", "c0.toml"],
        {"x": chain},
        says="extends",
    )
    for name, make in {"pipe": fifo, "device": link_to("/dev/urandom"), "folder": lambda path: path.mkdir(),
                       "huge": large(1 << 34)}.items():  # fmt: skip
        yield Attack(
            "models", f"file {name}", ["models", "o.toml"], {"o.toml": make}, says="o.toml"
        )
        yield Attack("models", f"device file {name}", ["slo", "g.toml", "--device", "d.toml", "--ttft", "1",
                     "--tpot", "1"], {"d.toml": make}, says="d.toml")  # fmt: skip
    figures = {"1e290": "1e290", "infinite": "inf", "nan": "nan", "5,000 digits": LONG, "zero": "0.0",
               "negative": "-1.0", "tiny": "1e-300", "text": '"1"', "true": "true", "2^64": str(2**64)}  # fmt: skip
    for name, figure in figures.items():
        for key in ("tensor_bf16", "bandwidth", "memory"):
            lines = [f'{key} = {{value = {figure}, unit = "{"GB" if key == "memory" else "GB/s" if key == "bandwidth" else "TFLOP/s"}", source = "s"}}'
                     if line.startswith(key) else line for line in DEVICE.splitlines()]  # fmt: skip
            yield Attack("models", f"device {key} {name}", ["slo", "g.toml", "--device", "d.toml", "--ttft", "1",
                         "--tpot", "1"], {"d.toml": "\n".join(lines) + "\n"}, says="d.toml")  # fmt: skip
    names = {
        "control": "a\\u001b[2J",
        "formula": "=cmd",
        "long": "x" * 100_000,
        "empty": "",
        "turned": "a\\u202eb",
    }
    for name, text in names.items():
        yield Attack("models", f"device name {name}", ["slo", "g.toml", "--device", "d.toml", "--ttft", "1",
                     "--tpot", "1"], {"d.toml": DEVICE.replace('"own"', f'"{text}"')}, says="d.toml")  # fmt: skip
    for text in (
        "link = 1",
        "nope = 1",
        "watts = {value = 1}",
        'rates = {like = "nope"}',
        "schema_version = 2",
    ):
        yield Attack("models", f"device {text}", ["slo", "g.toml", "--device", "d.toml", "--ttft", "1", "--tpot",
                     "1"], {"d.toml": text + "\n" + DEVICE}, says="")  # fmt: skip
    yield Attack("models", "device unknown", ["slo", "g.toml", "--device", "nope", "--ttft", "1", "--tpot", "1"],
                 says="nope")  # fmt: skip
    for sink in ("compute", "bandwidth"):
        for value in ("0", "2", "nan", "-1", "inf"):
            yield Attack("models", f"{sink} fraction {value}", ["slo", "g.toml", *SLO, "--times", "roofline",
                         f"--{sink}-fraction", value])  # fmt: skip


def configs() -> Iterator[Attack]:
    """Group 11a: config.json of anybody."""
    changes = {
        "huge": ('"hidden_size": 1024', f'"hidden_size": {BIG}'), "long": ('"hidden_size": 1024', f'"hidden_size": {LONG}'),
        "2^31": ('"hidden_size": 1024', f'"hidden_size": {2**31}'), "zero": ('"hidden_size": 1024', '"hidden_size": 0'),
        "negative": ('"hidden_size": 1024', '"hidden_size": -1'), "text": ('"hidden_size": 1024', '"hidden_size": "x"'),
        "null": ('"hidden_size": 1024', '"hidden_size": null'), "nan": ('"hidden_size": 1024', '"hidden_size": NaN'),
        "list": ('"hidden_size": 1024', '"hidden_size": [1]'), "true": ('"hidden_size": 1024', '"hidden_size": true'),
        "infinite": ('"hidden_size": 1024', '"hidden_size": 1e999'), "family": ('"qwen3"', '"nope"'),
        "family control": ('"qwen3"', '"\\u001b[31m"'), "family number": ('"qwen3"', "1"), "family list": ('"qwen3"', "[]"),
        "layers": ('"num_hidden_layers": 2', '"num_hidden_layers": 100001'),
        "layers huge": ('"num_hidden_layers": 2', '"num_hidden_layers": 2000000000'),
        "unknown key": ('"head_dim"', '"nope": 1, "head_dim"'), "key twice": ('"head_dim"', '"head_dim": 64, "head_dim"'),
        "key control": ('"head_dim"', '"\\u001b[2J": 1, "head_dim"'), "activation": ('"silu"', '"nope"'),
        "activation list": ('"silu"', "[]"), "dtype": ('"bfloat16"', '"nope"'), "dtype list": ('"bfloat16"', "[1]"),
        "heads": ('"num_attention_heads": 8', '"num_attention_heads": 7'), "tied": ("false", '"x"'),
        "quantized": ("false", 'false, "quantization_config": 1'), "quantized list": ("false", 'false, "quantization_config": [1]'),
        "quantized method": ("false", 'false, "quantization_config": {"quant_method": "nope"}'),
        "quantized deep": ("false", 'false, "quantization_config": ' + '{"a":' * 500 + "1" + "}" * 500),
        "quantized number": ("false", 'false, "quantization_config": {"quant_method": 1}'),
        "text part": ('{"model_type"', '{"text_config": 1, "model_type"'), "types": ("false", 'false, "layer_types": ["x"]'),
        "types number": ("false", 'false, "layer_types": [1, 2]'), "window": ("false", 'false, "sliding_window": "x"'),
        "rope": ("false", 'false, "rope_scaling": {"a": {"b": []}}'),
    }  # fmt: skip
    for name, (old, new) in changes.items():
        assert old in CONFIG, old
        status = (
            (0, 2)
            if name in ("rope", "null", "text part", "tied", "window", "types", "quantized number")
            else (2,)
        )
        says = "c.json" if status == (2,) else ""
        yield Attack(
            "configs",
            name,
            ["models", "c.json"],
            {"c.json": CONFIG.replace(old, new, 1)},
            status,
            says,
        )
    files = {"empty": "", "null": "null", "list": "[]", "number": "1", "deep": "[" * 100_000,
             "deep table": '{"a":' * 50_000, "not utf-8": b"\xff", "bom": b"\xef\xbb\xbf{}", "pipe": fifo,
             "device": link_to("/dev/zero"), "huge": large(1 << 34), "cut": CONFIG[:100], "nothing": "{}"}  # fmt: skip
    for name, content in files.items():
        for command in (["models", "c.json"], ["fit", "c.json", "--device", "h100-sxm"]):
            yield Attack(
                "configs", f"{command[0]} file {name}", command, {"c.json": content}, says="c.json"
            )
    yield Attack(
        "configs",
        "name of a folder",
        ["models", "a\x1bb"],
        {"a\x1bb/config.json": CONFIG},
        says="U+001B",
    )
    yield Attack("configs", "sidecar pipe", ["models", "m"], {"m/config.json": CONFIG, "m/hf_quant_config.json": fifo},
                 says="hf_quant")  # fmt: skip
    yield Attack("configs", "sidecar text", ["models", "m"], {"m/config.json": CONFIG, "m/hf_quant_config.json": "x"},
                 says="hf_quant")  # fmt: skip
    yield Attack(
        "configs", "validate nothing", ["validate", "--config", "nope.json"], says="nope.json"
    )


def machine() -> Iterator[Attack]:
    """Groups 5 to 7: the compile cache, variables, terminals, few resources."""
    for variable in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "POLARS_MAX_THREADS"):
        for value in ("0", "abc", "-1", "", "1.5", "9" * 30):
            yield Attack("machine", f"{variable}={value[:4]}", ["query", "capacity", "--top", "1"], says=variable,
                         variables={variable: value})  # fmt: skip
    many = SMALL + "decode_steps = {start = 1, stop = 5000, step = 1}\n"
    count = (
        "$SE query x.toml --select 'count(*) AS n, max(decode_tensor_flops) AS most' --format json"
    )
    for name, change in {
        "emptied": ": > {}", "truncated": "truncate -s 100 {}", "garbled": "head -c 2000 /dev/zero | tr '\\0' x > {}",
        "one bit": "printf x | dd of={} bs=1 seek=500 conv=notrunc 2> /dev/null", "removed": "rm {}",
    }.items():  # fmt: skip
        for kind in ("nbi", "nbc"):
            line = f"export XDG_CACHE_HOME=$PWD/cache; {count} > /dev/null && for f in $(find cache -name '*.{kind}'); do "
            line += change.format("$f") + f"; done; {count}"
            yield Attack("machine", f"cache {kind} {name}", [], {"x.toml": many}, (0,), output='"n":5000',
                         leaves=["cache"], shell=line)  # fmt: skip
    yield Attack("machine", "cache by several", [], {"x.toml": many}, (0,), leaves=["cache", "o"], output='"n":5000',
                 shell=f"export XDG_CACHE_HOME=$PWD/cache; for i in 1 2 3; do {count} > o$i & done; wait; cat o1 && "
                 "cmp o1 o2 && cmp o1 o3")  # fmt: skip
    yield Attack("machine", "cache in a file", [], {"x.toml": many, "cache/sweepengine": "x"}, (0,), output='"n":5000',
                 shell=f"export XDG_CACHE_HOME=$PWD/cache; {count}")  # fmt: skip
    yield Attack("machine", "no home", [], {"x.toml": many}, (0,), output='"n":5000',
                 shell=f"unset HOME; export XDG_CACHE_HOME=/proc/nope; {count}")  # fmt: skip
    closed = {
        "stdout": "$SE devices >&-", "stderr": "$SE devices 2>&- > /dev/null", "both": "$SE devices >&- 2>&-",
        "stdin": "$SE devices <&- > /dev/null", "all": "$SE devices <&- >&- 2>&-",
        "stdout of csv": "$SE query g.toml --format csv >&-", "stdout of plan": "$SE plan g.toml >&-",
        "stdout of run": "$SE run g.toml --out new >&-",
    }  # fmt: skip
    for name, line in closed.items():
        yield Attack("machine", f"closed {name}", [], status=(0,), shell=line, leaves=["new"])
    yield Attack(
        "machine", "closed stderr of an error", [], status=(2,), shell="$SE plan nope 2>&-"
    )
    for name, line in {"csv": "$SE query x.toml --format csv", "table": "$SE query x.toml --top 5000",
                       "devices": "$SE devices", "json": "$SE query x.toml --format json"}.items():  # fmt: skip
        yield Attack("machine", f"head of {name}", [], {"x.toml": many}, (0, 141),
                     shell=f"set -o pipefail; {line} | head -n 1 > /dev/null")  # fmt: skip
    for encoding in ("latin-1", "ascii", "cp1252"):
        yield Attack("machine", f"terminal {encoding}", ["query", "g.toml", "--top", "1", "--select", "1 AS \"é→漢\""],
                     status=(0,), variables={"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"})  # fmt: skip
        yield Attack("machine", f"terminal {encoding} of an error", ["plan", "漢→é"],
                     variables={"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"})  # fmt: skip
    yield Attack("machine", "full device", [], status=(2,), shell="$SE query g.toml --format csv > /dev/full",
                 says="no space left")  # fmt: skip
    yield Attack("machine", "full device of a table", [], status=(2,), shell="$SE devices > /dev/full",
                 says="no space left")  # fmt: skip
    for number in (8, 12, 16, 24, 40):
        yield Attack("machine", f"{number} open files", ["run", "g.toml", "--out", "new"], status=(0, 2),
                     limits={"NOFILE": number}, leaves=["new"], says="")  # fmt: skip
    for megabytes in (500, 1900, 4000):
        for name, line in {"query": ["query", "g.toml"], "run": ["run", "g.toml", "--out", "new"],
                           "report": ["report", "g.toml", "--out", "page"]}.items():  # fmt: skip
            yield Attack("machine", f"{megabytes} MB of addresses, {name}", line, limits={"AS": megabytes << 20},
                         says="out of memory: addresses are limited")  # fmt: skip
    for name, line in {"report": ["report", "g.toml", "--out", "page"],
                       "slo": ["slo", "g.toml", *SLO, "--chart", "x.svg"]}.items():  # fmt: skip
        yield Attack("machine", f"10 GB of addresses, {name}", line, limits={"AS": 10 << 30},
                     says="out of memory: addresses are limited")  # fmt: skip
    yield Attack("machine", "10 GB of addresses, run", ["run", "g.toml", "--out", "new"], status=(0,),
                 limits={"AS": 10 << 30}, leaves=["new"])  # fmt: skip
    yield Attack("machine", "small files alone", ["run", "x.toml", "--out", "new"], {"x.toml": many},
                 limits={"FSIZE": 2000}, leaves=["new"], says="too large")  # fmt: skip
    yield Attack("machine", "small files alone, query", ["query", "x.toml", "--out", "x.csv"], {"x.toml": many},
                 limits={"FSIZE": 2000}, says="x.csv")  # fmt: skip
    yield Attack("machine", "small files alone, report", ["report", "g.toml", "--out", "page"], {},
                 limits={"FSIZE": 20000}, says="page", leaves=["page"])  # fmt: skip


def outputs() -> Iterator[Attack]:
    """Letter E: files of others, and names that are paths."""
    writers = {
        "query": (["query", "g.toml", "--format", "csv", "--out"], "x.csv"),
        "slo": (["slo", "g.toml", *SLO, "--chart"], "x.svg"),
        "fit": (["deploy", "config.json", "--device", "h100-sxm", "--chart"], "x.svg"),
        "calibrate": (["calibrate", "h100-sxm", "--out"], "x.toml"),
        "validate": (["validate", "--json"], "x.json"),
    }  # fmt: skip
    for name, (arguments, path) in writers.items():
        for kind, make in {"directory": lambda path: path.mkdir(), "read-only": read_only}.items():
            yield Attack(
                "outputs", f"{name} over {kind}", [*arguments, path], {path: make}, says=path
            )
        for place in ("", "nope/" + path, ".", "/proc/" + path):
            yield Attack("outputs", f"{name} to {place!r}", [*arguments, place])
    yield Attack("outputs", "through a link", ["query", "g.toml", "--format", "csv", "--out", "l"],
                 {"t/x": "old", "l": link_to("t/x")}, (0,), leaves=["t/x"])  # fmt: skip
    yield Attack("outputs", "a loop of links", ["query", "g.toml", "--format", "csv", "--out", "l"],
                 {"l": link_to("l")})  # fmt: skip
    yield Attack("outputs", "unfinished of others", ["query", "g.toml", "--out", "x.csv"],
                 {"x.csv.unfinished": "mine"}, (0,), leaves=["x.csv"])._replace(leaves=["x.csv"])  # fmt: skip
    yield Attack("outputs", "to stdout as a file", [], status=(0,), output="batch_size",
                 shell="$SE query g.toml --format csv --out /dev/stdout | cat")  # fmt: skip
    yield Attack("outputs", "to a pipe", [], status=(0,), output="batch_size",
                 shell="mkfifo p; $SE query g.toml --format csv --out p & cat p; wait %1; test -p p && rm p")  # fmt: skip
    yield Attack(
        "outputs",
        "to null",
        ["query", "g.toml", "--format", "csv", "--out", "/dev/null"],
        status=(0,),
    )
    yield Attack("outputs", "no format", ["query", "g.toml", "--out", "x"], says="--format")
    yield Attack(
        "outputs",
        "table to a file",
        ["query", "g.toml", "--format", "table", "--out", "x"],
        says="--format",
    )
    yield Attack(
        "outputs", "chart of no kind", ["slo", "g.toml", *SLO, "--chart", "x.bmp"], says=".svg"
    )
    report = ["report", "g.toml", "--out", "page"]
    for name in ("README.md", "index.html", "vision.csv", "decode.md", "charts/roofline.svg"):
        yield Attack(
            "outputs",
            f"report over {name}",
            report,
            {f"page/{name}": "precious"},
            says="not written by",
        )
    yield Attack("outputs", "report over a file", report, {"page": "x"}, says="is a file")
    yield Attack("outputs", "report here", ["report", "g.toml", "--out", ""], says="directory")
    yield Attack(
        "outputs", "report in the open", ["report", "g.toml", "--out", "."], says="directory"
    )
    yield Attack("outputs", "report of a name that is a path", [
        "report", "a.toml", "b.toml", "--out", "page"], {
        "a.toml": GRID.replace('"small"', '"../../escaped"'), "b.toml": GRID.replace('"small"', '"../../escaped"')},
        (0,), leaves=["page/"])  # fmt: skip
    yield Attack("outputs", "report twice into one place", [], status=(0,), leaves=["page/"],
                 shell="$SE report g.toml --out page && $SE report g.toml --out page")  # fmt: skip


def rare() -> Iterator[Attack]:
    """Group 9: valid, but rare."""
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
    """Group 11b: options of commands that came since."""
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


def attacks() -> list[Attack]:
    """All of them."""
    groups = (sql, storage, datasets, grids, models, configs, machine, outputs, rare, commands)
    return [attack for group in groups for attack in group()]
