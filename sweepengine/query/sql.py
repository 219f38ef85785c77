"""The boundary of SQL that users write: what it may say, and one line for what goes wrong."""

import re
from itertools import pairwise

import polars as pl

from sweepengine.data.errors import InputError
from sweepengine.query.reading import told
from sweepengine.query.sources import Source

MOST_TOKENS = 2_000
"""Words and signs of one text: parsers of more run out of their stack."""
ELSEWHERE = ("select", "from", "union", "intersect", "except", "with", "values", "table", "join",
             "into", "copy", "create", "drop", "delete", "insert", "update",
             "interval")  # fmt: skip
"""Words by which SQL reads or writes what is not the table of points."""
OF_A_ROW = {
    "abs", "and", "between", "cast", "ceil", "ceiling", "coalesce", "concat", "ends_with", "exp",
    "floor", "greatest", "if", "ifnull", "in", "is", "least", "left", "length", "like", "ln", "log",
    "log10", "log1p", "log2", "lower", "mod", "not", "nullif", "or", "pow", "power", "regexp_like",
    "right", "rlike", "round", "sign", "sqrt", "starts_with", "substr", "try_cast", "upper", "when",
    "then", "else", "case",
}  # fmt: skip
"""Words before a parenthesis of a condition: those of all rows, as max, would see parts alone."""
SHOWN = ("abs", "floor", "greatest", "round", "sqrt")
REFUSED = ("--", "/*", ";", "\\", "$", "#", "'", '"', "`")
"""Signs of comments, of further statements, of escapes, and quotes that are not closed."""
_TOKEN = re.compile(
    r"""(?P<text>'(?:[^']|'')*')|(?P<name>"(?:[^"]|"")*"|`[^`]*`)|(?P<word>[A-Za-z_]\w*)"""
    r"""|(?P<number>\d[\w.]*)|(?P<space>\s+)|(?P<sign>--|/\*|.)""",
    re.DOTALL,
)
_ARITHMETIC = {"+", "-", "*", "/", "%", "sum", "power", "pow", "mod", "div"}


def checked(source: str, text: str) -> str:
    """SQL that is one expression, or some, on the columns of points; it sees nothing else.

    Raises
    ------
    InputError
        Naming `source` and what is not taken: another statement, a table, a comment.
    """
    for character in text:
        if not character.isprintable() and not character.isspace():
            raise InputError(f"{source}: holds U+{ord(character):04X}: expected SQL in plain text")
    tokens = _tokens(text)
    if not tokens:
        raise InputError(f"{source}: is empty: expected SQL")
    if len(tokens) > MOST_TOKENS:
        raise InputError(
            f"{source}: {len(tokens):,} words and signs: expected at most {MOST_TOKENS:,}"
        )
    for match in tokens:
        found = match[0]
        if match.lastgroup == "word" and found.lower() in ELSEWHERE:
            raise InputError(f"{source}: {found}: expected expressions on the columns alone")
        if match.lastgroup == "sign" and found in REFUSED:
            raise InputError(f"{source}: {found}: expected no comment, statement or escape")
    return text


def calculates(text: str) -> bool:
    """Whether SQL does arithmetic, for which integers must be wide."""
    return any(match[0].lower() in _ARITHMETIC for match in _tokens(text))


def _tokens(text: str) -> list[re.Match[str]]:
    return [match for match in _TOKEN.finditer(text) if match.lastgroup != "space"]


def condition(source: str, text: str) -> pl.Expr:
    """An SQL condition on the columns of points, as an expression.

    Raises
    ------
    InputError
        Naming `source`, such as "query: --where", and what is wrong.
    """
    checked(source, text)
    for match, following in pairwise(_tokens(text)):
        called = match.lastgroup == "word" and following[0] == "("
        if called and match[0].lower() not in OF_A_ROW:
            raise InputError(
                f"{source}: {match[0]}: expected functions of one row, as {', '.join(SHOWN)}"
            )
    with told(source):
        found = pl.sql_expr(text)
        if not found.meta.undo_aliases().meta.eq(found):  # as of words behind its end
            raise InputError(f"{source}: {text.split()[-1]}: expected nothing behind the condition")
    return found


def filtered(source: Source, place: str, text: str) -> Source:
    """A source with the points alone that meet an SQL condition.

    Arithmetic is on integers of 128 bits; without any, the values of axes are filtered as they
    are, which costs nothing.

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
