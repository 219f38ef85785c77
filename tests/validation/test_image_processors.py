"""Image rules against the image processors of transformers: their functions of a size, and them.

Most modules of processors import torchvision, whose build must be that of torch. Their functions of
a size need none: they are compiled from the modules' source. Of most processors there is one that
needs Pillow alone, which is run; the others run where torchvision can be imported.
"""

import __future__

import ast
import importlib
import json
import math
import random
import re
from collections import defaultdict
from functools import lru_cache, partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sweepengine.data.models import load_model
from sweepengine.data.preprocessors import PREPROCESSOR, family_rows
from sweepengine.formulas import tiled_images
from sweepengine.formulas.images import ImageRule, ImageSizeError, View, image_views
from sweepengine.formulas.tile_grids import nearest_grid, tile_grids
from sweepengine.validation.image_processors import (
    READERS,
    by_grid,
    by_last_shape,
    by_pixels,
    by_positions,
    measure_processor,
)
from sweepengine.validation.tower_inputs import INPUTS
from tests.data.configs import write

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
MODELS = Path(transformers.__file__).parent / "models"
NAMES = {
    "math": math, "np": np, "torch": torch, "lru_cache": lru_cache, "defaultdict": defaultdict,
    "SizeDict": SimpleNamespace, "ChannelDimension": SimpleNamespace(FIRST=None),
    "get_image_size": lambda image, *_: image.shape[-2:],
}  # fmt: skip
SIZES = 40


def functions(family, module="image_processing"):
    """Functions and methods of a module of transformers, without its imports."""
    path = MODELS / family / f"{module}_{family}.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inner = [part for node in tree.body if isinstance(node, ast.ClassDef) for part in node.body]
    chosen = [
        node
        for node in (*inner, *tree.body)
        if (isinstance(node, ast.FunctionDef) and node.name not in ("__init__", "preprocess"))
        or (isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant))
    ]
    for node in chosen:
        if isinstance(node, ast.FunctionDef):
            node.decorator_list = []
    names = dict(NAMES)
    flags = __future__.annotations.compiler_flag
    exec(compile(ast.Module(chosen, []), str(path), "exec", flags), names)
    return SimpleNamespace(**names)


def image_of(height, width):
    return torch.empty(1, 3, height, width, device="meta")


