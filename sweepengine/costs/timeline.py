"""One point on a device, operator by operator: microseconds, what binds, share of the peak."""

from typing import Any, NamedTuple

from sweepengine.costs.explain import COUNTS, TITLES, Part, explain, group_name, mlp_name
from sweepengine.data.devices import Device
from sweepengine.data.models import Model
from sweepengine.data.speeds import (
    Place,
    basis,
    engine_of,
    speeds_of,
    with_figures,
)
from sweepengine.formulas.attention_times import (
    attended_share,
    step_lines,
    steps_us,
    time_reaches,
)
from sweepengine.formulas.formats import NAMES, row_of
from sweepengine.formulas.layer_times import end_times, layer_times
from sweepengine.formulas.layout import ends_held, share_trunk
from sweepengine.formulas.points import Point
from sweepengine.formulas.serving import CONTINUOUS
from sweepengine.formulas.speeds import ROOFLINE, Speeds
from sweepengine.formulas.tokens import ceil_div
from sweepengine.formulas.vision_times import projector_us, view_times
from sweepengine.formulas.ways import cached_before
from sweepengine.formulas.workloads import regrouped
from sweepengine.grid.plain import image_of, layout_of, text_of
from sweepengine.grid.timed import A_SECOND, Timed, timed

LATENCY = 1 / 3
"""Share of the peak below which neither work nor traffic binds, but launches and latencies."""
QUANTISED = ("projections", TITLES["mlp"], "shared experts", TITLES["routed"])
"""Operators whose products take the format of activations; others stay in bf16."""


class OperatorTime(NamedTuple):
    """Time of one operator in all layers of a group, in a whole stage."""

    stage: str
    group: str
    operator: str
    seconds: float
    of_stage: float
    bound: str
    """"compute", "memory", "links", or "latency" where it is far from all of them."""
    of_peak: float
    """Least time at the data sheet's peaks, as a share of it."""
    flops: int
    """On tensor and CUDA cores."""
    moved_bytes: float


class Timeline(NamedTuple):
    """A point at a place."""

    place: Place
    basis: str
    """What times rest on, and how far off they are expected to be."""
    timed: Timed
    steps: int
    """That it decodes."""
    operators: list[OperatorTime]
    continuous: bool = False
    """Whether requests join a running batch, so that a prefill is of one of them."""

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON; the device by its name."""
        return {
            "device": self.place.device.name,
            "framework": self.place.framework,
            "times": self.place.times,
            "basis": self.basis,
            **self.timed._asdict(),
            "operators": [operator._asdict() for operator in self.operators],
        }


def timeline(model: Model, point: Point, place: Place) -> Timeline:
    """Times of one point, operator by operator; they add up to its stages' but for host times."""
    arch = model.architecture
    speeds = speeds_of(arch, point, place)
    device = with_figures(place.device, point)
    # Where requests join a running batch, each is filled by itself.
    filled = point._replace(batch_size=1) if point.serving == CONTINUOUS else point
    asked = {"decode": point}
    found: list[OperatorTime] = []
    for stage, times in _times(model, point, speeds).items():
        whole = sum(times.values())
        mine = asked.get(stage, filled)
        stages = {part.name: part for part in explain(arch, mine).parts}
        parts = _leaves(stages[stage])
        if stage == "prefill":
            parts = _as_engines_run(model, mine, parts)
        for key, us in times.items():
            if us <= 0:
                continue
            part = parts.get(key)
            least, bound = _least(part, device, mine, stage)
            share = least / us
            found.append(
                OperatorTime(
                    stage,
                    *key,
                    us / A_SECOND,
                    us / whole,
                    bound if share >= LATENCY or place.times == ROOFLINE else "latency",
                    share,
                    0 if part is None else part.flops,
                    0.0 if part is None else part.moved_bytes,
                )
            )
    seconds = timed(arch, point, speeds, engine_of(place))
    continuous = point.serving == CONTINUOUS
    said = basis(arch, place, continuous)
    return Timeline(place, said, seconds, point.decode_steps, found, continuous)


Key = tuple[str, str]


def _leaves(stage: Part) -> dict[Key, Part]:
    """Operators of a stage; of groups alike, together."""
    found: dict[Key, Part] = {}
    for part in stage.parts:
        for group, inner in (
            [("", part)] if not part.parts else [(part.name, p) for p in part.parts]
        ):
            before = found.get((group, inner.name))
            found[group, inner.name] = inner if before is None else _together(before, inner)
    return found


def _together(one: Part, other: Part) -> Part:
    return one._replace(**{name: getattr(one, name) + getattr(other, name) for name in COUNTS})


