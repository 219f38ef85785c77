"""Accepted tokens of speculative decoding: an assumption, said with what was published."""

from collections.abc import Iterable
from typing import Any, Final

from sweepengine.data.files import shipped_table
from sweepengine.data.models import Model, choices_of
from sweepengine.formulas.speculation import A_TOKEN, accepted_tokens

ACCEPTANCE: Final[list[dict[str, Any]]] = shipped_table("measured", "acceptance.toml")["published"]
"""Published numbers of accepted tokens by model, draft, drafted tokens and task."""
MOST_TEXTS = 4
"""Texts about accepted tokens that one answer shows."""


def published(draft: str, drafted: int) -> list[dict[str, Any]]:
    """Published rows of a draft that drafts so many tokens a step."""
    return [row for row in ACCEPTANCE if (row["draft"], row["draft_tokens"]) == (draft, drafted)]


def acceptance_text(drafted: int, accepted: float, draft: str) -> str:
    """What a point assumes about accepted tokens, with published figures; empty without a draft.

    Parameters
    ----------
    drafted : int
        Tokens drafted a step.
    accepted : float
        Tokens that a step yields; 0 for the default.
    draft : str
        What drafts them.
    """
    if not drafted:
        return ""
    yielded = accepted_tokens(drafted, round(accepted * A_TOKEN)) / A_TOKEN
    how = "as given" if accepted else "assumed, 1 + half of those drafted"
    text = f"draft {draft}: accepted {yielded:g} of {1 + drafted} tokens a step: {how}"
    rows = published(draft, drafted)
    if rows:
        least, most = (of(row["accepted_tokens"] for row in rows) for of in (min, max))
        models = ", ".join(dict.fromkeys(row["model"] for row in rows))
        span = f"{least:g}" if least == most else f"{least:g} to {most:g}"
        text += f"; published: {span} ({models})"
    return text


def acceptance_texts(model: Model, stored: Iterable[tuple[int, int, int]]) -> tuple[str, ...]:
    """`acceptance_text` of points, each once, and how many more there are than `MOST_TEXTS`.

    Parameters
    ----------
    model : Model
        With the models that draft for it.
    stored : iterable of tuple of int
        Stored inputs `draft_tokens`, `accepted_tokens` and `draft` of points.
    """
    names = choices_of(model, "draft")
    found = dict.fromkeys(
        acceptance_text(drafted, accepted / A_TOKEN, names[draft])
        for drafted, accepted, draft in stored
        if drafted
    )
    texts = list(found)
    more = len(texts) - MOST_TEXTS
    if more > 1:
        return (*texts[:MOST_TEXTS], f"accepted tokens of {more} more drafts alike")
    return tuple(texts)
