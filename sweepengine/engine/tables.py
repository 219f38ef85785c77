"""The tables of a set of workloads, from compiled formulas where they are many."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sweepengine.data.errors import InputError
from sweepengine.engine.records import FIGURES, flat
from sweepengine.formulas.architecture import Architecture
from sweepengine.formulas.drafts import changed_inputs, draft_of
from sweepengine.formulas.figures import Phase, device_counts, in_passes
from sweepengine.formulas.formats import cache_bits
from sweepengine.formulas.layout import Layout, Share, share_of
from sweepengine.formulas.points import IMAGE_COLUMNS, Point, Tokens, rows_of_images, tokens_of
from sweepengine.formulas.reductions import more_positions
from sweepengine.formulas.speculation import A_TOKEN, DecodeStep, drafting, verification
from sweepengine.formulas.vision import VisionPhase, of_images
from sweepengine.grid.axes import AXES
from sweepengine.grid.plain import image_of_sizes, prefill_figures, step_figures, vision_figures
from sweepengine.grid.products import distinct

Integers = NDArray[np.int64]
Columns = Mapping[str, Integers]
Figured = tuple[Integers, Integers, Integers]
"""Figures, what keys add, and experts of workloads."""
FEW = 1_000
"""Figures that plain Python makes in the time that compiling their formulas would take."""
LAYOUT_COLUMNS = AXES["layout"].columns
SHARE = (*AXES["heads"].columns, *LAYOUT_COLUMNS)
"""Inputs that decide which share of a model a device has."""


class Shares(NamedTuple):
    """Distinct shares of a device."""

    around: Integers
    """Shape (S, numbers of `kernel.Around`)."""
    groups: Integers
    """Shape (S, groups, numbers of `Group`)."""
    codes: Integers
    """Which share each row has."""


def rows_by(columns: Columns, names: tuple[str, ...]) -> tuple[list[list[int]], Integers]:
    """Distinct combinations of some columns, and which of them each row has."""
    rows, codes = distinct([columns[name] for name in names])
    return np.stack([columns[name][rows] for name in names], axis=1).tolist(), codes


def shares_of(
    arch: Architecture, columns: Columns, share: Callable[..., Share] = share_of
) -> Shares:
    """Shares of a device at each row's heads and layout: what it holds, or what a pass meets."""
    chosen, codes = rows_by(columns, SHARE)
    shares = [share(arch, row[0], row[1], Layout(*row[2:])) for row in chosen]
    around = [flat((one.backbone, one.layout, one.ends)) for one in shares]
    groups = [[flat(group) for group in one.groups] for one in shares]
    return Shares(np.array(around, np.int64), np.array(groups, np.int64), codes)


def tokens_by_row(arch: Architecture, columns: Columns) -> dict[str, Integers]:
    """The fields of `Tokens` of each row's point."""
    image = features = np.zeros(len(columns["text_tokens"]), np.int64)
    if arch.towers is not None:
        chosen, codes = rows_by(columns, IMAGE_COLUMNS)
        seen = [image_of_sizes(arch.towers, *sizes) for sizes in chosen]
        image = np.array([one.tokens for one in seen], np.int64)[codes]
        features = np.array([one.features for one in seen], np.int64)[codes]
    zeros = dict.fromkeys(Point._fields, np.int64(0))
    case = Point(**{**zeros, **columns})  # type: ignore[arg-type] # a column for each number
    found: Any = tokens_of(case, image, features)  # type: ignore[arg-type] # columns too
    return {name: np.broadcast_to(column, len(image)) for name, column in found._asdict().items()}


def tabulate(arch: Architecture, columns: Columns) -> Figured:
    """Figures of workloads, as `kernel.Tables` holds them.

    Parameters
    ----------
    arch : Architecture
        Of the model.
    columns : mapping of str to int64 array, shape (W,)
        Inputs that make workloads.
    """
    drafted, accepted = columns["draft_tokens"], columns["accepted_tokens"]
    step: Any = verification(drafted, accepted)  # type: ignore[arg-type] # columns
    return _tabulated(arch, columns, tokens_by_row(arch, columns), step)


class Drafted(NamedTuple):
    """Which rows have tokens drafted by one draft, and their inputs as it has them."""

    architecture: Architecture
    """Of the draft."""
    rows: Integers
    columns: dict[str, Integers]