def smart(code, rule, height, width):
    edges = code.smart_resize(height, width, rule.patch * rule.merge, rule.least, rule.most)
    return [edge // rule.patch for edge in edges]


def glm(code, rule, height, width):
    block = rule.patch * rule.merge
    edges = code.smart_resize(2, height, width, 2, block, rule.least, rule.most)
    return [edge // rule.patch for edge in edges]


def navit(code, rule, height, width):
    numbers = rule.patch, rule.merge, rule.most, rule.longest
    _, edges = code.navit_resize(height, width, *numbers)
    return [edge // rule.patch for edge in edges]


def budget(code, rule, height, width):
    patches = rule.most * rule.merge**2
    edges = code.get_aspect_ratio_preserving_size(height, width, rule.patch, patches, rule.merge)
    return [edge // rule.patch for edge in edges]


def patch_budget(code, rule, height, width):
    code.torch_extract_patches = None
    size = SimpleNamespace(height=rule.patch, width=rule.patch)
    kept = {}

    def stopped(_, size, **__):
        kept["size"] = size
        raise StopIteration

    names = code.extract_flattened_patches.__globals__
    names["torch"] = SimpleNamespace(
        nn=SimpleNamespace(functional=SimpleNamespace(interpolate=stopped))
    )
    with pytest.raises(StopIteration):
        code.extract_flattened_patches(None, image_of(height, width), rule.most, size)
    return [edge // rule.patch for edge in kept["size"]]


def longest_edge(code, rule, height, width):
    block = rule.patch * rule.merge
    edges = code.get_resize_output_image_size(image_of(height, width), rule.most, block)
    return [edge // rule.patch for edge in edges]


def bounded(code, rule, height, width):
    size = SimpleNamespace(shortest_edge=rule.least, longest_edge=rule.most)
    edges = code.get_resize_output_image_size(image_of(height, width), size)
    return [edge // rule.patch for edge in edges]


def grid(code, rule, height, width):
    columns, rows = code.get_optimal_tiled_canvas(
        (height, width), (rule.tile, rule.tile), rule.least, rule.most
    )
    return columns * rows + (columns * rows > 1)


def cut(code, rule, height, width):
    if max(height, width) <= rule.tile:
        return 0
    columns, rows = code.get_optimal_tiled_canvas(
        (height, width), (rule.tile, rule.tile), rule.least, rule.most
    )
    return columns * rows


def best_fit(code, rule, height, width):
    tile = SimpleNamespace(height=rule.tile, width=rule.tile)
    sizes = torch.tensor(code.find_supported_resolutions(rule.most, tile))
    high, wide = (int(edge) // rule.tile for edge in code.get_best_fit((height, width), sizes))
    return high * wide + (high * wide > 1)


def split(code, rule, height, width):
    edges = code.get_resize_output_image_size(image_of(height, width), rule.longest)
    resizer = SimpleNamespace(resize=lambda _, size, **__: size)
    size = code.resize_for_vision_encoder(resizer, image_of(*edges), rule.tile)
    tiles = math.ceil(size.height / rule.tile) * math.ceil(size.width / rule.tile)
    return tiles + 1 if max(size.height, size.width) > rule.tile else 1


def anyres(code, rule, height, width):
    """Features; `select_best_resolution` is imported, it needs no torchvision."""
    from transformers.image_processing_utils import select_best_resolution

    names = code._get_number_of_features.__globals__
    names["select_best_resolution"] = select_best_resolution
    processor = SimpleNamespace(
        image_processor=SimpleNamespace(image_grid_pinpoints=rule.pinpoints),
        patch_size=rule.patch,
        num_additional_image_tokens=0,
        num_image_tokens=(rule.tile // rule.patch) ** 2,
        vision_aspect_ratio=f"anyres_max_{rule.most}",
    )
    processor._get_unpadded_features = partial(code._get_unpadded_features, processor)
    return code._get_number_of_features(processor, height, width, rule.tile, rule.tile)


def tiles_of_large(code, rule, height, width):
    numbers = rule.merge, rule.least, rule.most, rule.patch
    wide, high = code.smart_resize(None, height, width, *numbers)
    found = [high // rule.patch, wide // rule.patch, 0]
    if code._is_image_too_large(None, height, width, rule.most, rule.patch, rule.merge, 2.0):
        processor = SimpleNamespace(_target_ratios=partial(code._target_ratios, None))
        numbers = height, width, 2, rule.longest, rule.tile
        found[2] = code._get_grid_layout(processor, *numbers)[-1]
    return found


COMPARED = [
    # family, module's family, its function of a size, what of our result it gives
    ("qwen2_vl", "qwen2_vl", smart, "grid"),
    ("qwen3_vl", "qwen2_vl", smart, "grid"),
    ("ernie4_5_vl_moe", "ernie4_5_vl_moe", smart, "grid"),
    ("minimax_m3_vl", "minimax_m3_vl", smart, "grid"),
    ("paddleocr_vl", "paddleocr_vl", smart, "grid"),
    ("hunyuan_vl", "hunyuan_vl", smart, "grid"),
    ("glm4v", "glm4v", glm, "grid"),
    ("glm46v", "glm46v", glm, "grid"),
    ("kimi_k25", "kimi_k25", navit, "grid"),
    ("gemma4", "gemma4", budget, "grid"),
    ("kosmos-2.5", "kosmos2_5", patch_budget, "grid"),
    ("mistral3", "pixtral", longest_edge, "grid"),
    ("llava/pixtral", "pixtral", longest_edge, "grid"),
    ("idefics2", "idefics2", bounded, "grid"),
    ("internvl", "got_ocr2", grid, "views"),
    ("granite_docling", "granite_docling", grid, "views"),
    ("cohere2_vision", "cohere2_vision", grid, "views"),
    ("llama4", "llama4", best_fit, "views"),
    ("idefics3", "idefics3", split, "views"),
    ("smolvlm", "smolvlm", split, "views"),
    ("deepseek_ocr2", "deepseek_ocr2", cut, "tiles"),
    ("deepseek_vl_v2/DeepseekOCRForCausalLM", "unlimited_ocr", cut, "tiles"),
    ("unlimited_ocr", "unlimited_ocr", cut, "tiles"),
    ("lfm2_vl", "lfm2_vl", tiles_of_large, "both"),
    ("llava_next", "llava_next", anyres, "features"),
    ("llava_onevision", "llava_onevision", anyres, "features"),
]
GIVEN = {
    "grid": lambda result: [result.views.rows, result.views.columns],
    "views": lambda result: result.views.count,
    "tiles": lambda result: result.tiles.count,
    "both": lambda result: [*result.views[1:3], result.tiles.count],
    "features": lambda result: result.features,
}


def rule_of(family, **numbers):
    """The rule of a family, its numbers the defaults."""
    row = family_rows()[family]
    for name, entry in row["numbers"].items():
        value = entry if isinstance(entry, int) else entry["default"]
        numbers.setdefault(name, tuple(map(tuple, value)) if isinstance(value, list) else value)
    return ImageRule(row["rule"], **numbers)


def edges(seed):
    draw = random.Random(seed)
    return [
        [round(math.exp(draw.uniform(math.log(16), math.log(5000)))) for _ in range(2)]
        for _ in range(SIZES)
    ]


@pytest.mark.parametrize(("family", "module", "function", "what"), COMPARED)
def test_a_rule_gives_what_the_functions_of_the_processor_give(family, module, function, what):
    code = functions(module, "processing" if function is anyres else "image_processing")
    rule = rule_of(family)
    for height, width in edges(family):
        try:
            expected = function(code, rule, height, width)
        except ValueError:
            with pytest.raises(ImageSizeError):
                image_views(rule, height, width)
            continue
        result = image_views(rule, height, width)
        assert GIVEN[what](result) == expected, (height, width)


def tags(code, rule, height, width):
    columns, rows = GRIDS[rule.name](rule, height, width)
    split = rows * columns > 1 or rule.name == "tagged_tiles"
    shape = {"rows": [[rows * split]], "cols": [[columns * split]]}
    processor = SimpleNamespace(
        fake_image_token="<fake>",
        image_token="<image>",
        global_image_tag="<global>",
        image_seq_len=(rule.tile // rule.patch // rule.merge) ** 2,
    )
    return code.replace_image_token(processor, shape, 0)


def separators(code, rule, height, width):
    columns, rows = GRIDS[rule.name](rule, height, width)
    each = (rule.tile // rule.patch // rule.merge) ** 2
    return code._prompt_split_image(None, (rows, columns), each)


def row_breaks(code, rule, height, width):
    view = image_views(rule, height, width).views
    edges = [view.rows * rule.patch, view.columns * rule.patch]
    processor = SimpleNamespace(
        patch_size=rule.patch,
        spatial_merge_size=rule.merge,
        image_token="<image>",
        image_break_token="<break>",
        image_end_token="<end>",
    )
    return code.replace_image_token(processor, {"image_sizes": [edges]}, 0)


def crops_and_view(code, rule, height, width):
    columns, rows = GRIDS[rule.name](rule, height, width)
    large = max(height, width) > rule.tile
    processor = SimpleNamespace(
        patch_size=rule.patch,
        downsample_ratio=rule.merge,
        image_token="<image>",
        image_processor=SimpleNamespace(
            size={"height": rule.view, "width": rule.view}, tile_size=rule.tile
        ),
    )
    shape = {"num_local_patches": [columns * rows * large], "patches_grid": [(columns, rows)]}
    return code.replace_image_token(processor, shape, 0)


def nearest(rule, height, width):
    """The grid of a rule that an image is cut into."""
    grids = tile_grids(rule.least, rule.most, rule.longest)
    return nearest_grid(grids, rule.tile, height, width)


GRIDS = {
    "tagged_tiles": nearest,
    "deepseek_ocr": nearest,
    "split_longest": tiled_images._longest_grid,
    "best_fit": tiled_images._best_grid,
}
PROMPTS = [
    ("idefics3", "idefics3", tags),
    ("granite_docling", "granite_docling", tags),
    ("llama4", "llama4", separators),
    ("mistral3", "pixtral", row_breaks),
    ("llava/pixtral", "pixtral", row_breaks),
    ("deepseek_ocr2", "deepseek_ocr2", crops_and_view),
    ("deepseek_vl_v2/DeepseekOCRForCausalLM", "unlimited_ocr", crops_and_view),
]


@pytest.mark.parametrize(("family", "module", "function"), PROMPTS)
def test_prompt_tokens_are_those_of_the_processors_text(family, module, function):
    code = functions(module, "processing")
    rule = rule_of(family)
    for height, width in edges(family):
        text = function(code, rule, height, width)
        assert len(re.findall(r"<[^>]+>|\n+", text)) == image_views(rule, height, width).tokens


def by_rows(output, rule):
    return View(1, int(output["rows"][0]), int(output["cols"][0]))


def by_tiles(output, rule):
    local = output.get("pixel_values_local", [])
    return View(len(local), rule.tile // rule.patch, rule.tile // rule.patch)


def limits(rule):
    size = {"shortest_edge": rule.least, "longest_edge": rule.most}
    return {"size": size, "patch_size": rule.patch, "merge_size": rule.merge}


def tile(rule):
    return {"size": {"height": rule.tile, "width": rule.tile}}


def crops(rule):
    return {**tile(rule), "crop_to_patches": True, "max_patches": rule.most}


def longest(rule):
    block = rule.patch * rule.merge
    return {"size": {"longest_edge": rule.most}, "patch_size": {"height": block, "width": block}}


def splits(rule):
    return {
        "size": {"longest_edge": rule.longest},
        "max_image_size": {"longest_edge": rule.tile},
    }


def pinpoints(rule):
    return {
        "image_grid_pinpoints": [list(pair) for pair in rule.pinpoints],
        "crop_size": tile(rule)["size"],
        **tile(rule),
    }


def nothing(rule):
    return {}


def quarters(rule):
    size = {"shortest_edge": rule.least, "longest_edge": rule.most}
    return {"size": size, "do_image_splitting": bool(rule.quarters)}


PROCESSORS = [
    # family, module and class of the processor, its options, what it gives, numbers of the rule
    ("qwen2_vl", "qwen2_vl.Qwen2VL", limits, by_grid, {}),
    ("qwen3_vl", "qwen2_vl.Qwen2VL", limits, by_grid, {}),
    ("ernie4_5_vl_moe", "ernie4_5_vl_moe.Ernie4_5_VLMoe", nothing, by_grid, {}),
    ("minimax_m3_vl", "minimax_m3_vl.MiniMaxM3VL", nothing, by_grid, {}),
    ("paddleocr_vl", "paddleocr_vl.PaddleOCRVL", nothing, by_grid, {}),
    ("hunyuan_vl", "hunyuan_vl.HunYuanVL", nothing, by_grid, {}),
    ("glm4v", "glm4v.Glm4v", nothing, by_grid, {}),
    ("glm46v", "glm46v.Glm46V", nothing, by_grid, {}),
    ("kimi_k25", "kimi_k25.Kimi_K25", nothing, by_grid, {}),
    ("gemma4", "gemma4.Gemma4", nothing, by_positions, {}),
    ("kosmos-2.5", "kosmos2_5.Kosmos2_5", nothing, by_rows, {}),
    ("mistral3", "pixtral.Pixtral", longest, by_pixels, {}),
    ("llava/pixtral", "pixtral.Pixtral", longest, by_pixels, {}),
    ("idefics2", "idefics2.Idefics2", quarters, by_pixels, {"least": 30, "most": 80}),
    ("idefics2", "idefics2.Idefics2", quarters, by_pixels, {"quarters": 1, "most": 500}),
    ("internvl", "got_ocr2.GotOcr2", crops, by_pixels, {"tile": 28}),
    ("granite_docling", "granite_docling.GraniteDocling", crops, by_pixels, {"tile": 64}),
    ("cohere2_vision", "cohere2_vision.Cohere2Vision", crops, by_pixels, {"tile": 64}),
    ("llama4", "llama4.Llama4", tile, by_pixels, {"tile": 112}),
    ("idefics3", "idefics3.Idefics3", splits, by_pixels, {"patch": 14, "tile": 98, "longest": 400}),
    ("smolvlm", "smolvlm.SmolVLM", splits, by_pixels, {"patch": 14, "tile": 112, "longest": 300}),
    ("llava_next", "llava_next.LlavaNext", pinpoints, by_pixels, {}),
    ("llava_onevision", "llava_onevision.LlavaOnevision", pinpoints, by_pixels, {}),
    ("lfm2_vl", "lfm2_vl.Lfm2Vl", nothing, by_last_shape, {}),
    ("deepseek_ocr2", "deepseek_ocr2.DeepseekOcr2", nothing, by_tiles, {}),
    ("unlimited_ocr", "unlimited_ocr.UnlimitedOcr", nothing, by_tiles, {}),
]
IMAGES = [(40, 130), (333, 250), (700, 1000), (900, 300)]


def processor_class(processor):
    """The class of transformers that needs only Pillow, or else the one that needs torchvision."""
    module, name = processor.split(".")
    path = f"transformers.models.{module}.image_processing_"
    if (MODELS / module / f"image_processing_pil_{module}.py").is_file():
        return getattr(importlib.import_module(f"{path}pil_{module}"), f"{name}ImageProcessorPil")
    try:
        return getattr(importlib.import_module(f"{path}{module}"), f"{name}ImageProcessor")
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"torchvision cannot be imported: {error}")


@pytest.mark.parametrize(("family", "processor", "options", "read", "numbers"), PROCESSORS)
def test_a_rule_gives_what_the_processor_gives(family, processor, options, read, numbers):
    rule = rule_of(family, **numbers)
    run = processor_class(processor)(**options(rule))
    for height, width in IMAGES:
        image = np.zeros((height, width, 3), np.uint8)
        image[::2] = 255
        expected = read(run(image, return_tensors="pt"), rule)
        result = image_views(rule, height, width)
        given = result.tiles if read is by_tiles else result.views
        assert given.count == expected.count, (height, width)
        assert given.count == 0 or given[:3] == expected[:3], (height, width)


def test_every_rule_with_inputs_of_a_tower_has_a_reader():
    assert set(READERS) == set(INPUTS)


@pytest.fixture
def sees_images(tmp_path):
    config = transformers.CONFIG_MAPPING["qwen2_vl"]().to_dict()
    path = write(tmp_path, json.loads(json.dumps(config, default=str)))
    return path, load_model(path)


def test_patches_of_a_config_are_those_of_the_processor_beside_it(sees_images):
    path, _ = sees_images
    named = {"image_processor_type": "Qwen2VLImageProcessorFast", "min_pixels": 3136}
    path.with_name(PREPROCESSOR).write_text(json.dumps(named), encoding="utf-8")
    figures, notes = measure_processor(path, load_model(path))
    assert [(figure.measured, figure.analytic) for figure in figures] == [(1024,) * 2, (3600,) * 2]
    assert notes == ()
    named["max_pixels"] = 200_704  # a rule that the model, read before, does not have
    path.with_name(PREPROCESSOR).write_text(json.dumps(named), encoding="utf-8")
    model, other = load_model(path), sees_images[1]
    assert all(figure.difference == 0 for figure in measure_processor(path, model).figures)
    assert not all(figure.difference == 0 for figure in measure_processor(path, other).figures)


def test_without_a_processor_prompt_tokens_follow_the_rule_alone(sees_images, monkeypatch):
    path, model = sees_images
    alone = "prompt tokens follow the image rule alone: "
    absent = (f"{alone}no {PREPROCESSOR} lies in the folder of the config",)
    assert measure_processor(path, model) == ([], absent)
    named = {"image_processor_type": "UnheardOfImageProcessor"}
    path.with_name(PREPROCESSOR).write_text(json.dumps(named), encoding="utf-8")
    _, (note,) = measure_processor(path, model)
    assert note.startswith(f"{alone}transformers cannot run the image processor: ")
    assert "UnheardOfImageProcessor" in note
    monkeypatch.delitem(READERS, "native")
    assert measure_processor(path, model).notes == (
        f"{alone}the output of its processor is not known",
    )
    assert measure_processor(path, load_model("qwen3-8b")) == ([], ())
