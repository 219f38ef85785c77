"""Changes every constant in every formula, one at a time, and says which test notices first.

    python -m tests.mutations [--out FILE]

What torch measures does not depend on our formulas, so it is measured once and replayed to each
mutant, which lives in a process forked from this one. Exits 1 when a mutant survives.
"""

import argparse
import ast
import inspect
import os
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType
from typing import Any, NamedTuple

import pytest
import torch

from sweepengine.formulas.cost import FORMULAS
from sweepengine.grid import plain
from sweepengine.validation import activation_memory, end_to_end, per_layer
from sweepengine.validation.references import DecoderReference, VisionReference

FOLDER = Path(__file__).parent
SUITES = ("data/test_huggingface.py", "formulas", "validation/test_per_layer.py",
          "validation/test_families.py", "validation/test_end_to_end.py",
          "validation/test_activation_memory.py")  # fmt: skip
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


def record() -> dict[int, list[Any]]:
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
    if failed := run():
        sys.exit(f"{failed[0]} fails before any formula is changed")
    for (home, name), original in zip(MEASURED, originals, strict=True):
        setattr(home, name, original)
    return found


class Failures:
    """Collects names of failed tests."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the name of a test that failed."""
        if report.failed:
            self.names.append(report.nodeid.removeprefix("tests/"))


def run(*options: str) -> list[str]:
    """Run the suites in this process; names of the tests that failed."""
    failures = Failures()
    suites = [str(FOLDER / suite) for suite in SUITES]
    # Compiled formulas do not change with a mutant, so tests of the kernel say nothing of it.
    options = ("-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-k", "not kernel", *options)
    pytest.main([*suites, *options], plugins=[failures])
    return failures.names


def caught_by(mutant: Mutant, found: dict[int, list[Any]]) -> list[str]:
    """Run the tests on a mutant in a process of its own."""
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
        for i, (home, name) in enumerate(MEASURED):
            replay = iter(found[i])
            setattr(home, name, lambda *_, replay=replay, **__: next(replay))
        os.write(writer, "\n".join(run("--tb=no", "-x", "--hypothesis-seed=0")).encode()[:60_000])
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
    out = parser.parse_args().out
    found = record()
    lines = ["| formula | line | constant changed in | test that notices |",
             "|---|---:|---|---|"]  # fmt: skip
    survivors = 0
    for mutant in mutants():
        names = caught_by(mutant, found)
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
    if out:
        out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    sys.exit(1 if survivors else 0)


if __name__ == "__main__":
    main()
