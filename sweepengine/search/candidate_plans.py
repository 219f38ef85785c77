"""Plans of all candidates: one sweep for each device and serving engine, and its combinations."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import polars as pl

from sweepengine.data.devices import Device
from sweepengine.data.errors import InputError
from sweepengine.data.models import Model
from sweepengine.data.speeds import TimingTarget, timing_target
from sweepengine.formulas.layout import Layout
from sweepengine.formulas.layout import devices as devices_of
from sweepengine.grid.grid import Grid
from sweepengine.grid.lengths import Lengths, quantile
from sweepengine.grid.shorthand import layout_name
from sweepengine.search.disaggregated import Pairing, Workers, combined
from sweepengine.search.engine_arguments import runs_layout
from sweepengine.search.margins import margin_of, tightened
from sweepengine.search.options import AGGREGATED, DISAGGREGATED, DeployOptions
from sweepengine.search.placements import (
    ANY,
    LOADED_PRECISIONS,
    SEARCHED_PRECISIONS,
    Precision,
    batches_of,
    group_limit,
    layouts_of,
    precisions_of,
    read_layouts,
    read_precisions,
    search_grid,
)
from sweepengine.search.plans import KeptPlans, aggregated
from sweepengine.search.reasons import Tally
from sweepengine.search.speculation import Speculation, drafting_columns, drafting_layouts
from sweepengine.search.steady_state import FITS, LAYOUT_COLUMNS, served_frames

ALIKE = 3
"""Binary digits by which the largest batches of layouts that are swept together may differ."""


class Space(NamedTuple):
    """What a search tries on one device."""

    device: Device
    precisions: dict[Precision, str]
    """Codes and texts."""
    layouts: tuple[Layout, ...]
    limit: int
    """Most devices of one replica or worker."""
    alone: bool
    """Whether aggregated plans run on it, and prefill workers."""
    speculation: Speculation


def space_of(
    model: Model, device: Device, options: DeployOptions, alone: bool, speculation: Speculation
) -> Space:
    """What a search tries on a device.

    Parameters
    ----------
    model : Model
    device : Device
    options : DeployOptions
    alone : bool
        Whether aggregated plans run on it; False for a device of decode workers.
    speculation : Speculation
        What drafts tokens, and how many.

    Raises
    ------
    InputError
        When a layout or a precision of the options is not valid.
    """
    chosen = list(dict.fromkeys(read_layouts("deploy", model, options.layouts)))
    for framework in options.frameworks:
        if wrong := next((one for one in chosen if not runs_layout(framework, one)), None):
            raise InputError(
                f"deploy: --layout {layout_name(wrong)}: {framework} splits attention over all "
                "devices of a stage or none: expected one size of tp and dp to be 1"
            )
    names = SEARCHED_PRECISIONS if ANY in options.precisions else LOADED_PRECISIONS
    if options.precisions and ANY not in options.precisions:
        formats = read_precisions("deploy", model, options.precisions)
    else:
        formats = precisions_of(model, device, names)
    if options.devices is not None:
        limit = options.devices
    else:
        timing = timing_target(device, options.frameworks[0], options.times)
        limit = max(group_limit(model, timing, options.engine, names), *map(devices_of, chosen), 1)
    layouts = chosen or layouts_of(model, limit if device.links else 1)
    layouts = drafting_layouts(model, speculation, layouts)
    return Space(device, formats, tuple(layouts), limit, alone, speculation)


class Found(NamedTuple):
    """What a search has found so far."""

    plans: KeptPlans = KeptPlans()
    tally: Tally = Tally()
    points: int = 0
    candidates: int = 0


def search_plans(
    model: Model, spaces: Sequence[Space], classes: Lengths, options: DeployOptions
) -> Found:
    """Sweep all candidates of all devices and serving engines.

    Parameters
    ----------
    model : Model
    spaces : sequence of Space
        Of each device; one that is not `alone` has the decode workers of all others.
    classes : Lengths
        Condensed lengths of requests.
    options : DeployOptions
    """
    found = Found()
    output = classes.mean("decode_steps", model)
    steps = classes.column("decode_steps", model).astype(float)
    answer = float(quantile(steps, classes.weights, options.serving.share))
    for framework in options.frameworks:
        workers: dict[str, Workers] = {}
        for space in spaces:
            timing = timing_target(space.device, framework, options.times)
            found, workers[space.device.name] = _swept(
                found, model, space, timing, classes, options, (output, answer)
            )
        decoding = next((space for space in spaces if not space.alone), None)
        for space in spaces:
            if not space.alone or DISAGGREGATED not in options.modes:
                continue
            other = decoding or space
            timing = timing_target(other.device, framework, options.times)
            needs = tightened(options, margin_of(timing, DISAGGREGATED, options))
            pairing = Pairing(needs, output, answer, space.limit, other.limit)
            plans, count = combined(
                workers[space.device.name].prefill, workers[other.device.name].decode, pairing
            )
            kept = found.plans.with_plans(plans, needs)
            found = found._replace(plans=kept, candidates=found.candidates + count)
    return found


def _swept(
    found: Found,
    model: Model,
    space: Space,
    timing: TimingTarget,
    classes: Lengths,
    options: DeployOptions,
    tokens: tuple[float, float],
) -> tuple[Found, Workers]:
    """Add the aggregated plans of one device and serving engine, and return its workers.

    The memory of each layout and precision decides its largest batch; batches that fit with none
    are counted, and not timed.

    Parameters
    ----------
    found : Found
        Before.
    model : Model
    space : Space
    timing : TimingTarget
        Device and serving engine.
    classes : Lengths
    options : DeployOptions
    tokens : tuple of float
        Decoded tokens: mean, and at the percentile of `ServingAssumptions.share`.
    """
    output, answer = tokens
    node = space.device.node_size
    needs = tightened(options, margin_of(timing, AGGREGATED, options))
    if not options.has_load:
        needs = needs._replace(devices=space.limit)
    layouts = [
        layout
        for layout in space.layouts
        if runs_layout(timing.framework, layout) and devices_of(layout) <= space.limit
    ]
    if not layouts:
        return found, Workers()
    batches = batches_of(options.most_batch, classes)

    def grid_of(some: Sequence[Layout], tried: Sequence[int]) -> Grid:
        axes = {**space.speculation.axes, "precision": list(space.precisions), "layout": some,
                "batch_size": tried}  # fmt: skip
        return search_grid(model, timing, axes, classes, engine=options.engine)

    def states(grid: Grid) -> Iterator[pl.DataFrame]:
        return served_frames(grid, timing, options.serving, sized=True)

    smallest = pl.concat(states(grid_of(layouts, batches[:1])))
    candidates = smallest.height * len(batches)
    tally, plans, workers = found.tally, found.plans, Workers()
    if space.alone:
        tally = tally.with_kinds(smallest, len(batches))
    named = {"device": timing.device.name, "framework": timing.framework}
    for some, tried in _fitting_batches(smallest, batches):
        grid = grid_of(some, tried)
        for frame in states(grid):
            fitting = frame.filter(FITS).with_columns(
                *(pl.lit(value).alias(name) for name, value in named.items()),
                *drafting_columns(grid, frame.columns),
            )
            if space.alone:
                tally = tally.with_fitting(fitting, needs.targets, answer)
                if AGGREGATED in options.modes:
                    own = aggregated(fitting, space.device, needs, answer)
                    plans = plans.with_plans(own, needs)
            if DISAGGREGATED in options.modes:
                workers = workers.with_candidates(fitting, output, node)
    found = Found(plans, tally, found.points + candidates * classes.requests,
                  found.candidates + candidates)  # fmt: skip
    return found, workers


def _fitting_batches(
    smallest: pl.DataFrame, batches: Sequence[int]
) -> Iterator[tuple[list[Layout], list[int]]]:
    """Layouts whose largest batches are alike, and the batches that fit one of them.

    Parameters
    ----------
    smallest : polars.DataFrame
        Each layout and precision at its smallest batch, with `largest_batch`.
    batches : sequence of int
        Ascending.
    """
    of_layouts = smallest.group_by(LAYOUT_COLUMNS, maintain_order=True).agg(
        pl.col("largest_batch").max()
    )
    groups: dict[int, list[tuple[Layout, int]]] = {}
    for *sizes, largest in of_layouts.rows():
        groups.setdefault(int(largest).bit_length() // ALIKE, []).append((Layout(*sizes), largest))
    for group in groups.values():
        most = max(largest for _, largest in group)
        if most >= batches[0]:
            yield [layout for layout, _ in group], [n for n in batches if n <= most]
