"""Lists of modules in a quantisation table: names, wildcards and regular expressions.

Expressions run in time linear in a name's length, whatever a file holds (the engine of pydantic's
patterns, which has no look-around and no back-references).
"""

import re
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Annotated, Any, NamedTuple

from pydantic import StringConstraints, TypeAdapter, ValidationError
from pydantic_core import SchemaError

EXPRESSION = "re:"
"""Before a regular expression in a list of modules."""
MOST_PATTERNS = 2000


class UnreadPatternError(ValueError):
    """A pattern that is not read; the message names it."""


class ModuleList(NamedTuple):
    """A list of modules: names, in some files thousands, and patterns."""

    names: frozenset[str]
    """Paths of modules, or single components of paths."""
    patterns: TypeAdapter[str] | None
    """Matches from the beginning of a path; None: there are no patterns."""

    @classmethod
    def of(cls, entries: Sequence[str]) -> "ModuleList":
        """Read a list.

        Raises
        ------
        UnreadPatternError
            When an expression is not understood, or there are too many.
        """
        names = [entry for entry in entries if not entry.startswith(EXPRESSION)]
        expressions = [*_expressions(entries)]
        if len(expressions) > MOST_PATTERNS:
            raise UnreadPatternError(
                f"{len(expressions):,} patterns: expected at most {MOST_PATTERNS:,}"
            )
        plain = frozenset(name for name in names if "*" not in name)
        return cls(plain, _matcher(expressions) if expressions else None)

    def has(self, name: str) -> bool:
        """Whether the list names a module or a parent of it."""
        if self.names:
            steps = name.split(".")
            if not self.names.isdisjoint(steps):
                return True
            if not self.names.isdisjoint(accumulate(steps, "{}.{}".format)):
                return True
        return self.patterns is not None and _matches(self.patterns, name)


def _expressions(entries: Sequence[str]) -> Iterator[str]:
    for entry in entries:
        if entry.startswith(EXPRESSION):
            yield entry.removeprefix(EXPRESSION)
        elif "*" in entry:  # a module, or a parent of it
            yield ".*".join(map(re.escape, entry.split("*"))) + r"(?:\..*)?$"


def _matcher(expressions: Sequence[str]) -> TypeAdapter[str]:
    matcher = _compiled("|".join(f"(?:{each})" for each in expressions))
    if matcher is None:
        wrong = next((each for each in expressions if _compiled(each) is None), "all together")
        raise UnreadPatternError(
            f"{wrong}: expected a regular expression without look-around and back-references"
        )
    return matcher


def _compiled(expression: str) -> TypeAdapter[str] | None:
    kind: Any = Annotated[str, StringConstraints(pattern=f"^(?:{expression})")]
    try:
        return TypeAdapter(kind)
    except SchemaError:
        return None


def _matches(patterns: TypeAdapter[str], name: str) -> bool:
    try:
        patterns.validate_python(name)
    except ValidationError:
        return False
    return True
