"""Rules of layouts, formats and drafts, which depend on the model."""

from collections.abc import Mapping
from typing import NamedTuple

from sweepengine.data.models import Model, choices_of
from sweepengine.formulas.drafts import draft_layout, draft_of
from sweepengine.formulas.formats import WEIGHT_FORMATS, WEIGHT_ROLES, row_of
from sweepengine.formulas.layout import Layout
from sweepengine.formulas.points import DRAFT_COLUMNS
from sweepengine.formulas.speculation import A_TOKEN
from sweepengine.grid.axes import AXES
from sweepengine.grid.timed import UNTIMED

LAYOUT_COLUMNS = AXES["layout"].columns


class Problem(NamedTuple):
    """A rule between columns that a row breaks; each of its values is valid alone."""

    column: str
    """The first column at fault."""
    value: int | None
    """Its value; None where `text` names columns and values."""
    text: str
    whole: int = 0
    """Number that the value must divide, where that is the rule; else 0."""
    row: int = 0

    @property
    def sentence(self) -> str:
        """The problem as a sentence, without the place."""
        return self.text if self.value is None else f"{self.column} = {self.value}: {self.text}"

    @property
    def joint_text(self) -> str:
        """The problem as a sentence that follows a joint value."""
        return f"expected {self.column} that divide {self.whole}" if self.whole else self.text


def layout_problem(model: Model, layout: Layout, heads: tuple[int, int] = (0, 0)) -> str:
    """The rule that a layout breaks, as text; empty where it breaks none.

    Parameters
    ----------
    model : Model
    layout : Layout
    heads : tuple of int
        Attention heads and key-value heads of a point; 0 for those of the model.
    """
    tensor, expert, pipeline, data, context = layout
    arch = model.architecture
    for group in arch.groups:
        attention = group.attention
        queries = heads[0] or attention.heads
        if queries % tensor:
            return f"tensor_parallel = {tensor} does not divide {queries} attention heads"
        grouped = 0 if attention.latent else heads[1] or attention.key_value_heads
        if grouped and grouped % tensor and tensor % grouped:
            return (
                f"tensor_parallel = {tensor} neither divides {grouped} key-value heads "
                "nor is a multiple of them"
            )
        if group.recurrent.heads % tensor:
            return f"tensor_parallel = {tensor} does not divide {group.recurrent.heads} state heads"
    layers = sum(group.layers for group in arch.groups)
    if pipeline > layers:
        return f"pipeline_parallel = {pipeline} is more than {layers} layers"
    if context > 1 and (text := _context_problem(model, layout, heads)):
        return f"decode_context_parallel = {context}: {text}"
    if expert == 1:
        return ""
    most = max((experts for experts, _ in arch.routings), default=0)
    if not most:
        return f"expert_parallel = {expert}: expected 1, the model has no routed experts"
    if expert > most:
        return f"expert_parallel = {expert} is more than {most} experts"
    if tensor % expert and (expert % tensor or (tensor * data) % expert):
        return (
            f"expert_parallel = {expert}: expected a divisor of tensor_parallel = {tensor}, or a "
            f"multiple of it that divides tensor_parallel x data_parallel = {tensor * data}"
        )
    return ""


def _context_problem(model: Model, layout: Layout, heads: tuple[int, int]) -> str:
    """Why devices cannot share the tokens of a KV cache, as vLLM has it; empty where they can."""
    for group in model.architecture.groups:
        attention = group.attention
        if attention.window or attention.stride or attention.index_heads or group.recurrent.heads:
            return (
                "expected 1 for a model with windows, compressed entries, indexers or "
                "recurrent layers"
            )
        grouped = 1 if attention.latent else heads[1] or attention.key_value_heads
        replicas = max(layout.tensor // max(grouped, 1), 1)
        if replicas % layout.decode_context:
            what = "a latent" if attention.latent else "a key-value head"
            return f"expected a divisor of {replicas}, the devices that hold {what}"
    return UNTIMED if model.devices else ""


def format_problem(model: Model, weights: int) -> str:
    """Why a weight format is not valid for a model; empty where it is."""
    name = WEIGHT_FORMATS[weights]
    covers = WEIGHT_ROLES if name == "checkpoint" else row_of(name).get("covers", WEIGHT_ROLES)
    moe = any(experts for experts, _ in model.architecture.routings)
    if set(covers) == {"experts"} and not moe:
        return f'weight_format = "{name}" applies to routed experts: the model has none'
    return ""


def draft_problem(model: Model, values: Mapping[str, int]) -> Problem | None:
    """The first rule that values of `DRAFT_COLUMNS` and a layout break; None where none is."""
    drafted, accepted, draft = (values[name] for name in DRAFT_COLUMNS)
    most = 1 + drafted
    if accepted and not A_TOKEN <= accepted <= most * A_TOKEN:
        text = f"expected 1..{most}, as a step verifies 1 + draft_tokens = {most}"
        found = f"accepted_tokens = {accepted / A_TOKEN:g}: {text}"
        return Problem("accepted_tokens", None, found)
    if not drafted:
        return None
    layout = Layout(*(values[name] for name in LAYOUT_COLUMNS))
    if layout.decode_context > 1:
        text = f"decode_context_parallel = {layout.decode_context}: expected 1 with draft_tokens"
        return Problem("decode_context_parallel", None, text)
    own = model._replace(architecture=draft_of(model.architecture, draft), devices=())
    name = choices_of(model, "draft")[draft]
    if text := layout_problem(own, draft_layout(model.architecture, draft, layout)):
        return Problem("draft", None, f'draft = "{name}": {text} of the draft')
    return None
