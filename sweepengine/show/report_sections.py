"""Charts, tables and cards of one source of a report, chosen by what varies in it."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sweepengine.data.devices import Device, load_device
from sweepengine.data.measurements import measured_stages
from sweepengine.data.models import Model
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
    charts: list[Chart]
    tables: list[Table]
    cards: list[Card]


def section_of(source: Source, against: Model | None, notes: Mapping[str, str]) -> Section:
    """Return what a report shows of a source.

    Parameters
    ----------
    source : Source
    against : Model, optional
        Another accounting of the model, whose FLOPs are drawn too.
    notes : mapping of str to str
        A sentence for charts, by name.
    """
    shown, model = slice_of(source), source.loaded
    devices = model.devices or tuple(load_device(name) for name in MAP_DEVICES)
    verdict = verdict_of(source, devices)
    chosen = plans(source, model)
    frame = chart_frame(shown, chosen, measured_stages(), against)
    charts: list[Chart | None] = []
    if frame is not None:
        charts += [line_chart(plan, frame, source, notes.get(plan.name, "")) for plan in chosen]
    at = devices[-1]
    if verdict is None:
        charts += [weights_chart(source, model, notes.get("weights_by_phase", "")),
                   roofline_chart(shown, [at], at)]  # fmt: skip
    else:
        charts += _device_charts(shown, devices, verdict)
    tables: list[Table] = []
    if shown.varies(*LAID):
        keys = [name for name in LAID if name in source.inputs]
        tables += [layout_table(source, device, keys) for device in devices[:MOST_DEVICES]]
    if source.point_count <= MOST_ROWS:
        points = source.points.pipe(source.collected)
        for stage in source.stages:
            ttft, tpot = source.targets.ttft_s, source.targets.tpot_s
            tables += stage_tables(points, stage, ttft, tpot)
    present = [chart for chart in charts if chart is not None]
    return Section(source, present, tables, cards_of(shown, verdict, at))


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
