"""The spec sheet of a model: what was read from its file."""

from typing import Any

from sweepengine.data.models import Model
from sweepengine.formulas.architecture import (
    FLASH,
    MIXERS,
    Architecture,
    Attention,
    FeedForward,
    Group,
    Recurrent,
)
from sweepengine.formulas.attention import feature_values
from sweepengine.formulas.cached import growth_quarters, token_quarters
from sweepengine.formulas.cost import total
from sweepengine.formulas.figures import QUARTERS
from sweepengine.formulas.formats import FORMAT_NAMES, WEIGHT_ROLES, cache_bits, own_cache
from sweepengine.formulas.layout import share_of
from sweepengine.formulas.passes import pass_of
from sweepengine.formulas.points import Point
from sweepengine.formulas.recurrent import state_values
from sweepengine.grid.plain import image_of
from sweepengine.grid.points import default_values
from sweepengine.grid.shorthand import images_text

Rows = list[tuple[str, ...]]


def facts_of(model: Model) -> dict[str, Any]:
    """Return the facts of a model, for JSON."""
    arch = model.architecture
    return {
        "name": model.name,
        "description": model.description,
        "parameter_count": model.parameter_count,
        "active_parameter_count": model.active_parameter_count,
        "weight_bytes": model.weight_bytes,
        "kv_bytes_per_token": model.kv_bytes_per_token,
        "kv_bytes_per_token_without_windows": _unwindowed_bytes(model),
        "has_vision": model.has_vision,
        "hidden": arch.backbone.hidden,
        "vocabulary": arch.backbone.vocabulary,
        "dtype_bytes": arch.convention.dtype_bytes,
        "checkpoint": {f: FORMAT_NAMES[code] for f, code in arch.checkpoint._asdict().items()},
        "groups": [
            {
                "layers": group.layers,
                "norms": group.norms,
                "attention": group.attention._asdict(),
                "feed_forward": group.feed_forward._asdict(),
                **_recurrent_facts(group.recurrent),
            }
            for group in arch.groups
        ],
        "sources": model.sources,
        "assumed": model.assumed,
        "said": list(model.notes),
    }


def spec_sheet(model: Model) -> list[tuple[str, Rows]]:
    """Return titles and rows: the model, its layers by kind, defaults, sources."""
    arch = model.architecture
    cache = FORMAT_NAMES[arch.checkpoint.cache]
    whole: Rows = [
        ("parameters", f"{model.parameter_count:,}"),
        ("active parameters per token", f"{model.active_parameter_count:,}"),
        ("weights", f"{model.weight_bytes:,} bytes"),
        ("checkpoint", checkpoint_text(arch)),
        ("layers", f"{sum(group.layers for group in arch.groups):,}"),
        ("hidden", f"{arch.backbone.hidden:,}"),
        *([("residual streams", f"{arch.backbone.streams}")] if arch.backbone.streams else []),
        ("vocabulary", f"{arch.backbone.vocabulary:,}" + (", tied" if arch.backbone.tied else "")),
        ("KV cache", f"{model.kv_bytes_per_token:,} bytes per token, {cache}"),
        ("KV cache of layers without a window", f"{_unwindowed_bytes(model):,} bytes per token"),
        ("image inputs", "yes" if model.has_vision else "no"),
        *_image_rows(model),
    ]
    parts = pass_of(share_of(arch, 0, 0), 1, 1, FLASH, 0)
    weights = {part.group: total(part.operators, arch.counts.layer).weights for part in parts[1:]}
    layers: Rows = [
        (
            f"{group.layers:,}",
            _mixer_text(group),
            f"{group.attention.heads:,}",
            "latent" if group.attention.latent else f"{group.attention.key_value_heads:,}",
            f"{group.attention.key_width:,}",
            f"{group.attention.window:,}" if group.attention.window else "none",
            _feed_forward_text(group.feed_forward),
            f"{weights[i]:,}",
        )
        for i, group in enumerate(arch.groups)
    ]
    sheet = [(f"{model.name}: {model.description}", whole), ("Layers by kind", layers)]
    if model.assumed:
        rows: Rows = [(key, str(value)) for key, value in model.assumed.items()]
        sheet.append(("Defaults of transformers for keys that the file leaves out", rows))
    if model.notes:
        sheet.append(("Notes", [("", line) for line in model.notes]))
    sheet.append(("Sources", list(model.sources.items())))
    return sheet


