"""Formulas of one layer in docs/decoders.md give what `explain` counts, operator by operator.

A row's formula is taken from the page as it stands there and evaluated with the letters of a model.
"""

import re

import pytest

import sweepengine as se
from sweepengine.data.records import numbers_of, schema_of
from sweepengine.formulas.blocks import block
from sweepengine.formulas.towers import Blocks
from sweepengine.formulas.views import View
from tests.test_check_values import explained, parts, text_of

TOKENS, CACHED = 100, 28
MODELS = {
    "qwen3-30b-a3b": ("layers, 128 experts", 0),
    "deepseek-v3": ("layers, 256 experts", 1),
    "gpt-oss-20b": ("layers, 32 experts, window of 128", 0),
    "gemma-2-9b": ("layers, dense, window of 4,096", 0),
    "llama-3.1-8b": ("layers, dense", 0),
}
"""A group of each model by its name and position."""
LATENT, GROUPED = ("deepseek-v3",), ("qwen3-30b-a3b", "gpt-oss-20b", "gemma-2-9b", "llama-3.1-8b")
MOE, DENSE = ("qwen3-30b-a3b", "deepseek-v3", "gpt-oss-20b"), ("gemma-2-9b", "llama-3.1-8b")
CLAIMS = [
    # figure, part, rows of the page that make it up, models
    ("tensor_flops", "projections", ["projections"], GROUPED),
    ("tensor_flops", "projections", ["the same, latents expanded"], LATENT),
    ("tensor_flops", "attention", ["attention, grouped or expanded latents"], tuple(MODELS)),
    ("tensor_flops", "MLP", ["MLP"], DENSE),
    ("tensor_flops", "shared experts", ["MLP"], LATENT),
    ("tensor_flops", "router", ["router"], MOE),
    ("tensor_flops", "routed experts", ["routed experts"], MOE),
    ("cuda_flops", "norms", ["block norms"], ("llama-3.1-8b", "gemma-2-9b", "gpt-oss-20b")),
    ("cuda_flops", "norms", ["block norms", "norms of queries and keys"], ("qwen3-30b-a3b",)),
    ("cuda_flops", "norms", ["block norms", "norms of latents"], LATENT),
    ("cuda_flops", "rotary", ["rotation"], tuple(MODELS)),
    ("cuda_flops", "attention", ["softmax"], ("llama-3.1-8b", "gpt-oss-20b", "deepseek-v3")),
    ("cuda_flops", "attention", ["softmax", "softcap of scores"], ("gemma-2-9b",)),
    ("cuda_flops", "MLP", ["activation of the MLP"], DENSE),
    ("cuda_flops", "routed experts", ["activation of experts"], MOE),
    ("cuda_flops", "router", ["router"], MOE),
    ("cuda_flops", "residuals", ["residual adds"], tuple(MODELS)),
    ("activation_io_bytes", "projections", ["projections"], tuple(MODELS)),
    ("activation_io_bytes", "attention", ["attention, grouped heads"], GROUPED),
    ("activation_io_bytes", "attention", ["attention, expanded latents"], LATENT),
    ("activation_io_bytes", "MLP", ["MLP"], DENSE),
    ("activation_io_bytes", "routed experts", ["routed experts"], MOE),
    ("activation_io_bytes", "router", ["router"], MOE),
    ("activation_io_bytes", "residuals", ["residual add"], tuple(MODELS)),
    ("weight_io_bytes", "projections", ["projections"], tuple(MODELS)),
    ("weight_io_bytes", "MLP", ["MLP"], DENSE),
    ("weight_io_bytes", "router", ["router"], MOE),
]
TABLES = {
    "tensor_flops": "tensor FLOPs",
    "cuda_flops": "CUDA-core FLOPs",
    "activation_io_bytes": "values read and written",
    "weight_io_bytes": "weights",
}
"""Figure to the header of its table."""
BRANCHES = 2


