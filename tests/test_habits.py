"""The shape of the code: imports point one way, nothing heavy below, no address of a machine."""

import ast
import subprocess

LAYERS = (
    {"errors", "cost", "schema"},
    {"datafiles"},
    {"architecture", "device"},
    {"geometry"},
    {"layers.residual"},
    {"layers.vision", "layers.decoder"},
    {"layers"},
    {"stages"},
    {"limits", "accountings", "explanation", "axes"},
    {"grid", "kernel"},
    {"evaluation", "storage"},
    {"lazy", "dataset", "metrics"},
    {"running", "source"},
    {"cluster", "objectives", "queries", "tables", "look"},
    {"terminal", "output", "charts", "curves", "rendering", "validation.shipped"},
    {"report", "explorer"},
    {"validation.references"},
    {"validation", "validation.per_layer", "validation.end_to_end",
     "validation.activation_memory", "validation.measured_stages"},
    {"validation.summary"},
    {"cli"},
    {"__main__"},
)  # fmt: skip
"""Modules may import modules of earlier lines."""
RANK = {module: rank for rank, modules in enumerate(LAYERS) for module in modules}
FORMULAS = {"cost", "geometry", "layers.residual", "layers.vision", "layers.decoder", "stages"}
HEAVY = {"numpy", "numba", "polars", "pyarrow", "altair", "torch", "ray", "rich", "click"}


def modules(root):
    package = root / "sweepengine"
    for path in sorted(package.rglob("*.py")):
        name = ".".join(path.relative_to(package).with_suffix("").parts)
        name = name.removesuffix(".__init__")
        if name != "__init__":
            yield name, ast.parse(path.read_text(encoding="utf-8"))


def imported(tree, everywhere):
    """Modules imported: at the top of a module, or everywhere in it."""
    type_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree) if everywhere else tree.body:
        if id(node) in type_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            if node.module and node.module.startswith("sweepengine"):
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_module_has_its_place(root):
    assert {name for name, _ in modules(root)} == set(RANK)


def test_imports_point_one_way(root):
    wrong = [
        f"{name} imports {other}"
        for name, tree in modules(root)
        for other in imported(tree, everywhere=False)
        if other.startswith("sweepengine.")
        and other.removeprefix("sweepengine.") in RANK.keys() - {name}
        and RANK[other.removeprefix("sweepengine.")] >= RANK[name]
    ]
    assert wrong == []


def test_nothing_imports_the_command_line(root):
    for name, tree in modules(root):
        if name != "__main__":
            assert "sweepengine.cli" not in set(imported(tree, everywhere=True)), name


def test_formulas_import_nothing_but_python(root):
    for name, tree in modules(root):
        if name in FORMULAS:
            found = {other.split(".")[0] for other in imported(tree, everywhere=True)}
            assert not found & HEAVY, (name, found & HEAVY)


def test_only_validation_imports_torch_and_only_the_cluster_ray(root):
    for name, tree in modules(root):
        found = {other.split(".")[0] for other in imported(tree, everywhere=True)}
        assert name.startswith("validation") or not found & {"torch", "transformers"}, name
        assert name == "cluster" or "ray" not in found, name


def test_repository_names_no_machine_and_no_registry(root):
    listed = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True)
    words = ("/work/" + "main", "/root/" + ".", "pypi." + "org", "--index-" + "url")
    for name in listed.stdout.split():
        if not name.endswith((".svg", ".png")):
            text = (root / name).read_text(encoding="utf-8")
            assert not [word for word in words if word in text], name