def drafts_in(arch: Architecture, columns: Columns) -> Iterator[Drafted]:
    """The drafts of workloads, each with its rows and their inputs.

    Parameters
    ----------
    arch : Architecture
        Of the model.
    columns : mapping of str to int64 array, shape (W,)
        Inputs that make workloads.
    """
    drafting = columns["draft_tokens"] > 0
    if not drafting.any():
        return
    for draft in np.unique(columns["draft"][drafting]).tolist():
        rows = np.flatnonzero(drafting & (columns["draft"] == draft))
        own = {name: values[rows] for name, values in columns.items()}
        for name, value in changed_inputs(arch, draft).items():
            own[name] = np.full(len(rows), value, np.int64)
        yield Drafted(draft_of(arch, draft), rows, own)


def tabulate_draft(arch: Architecture, columns: Columns, draft: Drafted) -> Figured:
    """Figures of the draft of workloads; those of other rows are 0, but for tokens a step.

    Parameters
    ----------
    arch : Architecture
        Of the model.
    columns : mapping of str to int64 array, shape (W,)
        Inputs that make workloads.
    draft : Drafted
        One of `drafts_in`.
    """
    rows, own = draft.rows, draft.columns
    tokens = {name: values[rows] for name, values in tokens_by_row(arch, columns).items()}
    step: Any = drafting(own["draft_tokens"], own["accepted_tokens"])  # type: ignore[arg-type]
    found = _tabulated(draft.architecture, own, tokens, step)
    figures, growth, experts = (
        np.zeros((*table.shape[:-1], len(columns["draft"])), np.int64) for table in found
    )
    for whole, part in zip((figures, growth, experts), found, strict=True):
        whole[..., rows] = part
    others = np.setdiff1d(np.arange(figures.shape[1]), rows)
    figures[FIGURES.index("step.accepted"), others] = A_TOKEN
    figures[FIGURES.index("devices.data_parallel"), others] = 1
    return figures, growth, experts


def _tabulated(arch: Architecture, columns: Columns, tokens: Columns, step: DecodeStep) -> Figured:
    """Figures of workloads of a model or a draft.

    Vision depends on image and attention alone, steps on heads, formats and layout alone, so each
    is made once for those. Prefill is made for each workload.

    Parameters
    ----------
    arch : Architecture
        Of the model or its draft.
    columns : mapping of str to int64 array, shape (W,)
        Inputs that make workloads.
    tokens : mapping of str to int64 array, shape (W,)
        The fields of `Tokens`.
    step : DecodeStep
        Of each workload: columns.
    """
    count = len(columns["attention"])
    figures = np.zeros((len(FIGURES), count), np.int64)

    def put(record: str, names: tuple[str, ...], values: Integers, codes: Integers) -> None:
        for name, row in zip(names, values, strict=True):
            figures[FIGURES.index(f"{record}.{name}")] += row[codes]

    every = np.arange(count)
    steps_by_row = {name: np.broadcast_to(values, count) for name, values in step._asdict().items()}
    put("step", DecodeStep._fields, np.stack(list(steps_by_row.values())), every)
    put("tokens", Tokens._fields, np.stack(list(tokens.values())), every)
    if arch.towers is not None:
        images, codes = rows_by(columns, (*IMAGE_COLUMNS, "attention"))
        seen = _vision(arch, np.array(images, np.int64))[:, codes]
        one: Any = VisionPhase(Phase(*seen[:-2]), *seen[-2:])  # columns as well as counts
        of_each: Any = of_images(one, columns["images"])  # type: ignore[arg-type]
        put("vision", Phase._fields, np.stack(of_each.counts), every)
        put("weights", ("vision_read_bytes", "held_bytes"), np.stack(of_each[1:]), every)
    put("prefill", Phase._fields, _prefill(arch, columns, tokens), every)
    crossed = {"crossed": rows_of_images(arch, tokens["image"], tokens["features"])}
    names = (*SHARE[:2], "attention", "latent", "weight_format", "cache_format", *LAYOUT_COLUMNS)
    of_step = {**columns, **crossed, **steps_by_row}
    chosen, codes = rows_by(of_step, (*names, "crossed", "tokens", "passes"))
    steps = [step_figures(arch, *row[:6], Layout(*row[6:-3]), *row[-3:-1]) for row in chosen]
    in_steps = [in_passes(one.counts, row[-1]) for one, row in zip(steps, chosen, strict=True)]
    put("decode", Phase._fields, np.array(in_steps, np.int64).T, codes)
    weights = [one.weights for one in steps]
    put("weights", weights[0]._fields, np.array(weights, np.int64).T, codes)
    more = more_positions(arch.backbone.positions, tokens["prefill"])  # type: ignore[arg-type]
    more = more * figures[FIGURES.index("weights.position_row_bytes")]
    put("weights", ("prefill_read_bytes",), np.stack([more]), every)
    layouts = [device_counts(Layout(*row[6:-3])) for row in chosen]
    put("devices", layouts[0]._fields, np.array(layouts, np.int64).T, codes)
    growth = np.array([[flat(each) for each in one.growth] for one in steps], np.int64)
    experts = np.array([one.expert_bytes for one in steps], np.int64).reshape(len(steps), -1, 2)

    def by_workload(table: Integers) -> Integers:
        return np.ascontiguousarray(table.transpose(1, 2, 0)[:, :, codes])

    return figures, by_workload(growth), by_workload(experts)