def formulas_of(column):
    """Formulas of each row of the table with that column, in the section on one layer."""
    section = text_of("decoders").split("## One layer")[1].split("\n## ")[0]
    table = section.split(f"| operator | {column} |")[1].split("\n\n")[0]
    rows = re.findall(r"^\| (.+?) \| (.+) \|$", table, re.M)
    return {title: re.findall(r"`([^`]+)`", cell) for title, cell in rows}


def letters(model, index=None):
    arch = se.load_model(model).architecture
    group = arch.groups[MODELS[model][1] if index is None else index]
    own, forward = group.attention, group.feed_forward
    found = {
        "T": TOKENS, "h": arch.backbone.hidden, "norms": group.norms, "Nh": own.heads,
        "Nkv": own.key_value_heads, "dk": own.key_width, "dv": own.value_width,
        "r": own.rotary_width, "q": own.query_rank, "c": own.latent, "i": forward.width,
        "m": forward.matrices, "E": forward.experts, "k": forward.experts_per_token,
        "e": forward.expert_width, "sinks": own.sinks, "a": forward.activation_flops,
        "s": forward.router_flops, "bias": forward.bias,
    }  # fmt: skip
    cached = min(CACHED, own.window - 1) if own.window else CACHED
    found["L"] = TOKENS + cached
    block = text_of("decoders").split("`P` are the weights")[1].split("FLOPs on tensor cores")[0]
    (expansion,) = re.findall(r" U = (.+?)  ", block)
    grouped, latent = re.findall(r" P = (.+)", block)
    found["U"] = eval(expansion, dict(found))
    found["P"] = eval(latent if own.latent else grouped, dict(found))
    return found, group


def biased(own, backbone):
    """Weights of the biases of projections, as the page states them."""
    inputs = own.heads * own.key_width + own.key_value_heads * (own.key_width + own.value_width)
    return own.input_bias * inputs + own.output_bias * backbone


@pytest.mark.parametrize(("figure", "part", "titles", "models"), CLAIMS)
def test_a_formula_of_the_page_is_what_is_counted(figure, part, titles, models):
    stated = formulas_of(TABLES[figure])
    for model in models:
        values, group = letters(model)
        command = f"sweepengine explain --model {model} --prompt-tokens {TOKENS}"
        command += f" --cached-tokens {CACHED} --weight-format bf16"
        costs = dict(parts(explained(command)["cost"]))
        name = next(
            one for one in costs if one.startswith("prefill / layers") and one.endswith(part)
            and group_of(one, model)
        )  # fmt: skip
        expected = 0
        for title in titles:
            formulas = stated[title]
            if title == "rotation":
                formulas = formulas[1 if model in LATENT else 0 :][:1]
            elif title != "norms of queries and keys":
                formulas = formulas[:1]
            expected += sum(eval(formula, dict(values)) for formula in formulas)
        if figure == "weight_io_bytes" and part == "projections":
            expected += biased(group.attention, values["h"])
        if part == "residuals":
            expected *= BRANCHES
        size = 2 if figure.endswith("bytes") else 1
        assert costs[name][figure] == group.layers * size * expected, (model, name)


def group_of(path, model):
    """Whether a path is of the group that the letters are of."""
    names = path.split(" / ")
    return len(names) == 3 and names[1] == MODELS[model][0]


