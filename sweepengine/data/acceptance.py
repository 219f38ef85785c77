"""Accepted tokens of speculative decoding: an assumption, said with what was published."""

from typing import Any, Final

from sweepengine.data.files import shipped_table
from sweepengine.data.models import Model, choices_of
from sweepengine.formulas.speculation import A_TOKEN, accepted_tokens

ACCEPTANCE: Final[list[dict[str, Any]]] = shipped_table("measured", "acceptance.toml")["published"]
"""Published numbers of accepted tokens by model, draft, drafted tokens and task."""


def published(draft: str, drafted: int) -> list[dict[str, Any]]:
    """Published rows of a draft that drafts so many tokens a step."""
    return [row for row in ACCEPTANCE if (row["draft"], row["draft_tokens"]) == (draft, drafted)]


def acceptance_text(model: Model, drafted: int, accepted: int, draft: int) -> str:
    """What a point assumes about accepted tokens, with published figures; empty without a draft.

    Parameters
    ----------
    model : Model
        With the models that draft for it.
    drafted, accepted, draft : int
        Stored inputs `draft_tokens`, `accepted_tokens` and `draft` of a point.
    """
    if not drafted:
        return ""
    name, yielded = choices_of(model, "draft")[draft], accepted_tokens(drafted, accepted) / A_TOKEN
    how = "as given" if accepted else "assumed, 1 + half of those drafted"
    text = f"draft {name}: accepted {yielded:g} of {1 + drafted} tokens a step: {how}"
    rows = published(name, drafted)
    if rows:
        least, most = (of(row["accepted_tokens"] for row in rows) for of in (min, max))
        models = ", ".join(dict.fromkeys(row["model"] for row in rows))
        span = f"{least:g}" if least == most else f"{least:g} to {most:g}"
        text += f"; published: {span} ({models})"
    return text