def _title(name: str) -> str:
    return TITLES.get(name, name.replace("_", " "))


def _as_engines_run(model: Model, point: Point, parts: dict[Key, Part]) -> dict[Key, Part]:
    """Parts of a prefill without what counts hold and engines leave out.

    Kernels skip what a mask hides, and the head puts out the last position's logits alone.
    """
    arch, layout = model.architecture, layout_of(point)
    image = image_of(arch, point)
    tokens = image.view_tokens + image.tile_tokens + text_of(point)
    found = dict(parts)
    heads = (point.attention_heads, point.key_value_heads)
    for group in regrouped(arch, *heads, layout):
        key = (group_name(group), "attention")
        if key in found:
            share = attended_share(group.attention, tokens, point.cached_tokens)
            done = int(found[key].tensor_flops * share)
            found[key] = found[key]._replace(tensor_flops=done, cuda_flops=0)
    batch = ceil_div(point.batch_size, layout.data)
    key = ("", TITLES["head"])
    if key in found:
        head = found[key]
        found[key] = head._replace(
            tensor_flops=head.tensor_flops // tokens,
            activation_io_bytes=head.activation_io_bytes // tokens,
        )
        key = ("", "collectives")
        rows = share_trunk(arch.trunk, layout.tensor).vocabulary
        spared = batch * (tokens - 1) * rows * (layout.tensor - 1) * arch.convention.dtype_bytes
        if key in found:
            found[key] = found[key]._replace(link_bytes=found[key].link_bytes - spared)
    return found


def _least(part: Part | None, device: Device, point: Point, stage: str) -> tuple[float, str]:
    """Least microseconds of a part at the data sheet's peaks, and what binds there."""
    if part is None:
        return 0.0, ""
    peak = device.tensor_flops_per_s
    if part.name in QUANTISED and stage != "vision":
        taken = row_of(NAMES[point.activation_format]).get("peak", "bf16")
        peak = device.peaks.get(taken, peak)
    link = device.links.bytes_per_s if device.links else float("inf")
    bounds = {
        "compute": part.tensor_flops / peak + part.cuda_flops / device.cuda_flops_per_s,
        "memory": part.moved_bytes / device.bytes_per_s,
        "links": part.link_bytes / link,
    }
    bound = max(bounds, key=lambda name: bounds[name])
    return bounds[bound] * A_SECOND, bound


def _times(model: Model, point: Point, speeds: Speeds) -> dict[str, dict[Key, float]]:
    """Microseconds of each stage by group and operator."""
    arch, layout = model.architecture, layout_of(point)
    batch = float(ceil_div(point.batch_size, layout.data))
    filled = 1.0 if point.serving == CONTINUOUS else batch
    image = image_of(arch, point)
    found: dict[str, dict[Key, float]] = {}
    if arch.towers is not None:
        towers, seen = arch.towers, {}
        sides = {"global view": (image.view_size, filled),
                 "tiles": (image.tile_size, filled * image.tiles)}  # fmt: skip
        for name, (side, images) in sides.items():
            for kind, us in view_times(towers, side, images, speeds)._asdict().items():
                seen[name, TITLES[kind]] = us
        seen["", "projector"] = projector_us(towers, image, filled, speeds)
        found["vision"] = seen
    tokens = image.view_tokens + image.tile_tokens + text_of(point)
    steps, context = point.decode_steps, tokens + point.cached_tokens
    trunk, held = share_trunk(arch.trunk, layout.tensor), ends_held(arch.groups, layout)
    heads = (point.attention_heads, point.key_value_heads)
    passes = {"prefill": (filled, tokens, 0, 1), "decode": (batch, 1, 1, steps)}
    for stage, (sequences, each, stepping, count) in passes.items():
        ends = end_times(trunk, layout, sequences, each, *held, stepping, speeds)
        times = {("", _title(name)): count * us for name, us in ends._asdict().items()}
        for group in regrouped(arch, *heads, layout):
            behind = point.cached_tokens
            layer = layer_times(group, trunk, layout, sequences, each, behind, stepping, speeds)
            here = {name: count * us for name, us in layer._asdict().items()}
            if stepping:
                before = cached_before(arch.convention, context)
                for line, reach, name in zip(
                    step_lines(group.attention, sequences, speeds),
                    time_reaches(group.attention),
                    ("attention", "indexer"),
                    strict=True,
                ):
                    here[name] += steps_us(line, before, steps, reach)
            for name, us in here.items():
                key = group_name(group), mlp_name(group) if name == "mlp" else _title(name)
                times[key] = times.get(key, 0.0) + group.layers * us
        found[stage] = {key: layout.pipeline * us for key, us in times.items()}
    return found
