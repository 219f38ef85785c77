"""The boundary of SQL that users write: what it may say, and one line for what goes wrong."""

from collections.abc import Iterator
from contextlib import contextmanager

import polars as pl
from polars.exceptions import PolarsError

from sweepengine.data.errors import InputError


@contextmanager
def sql(source: str) -> Iterator[None]:
    """Say in one line what Polars finds wrong with SQL, whether it parses, plans or runs it.

    Raises
    ------
    InputError
        Naming `source`, such as "query".
    """
    try:
        yield
    except PolarsError as error:
        reason = " ".join(str(error).splitlines()[0].split()) if str(error) else "SQL fails"
        raise InputError(f"{source}: {reason}") from None


def condition(source: str, text: str) -> pl.Expr:
    """An SQL condition on the columns of points, as an expression."""
    with sql(source):
        return pl.sql_expr(text)
