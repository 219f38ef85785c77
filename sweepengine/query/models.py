"""Points of several models in one frame: a column `model` first, null where a model lacks one."""

from collections.abc import Iterator, Sequence
from functools import partial

import polars as pl

from sweepengine.engine.lazy import stacked
from sweepengine.engine.typed import type_of
from sweepengine.grid.axes import MODEL_AXIS
from sweepengine.query.sources import Source


def joined(sources: Sequence[Source]) -> Source:
    """One source of the points of several models, model after model.

    Parameters
    ----------
    sources : sequence of Source
        Of one grid or dataset; a single one is returned as it is.
    """
    first = sources[0]
    if len(sources) == 1:
        return first
    columns = dict.fromkeys(name for source in sources for name in source.columns)
    return first._replace(
        model=", ".join(source.model for source in sources),
        point_count=sum(source.point_count for source in sources),
        columns=(MODEL_AXIS, *columns),
        points=_stacked(sources, wide=False),
        widened=partial(_stacked, sources, wide=True),
        pieces=partial(_pieces, sources),
        bases=tuple(dict.fromkeys(basis for source in sources for basis in source.bases)),
        assumed=tuple(dict.fromkeys(text for source in sources for text in source.assumed)),
    )


def _stacked(sources: Sequence[Source], wide: bool) -> pl.LazyFrame:
    return stacked({s.model: s.wide if wide else s.points for s in sources})


def _pieces(
    sources: Sequence[Source], columns: Sequence[str], condition: pl.Expr | None, wide: bool
) -> Iterator[pl.DataFrame]:
    """Points in order, a piece at a time; parameters as those of `Source.pieces`."""
    used = {*columns, *(condition.meta.root_names() if condition is not None else ())}
    for source in sources:
        own = tuple(name for name in source.columns if name in used)
        lacking = [
            pl.lit(None, _kind(sources, name, wide)).alias(name)
            for name in used - {*own, MODEL_AXIS}
        ]
        named = [pl.lit(source.model).alias(MODEL_AXIS), *lacking]
        for frame in source.pieces(own or source.columns[:1], None, wide=wide):
            whole = frame.with_columns(named)
            yield (whole if condition is None else whole.filter(condition)).select(columns)


def _kind(sources: Sequence[Source], name: str, wide: bool) -> pl.DataType:
    loaded = next(source.loaded for source in sources if name in source.columns)
    return type_of(name, loaded, wide)
