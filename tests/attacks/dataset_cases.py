"""Attacks by datasets that are not what they say."""

import os
from collections.abc import Iterator
from pathlib import Path

from tests.attacks.attack import Attack
from tests.attacks.contents import BIG, LONG, SLO, SMALL, fifo, manifest_of, manifest_with


def points_of(path: Path) -> Path:
    """The first file of points beside a path."""
    return next(path.parent.glob("points-*.parquet"))


def damaged(change):
    """Change the bytes of the dataset's file of points; made as `data/x` and gone again."""

    def make(path: Path) -> None:
        place = points_of(path)
        place.write_bytes(change(place.read_bytes()))

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
    """Datasets that are not what they say."""
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
