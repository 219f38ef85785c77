"""One point on a device, operator by operator: microseconds, what bounds it, share of the peak."""

from collections import defaultdict
from typing import Any, NamedTuple

from sweepengine.costs.cost_lines import CostLine, OperatorId
from sweepengine.costs.explain import explain
from sweepengine.costs.titles import (
    DRAFT,
    DRAFT_PREFILL,
    group_titles,
    operator_title,
    view_titles,
)
from sweepengine.data.basis import basis
from sweepengine.data.devices import Device
from sweepengine.data.error_classes import Case, error_class, ranges
from sweepengine.data.family_factors import engine_of_point
from sweepengine.data.models import Model
from sweepengine.data.speeds import (
    TimingTarget,
    drafting_speeds,
    refuse_unjoined,
    speeds_of,
    with_figures,
)
from sweepengine.formulas.architecture import Architecture
from sweepengine.formulas.attention_times import attended_share, steps_us
from sweepengine.formulas.drafts import drafted, drafting_of, step_of
from sweepengine.formulas.formats import FORMAT_NAMES
from sweepengine.formulas.layout import Share, all_layers_of, devices
from sweepengine.formulas.passes import ENDS, times_of
from sweepengine.formulas.points import INPUTS, Point, Tokens, rows_of_images, tokens_of
from sweepengine.formulas.reductions import cached_before
from sweepengine.formulas.serving import A_SECOND, CONTINUOUS, Seconds, ServingEngine
from sweepengine.formulas.speculation import A_TOKEN
from sweepengine.formulas.speeds import ROOFLINE, Speeds
from sweepengine.formulas.tokens import Pass, ceil_div
from sweepengine.formulas.towers import Towers
from sweepengine.formulas.views import ImageViews
from sweepengine.formulas.vision_times import blocks_us, join_us
from sweepengine.grid.plain import image_of, layout_of
from sweepengine.grid.points import default_values
from sweepengine.grid.timed import timed

COMPUTE, MEMORY, LINKS, FIXED = BOUNDS = ("compute", "memory", "links", "fixed costs")
"""What bounds an operator: a peak of the data sheet, or what kernels cost whatever they do."""
FAR = 1 / 3
"""Share of the peak below which an operator is bound by the fixed costs of kernels; where a device
takes another's rates by a factor, the share that it would have there."""
UNSLOWED = ("norms", "final_norm", "embedding")
"""Element-wise operators, which no factor of a device slows."""
QUANTISED = ("projections", "mlp", "routed", "image_experts")
"""Operators whose GEMMs run in the activation format; the others stay in bf16."""


class OperatorTime(NamedTuple):
    """Time of one operator in all layers of a group, in a whole phase."""

    id: OperatorId
    stage: str
    """Title of its phase; the next two are titles too."""
    group: str
    operator: str
    seconds: float
    of_stage: float
    bound: str
    """One of `BOUNDS`."""
    of_peak: float
    """Its time at the peaks of the data sheet (`times = "roofline"`), as a share of `seconds`."""
    flops: int
    """On tensor and CUDA cores."""
    moved_bytes: float

    def as_dict(self) -> dict[str, Any]:
        """Return all fields but `id`, for JSON."""
        return {name: value for name, value in self._asdict().items() if name != "id"}


class Timeline(NamedTuple):
    """Times of a point on a timing target."""

    arch: Architecture
    point: Point
    place: TimingTarget
    basis: str
    """What the times are based on, and how far they were off on runs like it."""
    seconds: Seconds
    steps: float
    """Decode steps: those of the answer, on average where they yield several tokens."""
    operators: list[OperatorTime]
    engine: ServingEngine
    """What the serving engine adds where requests join a running batch."""
    errors: dict[str, Any]
    """Columns of `grid.columns.ERRORS`."""

    @property
    def continuous(self) -> bool:
        """Whether requests join a running batch, so that each prefill is of one request."""
        return self.point.serving == CONTINUOUS

    def as_dict(self) -> dict[str, Any]:
        """Return all fields, for JSON; the device is named."""
        return {
            "device": self.place.device.name,
            "framework": self.place.framework,
            "times": self.place.times,
            "basis": self.basis,
            **{f"{name}_seconds": value for name, value in self.seconds._asdict().items()},
            **self.errors,
            "operators": [operator.as_dict() for operator in self.operators],
        }


class _Shape(NamedTuple):
    """A point as one device runs it."""

    point: Point
    share: Share
    image: ImageViews
    tokens: Tokens
    batch: float
    """Sequences of a data-parallel group in a step."""
    filled: float
    """Sequences of a data-parallel group in a prefill."""
    phases: tuple[str, str] = ("prefill", "decode")
    """Their keys."""


