"""Attacks by the machine: its compile cache, variables, terminals, few resources, and files of others."""

from collections.abc import Iterator

from tests.attacks.attack import GRID, Attack
from tests.attacks.contents import SLO, SMALL, link_to, read_only


def machine() -> Iterator[Attack]:
    """The compile cache, variables, terminals, few resources."""
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
    """Files of others, and names that are paths."""
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
