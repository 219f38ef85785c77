"""Changes every constant in every formula, one at a time, and says which test notices first.

    python -m tests.mutations [--out FILE] [--part K/N]

What torch measures does not depend on our formulas, so it is measured once and replayed to each
mutant, which lives in a process forked from this one. There the tests run that call its formula,
the quickest first; where none of them fails, all. A part takes every Nth mutant, from the Kth on.
Exits 1 when a mutant survives.
"""

import argparse
import ast
import inspect
import os
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any, NamedTuple

import pytest
import torch

from sweepengine.formulas.cost import FORMULAS
from sweepengine.grid import plain
from sweepengine.validation import activation_memory, end_to_end, per_layer
from sweepengine.validation.references import DecoderReference, VisionReference
from tests.parts import part

FOLDER = Path(__file__).parent
SUITES = ("data/test_huggingface.py", "formulas", "validation/test_per_layer.py",
          "validation/test_families.py", "validation/test_end_to_end.py",
          "validation/test_activation_memory.py")  # fmt: skip
REPLAYING = ("tests/validation/test_per_layer.py", "tests/validation/test_end_to_end.py",
             "tests/validation/test_activation_memory.py")  # fmt: skip
"""Suites that take what torch measured, one after the other."""
MEASURED: tuple[tuple[Any, str], ...] = (
    (per_layer, "counted_flops"),
    (per_layer, "outer_product_flops"),
    (per_layer, "element_wise_flops"),
    (end_to_end, "counted_flops"),
    (end_to_end, "cache_bytes"),
    (end_to_end, "parameters"),
    (end_to_end, "DecoderReference"),
    (activation_memory, "live_peak"),
    (VisionReference, "measure_image"),
    (DecoderReference, "flops"),
)


class Mutant(NamedTuple):
    """One constant of one formula, changed."""

    formula: FunctionType
    line: int
    text: str
    changed: FunctionType


def mutants() -> Iterator[Mutant]:
    """Every integer constant of every formula, one more than it is."""
    for formula in FORMULAS:
        source, first = inspect.getsourcelines(formula)
        text = textwrap.dedent("".join(source))
        places = [
            (node.lineno, node.col_offset)
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Constant) and type(node.value) is int
        ]
        for line, column in places:
            tree = ast.parse(text)
            for node in ast.walk(tree):
                at = (getattr(node, "lineno", 0), getattr(node, "col_offset", 0))
                if isinstance(node, ast.Constant) and at == (line, column):
                    node.value += 1
            tree.body[0].decorator_list = []
            made: dict[str, Any] = {}
            exec(compile(tree, "mutant", "exec"), formula.__globals__, made)
            shown = text.splitlines()[line - 1].strip()
            yield Mutant(formula, first + line - 1, shown, made[formula.__name__])