VISION = [
    # section, model, part of `explain`, its blocks, letters
    ("SAM", "deepseek-ocr-3b", "SAM blocks, global", 4, {"P": 4096, "b": 1, "S": 4096, "u": 64}),
    ("SAM", "deepseek-ocr-3b", "SAM blocks, windows", 8, {"P": 4096, "b": 25, "S": 196, "u": 14}),
    ("CLIP", "deepseek-ocr-3b", "CLIP blocks", 24, {"S": 257}),
    ("The encoder of DeepSeek-OCR 2", "deepseek-ocr-2", "encoder layers", 24,
     {"S": 512, "w": 896, "d": 64}),
]  # fmt: skip
BLOCK_ROWS = {
    "norms of a block, 2": "norms", "norms, 2 a layer and one behind all": "norms",
    "projections": "projections", "relative positions": "positions", "rotation": "rotary",
    "attention": "attention", "attention over all pairs": "attention", "MLP": "MLP",
    "residual adds, 2": "residuals",
}  # fmt: skip
"""Rows of the page about a block, and the operator of each."""
COUNTED = ("tensor_flops", "cuda_flops", "activation_io_bytes")


@pytest.mark.parametrize(("section", "model", "part", "blocks", "values"), VISION)
def test_formulas_of_towers_are_what_is_counted(section, model, part, blocks, values):
    text = text_of("vision").split(f"\n## {section}\n")[1].split("\n## ")[0]
    costs = dict(parts(explained(f"sweepengine explain --model {model}")["cost"]))
    compared = 0
    for title, *cells in re.findall(r"^\| (.+?) \|(.*?)\|(.*?)\|(.*?)\|$", text, re.M):
        if title not in BLOCK_ROWS:
            continue
        operator = costs[f"vision / global view / {part} / {BLOCK_ROWS[title]}"]
        for figure, cell in zip(COUNTED, cells, strict=True):
            (formula, *_) = re.findall(r"`([^`]+)`", cell) or ["0"]
            value = eval(formula.replace("^", "**"), dict(values))
            twice = 2 if "each" in cell else 1  # of two norms
            size = 2 if figure.endswith("bytes") else 1
            assert operator[figure] == blocks * size * twice * value, (title, figure)
            compared += 1
    assert compared >= 15


def test_formulas_of_ends_of_sam_are_what_is_counted():
    text = text_of("vision").split("\n## SAM\n")[1].split("\n## ")[0]
    costs = dict(parts(explained("sweepengine explain --model deepseek-ocr-3b")["cost"]))
    values = {"P": 4096, "P2": 1024, "P4": 256}
    found = {"patches": [0, 0, 0], "neck": [0, 0, 0], "neck norms": [0, 0, 0]}
    for title, *cells in re.findall(r"^\| (.+?) \|(.*?)\|(.*?)\|(.*?)\|$", text, re.M):
        kind = title.split(",")[0]
        kind = "neck norms" if kind == "norms of the neck" else kind
        if kind in found:
            for index, cell in enumerate(cells):
                (formula, *_) = re.findall(r"`([^`]+)`", cell) or ["0"]
                found[kind][index] += eval(formula.replace("^", "**"), dict(values))
    for kind, (tensor, cuda, moved) in found.items():
        part = costs[f"vision / global view / SAM patches and neck / {kind}"]
        assert [part[figure] for figure in COUNTED] == [tensor, cuda, 2 * moved], kind


LETTERS = {"d": 64, "s": 64, "N": 4, "K": 2, "e": 24, "i": 96, "n": 3, "u": 14, "w": 7}
"""Of a block with padded windows of 7 x 7 on 9 x 5 patches."""


def test_formulas_of_blocks_are_what_is_counted():
    stated = {"layers": 1, "width": 64, "heads": 4, "key_value_heads": 2, "head_width": 24,
              "mlp_width": 96, "matrices": 3, "window": 7, "padded": True, "relative_flops": 48,
              "convolutions": 1}  # fmt: skip
    blocks = numbers_of(schema_of(Blocks)(**stated), Blocks)
    found = block(blocks, View(1, 9, 5), 1)
    letters = LETTERS | {"S": 45, "A": 2 * 49, "R": 2 * 49, "Q": 2 * 7**4}
    text = text_of("vision").split("\n## Blocks\n")[1].split("The weights include")[0]
    compared = 0
    for title, *cells in re.findall(r"^\| (.+?) \|(.*?)\|(.*?)\|$", text, re.M):
        name = title.split(",")[0].replace("MLP", "mlp").replace("relative ", "").split(" ")[-1]
        if name in found._fields:
            cost = getattr(found, name)
            for value, cell in zip((cost.tensor_flops, cost.weights), cells, strict=True):
                (formula, *_) = re.findall(r"`([^`]+)`", cell) or ["0"]
                if "two tables" not in cell:
                    assert value == eval(formula.replace("^", "**"), letters), (title, cell)
                    compared += 1
    assert compared >= 11


