"""What to measure: the keys of `sizes.toml`, checked."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sweepengine.data.errors import from_validation
from sweepengine.data.files import read_toml
from sweepengine.validation.measured_passes import What

Count = Annotated[int, Field(ge=1, le=1 << 24, strict=True)]
Some = Annotated[int, Field(ge=0, le=1 << 24, strict=True)]
Counts = Annotated[tuple[Count, ...], Field(min_length=1)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Gemms(_Table):
    """Linear layers."""

    m: Counts
    n_k: tuple[tuple[Count, Count], ...]
    formats: tuple[Literal["bfloat16", "fp8"], ...]


class Steps(_Table):
    """Attention of decode steps."""

    batch_size: Counts
    heads: tuple[tuple[Count, Count], ...]
    """Query and key-value heads."""
    head_dim: Counts
    keys: Counts


class Prefills(_Table):
    """Attention of prefills."""

    batch_size: Counts
    heads: tuple[tuple[Count, Count], ...]
    head_dim: Counts
    tokens: Counts


class Encoders(_Table):
    """Attention of vision."""

    batch_size: Counts
    heads: Counts
    head_dim: Counts
    tokens: Counts


class Moes(_Table):
    """Routed experts."""

    experts: tuple[tuple[Count, Count, Count, Count], ...]
    """Hidden width, inner width, experts a token, experts."""
    tokens: Counts


class Passes(_Table):
    """Passes of one module."""

    model: Annotated[str, Field(min_length=1)]
    what: What
    cases: Annotated[tuple[tuple[Count, Count, Some], ...], Field(min_length=1)]
    """Images, height and width; or sequences, new tokens and cached ones."""
    compiled: Some
    """How many of the cases are compiled too."""


class Sizes(_Table):
    """A whole file; operators that it lacks are not measured."""

    most_gb: Annotated[float, Field(gt=0)]
    """Operands of the largest operator, GB."""
    gemm: Gemms | None = None
    generation_attention: Steps | None = None
    context_attention: Prefills | None = None
    encoder_attention: Encoders | None = None
    moe: Moes | None = None
    passes: tuple[Passes, ...] = ()


def read_sizes(path: Path) -> Sizes:
    """Read a file of sizes.

    Raises
    ------
    InputError
        When it cannot be read or is not valid.
    """
    try:
        return Sizes.model_validate(read_toml(path))
    except ValidationError as error:
        raise from_validation(path, error, Sizes.model_fields) from None
