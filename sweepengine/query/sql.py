"""Checks of the SQL that users write, with one line for each error."""

import re
from itertools import pairwise

import polars as pl

from sweepengine.data.errors import InputError
from sweepengine.query.reading import told
from sweepengine.query.sources import Source

MOST_TOKENS = 2_000
"""Most words and signs of one text; more overflow the stack of the parser."""
REFUSED_WORDS = (
    "select", "from", "union", "intersect", "except", "with", "values", "table", "join", "into",
    "copy", "create", "drop", "delete", "insert", "update", "interval",
)  # fmt: skip
"""Words by which SQL reads or writes anything but the columns of points."""
ROW_FUNCTIONS = {
    "abs", "and", "between", "cast", "ceil", "ceiling", "coalesce", "concat", "ends_with", "exp",
    "floor", "greatest", "if", "ifnull", "in", "is", "least", "left", "length", "like", "ln", "log",
    "log10", "log1p", "log2", "lower", "mod", "not", "nullif", "or", "pow", "power", "regexp_like",
    "right", "rlike", "round", "sign", "sqrt", "starts_with", "substr", "try_cast", "upper", "when",
    "then", "else", "case",
}  # fmt: skip
"""Words allowed before a parenthesis of a condition. Functions of all rows, such as max, are not,
as a condition sees one piece of the points at a time."""
EXAMPLES = ("abs", "floor", "greatest", "round", "sqrt")
REFUSED_SIGNS = ("--", "/*", ";", "\\", "$", "#", "'", '"', "`")
"""Signs of comments, further statements and escapes, and quotes that are not closed."""
_TOKEN = re.compile(
    r"""(?P<text>'(?:[^']|'')*')|(?P<name>"(?:[^"]|"")*"|`[^`]*`)|(?P<word>[A-Za-z_]\w*)"""
    r"""|(?P<number>\d[\w.]*)|(?P<space>\s+)|(?P<sign>--|/\*|.)""",
    re.DOTALL,
)
_ARITHMETIC = {"+", "-", "*", "/", "%", "sum", "power", "pow", "mod", "div"}


def checked(source: str, text: str) -> str:
    """Return SQL that consists of expressions on the columns of points and of nothing else.

    Raises
    ------
    InputError
        Naming `source` and what is not allowed: a statement, a table, a comment.
    """
    for character in text:
        if not character.isprintable() and not character.isspace():
            raise InputError(
                f"{source}: contains U+{ord(character):04X}: expected SQL in plain text"
            )
    tokens = _tokens(text)
    if not tokens:
        raise InputError(f"{source}: is empty: expected SQL")
    if len(tokens) > MOST_TOKENS:
        raise InputError(
            f"{source}: {len(tokens):,} words and signs: expected at most {MOST_TOKENS:,}"
        )
    for match in tokens:
        token = match[0]
        if match.lastgroup == "word" and token.lower() in REFUSED_WORDS:
            raise InputError(f"{source}: {token}: expected expressions on columns only")
        if match.lastgroup == "sign" and token in REFUSED_SIGNS:
            raise InputError(f"{source}: {token}: remove comments, statements and escapes")
    return text


def calculates(text: str) -> bool:
    """Tell whether SQL does arithmetic, which needs wide integers."""
    return any(match[0].lower() in _ARITHMETIC for match in _tokens(text))


def _tokens(text: str) -> list[re.Match[str]]:
    return [match for match in _TOKEN.finditer(text) if match.lastgroup != "space"]


def condition(source: str, text: str) -> pl.Expr:
    """Return an SQL condition on the columns of points as an expression.

    Raises
    ------
    InputError
        Naming `source`, such as "query: --where", and the error.
    """
    checked(source, text)
    for match, following in pairwise(_tokens(text)):
        called = match.lastgroup == "word" and following[0] == "("
        if called and match[0].lower() not in ROW_FUNCTIONS:
            expected = f"expected functions of one row, such as {', '.join(EXAMPLES)}"
            raise InputError(f"{source}: {match[0]}: {expected}")
    with told(source):
        expression = pl.sql_expr(text)
        if not expression.meta.undo_aliases().meta.eq(
            expression
        ):  # words after its end are an alias
            raise InputError(f"{source}: {text.split()[-1]}: expected nothing after the condition")
    return expression


def filtered(source: Source, place: str, text: str) -> Source:
    """Return a source with only the points that meet an SQL condition.

    Arithmetic uses 128-bit integers; without it, the values of axes are filtered directly, which is
    free.

    Raises
    ------
    InputError
        Naming `place`, such as "query: --where".
    """
    wide, chosen = calculates(text), condition(place, text)
    with told(place):
        whole = source.wide if wide else source.points
        kind = whole.select(chosen.alias("kept")).collect_schema()["kept"]
        if kind != pl.Boolean:
            raise InputError(f"{place}: is {kind}: expected a condition, true or false")
        points = whole.filter(chosen)
        if wide:
            points = points.cast(source.points.collect_schema())
        return source._replace(points=points, chosen=(chosen, wide))
