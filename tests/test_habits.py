"""The shape of the code: imports point one way, nothing heavy below, no address of a machine."""

import ast
import subprocess
import sys

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


def modules(root):
    package = root / "sweepengine"
    for path in sorted(package.rglob("*.py")):
        name = ".".join(path.relative_to(package).with_suffix("").parts)
        name = name.removesuffix(".__init__")
        if name != "__init__":
            yield name, ast.parse(path.read_text(encoding="utf-8"))


def imported(tree):
    """Modules imported anywhere, inside functions too; what the type checker alone needs not."""
    type_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in type_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


def package_of(module):
    """Sub-package of a module of ours; empty for the top."""
    return module.removeprefix("sweepengine").removeprefix(".").split(".")[0]


def test_every_import_points_to_the_left(root):
    assert {name.split(".")[0] for name, _ in modules(root)} == {*PACKAGES, *BESIDE, *TOP}
    wrong = []
    for name, tree in modules(root):
        home = package_of(name)
        if home in TOP:
            continue
        allowed = BESIDE.get(home, set(PACKAGES[: PACKAGES.index(home)]) if home in PACKAGES else 0)
        if home == "cli":
            allowed |= set(BESIDE)  # `validate` is a command
        ours = [other for other in imported(tree) if other.split(".")[0] == "sweepengine"]
        wrong += [
            f"{name} imports {other}"
            for other in ours
            if package_of(other) not in {*allowed, home, "", "version"}
        ]
    assert wrong == []


def test_libraries_are_imported_where_they_belong(root):
    wrong = []
    for name, tree in modules(root):
        found = {other.split(".")[0] for other in imported(tree)}
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