def _draft_of(model: Model, shape: _Shape) -> tuple[Model, _Shape]:
    """The draft of a point as a model, and the point as it runs there."""
    own, point = drafted(model.architecture, shape.point)
    share = all_layers_of(own, point.attention_heads, point.key_value_heads, layout_of(point))
    shape = shape._replace(point=point, share=share, phases=(DRAFT_PREFILL, DRAFT))
    return model._replace(architecture=own), shape


def _shape_of(model: Model, point: Point) -> _Shape:
    arch, layout = model.architecture, layout_of(point)
    image = image_of(arch, point)
    batch = float(ceil_div(point.batch_size, layout.data))
    return _Shape(
        point,
        all_layers_of(arch, point.attention_heads, point.key_value_heads, layout),
        image,
        tokens_of(point, image.tokens, image.features),
        batch,
        1.0 if point.serving == CONTINUOUS else batch,
    )


def timeline(model: Model, point: Point, place: TimingTarget) -> Timeline:
    """Time one point, operator by operator; the sums are its phases without time of the host.

    Parameters
    ----------
    model : Model
        The model.
    point : Point
        All inputs.
    place : TimingTarget
        Device and serving engine.

    Raises
    ------
    InputError
        When the device cannot be joined to as many as the layout has.
    """
    arch = model.architecture
    refuse_unjoined(place.device, devices(layout_of(point)))
    speeds = speeds_of(arch, point, place)
    peaks = speeds_of(arch, point, place._replace(times=ROOFLINE, rates=()))
    device = with_figures(place.device, point)
    continuous = point.serving == CONTINUOUS
    # Requests that join a running batch prefill one at a time.
    alone = point._replace(batch_size=1) if continuous else point
    shapes = {"decode": _shape_of(model, point)}
    shape = shapes["decode"]
    filled = _without_skipped_work(
        model, alone, shape, explain(arch, alone, shape.share).operators()
    )
    times, ideal = _times(model, shape, speeds), _times(model, shape, peaks)
    drafting = drafting_speeds(arch, point, place)
    if drafting is not None:
        least = drafting_speeds(arch, point, place._replace(times=ROOFLINE, rates=()))
        assert least is not None
        draft, shapes[DRAFT] = _draft_of(model, shape)
        times |= _times(draft, shapes[DRAFT], drafting)
        ideal |= _times(draft, shapes[DRAFT], least)
        filled = _without_skipped_work(draft, alone, shapes[DRAFT], filled)
    lines = explain(arch, point, shape.share).operators() if continuous else filled
    whole: dict[str, float] = defaultdict(float)
    for known, us in times.items():
        whole[known.phase] += us
    views = view_titles(arch.towers)
    operators = []
    for known, us in times.items():
        if us <= 0:
            continue
        shape = shapes[DRAFT if known.phase in (DRAFT_PREFILL, DRAFT) else "decode"]
        titles, decode = group_titles(shape.share.groups), known.phase in shapes
        line = (lines if decode else filled).get(known)
        share = ideal[known] / us
        slower = 1.0 if known.operator in UNSLOWED else place.slower
        near = place.times == ROOFLINE or share * slower >= FAR
        operators.append(
            OperatorTime(
                id=known,
                stage=known.phase,
                group=_group_title(known, titles, views),
                operator=_operator_title(known, shape.share),
                seconds=us / A_SECOND,
                of_stage=us / whole[known.phase],
                bound=_bound(known, line, device, shape.point) if near else FIXED,
                of_peak=share,
                flops=0 if line is None else line.flops,
                moved_bytes=0.0 if line is None else line.moved_bytes,
            )
        )
    engine = engine_of_point(arch, point, place)
    seconds = timed(arch, point, speeds, engine, drafting)
    case = Case(point.weight_format, layout_of(point), continuous, point.batch_size == 1,
                point.images > 0, speculative=point.draft_tokens > 0)  # fmt: skip
    errors = ranges(error_class(arch, place, case), seconds.ttft, seconds.tpot)
    based_on = basis(arch, place, continuous, case) + _unlike_times(model, point)
    steps = point.decode_steps * A_TOKEN / step_of(point).accepted
    return Timeline(arch, point, place, based_on, seconds, steps, operators, engine, errors)


def _unlike_times(model: Model, point: Point) -> str:
    """Return a remark on choices of a point that change its counts and not its times."""
    own = default_values(model)
    unlike = [
        f"{name} = {INPUTS[name].shown(value)}"
        for name in ("attention", "latent")
        if (value := getattr(point, name)) != own[name]
    ]
    said = f"; {' and '.join(unlike)} changes counts alone: times are of fused kernels"
    return said if unlike else ""


def _group_title(known: OperatorId, titles: tuple[str, ...], views: tuple[str, str]) -> str:
    if known.group == ENDS:
        return ""
    return views[known.group] if known.phase == "vision" else titles[known.group]


def _operator_title(known: OperatorId, share: Share) -> str:
    layers = known.phase != "vision" and known.group != ENDS
    fused = known.operator == "embedding" and share.backbone.fused
    name = "fused" if fused else known.operator
    return operator_title(name, share.groups[known.group] if layers else None)


