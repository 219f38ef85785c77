"""What operators, layers and groups are called for people; nothing is found by a title."""

from collections import Counter

from sweepengine.formulas.architecture import Group

TITLES = {
    "routed": "routed experts",
    "mlp": "MLP",
    "head": "LM head",
    "embedding": "token embedding",
    "sam_ends": "SAM patches and neck",
    "global_blocks": "SAM blocks, global",
    "windowed_blocks": "SAM blocks, windows",
    "clip_ends": "CLIP embeddings and norm",
    "clip_blocks": "CLIP blocks",
    "encoder_ends": "encoder queries and norm",
    "encoder_blocks": "encoder layers",
}
"""Of an operator or a kind of layers; others are called by their field's name."""
VIEWS = ("global view", "tiles")


def operator_title(operator: str, group: Group | None = None) -> str:
    """What an operator is called, in layers of a group."""
    if operator == "mlp" and group is not None and group.feed_forward.experts:
        return "shared experts"
    return TITLES.get(operator, operator.replace("_", " "))


def _group_title(group: Group) -> str:
    own, forward = group.attention, group.feed_forward
    if forward.experts:
        said = [f"{forward.experts} experts"]
    else:
        said = ["dense" if forward.width else "no MLP"]
    if group.recurrent.heads:
        said.append("Mamba-2" if group.recurrent.mamba else "gated delta net")
    elif not own.heads:
        said.append("no attention")
    if own.index_heads:
        said.append("indexer")
    if own.window:
        said.append(f"window of {own.window:,}")
    if own.stride:
        said.append(f"an entry each {own.stride:,}")
    return f"layers, {', '.join(said)}"


def group_titles(groups: tuple[Group, ...]) -> tuple[str, ...]:
    """What groups of layers are called; those that would be called alike are numbered."""
    titles = [_group_title(group) for group in groups]
    alike = Counter(titles)
    return tuple(
        f"{title} ({titles[: i + 1].count(title)})" if alike[title] > 1 else title
        for i, title in enumerate(titles)
    )
