"""Charts, tables and cards of one source of a report, chosen by what varies in it."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, count
from typing import NamedTuple

from sweepengine.data.devices import Device, load_device
from sweepengine.data.measurements import measured_stages
from sweepengine.data.models import Model
from sweepengine.data.outputs import file_stem
from sweepengine.query.sources import Source
from sweepengine.search.slo import RATE
from sweepengine.show.charts import (
    front_chart,
    parameters_chart,
    weight_traffic_chart,
    weights_chart,
)
from sweepengine.show.curve_points import chart_frame
from sweepengine.show.curves import line_chart
from sweepengine.show.device_rows import LAID
from sweepengine.show.drawing import Drawing, Painter
from sweepengine.show.heat_maps import heat_maps
from sweepengine.show.layouts import layout_table
from sweepengine.show.look import Chart, title_of
from sweepengine.show.map_chart import report_map
from sweepengine.show.plans import plans
from sweepengine.show.report_cards import Card, Verdict, cards_of, verdict_of
from sweepengine.show.roofline_chart import roofline_chart
from sweepengine.show.slices import Slice, slice_of
from sweepengine.show.tables import MOST_ROWS, Table, stage_tables
from sweepengine.show.time_charts import time_charts

MAP_DEVICES = ("a100-40gb", "h100-sxm")
"""Devices that answer where points name none."""
ROOFS = ("b200", "h100-sxm", "mi300x", "l40s")
"""Devices whose roofs are drawn in addition."""
MOST_DEVICES = 3
"""Most devices with charts of their own."""


class Section(NamedTuple):
    """Charts, tables and cards of one source."""

    source: Source
    charts: list[Drawing]
    tables: list[Table]
    cards: list[Card]


class Names:
    """Distinct names of the charts or the tables of a report, with the grid where needed."""

    def __init__(self) -> None:
        """Begin without names."""
        self._taken: set[str] = set()

    def distinct(self, name: str, source: Source) -> str:
        """Return a name that none before has, upper and lower case aside."""
        longer = f"{file_stem(source.name)}-{name}"
        choices = chain([name, longer], (f"{longer}-{i}" for i in count(2)))
        chosen = next(choice for choice in choices if choice.casefold() not in self._taken)
        self._taken.add(chosen.casefold())
        return chosen


class Gallery:
    """The charts of a report: each is named and handed to a painter once."""

    def __init__(self, painter: Painter) -> None:
        """Begin without charts."""
        self._painter, self._names = painter, Names()
        self._shown: set[tuple[str, str]] = set()

    def drawn(self, source: Source, charts: Iterable[Chart | None]) -> list[Drawing]:
        """Return the charts of a source that it has not drawn of another source yet.

        Those of a model are alike for all its grids, and the roofline for all sources of a grid.
        """
        drawings = []
        for chart in charts:
            if chart is None:
                continue
            of = {"parameters": source.model, "weights_by_phase": source.model,
                  "roofline": source.grid_hash, "limits": source.model}.get(chart.name)  # fmt: skip
            if of is not None and (chart.name, of) in self._shown:
                continue
            self._shown.add((chart.name, of or ""))
            name = self._names.distinct(chart.name, source)
            drawings.append(self._painter.draw(chart._replace(name=name)))
        return drawings


def section_of(
    source: Source, against: Model | None, notes: Mapping[str, str], gallery: Gallery
) -> Section:
    """Return what a report shows of a source.

    Charts that need no verdict come first, so that they are drawn while it is computed.

    Parameters
    ----------
    source : Source
    against : Model, optional
        Another accounting of the model, whose FLOPs are drawn too.
    notes : mapping of str to str
        A sentence for charts, by name.
    gallery : Gallery
        Takes the charts.
    """
    shown, model = slice_of(source), source.loaded
    devices = model.devices or tuple(load_device(name) for name in MAP_DEVICES)
    chosen = plans(source, model)
    frame = chart_frame(shown, chosen, measured_stages(), against)
    charts: list[Drawing] = []
    if frame is not None:
        charts = gallery.drawn(source, (
            line_chart(plan, frame, source, notes.get(plan.name, "")) for plan in chosen
        ))  # fmt: skip
    verdict = verdict_of(source, devices)
    at = devices[-1]
    if verdict is None:
        weights = weights_chart(source, model, notes.get("weights_by_phase", ""))
        charts += gallery.drawn(source, [weights, roofline_chart(shown, [at], at)])
    else:
        charts += gallery.drawn(source, _device_charts(shown, devices, verdict))
    tables: list[Table] = []
    if shown.varies(*LAID):
        keys = [name for name in LAID if name in source.inputs]
        tables += [layout_table(source, device, keys) for device in devices[:MOST_DEVICES]]
    if source.point_count <= MOST_ROWS:
        points = source.points.pipe(source.collected)
        for stage in source.stages:
            ttft, tpot = source.targets.ttft_s, source.targets.tpot_s
            tables += stage_tables(points, stage, ttft, tpot)
    return Section(source, charts, tables, cards_of(shown, verdict, at))


def _device_charts(shown: Slice, devices: Sequence[Device], verdict: Verdict) -> list[Chart | None]:
    """Return the charts of devices: fronts, times, memory traffic and limits.

    The first devices in the order of their throughput within the targets have charts of their own.
    """
    source, targets = shown.source, verdict.targets
    rates = {one.device.name: (one.best or {}).get(RATE) or 0.0 for one in verdict.answers}
    ranked = sorted(devices, key=lambda device: -rates.get(device.name, 0.0))
    charts: list[Chart | None] = []
    if any(answer.front.height for answer in verdict.answers):
        drawn = front_chart(verdict.answers, targets, source)
        charts.append(Chart("fronts", title_of(drawn), drawn, "times"))
    first = ranked[:MOST_DEVICES]
    best = next((one.best for one in verdict.answers if one.device.name == first[0].name), None)
    laid = {name: best[name] for name in LAID} if best else {}
    charts += time_charts(shown, first, targets)
    charts += heat_maps(shown, first, targets)
    roofs = list({one.name: one for one in (*map(load_device, ROOFS), *first)}.values())
    charts += [
        report_map(source, shown.point | laid, first, targets),
        weight_traffic_chart(shown),
        roofline_chart(shown, roofs, first[0]),
        parameters_chart(source, source.loaded),
    ]
    return charts
