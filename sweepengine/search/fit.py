"""Whether a model fits a device, how many requests beside it, how fast, and bound by what."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from sweepengine.costs.spec_sheet import formats_text
from sweepengine.costs.timeline import Timeline, timeline
from sweepengine.data.devices import Device, load_device
from sweepengine.data.errors import InputError
from sweepengine.data.models import Model, load_model
from sweepengine.data.speeds import TimingTarget, basis, timing_target
from sweepengine.formulas.formats import OWN
from sweepengine.formulas.layout import Layout
from sweepengine.formulas.points import INPUTS, Point
from sweepengine.grid.lengths import Lengths, condensed, lengths_of
from sweepengine.grid.plain import image_of
from sweepengine.grid.points import default_values
from sweepengine.grid.shorthand import layout_name
from sweepengine.search.declarations import checked
from sweepengine.search.options import FitOptions, ServingAssumptions
from sweepengine.search.placements import (
    Precision,
    group_limit,
    layouts_of,
    read_layouts,
    read_precisions,
    search_grid,
)
from sweepengine.search.plans import ServedPlan
from sweepengine.search.requests import percentiles
from sweepengine.search.steady_state import FITS, LAID, SECONDS_PER_DAY, served_frames

CONTEXTS = (2_048, 8_192, 32_768, 131_072)
PAGE_CONTEXTS = (1_024, 2_048, 4_096, 8_192)
"""Of models that read pages."""
BATCHES = (1, 8, 64)
"""Shown beside the largest that fits."""


class Card(NamedTuple):
    """A model on one kind of device."""

    device: Device
    layout: str
    devices: int
    served: pl.DataFrame
    """A row a batch, those that fit: `steady_state.STEADY_STATE_COLUMNS`; without any the smallest
    batch."""
    largest: dict[int, int]
    """Largest batch by tokens of a request, prompt and answer."""
    bound: dict[str, dict[str, float]]
    """Stage to what binds it, as parts of its time, at the largest batch shown."""
    requests: pl.DataFrame
    """What requests see at the largest batch shown (`requests.percentiles`)."""
    basis: str

    @property
    def fits(self) -> bool:
        """Whether weights and a request do."""
        row = self.served.row(0, named=True)
        return bool(row["memory_bytes"] <= row["room_bytes"])

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON; the device by its name."""
        frames = {"served": self.served.to_dicts(), "requests": self.requests.to_dicts()}
        return self._asdict() | frames | {"device": self.device.name, "fits": self.fits}


class Fit(NamedTuple):
    """A model on devices, side by side."""

    model: Model
    lengths: Lengths
    options: FitOptions
    cards: list[Card]
    formats: str
    """That were assumed."""

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            "model": self.model.name,
            "parameters": self.model.parameter_count,
            "formats": self.formats,
            "requests": {
                "distinct": self.lengths.requests,
                "decode_steps": self.lengths.mean("decode_steps", self.model),
            },
            "setting": self.options.serving._asdict(),
            "cards": [card.as_dict() for card in self.cards],
        }


def find_fit(
    model: Model | str | Path,
    devices: Sequence[Device | str | Path],
    lengths: Lengths,
    options: FitOptions = FitOptions(),  # noqa: B008 -- immutable
) -> Fit:
    """Fit a model to devices.

    Parameters
    ----------
    model : Model, str or Path
        A model, or its name or file.
    devices : sequence of Device, str or Path
        Devices, or their names or files.
    lengths : Lengths
        Of requests.
    options : FitOptions

    Raises
    ------
    InputError
        When an option is not valid.
    """
    loaded = load_model(model)
    checked("fit", options)
    if not devices:
        raise InputError("fit: expected at least one device")
    (precision,) = read_precisions("fit", loaded, [options.precision])
    layouts = None if options.layout is None else read_layouts("fit", loaded, [options.layout])
    cards = []
    for device in map(load_device, devices):
        place = timing_target(device, options.framework, options.times)
        cards.append(_card(loaded, place, layouts, precision, lengths, options.serving))
    assumed = formats_text(loaded.architecture)
    formats = f"checkpoint: {assumed}" if options.precision == OWN else options.precision
    return Fit(loaded, lengths, options, cards, formats)


