"""A model as a spec sheet: what was read and understood of its file."""

from typing import Any

from sweepengine.data.models import Model
from sweepengine.formulas.architecture import FLASH, Architecture, Attention, FeedForward
from sweepengine.formulas.attention import cached_values, growth_values
from sweepengine.formulas.cost import total
from sweepengine.formulas.figures import QUARTERS
from sweepengine.formulas.formats import FORMAT_NAMES, WEIGHT_ROLES, cache_bits, own_cache
from sweepengine.formulas.layout import share_of
from sweepengine.formulas.passes import pass_of

Rows = list[tuple[str, ...]]


def facts_of(model: Model) -> dict[str, Any]:
    """What is known of a model, for JSON."""
    arch = model.architecture
    return {
        "name": model.name,
        "description": model.description,
        "parameter_count": model.parameter_count,
        "active_parameter_count": model.active_parameter_count,
        "weight_bytes": model.weight_bytes,
        "kv_bytes_per_token": model.kv_bytes_per_token,
        "kv_bytes_per_token_without_windows": _endless_bytes(model),
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
            }
            for group in arch.groups
        ],
        "sources": model.sources,
        "assumed": model.assumed,
        "said": list(model.notes),
    }


def spec_sheet(model: Model) -> list[tuple[str, Rows]]:
    """Titles and rows: the whole, its layers by kind, what was assumed."""
    arch = model.architecture
    cache = FORMAT_NAMES[arch.checkpoint.cache]
    whole: Rows = [
        ("parameters", f"{model.parameter_count:,}"),
        ("parameters a token passes", f"{model.active_parameter_count:,}"),
        ("weights", f"{model.weight_bytes:,} bytes"),
        ("checkpoint", formats_text(arch)),
        ("layers", f"{sum(group.layers for group in arch.groups):,}"),
        ("hidden", f"{arch.backbone.hidden:,}"),
        *([("residual streams", f"{arch.backbone.streams}")] if arch.backbone.streams else []),
        ("vocabulary", f"{arch.backbone.vocabulary:,}" + (", tied" if arch.backbone.tied else "")),
        ("KV cache", f"{model.kv_bytes_per_token:,} bytes a token, {cache}"),
        ("of it without a window", f"{_endless_bytes(model):,} bytes a token"),
        ("sees images", "yes" if model.has_vision else "no"),
    ]
    parts = pass_of(share_of(arch, 0, 0), 1, 1, FLASH, 0)
    weights = {part.group: total(part.operators, arch.counts.layer).weights for part in parts[1:]}
    layers: Rows = [
        (
            f"{group.layers:,}",
            _attention_text(group.attention),
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
        sheet.append(("Left out of the file, and transformers' default that stands for it", rows))
    if model.notes:
        sheet.append(("Beside", [("", line) for line in model.notes]))
    sheet.append(("Sources", list(model.sources.items())))
    return sheet


def _endless_bytes(model: Model) -> int:
    """Bytes a token of the cache of layers that meet all tokens."""
    groups = model.architecture.groups
    values = sum(
        group.layers * (growth_values(group.attention) - bool(window) * cached_values(own))
        for group in groups
        for own, window in [(group.attention, group.attention.window)]
    )
    arch = model.architecture
    return values * cache_bits(arch, own_cache(arch)) // QUARTERS


def formats_text(arch: Architecture) -> str:
    """Formats of a checkpoint, in words."""
    names = dict(
        zip(arch.checkpoint._fields, map(FORMAT_NAMES.__getitem__, arch.checkpoint), strict=True)
    )
    roles = [f"{role} {names[role]}" for role in WEIGHT_ROLES if names[role] != "bf16"]
    weights = f"{', '.join(roles)}, the rest bf16" if roles else "bf16"
    return f"weights in {weights}; products of {names['activation']}; cache in {names['cache']}"


def _attention_text(attention: Attention) -> str:
    said = [f"latent {attention.latent}" if attention.latent else "grouped"]
    if attention.query_rank:
        said.append(f"query rank {attention.query_rank}")
    if attention.value_width != attention.key_width:
        said.append(f"values {attention.value_width} wide")
    if attention.rotary_width != attention.key_width:
        said.append(f"{attention.rotary_width} rotated")
    for flag, text in (
        (attention.query_norm or attention.key_norm, "query and key norms"),
        (attention.value_norm, "value norms"),
        (attention.keys_as_values, "keys as values"),
        (attention.shared_cache, "keys are the values"),
        (attention.output_gate, "output gate"),
        (
            attention.output_rank,
            f"outputs in {attention.output_groups} groups of rank {attention.output_rank}",
        ),
        (attention.stride, f"an entry each {attention.stride} tokens"),
        (
            attention.index_heads,
            f"indexer of {attention.index_heads} heads, "
            f"{attention.index_width} wide, picks {attention.index_keys:,}",
        ),
        (attention.input_bias, "input bias"),
        (attention.output_bias, "output bias"),
        (attention.sinks, "sinks"),
        (attention.softcap, "softcap"),
    ):
        if flag:
            said.append(text)
    return ", ".join(said)


def _feed_forward_text(forward: FeedForward) -> str:
    said = []
    if forward.experts:
        said.append(
            f"{forward.experts_per_token} of {forward.experts} experts, {forward.expert_width} wide"
        )
    if forward.width:
        said.append(f"{'shared' if forward.experts else 'dense'} {forward.width:,} wide")
    for flag, text in ((forward.shared_gate, "gate of shared experts"), (forward.bias, "bias")):
        if flag:
            said.append(text)
    return ", ".join(said)
