"""Models that draft for a model, beside its own MTP layer and an EAGLE head."""

from collections.abc import Iterable
from pathlib import Path

from sweepengine.data.errors import InputError
from sweepengine.data.models import Model, load_model
from sweepengine.formulas.speculation import DRAFTS


def drafting_model(model: Model, draft: Model | str | Path, place: str) -> Model:
    """The model that drafts for another.

    Parameters
    ----------
    model : Model
    draft : Model, str or Path
        What drafts for it, or its name or file.
    place : str
        Text that stands before the draft's name in messages.

    Raises
    ------
    InputError
        When there is no such model, or its tokens are not those of the model.
    """
    try:
        loaded = load_model(draft)
    except InputError as error:
        raise InputError(f'{place}: expected "mtp", "eagle" or a model: {error}') from None
    own, other = (one.architecture.backbone.vocabulary for one in (model, loaded))
    if own != other:
        raise InputError(
            f"{place}: has a vocabulary of {other:,} tokens: expected that of {model.name}, {own:,}"
        )
    return loaded


def with_drafts(
    model: Model, drafts: Iterable[Model | str | Path], place: str
) -> tuple[Model, tuple[str, ...]]:
    """The model with models that draft for it, and the name of each draft.

    Parameters
    ----------
    model : Model
    drafts : iterable of Model, str or Path
        "mtp", "eagle", or models as `load_model` takes them.
    place : str
        Text that stands before a draft in messages.

    Raises
    ------
    InputError
        As `drafting_model`.
    """
    names, found = [], {draft.name: draft for draft in model.drafts}
    for draft in drafts:
        if draft in DRAFTS:
            names.append(str(draft))
            continue
        title = draft.name if isinstance(draft, Model) else draft
        loaded = drafting_model(model, draft, f'{place} = "{title}"')
        names.append(loaded.name)
        found[loaded.name] = loaded
    if len(found) > len(model.drafts):
        models = tuple(found.values())
        numbers = tuple(one.architecture._replace(towers=None, drafts=()) for one in models)
        arch = model.architecture._replace(drafts=numbers)
        model = model._replace(architecture=arch, drafts=models)
    return model, tuple(names)