def block_lines(heading, after):
    """Formulas by name in the first block of code behind a sentence of a section."""
    section = text_of("decoders").split(f"# {heading}\n")[1].split("\n## ")[0]
    block = section.split(after)[1].split("```")[1]
    pattern = r"(tensor|CUDA|weights|I/O|D|chunks|block|step|state) +(?:= )?(\S+(?: [+*-] \S+)*)"
    return {name: formula.replace("^", "**") for name, formula in re.findall(pattern, block)}


def test_formulas_of_compressors_and_hyper_connections_are_what_is_counted():
    model = se.load_model("deepseek-v4-flash").architecture
    group = next(one for one in model.groups if one.attention.index_heads)
    own, backbone = group.attention, model.backbone
    command = f"sweepengine explain --model deepseek-v4-flash --prompt-tokens {TOKENS}"
    costs = dict(parts(explained(command)["cost"]))
    name = next(one.rsplit(" / ", 1)[0] for one in costs if one.endswith("/ indexer"))
    values = {
        "T": TOKENS, "h": backbone.hidden, "p": own.series, "s": own.stride, "q": own.query_rank,
        "n": backbone.streams, "R": backbone.stream_rounds, "I": own.index_heads,
    }  # fmt: skip
    layers = group.layers
    sparse = "Sparse attention and compressed entries"
    entry = block_lines(sparse, "A compressor (DeepSeek V4)")
    made = values | {"d": own.key_width}
    for figure, row, size in (("tensor_flops", "tensor", 1), ("cuda_flops", "CUDA", 1),
                              ("weight_io_bytes", "weights", 2)):  # fmt: skip
        expected = layers * size * eval(entry[row], dict(made))
        assert costs[f"{name} / compressor"][figure] == expected, figure
    mixed = block_lines("Hyper-connections", "mixed around each branch")
    for figure, row, size in (("tensor_flops", "tensor", 1), ("cuda_flops", "CUDA", 1),
                              ("weight_io_bytes", "weights", 2),
                              ("activation_io_bytes", "I/O", 2)):  # fmt: skip
        expected = BRANCHES * layers * size * eval(mixed[row], dict(values))
        assert costs[f"{name} / streams"][figure] == expected, figure
    entries, width = TOKENS // own.stride, own.index_width
    keys = eval(entry["tensor"], values | {"d": width})
    scores = TOKENS * entries * own.index_heads
    queries = 2 * TOKENS * own.index_heads * (own.query_rank * width + backbone.hidden)
    indexer = costs[f"{name} / indexer"]
    assert indexer["tensor_flops"] == layers * (queries + keys + 2 * scores * width)
    element_wise = eval(entry["CUDA"], values | {"d": width}) + 2 * scores
    assert indexer["cuda_flops"] == layers * element_wise


RESIDUALS = [
    ("layer_inputs", "with a\ntable of `v*n*p` weights in addition:"),
    ("layer_input", "normed\nand added:"),
    ("altup", "its output corrects all:"),
    ("streams_around", "Each of the two takes"),
    ("laurel", "parallel to attention, normed and added:"),
]
"""Functions of `formulas/residuals.py`, and the sentence before the formulas of each."""