def _image_rows(model: Model) -> Rows:
    """Return the size of the vision towers, and tokens of an image; none without vision."""
    if not model.has_vision:
        return []
    arch, values = model.architecture, default_values(model)
    image, text = image_of(arch, Point(**values)), images_text(values)
    rows: Rows = [
        ("parameters outside decoder and head", f"{model.vision_parameter_count:,}"),
        ("prompt tokens", f"{image.tokens:,} of {text}"),
    ]
    a_feature = sum(group.layers * feature_values(group.attention) for group in arch.groups)
    if a_feature:
        size = image.features * a_feature * cache_bits(arch, own_cache(arch)) // QUARTERS
        crossed = f"{size:,} bytes of {image.features:,} features, {text}"
        rows.append(("KV cache of cross attention", crossed))
    return rows


def _unwindowed_bytes(model: Model) -> int:
    """Return KV cache bytes per token of the layers that attend to all tokens."""
    arch = model.architecture
    cache = cache_bits(arch, own_cache(arch))
    kept = 0
    for group in arch.groups:
        attention = group.attention
        windowed = bool(attention.window) * token_quarters(attention, cache)
        kept += group.layers * (growth_quarters(attention, cache) - windowed)
    return kept // QUARTERS


def formats_text(
    arch: Architecture, text: str = "weights in {}; products of {}; cache in {}"
) -> str:
    """Describe the formats of a checkpoint; the default text is the one in JSON."""
    names = {field: FORMAT_NAMES[code] for field, code in arch.checkpoint._asdict().items()}
    roles = [f"{role} {names[role]}" for role in WEIGHT_ROLES if names[role] != "bf16"]
    weights = f"{', '.join(roles)}, the rest bf16" if roles else "bf16"
    return text.format(weights, names["activation"], names["cache"])


def checkpoint_text(arch: Architecture) -> str:
    """Describe the formats of a checkpoint, for people."""
    return formats_text(arch, "weights in {}; GEMMs in {}; KV cache in {}")


def _recurrent_facts(recurrent: Recurrent) -> dict[str, Any]:
    """Return the numbers of a recurrent mixer, by the name of its part; none without one."""
    if not recurrent.heads:
        return {}
    return {"recurrent": recurrent._asdict() | {"kind": MIXERS[recurrent.kind]}}


def _mixer_text(group: Group) -> str:
    """Describe what mixes tokens: attention, a recurrent mixer, or both."""
    recurrent, texts = group.recurrent, []
    if recurrent.heads:
        texts.append(f"{MIXERS[recurrent.kind]}, {state_values(recurrent):,} state values")
    if group.attention.heads or not recurrent.heads:
        texts.append(_attention_text(group.attention))
    return "; ".join(texts)


def _attention_text(attention: Attention) -> str:
    widths, keys = attention.value_width, attention.key_width
    texts = [f"latent {attention.latent}" if attention.latent else "grouped"]
    for flag, text in (
        (attention.query_rank, f"query rank {attention.query_rank}"),
        (widths != keys, f"values {widths} wide"),
        (attention.rotary_width != keys, f"{attention.rotary_width} rotated"),
        (attention.query_norm or attention.key_norm, "query and key norms"),
        (attention.value_norm, "value norms"),
        (attention.keys_as_values, "keys as values"),
        (attention.shared_cache, "keys are the values"),
        (attention.output_gate, "output gate"),
        (attention.borrowed_cache, "keys and values of an earlier layer"),
        (attention.difference, "differential"),
        (attention.mixed_norm, "norm of mixed values"),
        (
            attention.output_rank,
            f"outputs in {attention.output_groups} groups of rank {attention.output_rank}",
        ),
        (attention.stride, f"a KV entry every {attention.stride} tokens"),
        (
            attention.index_heads,
            f"indexer of {attention.index_heads} heads, "
            f"{attention.index_width} wide, picks {attention.index_keys:,}",
        ),
        (
            attention.index_keys and not attention.index_heads,
            f"{attention.index_keys:,} keys that an earlier layer picks",
        ),
        (attention.crossed, "keys of features of images"),
        (attention.gates, f"{attention.gates} gates"),
        (attention.input_bias, "input bias"),
        (attention.output_bias, "output bias"),
        (attention.sinks, "sinks"),
        (attention.softcap, "softcap"),
    ):
        if flag:
            texts.append(text)
    return ", ".join(texts)


def _feed_forward_text(ffn: FeedForward) -> str:
    texts = (
        (ffn.experts, f"{ffn.experts_per_token} of {ffn.experts} experts, {ffn.expert_width} wide"),
        (ffn.image_width, f"for images as many experts, {ffn.image_width} wide"),
        (ffn.width, f"{'shared' if ffn.experts else 'dense'} {ffn.width:,} wide"),
        (ffn.shared_gate, "gate of shared experts"),
        (ffn.bias, "bias"),
    )
    return ", ".join(text for flag, text in texts if flag)
