"""Request lengths with weights: the last axis of a grid."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sweepengine.data.errors import InputError
from sweepengine.data.models import Model
from sweepengine.data.units import SECONDS_PER_HOUR
from sweepengine.formulas.points import IMAGE_COLUMNS, INPUTS
from sweepengine.grid.checks import (
    IMAGE_RULE_COLUMNS,
    PREFIX_RULE_COLUMNS,
    check_together,
    checked_values,
)
from sweepengine.grid.points import default_values, has_axis
from sweepengine.grid.products import distinct
from sweepengine.grid.shorthand import joint_columns

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
AXIS = "lengths"
WEIGHT = "weight"
TEXT_COLUMNS = ("mode", "crops", "image", "page")
"""Joint axes that may be columns of a table of lengths."""
SHORT_NAMES = {"answer": "decode_steps"}
"""Short names of columns; `prompt` is `prompt_tokens`, with vision `text_tokens`."""
MAX_CLASSES = 64
"""Most classes of lengths in a search."""


class Arrivals(NamedTuple):
    """When requests arrive: how many in each hour from the first one on."""

    counts: tuple[int, ...]
    last_seconds: float
    """Seconds of the last hour, which the last request ends."""
    notes: tuple[str, ...] = ()
    """What of a trace is not used."""

    def seconds(self, hour: int) -> float:
        """Seconds of an hour of the trace."""
        return self.last_seconds if hour == len(self.counts) - 1 else float(SECONDS_PER_HOUR)


class Lengths(NamedTuple):
    """Distinct request lengths."""

    columns: tuple[str, ...]
    """Input columns that they set."""
    values: Integers
    """Shape (L, columns)."""
    weights: Floats
    """Share of all requests, shape (L,); they add up to 1."""
    source: str
    """Name of the table in messages."""
    arrivals: Arrivals | None = None
    """When the requests arrive; None where the table does not say."""

    @property
    def requests(self) -> int:
        """Number of distinct lengths."""
        return len(self.weights)

    def column(self, name: str, model: Model) -> Integers:
        """Values of an input column, shape (L,); the model's default where they set none."""
        if name in self.columns:
            return self.values[:, self.columns.index(name)]
        return np.full(self.requests, default_values(model)[name], np.int64)

    def mean(self, name: str, model: Model) -> float:
        """Mean of an input column over requests."""
        return float(self.column(name, model) @ self.weights)


def lengths_of(source: str, model: Model, table: Mapping[str, Sequence[Any]]) -> Lengths:
    """Request lengths of a table with a column per input, and optionally `weight`.

    Parameters
    ----------
    source : str
        Name of the table in messages.
    model : Model
    table : mapping of str to sequence
        `prompt` or `prompt_tokens` (of models with vision `text_tokens`), `answer` or
        `decode_steps`, `cached_tokens`, `shared_tokens`; of models with vision also `mode`,
        `crops`, `image` or `page`, or columns that these set, and `images`. `weight` counts
        requests and is 1 by default. An empty table is one request of the model's default lengths.

    Raises
    ------
    InputError
        For an unknown column, a value that is not valid, or no rows.
    """
    names = SHORT_NAMES | {"prompt": "text_tokens" if model.has_vision else "prompt_tokens"}
    known = ("decode_steps", "cached_tokens", "prompt_tokens", "text_tokens", "images",
             "shared_tokens", *IMAGE_COLUMNS)  # fmt: skip
    texts = [name for name in TEXT_COLUMNS if has_axis(model, name)]
    columns: dict[str, Integers] = {}
    weights: Floats | None = None
    for written, values in table.items():
        name = names.get(written, written)
        if written == WEIGHT:
            weights = _weights(source, values)
            continue
        is_text = name in texts
        if not is_text and (name not in known or name not in model.inputs):
            valid = [*names, *(n for n in known if n in model.inputs), WEIGHT]
            valid += texts
            raise InputError(f"{source}: {written}: expected columns of {', '.join(valid)}")
        if is_text:
            added = joint_columns(model, name, values, f"{source}: {name}")
        else:
            added = {name: _numbers(source, name, values)}
        if twice := set(added) & set(columns):
            raise InputError(f"{source}: {written}: sets {min(twice)}, as another column does")
        columns |= added
    if not columns:
        if not table:
            return Lengths((), np.zeros((1, 0), np.int64), np.ones(1), source)
        raise InputError(f"{source}: expected a column of lengths, such as prompt or answer")
    count = len(next(iter(columns.values())))
    if not count:
        raise InputError(f"{source}: expected at least one row")
    if weights is None:
        weights = np.ones(count)
    for names_of_rule in (IMAGE_RULE_COLUMNS, PREFIX_RULE_COLUMNS):
        if set(names_of_rule) & set(columns):
            defaults = default_values(model)
            involved = {
                name: columns.get(name, np.full(count, defaults[name], np.int64))
                for name in names_of_rule
            }
            check_together(
                model, involved, lambda p: f"{source}: {p.column}[{p.row}] = {p.value}: {p.text}"
            )
    return _merged(source, columns, weights)


