"""A model's numbers: TOML file -> validated -> frozen `Architecture` that Numba accepts."""

from functools import cache
from pathlib import Path
from typing import Annotated, Any, Generic, NamedTuple, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, model_validator

from sweepengine.datafiles import find, known, read_toml
from sweepengine.errors import InputError, from_validation
from sweepengine.schema import FILE_SCHEMA_VERSION

Size = Annotated[int, Field(gt=0, strict=True)]
Count = Annotated[int, Field(ge=0, strict=True)]
Switch = Annotated[bool, Field(strict=True)]


class Image(NamedTuple):
    """How an image becomes patches and tokens."""

    patch_size: Size
    channels: Size
    patches_per_token: Size


class Sam(NamedTuple):
    """SAM encoder (ImageEncoderViT)."""

    width: Size
    heads: Size
    mlp_width: Size
    blocks: Size
    global_blocks: Count
    window: Size
    neck_width: Size
    downsample_width: Size
    output_width: Size
    position_edge: Size
    relative_position_flops: Count


class Clip(NamedTuple):
    """CLIP transformer (VitModel)."""

    width: Size
    heads: Size
    mlp_width: Size
    blocks: Size
    image_size: Size
    patch_size: Size
    flash_io_widths: Count
    eager_io_widths: Count
    eager_io_scores: Count
    embedding_io_per_token: Count
    embedding_io_tokens: Count


class Projector(NamedTuple):
    """MlpProjector between the encoder and the decoder."""

    input_width: Size
    output_width: Size
    layers: Size
    gelu: Switch
    newline_tokens: Switch
    repeats_tiles: Switch


class Decoder(NamedTuple):
    """DeepSeek-V2 decoder with its head."""

    hidden: Size
    layers: Size
    dense_layers: Count
    dense_width: Size
    experts: Size
    experts_per_token: Size
    expert_width: Size
    shared_width: Size
    vocabulary: Size
    attention_heads: Size
    key_value_heads: Size


class Accounting(NamedTuple):
    """What is counted: where two accountings of the same model differ."""

    dtype_bytes: Size
    rotary_embedding: Switch
    step_attends_itself: Switch
    cache_holds_last_token: Switch
    elementwise_cuda: Switch
    norm_and_residual_io: Switch
    weight_io: Switch
    kv_io: Switch
    activation_sum: Switch
    bias_weights: Switch
    position_weights: Switch
    block_norm_weights: Switch
    final_norm_weights: Switch
    embedding_weights: Switch
    separator_weights: Switch
    experts_held: Count
    vision_copies: Size


class Architecture(NamedTuple):
    """Every number of a model that the formulas use, as nested tuples of integers."""

    image: Image
    sam: Sam
    clip: Clip
    projector: Projector
    decoder: Decoder
    accounting: Accounting


SECTIONS: dict[str, type[NamedTuple]] = get_type_hints(Architecture)

Number = TypeVar("Number")
_STRICT = ConfigDict(extra="forbid", frozen=True)


class Quantity(BaseModel, Generic[Number]):
    """A number with its unit, in TOML ``{ value = 768, unit = "channels" }``."""

    model_config = _STRICT
    value: Number
    unit: Annotated[str, Field(min_length=1, strict=True)]


class Mode(BaseModel):
    """A published resolution mode; without a tile size it has no tiles."""

    model_config = _STRICT
    view_size: Annotated[int, Field(ge=64, le=4096, multiple_of=64, strict=True)]
    tile_size: Annotated[int, Field(ge=64, le=4096, multiple_of=64, strict=True)] | None = None


def _section_schema(section: type[NamedTuple]) -> type[BaseModel]:
    hints = get_type_hints(section, include_extras=True)
    fields: dict[str, Any] = {
        name: (hint if hint is Switch else Quantity.__class_getitem__(hint), ...)
        for name, hint in hints.items()
    }
    fields["source"] = (Annotated[str, Field(min_length=1, strict=True)], ...)
    return create_model(section.__name__, __config__=_STRICT, **fields)


