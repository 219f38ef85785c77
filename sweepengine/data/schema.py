"""Schema of model files, generated from the declarations of the numbers of formulas."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, NamedTuple, get_type_hints

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model, model_validator

from sweepengine.data.files import MODEL_SCHEMA_VERSION
from sweepengine.data.texts import Name, Source, Text
from sweepengine.formulas.architecture import (
    GATED_DELTA_NET,
    MAMBA_2,
    MIXERS,
    NO_RECURRENT,
    Architecture,
    Attention,
    Backbone,
    Checkpoint,
    Convention,
    Counts,
    FeedForward,
    Group,
    Recurrent,
)
from sweepengine.formulas.clip import ClipBlock, ClipEnds
from sweepengine.formulas.cost import CountedOperator
from sweepengine.formulas.encoder import EncoderBlock, EncoderEnds
from sweepengine.formulas.formats import CACHE_FORMATS, FORMAT_NAMES
from sweepengine.formulas.layers import Ends, Layer
from sweepengine.formulas.quantities import Quantity
from sweepengine.formulas.sam import SamBlock, SamEnds
from sweepengine.formulas.towers import (
    NO_CLIP,
    NO_ENCODER,
    Clip,
    Encoder,
    Image,
    Projector,
    Sam,
    Towers,
)
from sweepengine.formulas.vision import Joins

LARGEST_NUMBER = 2**31 - 1
"""Largest number in a model file."""
OPERATORS: dict[str, tuple[str, type[NamedTuple]]] = {
    "layer": ("decoder", Layer),
    "ends": ("decoder", Ends),
    "sam_ends": ("sam", SamEnds),
    "sam_block": ("sam", SamBlock),
    "clip_ends": ("clip", ClipEnds),
    "clip_block": ("clip", ClipBlock),
    "encoder_ends": ("encoder", EncoderEnds),
    "encoder_block": ("encoder", EncoderBlock),
    "joins": ("vision", Joins),
}
"""Field of `Counts` to the prefix and record of its operators: "decoder.norms", "sam.tables"."""
OPERATOR_NAMES = {
    kind: [f"{part}.{operator}" for operator in tuple_of._fields]
    for kind, (part, tuple_of) in OPERATORS.items()
}
_STRICT = ConfigDict(extra="forbid", frozen=True)
_Side = Annotated[int, Field(ge=64, le=4096, multiple_of=64, strict=True)]
_Layers = Annotated[int, Field(ge=1, le=LARGEST_NUMBER, strict=True)]


def _zeros(record: type[NamedTuple]) -> dict[str, int]:
    return dict.fromkeys(record._fields, 0)


ABSENT = {
    "attention": Attention(**_zeros(Attention))._replace(key_width=1, value_width=1),
    "feed_forward": FeedForward(**_zeros(FeedForward))._replace(matrices=3, expert_devices=1),
    "recurrent": NO_RECURRENT,
}
"""Values of a part that a layer does not have."""


class Mode(BaseModel):
    """A published resolution mode, in pixels; without `tile_size` it has no tiles."""

    model_config = _STRICT
    view_size: _Side
    tile_size: _Side | None = None


def quantities(numbers: type[NamedTuple]) -> dict[str, Quantity]:
    """Annotation of each number of a record, by name."""
    hints = get_type_hints(numbers, include_extras=True)
    return {
        name: hint.__metadata__[0] for name, hint in hints.items() if hasattr(hint, "__metadata__")
    }


def _schema(numbers: type[NamedTuple], **more: Any) -> type[BaseModel]:
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


def _numbers(read: Any, numbers: type[NamedTuple]) -> Any:
    """The record of integers from a part of a model file."""
    values: dict[str, int] = {}
    for name, quantity in quantities(numbers).items():
        value = getattr(read, name)
        if value is None:
            value = values[str(quantity.default)]
        values[name] = quantity.names.index(value) if quantity.names else int(value)
    return numbers(**values)  # type: ignore[call-overload]


_Count: Any = create_model(
    "Counted",
    __config__=_STRICT,
    operators=(tuple[Name, ...], Field(min_length=1)),
    **{
        role: (Annotated[int, Field(ge=0, le=9, strict=True)], None)
        for role in CountedOperator._fields
    },
)  # type: ignore[call-overload]
_Attentions: Any = dict[Name, _schema(Attention)]  # type: ignore[misc]
_FeedForwards: Any = dict[Name, _schema(FeedForward)]  # type: ignore[misc]


def _named_kind(recurrent: Any) -> Any:
    """`mamba = true` is the kind "Mamba-2", which other files name."""
    if isinstance(recurrent, dict) and "mamba" in recurrent and "kind" not in recurrent:
        is_mamba = recurrent["mamba"]
        if isinstance(is_mamba, bool):
            others = {key: value for key, value in recurrent.items() if key != "mamba"}
            return others | {"kind": MIXERS[MAMBA_2 if is_mamba else GATED_DELTA_NET]}
    return recurrent


_Recurrent: Any = Annotated[_schema(Recurrent), BeforeValidator(_named_kind)]
_Recurrents: Any = dict[Name, _Recurrent]
_Sourced = {"source": (Source, ...)}
_Decoder = _schema(
    Backbone,
    **_Sourced,
    attention=(_Attentions, {}),
    feed_forward=(_FeedForwards, {}),
    recurrent=(_Recurrents, {}),
    layers=(
        tuple[tuple[_Layers, Name, Name] | tuple[_Layers, Name, Name, Name], ...],
        Field(min_length=1),
    ),
)
_Accounting = _schema(Convention, **_Sourced, counts=(dict[str, _Count], {}))
_FORMATS: dict[str, Any] = {
    field: (Literal[CACHE_FORMATS[1:] if field == "cache" else FORMAT_NAMES], "bf16")
    for field in Checkpoint._fields
}
_Checkpoint: Any = create_model("Checkpoint", __config__=_STRICT, **_FORMATS)
TOWERS: dict[str, type[NamedTuple]] = {
    "image": Image,
    "sam": Sam,
    "clip": Clip,
    "encoder": Encoder,
    "projector": Projector,
}
"""Sections of a model with vision; a text model has none of them."""
EITHER: dict[str, NamedTuple] = {"clip": NO_CLIP, "encoder": NO_ENCODER}
"""Sections of which a model with vision has exactly one, and the values of the absent one."""
SECTIONS = (*TOWERS, "decoder", "accounting")


class _ModelFile(BaseModel):
    """Schema of a model file, without the vision sections."""

    model_config = _STRICT
    name: Name
    description: Text
    schema_version: Annotated[
        int, Field(ge=MODEL_SCHEMA_VERSION, le=MODEL_SCHEMA_VERSION, strict=True)
    ]
    decoder: _Decoder  # type: ignore[valid-type]
    accounting: _Accounting = _Accounting(  # type: ignore[valid-type]
        source="modules of transformers; weights, activations and KV cache in bf16", dtype_bytes=2
    )
    checkpoint: _Checkpoint = _Checkpoint()
    modes: dict[Name, Mode] = {}
    why: dict[Name, Text] = {}

    @model_validator(mode="after")
    def _consistent(self) -> "_ModelFile":
        given = [section for section in TOWERS if getattr(self, section) is not None]
        if given:
            for section in TOWERS:
                if section not in EITHER and section not in given:
                    raise ValueError(f"{section}: required key is missing, as {given[0]} is given")
            if len(set(EITHER) & set(given)) != 1:
                raise ValueError(
                    f"{given[0]}: expected exactly one of {' and '.join(EITHER)} with it"
                )
        arch = architecture_of(self)
        for key, divisor, of_key, number in _divisions(self, arch):
            if number % divisor:
                raise ValueError(f"{key} = {divisor} does not divide {of_key} = {number}")
        for key, number, of_key, limit in _limits(self, arch):
            if number > limit:
                raise ValueError(f"{key} = {number} is more than {of_key} = {limit}")
        return self


ModelFile: type[_ModelFile] = create_model(
    "ModelFile",
    __base__=_ModelFile,
    **{name: (_schema(part, **_Sourced) | None, None) for name, part in TOWERS.items()},  # type: ignore[call-overload]
)


def _divisions(file: Any, arch: Architecture) -> Iterable[tuple[str, int, str, int]]:
    """Pairs of key and number of which the first must divide the second."""
    if arch.towers is not None:
        sam, clip, encoder = arch.towers.sam, arch.towers.clip, arch.towers.encoder
        yield "sam.heads", sam.heads, "sam.width", sam.width
        yield "clip.heads", clip.heads, "clip.width", clip.width
        yield "clip.patch_size", clip.patch_size, "clip.image_size", clip.image_size
        yield "encoder.heads", encoder.heads, "encoder.width", encoder.width
        if encoder.layers:
            grouped = encoder.key_value_heads
            yield "encoder.key_value_heads", grouped, "encoder.heads", encoder.heads
    for name, part in file.decoder.attention.items():
        key = f"decoder.attention.{name}"
        if part.heads and part.key_value_heads:
            yield f"{key}.key_value_heads", part.key_value_heads, f"{key}.heads", part.heads


def _limits(file: Any, arch: Architecture) -> Iterable[tuple[str, int, str, int]]:
    """Pairs of key and number of which the first must not exceed the second."""
    if arch.towers is not None:
        sam, image = arch.towers.sam, arch.towers.image
        few = ("image.few_queries", image.few_queries)
        yield *few, "image.many_queries", image.many_queries
        if arch.towers.encoder.layers:
            yield "least allowed image.few_queries", 1, "image.few_queries", image.few_queries
        else:
            yield *few, "its limit without an encoder", 0
        yield "sam.global_blocks", sam.global_blocks, "sam.blocks", sam.blocks
    for name, part in file.decoder.attention.items():
        key = f"decoder.attention.{name}"
        rotary = part.rotary_width or 0
        yield f"{key}.rotary_width", rotary, f"{key}.key_width", part.key_width
    for name, part in file.decoder.feed_forward.items():
        key = f"decoder.feed_forward.{name}"
        experts = (f"{key}.experts", part.experts)
        yield f"{key}.experts_per_token", part.experts_per_token, *experts
        yield f"{key}.experts_held", part.experts_held or 0, *experts
        if part.experts:
            tokens = f"{key}.experts_per_token"
            yield f"least allowed {tokens}", 1, tokens, part.experts_per_token
            yield f"least allowed {key}.expert_width", 1, f"{key}.expert_width", part.expert_width


PARTS_OF_LAYERS = {"attention": Attention, "feed_forward": FeedForward, "recurrent": Recurrent}
"""Kinds of parts of a layer in the order of `decoder.layers`; the part "none" is absent."""


def _groups(file: Any) -> tuple[Group, ...]:
    """Groups of identical layers, as `decoder.layers` combines the named parts."""
    decoder = file.decoder
    groups = []
    for i, (count, *names) in enumerate(decoder.layers):
        parts = dict.fromkeys(PARTS_OF_LAYERS, "none") | dict(
            zip(PARTS_OF_LAYERS, names, strict=False)
        )
        numbers: list[Any] = []
        for kind, name in parts.items():
            described = getattr(decoder, kind)
            if name == "none" and name not in described:
                numbers.append(ABSENT[kind])
            elif name in described:
                numbers.append(_numbers(described[name], PARTS_OF_LAYERS[kind]))
            else:
                expected = ", ".join([*described, "none"])
                raise ValueError(
                    f'decoder.layers[{i}]: {kind} "{name}" is not defined: '
                    f"expected one of {expected}"
                )
        branches = (names[0] != "none" or parts["recurrent"] != "none") + (names[1] != "none")
        norms = decoder.norms * branches // 2
        groups.append(Group(count, norms, *numbers))
    return tuple(groups)


def _counts(file: Any) -> Counts:
    """Weight of each count of each operator; later rules override earlier ones."""
    counted = {name: CountedOperator() for names in OPERATOR_NAMES.values() for name in names}
    for key, rule in file.accounting.counts.items():
        weights = {count: getattr(rule, count) for count in CountedOperator._fields}
        changed = {count: number for count, number in weights.items() if number is not None}
        for pattern in rule.operators:
            matching = [name for name in counted if fnmatchcase(name, pattern)]
            if not matching:
                raise ValueError(
                    f'accounting.counts.{key}: operator "{pattern}" is unknown: '
                    f"expected some of {', '.join(counted)}"
                )
            counted |= {name: counted[name]._replace(**changed) for name in matching}
    return Counts(
        **{kind: tuple(counted[name] for name in OPERATOR_NAMES[kind]) for kind in Counts._fields}
    )


def architecture_of(file: Any) -> Architecture:
    """Numbers of a validated model file as formulas take them."""
    towers = None
    if file.image is not None:
        parts: dict[str, Any] = {
            name: _numbers(getattr(file, name), part) if getattr(file, name) else EITHER[name]
            for name, part in TOWERS.items()
        }
        towers = Towers(**parts)
    return Architecture(
        _numbers(file.decoder, Backbone),
        _groups(file),
        towers,
        _numbers(file.accounting, Convention),
        _counts(file),
        Checkpoint(*(FORMAT_NAMES.index(getattr(file.checkpoint, f)) for f in Checkpoint._fields)),
    )
