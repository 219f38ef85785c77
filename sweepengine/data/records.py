"""Parts of model files that hold the numbers of a record: their schema, and the record."""

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, create_model

from sweepengine.formulas.quantities import quantities

LARGEST_NUMBER = 2**31 - 1
"""Largest number in a model file."""
_STRICT = ConfigDict(extra="forbid", frozen=True)


def schema_of(numbers: type[NamedTuple], **more: Any) -> type[BaseModel]:
    """Schema of the part of a model file that holds the numbers of a record."""
    fields: dict[str, Any] = {}
    for name, quantity in quantities(numbers).items():
        kind: Any = Annotated[int, Field(ge=quantity.least, le=LARGEST_NUMBER, strict=True)]
        if quantity.switch:
            kind = Annotated[bool, Field(strict=True)]
        if quantity.names:
            kind = Literal[quantity.names]
        if quantity.default is None:
            fields[name] = (kind, ...)
        elif isinstance(quantity.default, str):
            fields[name] = (kind | None, None)
        else:
            default = bool(quantity.default) if quantity.switch else quantity.default
            fields[name] = (kind, quantity.names[quantity.default] if quantity.names else default)
    return create_model(numbers.__name__, __config__=_STRICT, **fields, **more)


def numbers_of(read: Any, numbers: type[NamedTuple]) -> Any:
    """The record of integers from a part of a model file."""
    values: dict[str, int] = {}
    for name, quantity in quantities(numbers).items():
        value = getattr(read, name)
        if value is None:
            value = values[str(quantity.default)]
        values[name] = quantity.names.index(value) if quantity.names else int(value)
    return numbers(**values)  # type: ignore[call-overload]