def record(calls: "Calls") -> dict[int, list[Any]]:
    """Run the measurements once and keep what torch found, in order; all tests have to pass."""
    found: dict[int, list[Any]] = {i: [] for i in range(len(MEASURED))}

    def recorder(original: Callable[..., Any], kept: list[Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            kept.append(original(*arguments, **named))
            return kept[-1]

        return call

    originals = [getattr(home, name) for home, name in MEASURED]
    for i, (home, name) in enumerate(MEASURED):
        setattr(home, name, recorder(originals[i], found[i]))
    if failed := run(plugins=[calls]):
        sys.exit(f"{failed[0]} fails before any formula is changed")
    for (home, name), original in zip(MEASURED, originals, strict=True):
        setattr(home, name, original)
    return found


class Calls:
    """Notes the code of each formula that a test calls, and the seconds that the test takes."""

    def __init__(self) -> None:
        self.codes = {formula.__code__ for formula in FORMULAS}
        self.of: dict[str, set[CodeType]] = {}
        self.seconds: dict[str, float] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Watch a test with its fixtures."""
        seen, codes, began = self.of.setdefault(item.nodeid, set()), self.codes, time.monotonic()

        def watch(frame: FrameType, event: str, _: Any) -> None:
            if event == "call" and frame.f_code in codes:
                seen.add(frame.f_code)

        sys.setprofile(watch)
        try:
            return (yield)
        finally:
            sys.setprofile(None)
            self.seconds[item.nodeid] = time.monotonic() - began

    def callers(self, formula: FunctionType) -> list[str]:
        """Tests that call a formula, the quickest first; those that replay all, in order."""
        calling = [name for name, codes in self.of.items() if formula.__code__ in codes]
        alone = [name for name in calling if not name.startswith(REPLAYING)]
        replaying = [name for name in self.of if name.startswith(REPLAYING)]
        quickest = sorted(alone, key=self.seconds.__getitem__)
        return [*quickest, *(replaying if len(alone) < len(calling) else ())]


class Chosen:
    """Runs some tests alone, in their order."""

    def __init__(self, names: Sequence[str]) -> None:
        self.order = {name: position for position, name in enumerate(names)}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave out the others."""
        items[:] = [item for item in items if item.nodeid in self.order]
        items.sort(key=lambda item: self.order[item.nodeid])


class Failures:
    """Collects names of failed tests."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the name of a test that failed."""
        if report.failed:
            self.names.append(report.nodeid.removeprefix("tests/"))


def run(*options: str, suites: Sequence[str] = SUITES, plugins: Sequence[object] = ()) -> list[str]:
    """Run suites in this process; names of the tests that failed.

    Parameters
    ----------
    options : str
        Of pytest.
    suites : sequence of str
        Files or folders of tests.
    plugins : sequence of object
        Of pytest.
    """
    failures = Failures()
    paths = [str(FOLDER / suite) for suite in suites]
    # Compiled formulas do not change with a mutant, so tests of the kernel say nothing of it.
    options = ("-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-k", "not kernel", *options)
    pytest.main([*paths, *options], plugins=[failures, *plugins])
    return failures.names


def first_failure(names: Sequence[str], found: dict[int, list[Any]]) -> list[str]:
    """Run the tests that call a formula, and where none of them fails, all.

    Parameters
    ----------
    names : sequence of str
    found : dict of int to list
        What torch measured, which is replayed.
    """
    stop = ("--tb=no", "-x", "--hypothesis-seed=0")
    files = dict.fromkeys(name.split("::")[0].removeprefix("tests/") for name in names)
    replay(found)
    failed = run(*stop, suites=[*files], plugins=[Chosen(names)]) if files else []
    if not failed:
        replay(found)
        failed = run(*stop)
    return failed


def replay(found: dict[int, list[Any]]) -> None:
    """Let the measurements return what torch found, from the first on."""
    for i, (home, name) in enumerate(MEASURED):
        measured = iter(found[i])
        setattr(home, name, lambda *_, measured=measured, **__: next(measured))


def caught_by(mutant: Mutant, found: dict[int, list[Any]], names: Sequence[str]) -> list[str]:
    """Run the tests on a mutant in a process of its own.

    Parameters
    ----------
    mutant : Mutant
    found : dict of int to list
        What torch measured (`record`).
    names : sequence of str
        Tests that call its formula.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        torch.set_num_threads(1)  # OpenMP's threads do not survive a fork
        for kept in (plain.vision_figures, plain.step_figures, plain.prefill_figures):
            kept.cache_clear()
        mutant.formula.__code__ = mutant.changed.__code__
        mutant.formula.__defaults__ = mutant.changed.__defaults__
        os.write(writer, "\n".join(first_failure(names, found)).encode()[:60_000])
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        names = pipe.read().split()
    os.waitpid(child, 0)
    return names


def main() -> None:
    """Mutate, run, print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--part", type=part, default=slice(None))
    options = parser.parse_args()
    calls = Calls()
    found = record(calls)
    lines = ["| formula | line | constant changed in | test that notices |",
             "|---|---:|---|---|"]  # fmt: skip
    survivors = 0
    for mutant in [*mutants()][options.part]:
        names = caught_by(mutant, found, calls.callers(mutant.formula))
        survivors += not names
        shown = mutant.text.replace("|", "\\|")
        first = names[0].split("::")[-1] if names else "**none**"
        where = (
            f"{mutant.formula.__module__.removeprefix('sweepengine.')}.{mutant.formula.__name__}"
        )
        lines.append(f"| {where} | {mutant.line} | `{shown}` | {first} |")
        print(lines[-1], flush=True)
    lines.append(f"\n{len(lines) - 2} mutants, {survivors} survive")
    print(lines[-1])
    if options.out:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    sys.exit(1 if survivors else 0)


if __name__ == "__main__":
    main()
