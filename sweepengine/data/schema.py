"""Schema of model files, generated from the declarations of the numbers of formulas."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from itertools import chain
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model, model_validator

from sweepengine.data.files import MODEL_SCHEMA_VERSION
from sweepengine.data.records import LARGEST_NUMBER, numbers_of, schema_of
from sweepengine.data.texts import Name, Source, Text
from sweepengine.formulas.architecture import (
    GATED_DELTA_NET,
    MAMBA_2,
    MIXERS,
    NO_RECURRENT,
    Architecture,
    Attention,
    Backbone,
    Convention,
    Counts,
    FeedForward,
    Group,
    Recurrent,
)
from sweepengine.formulas.blocks import Block
from sweepengine.formulas.checkpoint import Checkpoint
from sweepengine.formulas.cost import CountedOperator
from sweepengine.formulas.deepseek_ocr import ocr_towers
from sweepengine.formulas.formats import CACHE_FORMATS, FORMAT_NAMES
from sweepengine.formulas.layers import Ends, Layer
from sweepengine.formulas.ocr_parts import (
    NO_CLIP,
    NO_ENCODER,
    Clip,
    Encoder,
    Image,
    OcrParts,
    Projector,
    Sam,
)
from sweepengine.formulas.towers import Towers

_STRICT = ConfigDict(extra="forbid", frozen=True)
_Side = Annotated[int, Field(ge=64, le=4096, multiple_of=64, strict=True)]
_Layers = Annotated[int, Field(ge=1, le=LARGEST_NUMBER, strict=True)]


def _zeros(record: type[NamedTuple]) -> dict[str, int]:
    return dict.fromkeys(record._fields, 0)


ABSENT = {
    "attention": Attention(**_zeros(Attention))._replace(
        key_width=1, value_width=1, cache_devices=1
    ),
    "feed_forward": FeedForward(**_zeros(FeedForward))._replace(matrices=3, expert_devices=1),
    "recurrent": NO_RECURRENT,
}
"""Values of a part that a layer does not have."""


class Mode(BaseModel):
    """A published resolution mode, in pixels; without `tile_size` it has no tiles."""

    model_config = _STRICT
    view_size: _Side
    tile_size: _Side | None = None


_Count: Any = create_model(
    "Counted",
    __config__=_STRICT,
    operators=(tuple[Name, ...], Field(min_length=1)),
    **{
        role: (Annotated[int, Field(ge=0, le=9, strict=True)], None)
        for role in CountedOperator._fields
    },
)  # type: ignore[call-overload]
_Attentions: Any = dict[Name, schema_of(Attention)]  # type: ignore[misc]
_FeedForwards: Any = dict[Name, schema_of(FeedForward)]  # type: ignore[misc]


def _named_kind(recurrent: Any) -> Any:
    """`mamba = true` is the kind "Mamba-2", which other files name."""
    if isinstance(recurrent, dict) and "mamba" in recurrent and "kind" not in recurrent:
        is_mamba = recurrent["mamba"]
        if isinstance(is_mamba, bool):
            others = {key: value for key, value in recurrent.items() if key != "mamba"}
            return others | {"kind": MIXERS[MAMBA_2 if is_mamba else GATED_DELTA_NET]}
    return recurrent


_Recurrent: Any = Annotated[schema_of(Recurrent), BeforeValidator(_named_kind)]
_Recurrents: Any = dict[Name, _Recurrent]
_Sourced = {"source": (Source, ...)}
_Decoder = schema_of(
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
_Accounting = schema_of(Convention, **_Sourced, counts=(dict[str, _Count], {}))
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
SECTIONS = (*TOWERS, "vision", "decoder", "accounting")


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
    vision: Any = None
    """A validated `vision_schema.Vision`, whose schema few models need."""
    modes: dict[Name, Mode] = {}
    why: dict[Name, Text] = {}

    @model_validator(mode="after")
    def _consistent(self) -> "_ModelFile":
        given = [section for section in TOWERS if getattr(self, section) is not None]
        if given and self.vision is not None:
            raise ValueError(f"vision: expected no section {given[0]}")
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
    **{name: (schema_of(part, **_Sourced) | None, None) for name, part in TOWERS.items()},  # type: ignore[call-overload]
)


def _ocr_of(arch: Architecture) -> OcrParts | None:
    return None if arch.towers is None else arch.towers.ocr


def _divisions(file: Any, arch: Architecture) -> Iterable[tuple[str, int, str, int]]:
    """Pairs of key and number of which the first must divide the second."""
    if (ocr := _ocr_of(arch)) is not None:
        sam, clip, encoder = ocr.sam, ocr.clip, ocr.encoder
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
    if (ocr := _ocr_of(arch)) is not None:
        sam, image = ocr.sam, ocr.image
        few = ("image.few_queries", image.few_queries)
        yield *few, "image.many_queries", image.many_queries
        if ocr.encoder.layers:
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
        if not part.experts:
            yield f"{key}.image_width", part.image_width or 0, "its limit without experts", 0
        if part.experts:
            tokens = f"{key}.experts_per_token"
            yield f"least allowed {tokens}", 1, tokens, part.experts_per_token
            yield f"least allowed {key}.expert_width", 1, f"{key}.expert_width", part.expert_width


MOST_GROUPS = 128
"""Most groups of layers that differ from their neighbours."""
PARTS_OF_LAYERS = {"attention": Attention, "feed_forward": FeedForward, "recurrent": Recurrent}
"""Kinds of parts of a layer in the order of `decoder.layers`; the part "none" is absent."""


def _groups(file: Any) -> tuple[Group, ...]:
    """Groups of identical layers, as `decoder.layers` combines the named parts.

    Equal neighbours are one group.
    """
    decoder = file.decoder
    described = {
        kind: {name: numbers_of(each, part) for name, each in getattr(decoder, kind).items()}
        for kind, part in PARTS_OF_LAYERS.items()
    }
    groups: list[Group] = []
    for i, (count, *names) in enumerate(decoder.layers):
        parts = dict.fromkeys(PARTS_OF_LAYERS, "none") | dict(
            zip(PARTS_OF_LAYERS, names, strict=False)
        )
        numbers: list[Any] = []
        for kind, name in parts.items():
            known = {"none": ABSENT[kind]} | described[kind]
            if name not in known:
                raise ValueError(
                    f'decoder.layers[{i}]: {kind} "{name}" is not defined: '
                    f"expected one of {', '.join([*described[kind], 'none'])}"
                )
            numbers.append(known[name])
        branches = (names[0] != "none" or parts["recurrent"] != "none") + (names[1] != "none")
        group = Group(count, decoder.norms * branches // 2, *numbers)
        if groups and groups[-1]._replace(layers=count) == group:
            groups[-1] = group._replace(layers=groups[-1].layers + count)
        else:
            groups.append(group)
    if len(groups) > MOST_GROUPS:
        raise ValueError(
            f"decoder.layers: {len(groups):,} groups of layers: expected at most {MOST_GROUPS}"
        )
    return tuple(groups)


def _counts(file: Any, towers: Towers | None) -> Counts:
    """Weight of each count of each operator; later rules override earlier ones."""
    layer = [f"decoder.{name}" for name in Layer._fields]
    ends = [f"decoder.{name}" for name in Ends._fields]
    blocks, joins = [], []
    if towers is not None:
        blocks = [[f"{n.tower}.{name}" for name in Block._fields] for n in towers.block_names]
        joins = [f"{name.tower}.{name.operator}" for name in towers.join_names]
    names = dict.fromkeys([*layer, *ends, *chain(*blocks), *joins])
    known = {name: CountedOperator() for name in names}
    for key, rule in file.accounting.counts.items():
        weights = {count: getattr(rule, count) for count in CountedOperator._fields}
        changed = {count: number for count, number in weights.items() if number is not None}
        for pattern in rule.operators:
            matching = [name for name in known if fnmatchcase(name, pattern)]
            if not matching:
                raise ValueError(
                    f'accounting.counts.{key}: operator "{pattern}" is unknown: '
                    f"expected some of {', '.join(known)}"
                )
            known |= {name: known[name]._replace(**changed) for name in matching}

    def of(these: list[str]) -> tuple[CountedOperator, ...]:
        return tuple(known[name] for name in these)

    return Counts(of(layer), of(ends), tuple(of(group) for group in blocks), of(joins))


def architecture_of(file: Any) -> Architecture:
    """Numbers of a validated model file as formulas take them."""
    towers = _towers_of(file)
    return Architecture(
        numbers_of(file.decoder, Backbone),
        _groups(file),
        towers,
        numbers_of(file.accounting, Convention),
        _counts(file, towers),
        Checkpoint(*(FORMAT_NAMES.index(getattr(file.checkpoint, f)) for f in Checkpoint._fields)),
    )


def _towers_of(file: Any) -> Towers | None:
    """Vision towers of a validated model file; None without any."""
    if file.vision is not None:
        from sweepengine.data.vision_schema import towers_of

        return towers_of(file.vision)
    if file.image is None:
        return None
    parts: dict[str, Any] = {
        name: numbers_of(getattr(file, name), part) if getattr(file, name) else EITHER[name]
        for name, part in TOWERS.items()
    }
    return ocr_towers(OcrParts(**parts))
