"""Compares image rules with the image processors of transformers.

Those that need only Pillow are taken where there are any, the others need torchvision.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import transformers
from transformers.models.auto.auto_mappings import IMAGE_PROCESSOR_MAPPING_NAMES

from sweepengine.data.files import read_json
from sweepengine.data.huggingface import file_beside
from sweepengine.data.models import Model
from sweepengine.data.preprocessors import PREPROCESSOR
from sweepengine.formulas.images import ONE_SIZE, image_of_size
from sweepengine.formulas.views import ImageRule, View
from sweepengine.validation.counters import Figure
from sweepengine.validation.towers import IMAGES

Output = Mapping[str, Any]


class ProcessorProof(NamedTuple):
    """Figures of an image processor, and what was not compared."""

    figures: list[Figure]
    notes: tuple[str, ...] = ()


def by_grid(output: Output, rule: ImageRule) -> View:
    """The view of one image, where the processor returns its grid."""
    return View(1, *output["image_grid_thw"][0].tolist()[1:])


def by_pixels(output: Output, rule: ImageRule) -> View:
    """The views of one image, where the processor returns their pixels."""
    *count, _, height, width = output["pixel_values"].shape
    return View(math.prod(count), height // rule.patch, width // rule.patch)


def by_joined_tiles(output: Output, rule: ImageRule) -> View:
    """All tiles of one image as one view, where the processor pads them to the most."""
    *_, tiles, _, height, width = output["pixel_values"].shape
    return View(1, height // rule.patch, tiles * width // rule.patch)


def by_positions(output: Output, rule: ImageRule) -> View:
    """The view of one image, where the processor returns columns and rows of its patches."""
    columns, rows = (output["image_position_ids"][0].amax(dim=0) + 1).tolist()
    return View(1, rows, columns)


def by_last_shape(output: Output, rule: ImageRule) -> View:
    """The view of the whole image, where the processor returns the shapes of tiles before it."""
    return View(1, *output["spatial_shapes"][-1].tolist())


READERS: dict[str, Callable[[Output, ImageRule], View]] = {
    "native": by_grid,
    "native_scaled": by_grid,
    "native_newlines": by_grid,
    "native_widened": by_grid,
    "navit": by_grid,
    "budget": by_positions,
    "fixed": by_pixels,
    "aspect_tiles": by_pixels,
    "least_upscaling": by_pixels,
    "best_fit": by_pixels,
    "longest_edge": by_pixels,
    "anyres": by_pixels,
    "split_longest": by_pixels,
    "bounded_edges": by_pixels,
    "tagged_tiles": by_pixels,
    "joint_tiles": by_joined_tiles,
    "tiles_of_large": by_last_shape,
}
"""Image rule to the views that a processor's output holds."""


def measure_processor(path: Path, model: Model) -> ProcessorProof:
    """Compare the patches that images become with those of the real image processor.

    Prompt tokens follow from the same views by the image rule.

    Parameters
    ----------
    path : Path
        Of the config; the processor is that of preprocessor_config.json beside it.
    model : Model
        Read from it; nothing is compared where its tower is not read.
    """
    towers = model.architecture.towers
    if towers is None:
        return ProcessorProof([])
    if towers.rule is None or towers.rule.name not in READERS:
        return _none("the output of its processor is not known")
    beside = file_beside(path, PREPROCESSOR)
    if beside is None:
        return _none(f"no {PREPROCESSOR} lies in the folder of the config")
    try:
        processor = _processor(read_json(beside), str(read_json(path)["model_type"]))
        figures = [
            _figure(processor, model, height, width)
            for height, width in IMAGES[: 1 if towers.rule.name in ONE_SIZE else None]
        ]
    except Exception as error:  # transformers may raise anything
        text = " ".join(str(error).split())[:200] or type(error).__name__
        return _none(f"transformers cannot run the image processor: {text}")
    return ProcessorProof(figures)


def _none(why: str) -> ProcessorProof:
    return ProcessorProof([], (f"prompt tokens follow the image rule alone: {why}",))


def _processor(numbers: dict[str, Any], kind: str) -> Any:
    """The image processor that a file names, or that of a type of models."""
    named = str(numbers.get("image_processor_type") or "").removesuffix("Fast")
    name = named or IMAGE_PROCESSOR_MAPPING_NAMES[kind]["torchvision"]
    made = getattr(transformers, f"{name}Pil", None) or getattr(transformers, name)
    return made(**numbers)


def _figure(processor: Any, model: Model, height: int, width: int) -> Figure:
    assert model.architecture.towers is not None
    rule = model.architecture.towers.rule
    assert rule is not None
    image = np.zeros((height, width, 3), np.uint8)
    image[::2] = 255
    seen = READERS[rule.name](processor(image, return_tensors="pt"), rule)
    view = image_of_size(model.architecture.towers, height, width).views
    what = f"patches by the image processor, image of {height} x {width}"
    return Figure(what, "patches", math.prod(seen[:3]), math.prod(view[:3]))