def _without_skipped_work(
    model: Model, point: Point, shape: _Shape, lines: dict[OperatorId, CostLine]
) -> dict[OperatorId, CostLine]:
    """Return the lines of a prefill without work that serving engines skip.

    Kernels skip masked positions, and the head computes the logits of the last position only.
    """
    share, tokens, phase = shape.share, shape.tokens.prefill, shape.phases[0]
    reduced = dict(lines)
    for position, group in enumerate(share.groups):
        known = OperatorId(phase, position, "attention")
        if known in reduced:
            share_attended = attended_share(group.attention, tokens, shape.tokens.cached)
            flops = int(reduced[known].tensor_flops * share_attended)
            reduced[known] = reduced[known]._replace(tensor_flops=flops, cuda_flops=0)
    known = OperatorId(phase, ENDS, "head")
    if known in reduced:
        head = reduced[known]
        reduced[known] = head._replace(
            tensor_flops=head.tensor_flops // tokens,
            activation_io_bytes=head.activation_io_bytes // tokens,
        )
        known = OperatorId(phase, ENDS, "collectives")
        if known in reduced:
            batch = ceil_div(point.batch_size, share.layout.data)
            logits = share.backbone.vocabulary * (share.layout.tensor - 1)
            spared = batch * (tokens - 1) * logits * model.architecture.convention.dtype_bytes
            sent = reduced[known].link_bytes - spared
            reduced[known] = reduced[known]._replace(link_bytes=sent)
    return reduced


def _bound(known: OperatorId, line: CostLine | None, device: Device, point: Point) -> str:
    """Return the peak of the data sheet that an operator needs most time at.

    Operators without a line have no counted FLOPs: those that hand activations on to the next
    pipeline stage, and those that move activations and that the accounting of a model leaves out.
    """
    if line is None:
        return LINKS if known.operator == "collectives" else MEMORY
    peak = device.tensor_flops_per_s
    if known.operator in QUANTISED and known.phase != "vision":
        peak = device.peak_of(FORMAT_NAMES[point.activation_format])
    link = device.links.bytes_per_s if device.links else float("inf")
    bounds = {
        COMPUTE: line.tensor_flops / peak + line.cuda_flops / device.cuda_flops_per_s,
        MEMORY: line.moved_bytes / device.bytes_per_s,
        LINKS: line.link_bytes / link,
    }
    return max(bounds, key=lambda name: bounds[name])


def _times(model: Model, shape: _Shape, speeds: Speeds) -> dict[OperatorId, float]:
    """Return microseconds of all operators; in vision, of kinds of layers."""
    arch, point, share = model.architecture, shape.point, shape.share
    times: dict[OperatorId, float] = {}
    if arch.towers is not None:
        times |= _vision_times(arch.towers, shape, speeds)
    rows = rows_of_images(arch, shape.tokens.image, shape.tokens.features)
    tokens = shape.tokens
    of_draft = shape.phases[1] == DRAFT
    step = drafting_of(point) if of_draft else step_of(point)
    prefill = Pass(shape.filled, tokens.prefill, tokens.cached, decode=0, features=rows)
    new = Pass(shape.batch, step.tokens, 0, decode=1, features=rows)
    before = cached_before(arch.convention, shape.tokens.context) + point.draft_tokens
    answer, passes = point.decode_steps, step.passes * A_TOKEN / step.accepted
    for phase, work, count in zip(shape.phases, (prefill, new), (1, passes * answer), strict=True):
        for part in times_of(share, work, speeds):
            spent = {name: count * us for name, us in part.operators._asdict().items()}
            for name, line, span in part.lines:
                spent[name] += passes * steps_us(line, before, answer, span)
            for name, us in spent.items():
                known = OperatorId(phase, part.group, name)
                times[known] = part.layers * us
    return times


def _vision_times(towers: Towers, shape: _Shape, speeds: Speeds) -> dict[OperatorId, float]:
    """Return microseconds of kinds of layers for each kind of view, and of joins behind them."""
    times: dict[OperatorId, float] = defaultdict(float)
    image, filled = shape.image, shape.filled * shape.point.images
    for position, view in enumerate((image.views, image.tiles)):
        images = filled * view.count
        for name, blocks in zip(towers.block_names, towers.blocks, strict=True):
            known = OperatorId("vision", position, name.kind)
            times[known] += blocks_us(blocks, view, images, speeds)
        for name, join in zip(towers.join_names, towers.joins, strict=True):
            if name.kind:
                us = join_us(join, view, images, image.joined, speeds)
                times[OperatorId("vision", position, name.kind)] += us
    for name, join in zip(towers.join_names, towers.joins, strict=True):
        if not name.kind:
            us = join_us(join, image.views, filled, image.joined, speeds)
            times[OperatorId("vision", ENDS, name.operator)] += us
    return times