def _vision(arch: Architecture, images: Integers) -> Integers:
    """Vision of images and attention, shape (fields of `Phase`, read and held bytes; images)."""
    towers = arch.vision
    seen = [(image_of_sizes(towers, *sizes), flash) for *sizes, flash in images.tolist()]
    if len(images) <= FEW:
        found = [vision_figures(arch, image, flash) for image, flash in seen]
        return np.array([[*one.counts, one.read_bytes, one.held_bytes] for one in found]).T
    from sweepengine.engine.kernel_vision import fill_vision

    out = np.empty((len(Phase._fields) + 2, len(images)), np.int64)
    rows = np.array([[*flat(image), flash] for image, flash in seen], np.int64)
    fill_vision(arch.convention, towers.merge, towers.width, *tower_rows(arch), rows, out)
    return out


def tower_rows(arch: Architecture) -> tuple[Integers, Integers, Integers, Integers]:
    """Towers as the kernel reads them: blocks, what is counted of each, and joins likewise."""
    towers, counts = arch.vision, arch.counts
    parts = (towers.blocks, counts.blocks, towers.joins, counts.joins)
    blocks, block_counts, joins, join_counts = (
        np.array([flat(one) for one in part], np.int64) if part else np.zeros((0, 0), np.int64)
        for part in parts
    )
    return blocks, block_counts, joins, join_counts


def _prefill(arch: Architecture, columns: Columns, of_point: Columns) -> Integers:
    """Prefill of workloads whose `Tokens` are given, shape (fields of `Phase`, W).

    Raises
    ------
    InputError
        When a figure of one sequence overflows.
    """
    tokens = of_point["prefill"]
    features = rows_of_images(arch, of_point["image"], of_point["features"])
    cached, flash = of_point["cached"], columns["attention"]
    caches = columns["cache_format"]
    count = len(flash)
    if count <= FEW:
        asked = (tokens, cached, *(columns[n] for n in SHARE[:2]), flash, caches,
                 *(columns[name] for name in LAYOUT_COLUMNS), features)  # fmt: skip
        rows = np.stack(asked, axis=1).tolist()
        made = [prefill_figures(arch, *row[:6], Layout(*row[6:-1]), row[-1]) for row in rows]
        try:
            return np.array(made, np.int64).T
        except OverflowError:
            raise InputError(
                f"a prefill of {int(tokens.max()):,} tokens overflows 64-bit counts: expected a "
                "shorter prompt"
            ) from None
    from sweepengine.engine.kernel import Prefilled, fill_prefill

    shares = shares_of(arch, columns)
    chosen, codes = rows_by(columns, ("cache_format",))
    bits = np.array([cache_bits(arch, cache) for (cache,) in chosen], np.int64)[codes]
    by_name = {"share": shares.codes, "tokens": tokens, "cached": cached, "flash": flash,
               "cache_bits": bits, "features": features}  # fmt: skip
    cases = np.stack([by_name[name] for name in Prefilled._fields], axis=1)
    out = np.empty((len(Phase._fields), count), np.int64)
    counts = arch.counts
    fill_prefill(arch.convention, counts.layer, counts.ends, shares.around, shares.groups,
                 np.ascontiguousarray(cases, np.int64), out)  # fmt: skip
    return out
