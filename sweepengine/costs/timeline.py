"""One point on a device, operator by operator: microseconds, what binds, share of the peak."""

from typing import Any, NamedTuple

from sweepengine.costs.explain import CostLine, OperatorId, explain
from sweepengine.costs.titles import VIEWS, group_titles, operator_title
from sweepengine.data.devices import Device
from sweepengine.data.models import Model
from sweepengine.data.speeds import TimingTarget, basis, serving_engine_of, speeds_of, with_figures
from sweepengine.formulas.attention_times import attended_share, steps_us
from sweepengine.formulas.formats import FORMAT_NAMES, row_of
from sweepengine.formulas.layout import Share, share_of
from sweepengine.formulas.passes import ENDS, times_of
from sweepengine.formulas.points import Point, Tokens, tokens_of
from sweepengine.formulas.reductions import cached_before
from sweepengine.formulas.serving import A_SECOND, CONTINUOUS, Seconds
from sweepengine.formulas.speeds import ROOFLINE, Speeds
from sweepengine.formulas.tokens import ImageTokens, Pass, ceil_div
from sweepengine.formulas.vision_times import projector_us, view_times
from sweepengine.grid.plain import image_of, layout_of
from sweepengine.grid.timed import timed

LATENCY = 1 / 3
"""Share of the peak below which neither work nor traffic binds, but launches and latencies."""
QUANTISED = ("projections", "mlp", "routed")
"""Operators of layers whose GEMMs take the format of activations; others stay in bf16."""


class OperatorTime(NamedTuple):
    """Time of one operator in all layers of a group, in a whole phase."""

    id: OperatorId
    stage: str
    """Its phase; this and the next two are titles."""
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

    def as_dict(self) -> dict[str, Any]:
        """Everything but what programs find it by, for JSON."""
        found = self._asdict()
        del found["id"]
        return found


class Timeline(NamedTuple):
    """A point at a place."""

    place: TimingTarget
    basis: str
    """What times rest on, and how far off they are expected to be."""
    seconds: Seconds
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
            **{f"{name}_seconds": value for name, value in self.seconds._asdict().items()},
            "operators": [operator.as_dict() for operator in self.operators],
        }


class _Shape(NamedTuple):
    """A point as a device sees it."""

    point: Point
    share: Share
    image: ImageTokens
    tokens: Tokens
    batch: float
    """Sequences of a data-parallel group in a step."""
    filled: float
    """And in a prefill."""


def _shape_of(model: Model, point: Point) -> _Shape:
    arch, layout = model.architecture, layout_of(point)
    image = image_of(arch, point)
    batch = float(ceil_div(point.batch_size, layout.data))
    return _Shape(
        point,
        share_of(arch, point.attention_heads, point.key_value_heads, layout),
        image,
        tokens_of(point, image.view_tokens + image.tile_tokens),
        batch,
        1.0 if point.serving == CONTINUOUS else batch,
    )


def timeline(model: Model, point: Point, place: TimingTarget) -> Timeline:
    """Times of one point, operator by operator; they add up to its phases' but for host times.

    Parameters
    ----------
    model : Model
        What is costed.
    point : Point
        All inputs.
    place : TimingTarget
        Device and serving engine.
    """
    arch = model.architecture
    speeds = speeds_of(arch, point, place)
    device = with_figures(place.device, point)
    continuous = point.serving == CONTINUOUS
    # Where requests join a running batch, each is filled by itself.
    alone = point._replace(batch_size=1) if continuous else point
    shape = _shape_of(model, point)
    filled = _as_engines_run(model, alone, shape, explain(arch, alone).operators())
    lines = explain(arch, point).operators() if continuous else filled
    times = _times(model, shape, speeds)
    whole = dict.fromkeys(("vision", "prefill", "decode"), 0.0)
    for known, us in times.items():
        whole[known.phase] += us
    titles = group_titles(shape.share.groups)
    found = []
    for known, us in times.items():
        if us <= 0:
            continue
        decode = known.phase == "decode"
        line = (lines if decode else filled).get(known)
        least, bound = _least(known, line, device, point if decode else alone)
        share = least / us
        found.append(
            OperatorTime(
                id=known,
                stage=known.phase,
                group=_group_title(known, titles),
                operator=_operator_title(known, shape.share),
                seconds=us / A_SECOND,
                of_stage=us / whole[known.phase],
                bound=bound if share >= LATENCY or place.times == ROOFLINE else "latency",
                of_peak=share,
                flops=0 if line is None else line.flops,
                moved_bytes=0.0 if line is None else line.moved_bytes,
            )
        )
    seconds = timed(arch, point, speeds, serving_engine_of(place))
    said = basis(arch, place, continuous)
    return Timeline(place, said, seconds, point.decode_steps, found, continuous)


