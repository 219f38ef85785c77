"""Whether a model fits a device, how many requests beside it, how fast, and bound by what."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from sweepengine.costs.spec_sheet import formats_text
from sweepengine.costs.timeline import Timeline, timeline
from sweepengine.data.devices import Device, load_device
from sweepengine.data.errors import InputError
from sweepengine.data.models import Model, load_model
from sweepengine.data.speeds import basis, place_of
from sweepengine.formulas.formats import OWN
from sweepengine.formulas.points import Point
from sweepengine.grid.lengths import Lengths, condensed, lengths_of
from sweepengine.grid.plain import image_of
from sweepengine.grid.points import default_values
from sweepengine.search.placements import group_limit, layouts_of, search_grid
from sweepengine.search.plans import spelled_layouts
from sweepengine.search.requests import percentiles
from sweepengine.search.steady_state import DEFAULT, FITS, SECONDS_PER_DAY, Setting, served_frames

CONTEXTS = (2_048, 8_192, 32_768, 131_072)
PAGE_CONTEXTS = (1_024, 2_048, 4_096, 8_192)
"""Of models that read pages."""
BATCHES = (1, 8, 64)
"""Shown beside the largest that fits."""


class Wanted(NamedTuple):
    """What a card is asked for."""

    layout: str | None = None
    """None: the fewest devices that hold the model and a request."""
    precision: str = OWN
    framework: str = "vllm"
    times: str | None = None
    setting: Setting = DEFAULT


class Card(NamedTuple):
    """A model on one kind of device."""

    device: Device
    layout: str
    devices: int
    served: pl.DataFrame
    """A row a batch, those that fit: `served.MEASURES`; without any the smallest batch."""
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
    wanted: Wanted
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
            "setting": self.wanted.setting._asdict(),
            "cards": [card.as_dict() for card in self.cards],
        }


def find_fit(
    model: str | Path, devices: Sequence[str | Path], lengths: Lengths, wanted: Wanted
) -> Fit:
    """Fit a model to devices.

    Parameters
    ----------
    model : str or Path
        Name of a shipped model, or a file.
    devices : sequence of str or Path
        By name or file.
    lengths : Lengths
        Of requests.
    wanted : Wanted

    Raises
    ------
    InputError
        When something that is asked for is not valid.
    """
    loaded = load_model(model)
    wanted.setting.checked("fit")
    if not devices:
        raise InputError("fit: expected at least one device")
    cards = [_card(str(model), loaded, str(name), lengths, wanted) for name in devices]
    said = formats_text(loaded.architecture)
    formats = f"checkpoint: {said}" if wanted.precision == OWN else wanted.precision
    return Fit(loaded, lengths, wanted, cards, formats)


def _card(model: str, loaded: Model, name: str, lengths: Lengths, wanted: Wanted) -> Card:
    device = load_device(name)
    place = place_of(device, wanted.framework, wanted.times)

    def served(layouts: Sequence[str], batches: Sequence[int], asked: Lengths) -> pl.DataFrame:
        grid = search_grid(model, name, wanted.framework, [wanted.precision], layouts, batches,
                           asked, wanted.times, "fit")  # fmt: skip
        return pl.concat(served_frames(grid, asked, place, wanted.setting))

    limit = group_limit(loaded, device, wanted.setting.memory_share)
    tried = layouts_of(loaded, limit, simple=True) if wanted.layout is None else [wanted.layout]
    chosen = fewest(served(tried, [1], lengths))
    (layout,) = spelled_layouts(chosen)
    if not chosen.filter(FITS).height:
        rows, largest = chosen, dict.fromkeys(_contexts(loaded), 0)
    else:
        most = min(max(chosen["largest_batch"][0], 1), 65_536)
        batches = sorted({*(batch for batch in BATCHES if batch < most), most})
        rows = served([layout], batches, lengths)
        largest = {
            tokens: served([layout], [1], _of_tokens(loaded, tokens))["largest_batch"][0]
            for tokens in _contexts(loaded)
        }
    rows = rows.with_columns(requests_per_day=pl.col("requests_per_s") * SECONDS_PER_DAY)
    grid = search_grid(model, name, wanted.framework, [wanted.precision], [layout],
                       [rows["batch_size"][-1]], condensed(lengths, 1), wanted.times)  # fmt: skip
    bound = bound_by(timeline(grid.model, grid.point, place))
    plan = rows.row(-1, named=True)
    plan |= {"layout": layout, "framework": wanted.framework, "prefill_groups": 0}
    seen = percentiles(loaded, plan, place, (model, name), lengths, wanted.setting)
    said = basis(loaded.architecture, place, True)
    return Card(device, layout, int(plan["devices"]), rows, largest, bound, seen, said)


def fewest(rows: pl.DataFrame) -> pl.DataFrame:
    """Of served rows the one that fits on fewest devices; where none does, the last."""
    fitting = rows.filter(FITS)
    return (fitting if fitting.height else rows[-1:]).sort("devices", "ttft_s").head(1)


def _contexts(model: Model) -> tuple[int, ...]:
    return PAGE_CONTEXTS if model.has_vision else CONTEXTS


def _of_tokens(model: Model, tokens: int) -> Lengths:
    """Requests of so many tokens, all of them prompt: an image and text in models with vision."""
    if not model.has_vision:
        return lengths_of("fit", model, {"prompt": [tokens], "answer": [0]})
    image = image_of(model.architecture, Point(**default_values(model)))
    text = max(tokens - image.view_tokens - image.tile_tokens, 0)
    return lengths_of("fit", model, {"prompt": [text], "answer": [0]})


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
