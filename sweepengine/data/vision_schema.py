"""Schema of the section `vision` of a model file: a tower as groups of blocks and joins."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from sweepengine.data.errors import from_validation
from sweepengine.data.records import numbers_of, schema_of
from sweepengine.data.texts import Name, Source
from sweepengine.formulas.towers import Blocks, Join, PartName, Towers
from sweepengine.formulas.views import ImageRule

TOWER = "vision"
"""Prefix of the operators of a tower in accountings."""
_STRICT = ConfigDict(extra="forbid", frozen=True)
_Text = Annotated[str, Field(min_length=1, max_length=60)]
_Number = Annotated[int, Field(ge=0, le=2**31 - 1, strict=True)]
_PinPoint = tuple[_Number, _Number]
_Rule: Any = create_model(  # type: ignore[call-overload]
    "ImageRule",
    __config__=_STRICT,
    **{
        name: (
            (Name, ...) if name == "name"
            else (tuple[_PinPoint, ...], ()) if name == "pinpoints"
            else (_Number, ImageRule._field_defaults.get(name, ...))
        )
        for name in ImageRule._fields
    },
)  # fmt: skip
_Blocks: Any = schema_of(Blocks, part=(_Text, ...), kind=(_Text, ...))
_Join: Any = schema_of(Join, part=(_Text, ...), kind=(str, ""), operator=(Name, ...))


class Vision(BaseModel):
    """A vision tower, and what joins it to the decoder."""

    model_config = _STRICT
    source: Source
    rule: _Rule
    """From the size of an image to views and tokens, a function of `formulas/images.py`."""
    merge: Annotated[int, Field(ge=1, le=64, strict=True)]
    width: Annotated[int, Field(ge=1, le=2**31 - 1, strict=True)]
    blocks: Annotated[tuple[_Blocks, ...], Field(min_length=1)]
    joins: tuple[_Join, ...]


def checked_vision(section: object, source: str | Path) -> Vision:
    """The section `vision` of a model file, validated.

    Raises
    ------
    InputError
        When it is not valid; the message names `source` and the key.
    """
    try:
        return Vision.model_validate(section)
    except ValidationError as error:
        raise from_validation(source, error, Vision.model_fields, ("vision",)) from None


def towers_of(read: Vision) -> Towers:
    """Numbers of a validated section as formulas take them."""
    return Towers(
        rule=ImageRule(**read.rule.model_dump()),
        blocks=tuple(numbers_of(one, Blocks) for one in read.blocks),
        joins=tuple(numbers_of(one, Join) for one in read.joins),
        block_names=tuple(PartName(one.part, TOWER, one.kind, "") for one in read.blocks),
        join_names=tuple(PartName(one.part, TOWER, one.kind, one.operator) for one in read.joins),
        merge=read.merge,
        width=read.width,
    )