class _ModelFile(BaseModel):
    """What every model file holds besides its sections."""

    model_config = _STRICT
    name: Annotated[str, Field(min_length=1, strict=True)]
    description: str
    schema_version: Annotated[
        int, Field(ge=FILE_SCHEMA_VERSION, le=FILE_SCHEMA_VERSION, strict=True)
    ]
    modes: dict[str, Mode]
    why: dict[str, Annotated[str, Field(strict=True)]] = {}

    @model_validator(mode="after")
    def _consistent(self) -> "_ModelFile":
        arch = _architecture(self)
        divisions = [
            ("sam.heads", arch.sam.heads, "sam.width", arch.sam.width),
            ("clip.heads", arch.clip.heads, "clip.width", arch.clip.width),
            ("clip.patch_size", arch.clip.patch_size, "clip.image_size", arch.clip.image_size),
            (
                "decoder.attention_heads",
                arch.decoder.attention_heads,
                "decoder.hidden",
                arch.decoder.hidden,
            ),
            (
                "decoder.key_value_heads",
                arch.decoder.key_value_heads,
                "decoder.attention_heads",
                arch.decoder.attention_heads,
            ),
        ]
        for key, divisor, of_key, number in divisions:
            if number % divisor:
                raise ValueError(f"{key} = {divisor} does not divide {of_key} = {number}")
        limits = [
            ("sam.global_blocks", arch.sam.global_blocks, "sam.blocks", arch.sam.blocks),
            ("decoder.dense_layers", arch.decoder.dense_layers, "decoder.layers",
             arch.decoder.layers),
            ("decoder.experts_per_token", arch.decoder.experts_per_token, "decoder.experts",
             arch.decoder.experts),
            ("accounting.experts_held", arch.accounting.experts_held, "decoder.experts",
             arch.decoder.experts),
        ]  # fmt: skip
        for key, number, of_key, limit in limits:
            if number > limit:
                raise ValueError(f"{key} = {number} is more than {of_key} = {limit}")
        return self


ModelFile: type[_ModelFile] = create_model(
    "ModelFile",
    __base__=_ModelFile,
    **{name: (_section_schema(section), ...) for name, section in SECTIONS.items()},  # type: ignore[call-overload]
)


def _architecture(file: BaseModel) -> Architecture:
    sections = []
    for name, section in SECTIONS.items():
        read = getattr(file, name)
        numbers = {
            field: int(value.value if isinstance(value, Quantity) else value)
            for field in section._fields
            for value in [getattr(read, field)]
        }
        sections.append(section(**numbers))  # type: ignore[call-overload]
    return Architecture(*sections)


class Model(NamedTuple):
    """A model ready to be costed."""

    name: str
    description: str
    architecture: Architecture
    modes: dict[str, Mode]
    sources: dict[str, str]
    """Section of the model file to where its figures come from."""
    why: dict[str, str]
    """Key that differs from the extended model (`sam.width`) to the reason."""

    @property
    def parameter_count(self) -> int:
        """Parameters held in memory, at the model's own heads."""
        from sweepengine.stages import own_heads, parameter_count

        return parameter_count(self.architecture, own_heads(self.architecture))

    @property
    def weight_bytes(self) -> int:
        """Bytes of all parameters."""
        return self.parameter_count * self.architecture.accounting.dtype_bytes


def _merged(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in change.items():
        old = result.get(key)
        both_tables = isinstance(old, dict) and isinstance(value, dict)
        result[key] = _merged(old, value) if both_tables and "value" not in value else value  # type: ignore[arg-type]
    return result


def _read_model(name: str | Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    path = find("models", name)
    if path.resolve() in seen:
        raise InputError(f'{path}: extends: "{name}" leads back to itself')
    data = read_toml(path)
    if "extends" not in data:
        return data
    base = data.pop("extends")
    if not isinstance(base, str):
        raise InputError(f"{path}: extends: expected the name or path of a model, found {base!r}")
    beside = path.parent / base
    base_name = base if base in known("models") or not beside.is_file() else str(beside)
    try:
        read = _read_model(base_name, (*seen, path.resolve()))
    except InputError as error:
        raise InputError(f"{path}: extends: {error}") from None
    return _merged(read, data)


@cache
def load_model(name: str | Path = "deepseek-ocr-3b") -> Model:
    """Load a model by the name it is shipped under, or from a TOML file.

    A file may say ``extends = "NAME"`` and then holds only what differs.

    Parameters
    ----------
    name : str or Path
        A stem under ``sweepengine/models`` or a path to a TOML file.

    Raises
    ------
    InputError
        When there is no such model or its file is not valid.
    """
    data = _read_model(name)
    try:
        file = ModelFile.model_validate(data)
    except ValidationError as error:
        raise from_validation(find("models", name), error) from None
    return Model(
        file.name,
        file.description,
        _architecture(file),
        file.modes,
        {section: getattr(file, section).source for section in SECTIONS},
        file.why,
    )