def _card(
    model: Model,
    place: TimingTarget,
    layouts: list[Layout] | None,
    precision: Precision,
    lengths: Lengths,
    serving: ServingAssumptions,
) -> Card:
    """A model at a place; in the layout on fewest devices of those that may be taken."""

    def swept(axes: Mapping[str, Any], of: Lengths) -> pl.DataFrame:
        grid = search_grid(model, place, {"precision": precision, **axes}, of, "fit")
        return pl.concat(served_frames(grid, place, serving))

    device, contexts = place.device, _contexts(model)
    if layouts is None:
        limit = group_limit(model, device, serving.memory_share)
        layouts = layouts_of(model, limit, simple=True)
    rows = fewest(swept({"layout": layouts, "batch_size": 1}, lengths))
    layout, largest = Layout(*rows.select(LAID).row(0)), dict.fromkeys(contexts, 0)
    if rows.filter(FITS).height:
        most = min(max(rows["largest_batch"][0], 1), INPUTS["batch_size"].maximum)
        batches = sorted({*(batch for batch in BATCHES if batch < most), most})
        rows = swept({"layout": layout, "batch_size": batches}, lengths)
        alone = swept({"layout": layout, "batch_size": 1} | _prompts(model), _no_answer(model))
        largest = dict(zip(contexts, alone["largest_batch"].to_list(), strict=True))
    rows = rows.with_columns(requests_per_day=pl.col("requests_per_s") * SECONDS_PER_DAY)
    last = rows.row(-1, named=True)
    plan = ServedPlan(layout, precision, last["batch_size"], int(last["devices"]),
                      last["requests_per_s"])  # fmt: skip
    axes = {"precision": precision, "layout": layout, "batch_size": plan.batch_size}
    grid = search_grid(model, place, axes, condensed(lengths, 1))
    bound = bound_by(timeline(grid.model, grid.point, place))
    requests = percentiles(model, plan, place, lengths, serving)
    return Card(
        device=device,
        layout=layout_name(layout),
        devices=plan.devices,
        served=rows,
        largest=largest,
        bound=bound,
        requests=requests,
        basis=basis(model.architecture, place, True),
    )


def fewest(rows: pl.DataFrame) -> pl.DataFrame:
    """Of served rows the one that fits on fewest devices; where none does, the last."""
    fitting = rows.filter(FITS)
    return (fitting if fitting.height else rows[-1:]).sort("devices", "ttft_s").head(1)


def _contexts(model: Model) -> tuple[int, ...]:
    return PAGE_CONTEXTS if model.has_vision else CONTEXTS


def _prompts(model: Model) -> dict[str, list[int]]:
    """The axis of requests of `_contexts` tokens: prompts, or text beside an image."""
    if not model.has_vision:
        return {"prompt_tokens": list(_contexts(model))}
    image = image_of(model.architecture, Point(**default_values(model)))
    tokens = image.view_tokens + image.tile_tokens
    return {"text_tokens": [max(context - tokens, 0) for context in _contexts(model)]}


def _no_answer(model: Model) -> Lengths:
    return lengths_of("fit", model, {"answer": [0]})


def bound_by(times: Timeline) -> dict[str, dict[str, float]]:
    """Stage to what binds it, as parts of its time, the largest first."""
    found: dict[str, dict[str, float]] = {}
    for time in times.operators:
        parts = found.setdefault(time.stage, {})
        parts[time.bound] = parts.get(time.bound, 0.0) + time.of_stage
    return {
        stage: dict(sorted(parts.items(), key=lambda part: -part[1]))
        for stage, parts in found.items()
    }