@pytest.mark.parametrize(("name", "after"), RESIDUALS)
def test_formulas_of_residual_streams_are_what_is_counted(name, after):
    from sweepengine.formulas import residuals

    plain = se.load_model("llama-3.1-8b").architecture.backbone
    backbone = plain._replace(
        hidden=96, input_width=7, input_layers=5, input_rows=50, alternatives=4, laurel_rank=6
    )
    stated = block_lines("Inputs of single layers, AltUp and LAuReL", after)
    values = {"T": TOKENS, "h": 96, "p": 7, "n": 5, "A": 4, "R": 6}
    cost = getattr(residuals, name)(backbone, TOKENS)
    found = {
        "tensor": cost.tensor_flops, "CUDA": cost.cuda_flops, "weights": cost.weights,
        "I/O": cost.activation_io,
    }  # fmt: skip
    assert found == {row: eval(formula, dict(values)) for row, formula in stated.items()}
    absent = getattr(residuals, name)(plain, TOKENS)
    assert (absent.tensor_flops, absent.cuda_flops, absent.weights, absent.activation_io) == (
        0, 0, 0, 0,
    )  # fmt: skip


@pytest.mark.parametrize("mamba", [0, 1])
@pytest.mark.parametrize(("tokens", "cached"), [(100, 0), (100, 28), (1, 128)])
def test_formulas_of_recurrent_layers_are_what_is_counted(mamba, tokens, cached):
    from math import ceil

    from sweepengine.formulas.architecture import Recurrent
    from sweepengine.formulas.recurrent import recurrent_layer, state_values

    mixer = Recurrent(16, 4, 128, 64, 4, 64, mamba, 0, 0, 1)
    stated = block_lines("Recurrent layers", "**Mamba-2**" if mamba else "**Gated delta net**")
    values = {
        "Hv": 16, "Hk": 4, "dk": 128, "dv": 64, "H": 16, "p": 64, "g": 4, "s": 128, "b": 64, "w": 4,
        "h": 512, "T": tokens, "n": ceil(tokens / 64),
    }  # fmt: skip
    values["D"] = eval(stated["D"], dict(values))
    cost = recurrent_layer(mixer, 512, tokens, cached)
    one = tokens == 1 and cached > 0
    first, later = max(tokens, 4) + 4 - 1, tokens + 2 * 4 - 1
    columns = first if not cached else 2 if one else later
    step = eval(stated["step"], dict(values)) if mamba else 0
    worked = step if one else eval(stated["chunks"], dict(values))
    expected = eval(stated["tensor"], dict(values)) + worked + 2 * 4 * values["D"] * columns
    assert cost.tensor_flops == expected
    assert cost.weights == eval(stated["weights"], dict(values))
    assert state_values(mixer) == eval(stated["state"], dict(values))
    assert cost.cuda_flops == (7 * 16 * 128 * 64 if one and not mamba else 0)
    assert cost.activation_io == tokens * (2 * 512 + values["D"] + 2 * 16 * 64)


OTHER_MIXERS = {
    "Mamba-1": ((64, 0, 16, 1, 4, 0), (8, 0, 0), {"I": 64, "s": 16, "R": 8}),
    "Short convolution": ((512, 0, 0, 1, 3, 0), (0, 0, 1), {"I": 512}),
    "Kimi delta attention": (
        (4, 4, 16, 16, 4, 64),
        (16, 0, 1),
        {"I": 64, "H": 4, "d": 16, "r": 16, "G": 512 * 16 + 16 * 64},
    ),
    "Lightning attention": ((4, 4, 16, 16, 0, 32), (0, 0, 1), {"I": 64, "N": 4, "d": 16, "b": 32}),
    "RG-LRU": ((4, 0, 1, 16, 4, 0), (0, 1, 1), {"I": 64, "l": 64, "N": 4}),
}
"""Title on the page to numbers, further ones and the page's letters."""


