"""Formulas of one layer in docs/decoders.md give what `explain` counts, operator by operator.

A row's formula is taken from the page as it stands there and evaluated with the letters of a model.
"""

import re

import pytest

import sweepengine as se
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


def letters(model):
    arch = se.load_model(model).architecture
    group = arch.groups[MODELS[model][1]]
    own, forward = group.attention, group.feed_forward
    found = {
        "T": TOKENS, "h": arch.trunk.hidden, "norms": group.norms, "Nh": own.heads,
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


def biased(own, trunk):
    """Weights of the biases of projections, as the page states them."""
    inputs = own.heads * own.key_width + own.key_value_heads * (own.key_width + own.value_width)
    return own.input_bias * inputs + own.output_bias * trunk


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
