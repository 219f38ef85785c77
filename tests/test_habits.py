"""The shape of the code: imports point one way, nothing heavy below, no address of a machine."""

import ast
import subprocess
import sys
from functools import cache

import pytest

PACKAGES = ("formulas", "data", "grid", "engine", "store", "costs", "query", "search", "measured",
            "show", "api", "cli")  # fmt: skip
"""Each may import those before it."""
BESIDE = {"validation": {"formulas", "data", "grid", "engine", "costs"}}
"""What stands beside them, and what it may import."""
TOP = {"__main__", "version"}
"""Modules of no package: the way in, and what all may import."""
ALONE = {
    "numba": "engine.",
    "ray": "store.cluster",
    "torch": "validation.",
    "transformers": "validation.",
}
"""Libraries that only modules of these names import."""
FIRST = {"pydantic": "data", "numpy": "grid", "polars": "engine", "pyarrow": "store",
         "altair": "show", "rich": "show"}  # fmt: skip
"""Libraries, and the first package that imports them."""
LONGEST = 350
"""Lines of a file of the package."""


@cache
def modules(root):
    """Each module of the package with its syntax tree."""
    package = root / "sweepengine"
    found = []
    for path in sorted(package.rglob("*.py")):
        name = ".".join(path.relative_to(package).with_suffix("").parts)
        name = name.removesuffix(".__init__")
        if name != "__init__":
            found.append((name, ast.parse(path.read_text(encoding="utf-8"))))
    return found


def imported(tree, for_types=True):
    """Modules imported anywhere, inside functions too; those for types alone where they count."""
    type_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in type_only and not for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def package_of(module):
    """Sub-package of a module of ours; empty for the top."""
    return module.removeprefix("sweepengine").removeprefix(".").split(".")[0]


@pytest.mark.parametrize("for_types", [False, True])
def test_every_import_points_to_the_left(root, for_types):
    assert {name.split(".")[0] for name, _ in modules(root)} == {*PACKAGES, *BESIDE, *TOP}
    wrong = []
    for name, tree in modules(root):
        home = package_of(name)
        if home in TOP:
            continue
        allowed = BESIDE.get(home, set(PACKAGES[: PACKAGES.index(home)]) if home in PACKAGES else 0)
        if home == "cli" or (home == "show" and for_types):
            allowed |= set(BESIDE)  # `validate` is a command; `show` prints its records
        ours = [
            other for other in imported(tree, for_types) if other.split(".")[0] == "sweepengine"
        ]
        wrong += [
            f"{name} imports {other}"
            for other in ours
            if package_of(other) not in {*allowed, home, "", "version"}
        ]
    assert wrong == []


def circles(graph):
    """Groups of modules that import one another, directly or through others."""
    reached = {}
    for start in graph:
        pending, seen = list(graph[start]), set()
        while pending:
            if (name := pending.pop()) not in seen:
                seen.add(name)
                pending += graph[name]
        reached[start] = seen
    groups = {
        frozenset(other for other in seen if start in reached[other])
        for start, seen in reached.items()
        if start in seen
    }
    return sorted(map(set, groups), key=sorted)


def test_circles_are_found():
    graph = {"a": ["b"], "b": ["c"], "c": ["a"], "d": ["a", "e"], "e": [], "f": ["f"]}
    assert circles(graph) == [{"a", "b", "c"}, {"f"}]


def test_no_modules_import_one_another(root):
    """Not even for types alone: each can be read, and changed, after those it imports."""
    trees = dict(modules(root))
    graph = {
        name: [
            other
            for full in imported(tree)
            if (other := full.removeprefix("sweepengine.")) in trees and other != full
        ]
        for name, tree in trees.items()
    }
    assert circles(graph) == []
    packages = {name: [] for name in (*PACKAGES, *BESIDE, *TOP)}
    for name, others in graph.items():
        home = package_of(name)
        packages[home] += [other for module in others if (other := package_of(module)) != home]
    assert circles(packages) == []


def test_libraries_are_imported_where_they_belong(root):
    wrong = []
    for name, tree in modules(root):
        found = {other.split(".")[0] for other in imported(tree, False)}
        home = package_of(name)
        wrong += [
            (name, library)
            for library, place in ALONE.items()
            if library in found and not name.startswith(place)
        ]
        if home in PACKAGES:
            wrong += [
                (name, library)
                for library, first in FIRST.items()
                if library in found and PACKAGES.index(home) < PACKAGES.index(first)
            ]
        if home == "formulas":
            outside = found - set(sys.stdlib_module_names) - {"sweepengine"}
            wrong += [(name, library) for library in outside]
    assert wrong == []


def test_formulas_know_no_accounting(root):
    for path in (root / "sweepengine" / "formulas").glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        names |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        assert not [name for name in names if "accounting" in name], path


def test_every_file_can_be_taken_in_at_one_sitting(root):
    long = [
        (path.name, lines)
        for path in (root / "sweepengine").rglob("*.py")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > LONGEST
    ]
    assert long == []


def test_repository_names_no_machine_and_no_registry(root):
    listed = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True)
    words = ("/work/" + "main", "/root/" + ".", "pypi." + "org", "--index-" + "url")
    for name in listed.stdout.split():
        if not name.endswith((".svg", ".png")):
            text = (root / name).read_text(encoding="utf-8")
            assert not [word for word in words if word in text], name
