"""Changes every constant in every formula, one at a time, and says which test notices first.

    python -m tests.mutations [--out FILE] [--part K/N] [WORD...]

What torch measures does not depend on our formulas, so it is measured once and replayed to each
mutant, which lives in a process forked from this one. There the tests run that call its formula,
first those that noticed others of the same formula, then the quickest; those that a fork alone
makes fail are left out. A part takes every Nth mutant, from the Kth on; with words, only formulas
whose name holds one are changed. Exits 1 when a mutant survives that `equal_mutants.toml` does not
name.
"""

import argparse
import ast
import inspect
import os
import sys
import textwrap
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import _lru_cache_wrapper
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any, NamedTuple

import pytest
import torch

from sweepengine.formulas.cost import FORMULAS
from sweepengine.validation import activation_memory, end_to_end, per_layer
from sweepengine.validation.references import DecoderReference, VisionReference
from tests.parts import part

FOLDER = Path(__file__).parent
SUITES = ("test_formulas_in_docs.py", "test_check_values.py", "data/test_huggingface.py",
          "data/test_text_families.py", "data/test_mixers.py", "data/test_cross_attention.py",
          "data/test_image_experts.py", "data/test_towers.py", "formulas",
          "validation/test_cross_attention.py", "validation/test_towers.py",
          "validation/test_per_layer.py", "validation/test_families.py",
          "validation/test_end_to_end.py", "validation/test_activation_memory.py")  # fmt: skip
UNFIT = ("kernel", "compiled", "commands", "engines_reserve", "computes[memory]")
"""Words of tests that do not run: compiled formulas do not change with a mutant, and the threads of
Polars, which commands and frames ask, do not survive a fork."""
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


EQUAL = tomllib.loads((FOLDER / "equal_mutants.toml").read_text(encoding="utf-8"))
"""By formula: lines as changed that change no number, and why; they are not run."""


class Mutant(NamedTuple):
    """One constant of one formula, changed."""

    formula: FunctionType
    line: int
    text: str
    """The line as changed."""
    changed: FunctionType

    @property
    def name(self) -> str:
        """Of its formula, with its module."""
        module = self.formula.__module__.removeprefix("sweepengine.")
        return f"{module}.{self.formula.__name__}"


def mutants() -> Iterator[Mutant]:
    """Every integer constant of every formula, one more than it is."""
    for formula in FORMULAS:
        source, first = inspect.getsourcelines(formula)
        text = textwrap.dedent("".join(source))
        places = [
            (node.lineno, node.col_offset, node.end_col_offset)
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Constant) and type(node.value) is int
        ]
        for line, column, end in places:
            tree = ast.parse(text)
            for node in ast.walk(tree):
                at = (getattr(node, "lineno", 0), getattr(node, "col_offset", 0))
                if isinstance(node, ast.Constant) and at == (line, column):
                    node.value += 1
            tree.body[0].decorator_list = []
            made: dict[str, Any] = {}
            exec(compile(tree, "mutant", "exec"), formula.__globals__, made)
            old = text.splitlines()[line - 1]
            new = f"{old[:column]}{int(old[column:end]) + 1}{old[end:]}".strip()
            yield Mutant(formula, first + line - 1, new, made[formula.__name__])