@pytest.mark.parametrize("title", OTHER_MIXERS)
@pytest.mark.parametrize(("tokens", "cached"), [(100, 0), (100, 28), (1, 128), (1, 0)])
def test_formulas_of_other_mixers_are_what_is_counted(title, tokens, cached):
    from math import ceil

    from sweepengine.formulas.architecture import MIXERS, Recurrent
    from sweepengine.formulas.recurrent import recurrent_layer, state_values

    numbers, further, letters_of = OTHER_MIXERS[title]
    kind = [name.lower() for name in MIXERS].index(title.lower())
    mixer = Recurrent(*numbers, kind, *further)
    stated = block_lines("Recurrent layers", f"**{title}**")
    taps, h = numbers[4], 512
    values = {"h": h, "T": tokens, "w": taps, "n": ceil(tokens / 64), **letters_of}
    values["D"] = eval(stated["D"], dict(values))
    found = {name: eval(formula, {**values, "t": 0}) for name, formula in stated.items()}
    one = tokens == 1 and cached > 0
    columns = max(tokens, taps) + taps - 1 if not cached else 2 if one else tokens + 2 * taps - 1
    worked, element_wise = 0, found.get("CUDA", 0)
    if title == "Kimi delta attention":
        worked = 0 if one else found["chunks"]
        element_wise = 7 * 4 * 16 * 16 if one else found["CUDA"]
    elif title == "Lightning attention":
        blocks = [32] * (tokens // 32) + [tokens % 32] * (tokens % 32 > 0)
        worked = sum(eval(stated["block"], {**values, "t": t}) for t in blocks)
        worked = tokens * found["step"] if cached else worked
        element_wise = (tokens if cached else len(blocks)) * found["CUDA"]
    elif title == "RG-LRU":
        columns = 0 if tokens == 1 else tokens + taps - 1
        element_wise += 2 * taps * 64 if tokens == 1 else 0
    cost = recurrent_layer(mixer, h, tokens, cached)
    assert cost.tensor_flops == found["tensor"] + worked + 2 * taps * values["D"] * columns
    assert cost.weights == found["weights"]
    assert state_values(mixer) == found["state"]
    assert cost.cuda_flops == element_wise
    moved = tokens * (2 * h + values["D"] + 2 * values["I"]) + found.get("I/O", 0)
    assert cost.activation_io == moved


@pytest.mark.parametrize("attention", ["flash", "eager"])
@pytest.mark.parametrize("model", MODELS)
def test_formulas_of_activations_are_what_is_held(model, attention):
    block = text_of("memory").split("## Activations")[1].split("```")[1]
    stated = dict(
        re.findall(r"^(attention|FFN|head|MLP|experts|router) {2,}(\S.*?)(?:  .*)?$", block, re.M)
    )
    table = formulas_of("values read and written")
    arch = se.load_model(model).architecture
    found = []
    for index, group in enumerate(arch.groups):
        values, _ = letters(model, index)
        eager = attention == "eager"
        scores = values["Nh"] * values["T"] * values["L"] if eager else 0
        latent = "attention, expanded latents" if values["c"] else "attention, grouped heads"
        moved = eval(table[latent][0], dict(values)) + 2 * scores
        named = {"attention I/O": moved, "eager scores": scores, "indexer": 0, "compressor": 0}
        for part in ("MLP", "experts", "router"):
            present = group.feed_forward.width if part == "MLP" else group.feed_forward.experts
            named[part] = eval(stated[part], dict(values)) * min(present, 1)
        lines = [stated[line] for line in ("attention", "FFN", "head")]
        if not group.feed_forward.experts:
            lines = [line.replace("MLP + T*h", "MLP") for line in lines]
        for line in lines:
            for name, value in named.items():
                line = line.replace(name, str(value))
            found.append(eval(line, values | {"V": arch.backbone.vocabulary}))
    cost = se.cost(model, prompt_tokens=TOKENS, cached_tokens=CACHED, attention=attention)
    assert cost["prefill_activation_bytes"] == 2 * max(found)
