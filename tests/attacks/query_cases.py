"""Attacks on SQL, and on the places of grids and datasets."""

from collections.abc import Iterator

from tests.attacks.attack import Attack
from tests.attacks.contents import BIG, SLO, copy_of_data


def sql() -> Iterator[Attack]:
    """Conditions, columns, groups and limits in SQL."""
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
    """Places of grids and datasets: URIs, names, directories."""
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