class Experiment:
    """Runs all tests once, then each mutant against the tests that call its formula."""

    def __init__(self, chosen: Sequence[Mutant]) -> None:
        self.chosen = chosen
        self.codes = {formula.__code__ for formula in FORMULAS}
        self.calls: dict[str, set[CodeType]] = {}
        """Test to the code of formulas that it and its fixtures call."""
        self.seconds: dict[str, float] = {}
        self.failed: list[str] = []
        self.items: list[pytest.Item] = []
        """Tests that run in a fork."""
        self.measured: list[list[Any]] = [[] for _ in MEASURED]
        """What torch found, by the function that measured it."""
        self.lines = ["| formula | line | as changed | test that notices |",
                      "|---|---:|---|---|"]  # fmt: skip
        self.survivors = 0
        self.noticing: dict[FunctionType, Counter[str]] = {}
        """Formula to the tests that noticed its mutants, and how many each."""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the name of a test that failed."""
        if report.failed:
            self.failed.append(report.nodeid)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run tests and mutants in place of pytest."""
        self._record(session)
        unfit = self._unfit(session)
        self.items = [item for item in session.items if item.nodeid not in unfit]
        print(f"\n{len(self.items)} tests, {len(unfit)} left out that need threads", flush=True)
        for mutant in self.chosen:
            name, shown = mutant.name, mutant.text.replace("|", "\\|")
            if (reason := EQUAL.get(name, {}).get(mutant.text)) is not None:
                first = f"none: {reason}"
            else:
                noticed = self._noticed(mutant)
                self.survivors += not noticed
                first = noticed.split("::")[-1] or "**none**"
            self.lines.append(f"| {name} | {mutant.line} | `{shown}` | {first} |")
            print(self.lines[-1], flush=True)
        return True

    def _record(self, session: pytest.Session) -> None:
        """Run all tests, which have to pass; keep what torch measures and what they call."""
        originals = [getattr(home, name) for home, name in MEASURED]
        for (home, name), original, kept in zip(MEASURED, originals, self.measured, strict=True):
            setattr(home, name, _kept(original, kept))
        for item, following in zip(session.items, [*session.items[1:], None], strict=True):
            seen, began = self.calls.setdefault(item.nodeid, set()), time.monotonic()

            def watch(frame: FrameType, event: str, _: Any, seen: set[CodeType] = seen) -> None:
                if event == "call" and frame.f_code in self.codes:
                    seen.add(frame.f_code)

            _forget()
            sys.setprofile(watch)
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            sys.setprofile(None)
            self.seconds[item.nodeid] = time.monotonic() - began
        if self.failed:
            pytest.exit(f"{self.failed[0]} fails before any formula is changed", 2)

    def _unfit(self, session: pytest.Session) -> set[str]:
        """Tests that fail in a fork with no formula changed, as those do that need threads."""

        def failing() -> str:
            self._run(session.items, all_of_them=True)
            return "\n".join(self.failed)

        return set(_in_a_fork(failing).splitlines())

    def _noticed(self, mutant: Mutant) -> str:
        """Name of the first test that fails on a mutant, in a process of its own; or nothing."""
        code = mutant.formula.__code__
        calling = [item for item in self.items if code in self.calls[item.nodeid]]
        alone = [item for item in calling if not item.nodeid.startswith(REPLAYING)]
        noticing = self.noticing.setdefault(mutant.formula, Counter())
        alone.sort(key=lambda item: (-noticing[item.nodeid], self.seconds[item.nodeid]))
        replaying = [item for item in self.items if item.nodeid.startswith(REPLAYING)]
        chosen = alone if len(alone) == len(calling) else [*alone, *replaying]

        def first_failure() -> str:
            mutant.formula.__code__ = mutant.changed.__code__
            mutant.formula.__defaults__ = mutant.changed.__defaults__
            self._run(chosen)
            return self.failed[0] if self.failed else ""

        if first := _in_a_fork(first_failure):
            noticing[first] += 1
        return first

    def _run(self, items: Sequence[pytest.Item], all_of_them: bool = False) -> None:
        """Run tests up to the first that fails, or all."""
        for (home, name), kept in zip(MEASURED, self.measured, strict=True):
            setattr(home, name, _replayed(kept))
        for made in items[0].config._tmp_path_factory.getbasetemp().glob("*.done") if items else ():
            made.unlink()  # of the formula as it is
        for item, following in zip(items, [*items[1:], None], strict=True):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if self.failed and not all_of_them:
                return


def _in_a_fork(answer: Callable[[], str]) -> str:
    """What a function returns, called in a process of its own without output."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        torch.set_num_threads(1)  # OpenMP's threads do not survive a fork
        _forget()
        os.write(writer, answer().encode()[:60_000])
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        answered = pipe.read()
    os.waitpid(child, 0)
    return answered


def _forget() -> None:
    """Clear what is kept of formulas, so that a test calls them itself."""
    for name, module in list(sys.modules.items()):
        if name.startswith(("sweepengine.formulas.", "sweepengine.grid.")):
            for kept in list(vars(module).values()):
                if isinstance(kept, _lru_cache_wrapper):
                    kept.cache_clear()


def _kept(measure: Callable[..., Any], kept: list[Any]) -> Callable[..., Any]:
    """A measurement that keeps what it finds."""

    def call(*arguments: Any, **named: Any) -> Any:
        kept.append(measure(*arguments, **named))
        return kept[-1]

    return call


def _replayed(kept: list[Any]) -> Callable[..., Any]:
    """A measurement that returns what was kept, from the first on."""
    replay = iter(kept)
    return lambda *_, **__: next(replay)


def main() -> None:
    """Mutate, run, print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--part", type=part, default=slice(None))
    parser.add_argument("words", nargs="*")
    options = parser.parse_args()
    chosen = [
        mutant
        for mutant in mutants()
        if not options.words or any(word in mutant.name for word in options.words)
    ]
    if not chosen:
        parser.error(f"no formula has one of {', '.join(options.words)} in its name")
    experiment = Experiment(chosen[options.part])
    words = ("-qs", "--tb=no", "--hypothesis-seed=0", "-p", "no:cacheprovider", "-p", "no:xdist",
             "-k", f"not ({' or '.join(UNFIT)})")  # fmt: skip
    pytest.main([*(str(FOLDER / suite) for suite in SUITES), *words], plugins=[experiment])
    lines = experiment.lines
    lines.append(f"\n{len(lines) - 2} mutants, {experiment.survivors} survive")
    print(lines[-1])
    if options.out:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    sys.exit(bool(experiment.survivors or experiment.failed))


if __name__ == "__main__":
    main()