def _group_title(known: OperatorId, titles: tuple[str, ...]) -> str:
    if known.group == ENDS:
        return ""
    return VIEWS[known.group] if known.phase == "vision" else titles[known.group]


def _operator_title(known: OperatorId, share: Share) -> str:
    layers = known.phase != "vision" and known.group != ENDS
    return operator_title(known.operator, share.groups[known.group] if layers else None)


def _as_engines_run(
    model: Model, point: Point, shape: _Shape, lines: dict[OperatorId, CostLine]
) -> dict[OperatorId, CostLine]:
    """Lines of a prefill without what counts hold and engines leave out.

    Kernels skip what a mask hides, and the head puts out the last position's logits alone.
    """
    share, tokens = shape.share, shape.tokens.prefill
    found = dict(lines)
    for position, group in enumerate(share.groups):
        known = OperatorId("prefill", position, "attention")
        if known in found:
            part = attended_share(group.attention, tokens, point.cached_tokens)
            done = int(found[known].tensor_flops * part)
            found[known] = found[known]._replace(tensor_flops=done, cuda_flops=0)
    known = OperatorId("prefill", ENDS, "head")
    if known in found:
        head = found[known]
        found[known] = head._replace(
            tensor_flops=head.tensor_flops // tokens,
            activation_io_bytes=head.activation_io_bytes // tokens,
        )
        known = OperatorId("prefill", ENDS, "collectives")
        if known in found:
            batch = ceil_div(point.batch_size, share.layout.data)
            logits = share.backbone.vocabulary * (share.layout.tensor - 1)
            spared = batch * (tokens - 1) * logits * model.architecture.convention.dtype_bytes
            sent = found[known].link_bytes - spared
            found[known] = found[known]._replace(link_bytes=sent)
    return found


def _least(
    known: OperatorId, line: CostLine | None, device: Device, point: Point
) -> tuple[float, str]:
    """Least microseconds of an operator at the data sheet's peaks, and what binds there."""
    if line is None:
        return 0.0, ""
    peak = device.tensor_flops_per_s
    if known.operator in QUANTISED and known.phase != "vision":
        taken = row_of(FORMAT_NAMES[point.activation_format]).get("peak", "bf16")
        peak = device.peaks.get(taken, peak)
    link = device.links.bytes_per_s if device.links else float("inf")
    bounds = {
        "compute": line.tensor_flops / peak + line.cuda_flops / device.cuda_flops_per_s,
        "memory": line.moved_bytes / device.bytes_per_s,
        "links": line.link_bytes / link,
    }
    bound = max(bounds, key=lambda name: bounds[name])
    return bounds[bound] * A_SECOND, bound


def _times(model: Model, shape: _Shape, speeds: Speeds) -> dict[OperatorId, float]:
    """Microseconds of all operators; of vision, of its kinds of layers."""
    arch, point, share = model.architecture, shape.point, shape.share
    found: dict[OperatorId, float] = {}
    if arch.towers is not None:
        image = shape.image
        for view, (side, images) in enumerate(
            ((image.view_size, shape.filled), (image.tile_size, shape.filled * image.tiles))
        ):
            for kind, us in view_times(arch.towers, side, images, speeds)._asdict().items():
                found[OperatorId("vision", view, kind)] = us
        joined = projector_us(arch.towers, image, shape.filled, speeds)
        found[OperatorId("vision", ENDS, "projector")] = joined
    prefill = Pass(shape.filled, shape.tokens.prefill, point.cached_tokens, decode=0)
    step = Pass(shape.batch, 1, 0, decode=1)
    before = cached_before(arch.convention, shape.tokens.context)
    steps = point.decode_steps
    for phase, one, count in (("prefill", prefill, 1), ("decode", step, steps)):
        for part in times_of(share, one, speeds):
            spent = {name: count * us for name, us in part.operators._asdict().items()}
            for name, line, span in part.lines:
                spent[name] += steps_us(line, before, steps, span)
            for name, us in spent.items():
                known = OperatorId(phase, part.group, name)
                found[known] = share.layout.pipeline * part.layers * us
    return found
