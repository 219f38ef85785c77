"""Titles of operators, layers and groups, for people; programs find them by `OperatorId`."""

from collections import Counter

from sweepengine.formulas.architecture import MIXERS, Group
from sweepengine.formulas.towers import Towers

TITLES = {
    "feature_keys": "keys of features",
    "routed": "routed experts",
    "image_experts": "experts for images",
    "mlp": "MLP",
    "head": "LM head",
    "embedding": "token embedding",
    "fused": "token embedding and projection",
    "sam_ends": "SAM patches and neck",
    "global_blocks": "SAM blocks, global",
    "windowed_blocks": "SAM blocks, windows",
    "clip_ends": "CLIP embeddings and norm",
    "clip_blocks": "CLIP blocks",
    "encoder_ends": "encoder queries and norm",
    "encoder_blocks": "encoder layers",
}
"""Titles of operators and kinds of layers; the others are titled by their field."""

DRAFT_PREFILL, DRAFT = "draft prefill", "draft"
"""Phases of a draft, parts of the model's prefill and decode."""
DRAFT_OF = {"prefill": DRAFT_PREFILL, "decode": DRAFT}
PHASES_OF_STEPS = ("decode", DRAFT)


def view_titles(towers: Towers | None) -> tuple[str, str]:
    """Return titles of the views of an image, and of its views of another size."""
    has_global_view = towers is not None and towers.crops is not None
    return ("global view" if has_global_view else "views", "tiles")


def operator_title(operator: str, group: Group | None = None) -> str:
    """Return the title of an operator in the layers of a group."""
    if operator == "mlp" and group is not None and group.feed_forward.experts:
        return "shared experts"
    return TITLES.get(operator, operator.replace("_", " "))


def _group_title(group: Group) -> str:
    attention, ffn = group.attention, group.feed_forward
    dense = "dense" if ffn.width else "no MLP"
    texts = [f"{ffn.experts} experts" if ffn.experts else dense]
    if group.recurrent.heads:
        beside = "attention and " if attention.heads else ""
        texts.append(beside + MIXERS[group.recurrent.kind])
    elif not attention.heads:
        texts.append("no attention")
    if attention.crossed:
        texts.append("cross attention")
    if attention.index_heads:
        texts.append("indexer")
    if attention.window:
        texts.append(f"window of {attention.window:,}")
    if attention.stride:
        texts.append(f"an entry each {attention.stride:,}")
    return f"layers, {', '.join(texts)}"


def group_titles(groups: tuple[Group, ...]) -> tuple[str, ...]:
    """Return titles of groups of layers; equal titles are numbered."""
    titles = [_group_title(group) for group in groups]
    alike = Counter(titles)
    return tuple(
        f"{title} ({titles[: i + 1].count(title)})" if alike[title] > 1 else title
        for i, title in enumerate(titles)
    )
