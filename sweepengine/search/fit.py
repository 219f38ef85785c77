"""Whether a model fits on a device, how many concurrent requests it holds, and how fast it is."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from sweepengine.costs.spec_sheet import formats_text
from sweepengine.costs.time_parts import TimeParts, time_parts
from sweepengine.costs.timeline import timeline
from sweepengine.data.basis import basis
from sweepengine.data.devices import Device, load_device
from sweepengine.data.error_classes import Case
from sweepengine.data.errors import InputError
from sweepengine.data.models import Model, load_model
from sweepengine.data.speeds import TimingTarget, timing_target
from sweepengine.formulas.formats import OWN
from sweepengine.formulas.layout import Layout
from sweepengine.formulas.points import INPUTS, Point
from sweepengine.grid.lengths import Lengths, condensed, lengths_of
from sweepengine.grid.plain import image_of
from sweepengine.grid.points import default_values
from sweepengine.grid.shorthand import layout_name
from sweepengine.search.concurrency import MEETS, Verdict, batches_within, verdict
from sweepengine.search.declarations import checked
from sweepengine.search.known_errors import with_errors
from sweepengine.search.options import FitOptions
from sweepengine.search.placements import (
    Precision,
    group_limit,
    layouts_of,
    read_layouts,
    read_precisions,
    search_grid,
)
from sweepengine.search.plans import ServedPlan
from sweepengine.search.requests import latencies, percentiles
from sweepengine.search.speculation import Speculation, drafting_layouts, speculating
from sweepengine.search.steady_state import FITS, LAYOUT_COLUMNS, SECONDS_PER_DAY, served_frames

CONTEXTS = (2_048, 8_192, 32_768, 131_072)
PAGE_CONTEXTS = (1_024, 2_048, 4_096, 8_192)
"""Contexts shown, tokens; of models with vision the second."""
BATCHES = (1, 8, 64)
"""Batch sizes shown, with the largest within the targets and the largest that fits."""


class Card(NamedTuple):
    """A model on one device type."""

    device: Device
    layout: str
    devices: int
    served: pl.DataFrame
    """A row per batch size shown that fits, or batch size 1 where none does; columns are those of
    `steady_state.STEADY_STATE_COLUMNS`, and `meets`: whether it meets the targets."""
    verdict: Verdict
    largest: dict[int, int]
    """Largest batch size by tokens of a request, prompt and answer."""
    parts: TimeParts
    """Parts of TTFT and TPOT at the batch of the verdict, of a request of mean lengths."""
    requests: pl.DataFrame
    """Latency percentiles at the batch of the verdict (`requests.percentiles`)."""
    basis: str
    sized: bool
    """Whether the serving engine must be set to run as many sequences as the batch has, as nothing
    fits beside the memory that it keeps for its default number."""

    @property
    def answered(self) -> dict[str, Any]:
        """The row of the batch of the verdict."""
        return self.served.row(by_predicate=pl.col("batch_size") == self.verdict.batch, named=True)

    @property
    def fits(self) -> bool:
        """Whether the weights and one request fit."""
        return bool(self.served["fits"][0])

    def as_dict(self) -> dict[str, Any]:
        """All fields, for JSON; the device by its name."""
        frames = {"served": self.served.to_dicts(), "requests": self.requests.to_dicts()}
        records = {"verdict": self.verdict._asdict(), "parts": self.parts._asdict()}
        return self._asdict() | frames | records | {"device": self.device.name, "fits": self.fits}


class Fit(NamedTuple):
    """A model on each of several devices."""

    model: Model
    lengths: Lengths
    options: FitOptions
    cards: list[Card]
    formats: str
    """Assumed formats."""
    notes: tuple[str, ...]
    """What is assumed of speculative decoding."""

    def as_dict(self) -> dict[str, Any]:
        """All fields, for JSON."""
        return {
            "model": self.model.name,
            "parameters": self.model.parameter_count,
            "formats": self.formats,
            "assumed": self.notes,
            "requests": {
                "distinct": self.lengths.requests,
                "decode_steps": self.lengths.mean("decode_steps", self.model),
            },
            "targets": self.options.targets._asdict(),
            "users": self.options.users,
            "rate": self.options.rate,
            "setting": self.options.serving._asdict()
            | self.options.engine._asdict()
            | self.options.speculation._asdict(),
            "cards": [card.as_dict() for card in self.cards],
        }


def find_fit(
    model: Model | str | Path,
    devices: Sequence[Device | str | Path],
    lengths: Lengths,
    options: FitOptions = FitOptions(),  # noqa: B008 -- immutable
) -> Fit:
    """Check whether a model fits on each device, and how fast it is there.

    Parameters
    ----------
    model : Model, str or Path
        A model, or its name or file.
    devices : sequence of Device, str or Path
        Devices, or their names or files.
    lengths : Lengths
        Request lengths.
    options : FitOptions

    Raises
    ------
    InputError
        When an option is not valid.
    """
    checked("fit", options)
    drafting = options.speculation
    if drafting.draft is not None and drafting.draft_tokens is None:
        options = options._replace(speculation=drafting._replace(draft_tokens=1))
    loaded, speculation = speculating("fit", load_model(model), options.speculation)
    if not devices:
        raise InputError("fit: expected at least one device")
    (precision,) = read_precisions("fit", loaded, [options.precision])
    layouts = None if options.layout is None else read_layouts("fit", loaded, [options.layout])
    cards = []
    for device in map(load_device, devices):
        timing = timing_target(device, options.framework, options.times)
        cards.append(_card(loaded, timing, layouts, precision, lengths, options, speculation))
    assumed = formats_text(loaded.architecture)
    formats = f"checkpoint: {assumed}" if options.precision == OWN else options.precision
    return Fit(loaded, lengths, options, cards, formats, speculation.notes)


def _card(
    model: Model,
    timing: TimingTarget,
    layouts: list[Layout] | None,
    precision: Precision,
    lengths: Lengths,
    options: FitOptions,
    speculation: Speculation,
) -> Card:
    """The card of one timing target, in the layout that fits on the fewest devices."""
    serving, engine = options.serving, options.engine
    (drafted,) = speculation.drafted

    def swept(axes: Mapping[str, Any], of: Lengths, sized: bool) -> pl.DataFrame:
        every = {"precision": precision, **speculation.axes, **axes}
        grid = search_grid(model, timing, every, of, "fit", engine)
        return pl.concat(served_frames(grid, timing, serving, sized))

    device, contexts = timing.device, _contexts(model)
    if layouts is None:
        limit = group_limit(model, timing, engine)
        layouts = within_nodes(layouts_of(model, limit, simple=True), device)
        layouts = drafting_layouts(model, speculation, layouts)
    one = {"layout": layouts, "batch_size": 1}
    rows, sized = fewest(swept(one, lengths, False)), False
    if engine.max_sequences is None and not (rows["fits"][0] and rows["devices"][0] == 1):
        tried = fewest(swept(one, lengths, True))
        fewer = not rows["fits"][0] or tried["devices"][0] < rows["devices"][0]
        rows, sized = (tried, True) if tried["fits"][0] and fewer else (rows, False)
    layout, largest = Layout(*rows.select(LAYOUT_COLUMNS).row(0)), dict.fromkeys(contexts, 0)
    shown = {1}
    if rows.filter(FITS).height:
        most = min(max(rows["largest_batch"][0], 1), INPUTS["batch_size"].maximum)
        shown = {*BATCHES, most}

        def states(batches: Sequence[int]) -> pl.DataFrame:
            return swept({"layout": layout, "batch_size": list(batches)}, lengths, sized)

        rows = batches_within(states, most, options)
        no_answer = lengths_of("fit", model, {"answer": [0]})
        single = swept({"layout": layout, "batch_size": 1} | _prompts(model), no_answer, sized)
        largest = dict(zip(contexts, single["largest_batch"].to_list(), strict=True))
    else:
        rows = rows.with_columns(pl.lit(False).alias(MEETS))
    found = verdict(rows, options)
    shown |= {found.batch, rows.filter(MEETS)["batch_size"].max() or 1}  # type: ignore[arg-type]
    rows = rows.filter(pl.col("batch_size").is_in(list(shown)))
    rows = rows.with_columns(requests_per_day=pl.col("requests_per_s") * SECONDS_PER_DAY)
    rows = with_errors(rows, model, lambda _: timing, {"draft_tokens": drafted})
    answered = rows.row(by_predicate=pl.col("batch_size") == found.batch, named=True)
    plan = ServedPlan(layout, precision, found.batch, int(answered["devices"]),
                      answered["requests_per_s"], speculation=speculation.axes)  # fmt: skip
    axes = {"precision": precision, "layout": layout, "batch_size": plan.batch_size}
    axes |= speculation.axes
    grid = search_grid(model, timing, axes, condensed(lengths, 1), "fit", engine)
    return Card(
        device=device,
        layout=layout_name(layout),
        devices=plan.devices,
        served=rows,
        verdict=found,
        largest=largest,
        parts=time_parts(timeline(grid.model, grid.point, timing)),
        requests=percentiles(latencies(model, plan, timing, lengths, serving, engine), lengths),
        basis=basis(
            model.architecture, timing, True, Case(precision[0], layout, speculative=drafted > 0)
        ),
        sized=sized,
    )


def within_nodes(layouts: Sequence[Layout], device: Device) -> list[Layout]:
    """Layouts whose tensor groups lie within a node of the device, as engines are deployed."""
    return [layout for layout in layouts if layout.tensor <= device.node_size]


def fewest(rows: pl.DataFrame) -> pl.DataFrame:
    """The row that fits on the fewest devices; where none fits, the last."""
    fitting = rows.filter(FITS)
    return (fitting if fitting.height else rows[-1:]).sort("devices", "ttft_s").head(1)


def _contexts(model: Model) -> tuple[int, ...]:
    """Tokens of the requests shown; of models with vision those that hold an image."""
    if not model.has_vision:
        return CONTEXTS
    tokens = _image_tokens(model)
    return tuple(context for context in PAGE_CONTEXTS if context >= tokens) or PAGE_CONTEXTS[-1:]


def _image_tokens(model: Model) -> int:
    return image_of(model.architecture, Point(**default_values(model))).tokens


def _prompts(model: Model) -> dict[str, list[int]]:
    """The axis of requests of `_contexts` tokens: prompts, or the text of a page with an image."""
    if not model.has_vision:
        return {"prompt_tokens": list(_contexts(model))}
    tokens = _image_tokens(model)
    return {"text_tokens": [max(context - tokens, 0) for context in _contexts(model)]}