def rows_of(source: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Columns of rows that a grid file lists.

    Raises
    ------
    InputError
        When a row has other keys than the first.
    """
    for i, row in enumerate(rows):
        if set(row) != set(rows[0]):
            raise InputError(f"{source}[{i}]: expected the keys {', '.join(rows[0])}")
    return {name: [row[name] for row in rows] for name in rows[0]}


def _merged(source: str, columns: Mapping[str, Integers], weights: Floats) -> Lengths:
    """Distinct rows with their summed weights; rows of weight 0 are left out."""
    rows, codes = distinct(list(columns.values()))
    summed = np.bincount(codes, weights, len(rows))
    kept = summed > 0
    values = np.stack([values[rows] for values in columns.values()], axis=1)
    return Lengths(tuple(columns), values[kept], summed[kept] / summed.sum(), source)


def _weights(source: str, values: Sequence[Any]) -> Floats:
    try:
        weights = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        weights = np.array([np.nan])
    if weights.ndim != 1:  # lists among numbers
        weights = np.array([np.nan])
    wrong = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if len(wrong):
        raise InputError(f"{source}: {WEIGHT}[{wrong[0]}]: expected a number of at least 0")
    if not weights.sum() > 0 or not np.isfinite(weights.sum()):
        raise InputError(f"{source}: {WEIGHT}: expected at least one number above 0")
    return weights


def _numbers(source: str, name: str, values: Sequence[Any]) -> Integers:
    try:
        numbers = np.asarray(values if len(values) else np.zeros(0, np.int64))
    except ValueError:  # lists among numbers
        numbers = np.zeros((0, 0))
    whole = numbers.dtype.kind in "iu" and numbers.ndim == 1
    return checked_values(INPUTS[name], numbers if whole else list(values),
                          lambda i, value: f"{source}: {name}[{i}] = {value!r}")  # fmt: skip


def condensed(lengths: Lengths, classes: int = MAX_CLASSES) -> Lengths:
    """At most `classes` classes of requests with the same mean lengths, rounded to tokens.

    Requests are sorted by decode steps and cut into sqrt(classes) parts of equal weight. Each part
    is sorted by image and prompt size and cut likewise. A class has the mean tokens of its
    requests and the image of its median request.
    """
    if lengths.requests <= classes:
        return lengths
    parts = int(classes**0.5)
    columns = dict(zip(lengths.columns, lengths.values.T, strict=True))
    steps = columns.get("decode_steps", np.zeros(lengths.requests, np.int64))
    first = _binned(steps, lengths.weights, parts)
    tiles = columns.get("crop_rows", 0) * columns.get("crop_cols", 1)
    size = tiles * 1000 + sum(  # an image's tokens grow with its tiles first
        columns.get(name, 0) for name in ("view_size", "prompt_tokens", "text_tokens")
    ) + np.zeros(lengths.requests, np.int64)  # fmt: skip
    rows = []
    weights = []
    for part in range(parts):
        members = np.flatnonzero(first == part)
        if not len(members):
            continue
        second = _binned(size[members], lengths.weights[members], parts)
        for code in np.unique(second):
            inside = members[second == code]
            inside = inside[np.argsort(size[inside], kind="stable")]
            share = lengths.weights[inside]
            middle = inside[np.searchsorted(np.cumsum(share), share.sum() / 2)]
            rows.append(
                [
                    values[middle] if name in IMAGE_COLUMNS
                    else round(float(np.average(values[inside], weights=share)))
                    for name, values in columns.items()
                ]
            )  # fmt: skip
            weights.append(share.sum())
    table = np.array(rows, np.int64)
    named = dict(zip(lengths.columns, table.T, strict=True))
    return _merged(lengths.source, named, np.array(weights))


def _binned(values: Integers, weights: Floats, parts: int) -> Integers:
    """Index of the part that each value is in: `parts` parts of equal weight, smallest first."""
    order = np.argsort(values, kind="stable")
    before = np.cumsum(weights[order]) - weights[order] / 2
    bins = np.empty(len(values), np.int64)
    bins[order] = np.minimum(before / weights.sum() * parts, parts - 1).astype(np.int64)
    return bins


def quantile(values: Floats, weights: Floats, share: float) -> Floats:
    """Weighted quantile along the last axis: the least value that `share` does not exceed.

    Parameters
    ----------
    values : float64 array, shape (..., L)
    weights : float64 array, shape (L,)
    share : float
        Above 0, at most 1.
    """
    order = np.argsort(values, axis=-1, kind="stable")
    reached = np.cumsum(weights[order], axis=-1)
    index = (reached < share * reached[..., -1:] * (1 - 1e-12)).sum(axis=-1)
    index = np.minimum(index, values.shape[-1] - 1)
    taken = np.take_along_axis(order, index[..., None], axis=-1)
    return np.take_along_axis(values, taken, axis=-1)[..., 0]
