"""Compares the vision tower of any readable config.json with transformers, on the meta device.

python -m sweepengine.validation.towers prints which types that see images are read, and why not.
"""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from transformers import (
    CONFIG_MAPPING,
    AutoModelForImageTextToText,
    WhisperForConditionalGeneration,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
from transformers.models.kosmos2.modeling_kosmos2 import Kosmos2Model
from transformers.models.mllama import modeling_mllama as mllama

from sweepengine.data.errors import InputError
from sweepengine.data.huggingface import reading_of
from sweepengine.data.models import Model
from sweepengine.data.preprocessors import family_rows
from sweepengine.formulas.images import ONE_SIZE, image_of_size
from sweepengine.formulas.towers import Towers
from sweepengine.formulas.views import View
from sweepengine.grid.plain import vision_figures
from sweepengine.validation.counters import Figure, counted_flops
from sweepengine.validation.decoders import STAND_INS
from sweepengine.validation.tower_inputs import INPUTS, Inputs, Shown, inputs_of

IMAGES = ((448, 448), (1000, 700))
"""Heights and widths of the images, pixels."""
EAGER = 0
WITH_TOWER, TEXT_ALONE = "read with its tower", "read as text alone"


class TowerProof(NamedTuple):
    """Figures of a tower, and what was not compared."""

    figures: list[Figure]
    notes: tuple[str, ...] = ()


class WithoutWeights(TorchDispatchMode):
    """Runs a module on the meta device on inputs that have values.

    What meets a weight has a shape alone; grids, indices and masks keep their values, on which the
    shapes depend. A mask without values masks nothing.
    """

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        leaves = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if not any(leaf.is_meta for leaf in leaves):
            if func is torch.ops.aten._to_copy.default and not args[0].is_floating_point():
                kwargs = {**kwargs, "device": "cpu"}
            return func(*args, **kwargs)
        if func is torch.ops.aten._local_scalar_dense.default:
            return True
        if func is torch.ops.aten.index.Tensor:
            first, *others = args[1]
            if first is not None and first.dtype == torch.bool:
                args = args[0], [*first.nonzero(as_tuple=True), *others]
        args, kwargs = tree_map(_as_meta, (args, kwargs))
        return func(*args, **kwargs)


def _as_meta(leaf: Any) -> Any:
    return leaf.to("meta") if isinstance(leaf, Tensor) else leaf


def config_of(config: dict[str, Any]) -> Any:
    """The config of a whole model as transformers reads it.

    Raises
    ------
    Exception
        Whatever transformers raises where it cannot read it.
    """
    config = dict(config)
    config.pop("quantization_config", None)
    text = config.get("text_config")
    if isinstance(text, dict):
        kind = text.get("model_type")
        text = {key: value for key, value in text.items() if key != "quantization_config"}
        config["text_config"] = text | ({"model_type": STAND_INS.get(kind, kind)} if kind else {})
    return CONFIG_MAPPING[config["model_type"]].from_dict(config)


def build(config: Any, attention: str = "eager", device: str = "meta") -> Any:
    """The whole model, by default on the meta device.

    Parameters
    ----------
    config : PreTrainedConfig
        As transformers reads it.
    attention : str
        Implementation of transformers.
    device : str

    Raises
    ------
    Exception
        Whatever transformers raises where it cannot build the model.
    """
    with torch.device(device):
        if config.model_type == "whisper":
            config._attn_implementation = attention
            model = WhisperForConditionalGeneration(config)
        else:
            model = AutoModelForImageTextToText.from_config(config, attn_implementation=attention)
    return model.eval().requires_grad_(False)


def tower_parameters(model: Any) -> int:
    """Number of parameters outside decoder and head."""
    head = model.get_output_embeddings()
    decoder = model.get_decoder()
    decoder = getattr(decoder, "decoder", decoder)  # of a language model with an encoder
    text = {id(weight) for weight in decoder.parameters()}
    text |= {id(weight) for weight in head.parameters()} if head is not None else set()
    return sum(weight.numel() for weight in model.parameters() if id(weight) not in text)


def _image_features(model: Any, inputs: Inputs) -> Any:
    """Features of most models: a tensor, or one for each image."""
    inner = model if hasattr(model, "get_image_features") else model.model
    found = inner.get_image_features(**inputs)
    features = found.get("pooler_output")
    if features is None:  # of Llama 4, which projects outside
        features = model.multi_modal_projector(found.last_hidden_state)
    return features


def _projected_tiles(model: Any, inputs: Inputs) -> Any:
    seen = model.model.vision_model(**inputs).last_hidden_state
    return model.model.multi_modal_projector(seen)


def _kosmos_features(model: Any, inputs: Inputs) -> Any:
    return Kosmos2Model.get_image_features(model, **inputs).pooler_output


def _mask_flops(model: Any, inputs: Inputs) -> int:
    """FLOPs of the mask between the tiles of Llama 3.2 Vision, which is made by a product."""
    patches = model.model.vision_model.num_patches
    padded = -(-patches // 8) * 8
    mask = inputs["aspect_ratio_mask"][0]
    return counted_flops(
        lambda: mllama._prepare_aspect_ratio_attention_mask(mask, patches, padded, model.dtype)
    )


def _encoded_with_text(model: Any, inputs: Inputs) -> Any:
    """Outputs of the encoder of Florence-2 on the features of an image, and on text."""
    features = model.get_image_features(**inputs).pooler_output
    text = family_rows()["florence2"]["numbers"]["extra"] - 1
    rows = torch.cat([features, features.new_zeros(1, text, features.shape[-1])], dim=1)
    return model.model.language_model.encoder(inputs_embeds=rows).last_hidden_state


FEATURES: dict[str, Callable[[Any, Inputs], Any]] = {
    "florence2": _encoded_with_text,
    "kosmos-2": _kosmos_features,
    "mllama": _projected_tiles,
    "vision-encoder-decoder": lambda model, inputs: model.encoder(**inputs).last_hidden_state,
    "whisper": lambda model, inputs: model.model.encoder(**inputs).last_hidden_state,
}
"""Model type to its features, where `get_image_features` does not make them."""


def features_of(model: Any, inputs: Inputs) -> Any:
    """Features of images: a tensor, or one for each image; parameters as those of `encode`."""
    return FEATURES.get(model.config.model_type, _image_features)(model, inputs)


def inputs_of_image(towers: Towers, config: Any, height: int, width: int) -> Inputs:
    """What `features_of` takes of one image, all values of pixels 1.

    Parameters
    ----------
    towers : Towers
        Of the model; they have a rule.
    config : PreTrainedConfig
        Of the whole model.
    height, width : int
        Pixels.

    Raises
    ------
    ImageSizeError
        When the processor of the model refuses an image of this size.
    """
    assert towers.rule is not None, "towers of a config have a rule"
    image = image_of_size(towers, height, width)
    shown = Shown(towers.rule, View(*image.views), height, width, tiles=View(*image.tiles))
    return inputs_of(shown, _tower_config(config))


def encode(model: Any, inputs: Inputs) -> tuple[int, int]:
    """FLOPs of tower and projector without masks, and rows that enter the decoder.

    Parameters
    ----------
    model : PreTrainedModel
        The whole model, on the meta device.
    inputs : dict of Tensor
        Of its tower, as `inputs_of` makes them.
    """
    typed = {
        name: values.to(model.dtype) if values.is_floating_point() else values
        for name, values in inputs.items()
    }
    rows = [0]

    def run() -> None:
        with WithoutWeights():
            features = features_of(model, typed)
            parts = features if isinstance(features, list | tuple) else [features]
            rows[0] = sum(part.numel() // part.shape[-1] for part in parts)

    masked = _mask_flops(model, inputs) if model.config.model_type == "mllama" else 0
    return counted_flops(run) - masked, rows[0]


def measure_tower(path: Path, model: Model) -> TowerProof:
    """Compare parameters, FLOPs and features of the tower of a config.json.

    Parameters
    ----------
    path : Path
        Of the config.
    model : Model
        Read from it; nothing is compared where its tower is not read.
    """
    towers = model.architecture.towers
    if towers is None:
        return TowerProof([])
    try:
        built = build(config_of(json.loads(path.read_text(encoding="utf-8"))))
    except Exception as error:  # transformers may raise anything
        return TowerProof([], (f"the tower is not compared: {_reason('build', error)}",))
    held = model.vision_parameter_count
    figures = [Figure("parameters, tower and projector", "values", tower_parameters(built), held)]
    if towers.rule is None or towers.rule.name not in INPUTS:
        why = f"the inputs of {built.config.model_type} are not known"
        return TowerProof(figures, (f"the tower is compared by its parameters alone: {why}",))
    for height, width in IMAGES[: 1 if towers.rule.name in ONE_SIZE else None]:
        image = image_of_size(towers, height, width)
        try:
            flops, rows = encode(built, inputs_of_image(towers, built.config, height, width))
        except Exception as error:  # transformers may raise anything
            why = _reason("run", error)
            note = f"the tower is compared by its parameters alone: {why}"
            return TowerProof(figures[:1], (note,))
        counted = vision_figures(model.architecture, image, EAGER).counts.tensor_flops
        what = f"image of {height} x {width}"
        figures.append(Figure(f"tower and projector, {what}", "FLOP", flops, counted))
        figures.append(Figure(f"features, {what}", "rows", rows, image.features))
    return TowerProof(figures)


def _tower_config(config: Any) -> Any:
    """The part of a config that describes the tower: a key, or all of it."""
    keys = ("vision_config", "encoder")
    return next((getattr(config, key) for key in keys if hasattr(config, key)), config)


def _reason(verb: str, error: Exception) -> str:
    text = " ".join(str(error).split())[:200] or type(error).__name__
    return f"transformers cannot {verb} it: {text}"


def vision_types() -> dict[str, str]:
    """Each type that transformers lists as image-text-to-text: how it is read, or why it is not.

    A type counts as read where the class defaults of its config are.
    """
    return {kind: _state(kind) for kind in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES}


def _state(kind: str) -> str:
    saved = json.loads(json.dumps(CONFIG_MAPPING[kind]().to_dict(), default=str))
    try:
        reading = reading_of(kind, saved)
    except InputError as error:
        return str(error).removeprefix(f"{kind}: ").split(": expected one of ")[0]
    return WITH_TOWER if "vision" in reading.data else TEXT_ALONE


def main() -> None:
    """Print each type with its state, and how many there are of each."""
    states = vision_types()
    for kind, state in sorted(states.items()):
        print(f"{kind}: {state}")
    counted = Counter(states.values())
    print(
        f"{counted[WITH_TOWER]} of {len(states)} types are {WITH_TOWER}, "
        f"{counted[TEXT_ALONE]} {TEXT_ALONE}"
    )


if __name__ == "__main__":
    main()
