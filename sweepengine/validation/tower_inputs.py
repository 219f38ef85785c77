"""Inputs of vision towers of transformers: one function an image rule, of the views of an image."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sweepengine.formulas.views import NO_VIEWS, ImageRule, View

CHANNELS = 3


class Shown(NamedTuple):
    """An image that a tower is run on."""

    rule: ImageRule
    view: View
    """Its views, all of one size."""
    height: int
    """Of the image as given, pixels."""
    width: int
    frames: int = 1
    """Frames that one patch joins."""
    tiles: View = NO_VIEWS
    """Its views of another size."""


Inputs = dict[str, Tensor]


def _ones(*shape: int) -> Tensor:
    """Values that take no memory; a tower drops views of zeros as padding."""
    return torch.ones(()).expand(*shape)


def _edges(shown: Shown) -> tuple[int, int]:
    """Height and width of a view, pixels."""
    return shown.view.rows * shown.rule.patch, shown.view.columns * shown.rule.patch


def _grid(shown: Shown, *values: int) -> Inputs:
    view = shown.view
    pixels = _ones(view.count * view.rows * view.columns, *values)
    return {
        "pixel_values": pixels,
        "image_grid_thw": torch.tensor([[1, view.rows, view.columns]] * view.count),
    }


def flat_patches(shown: Shown) -> Inputs:
    """Patches as rows of values of all frames, and their grid."""
    return _grid(shown, CHANNELS * shown.frames * shown.rule.patch**2)


def square_patches(shown: Shown) -> Inputs:
    """Patches of channels, height and width, and their grid."""
    return _grid(shown, CHANNELS, shown.rule.patch, shown.rule.patch)


def pixels(shown: Shown) -> Inputs:
    """All views, each an image of its own."""
    return {"pixel_values": _ones(shown.view.count, CHANNELS, *_edges(shown))}


def pixels_without_values(shown: Shown) -> Inputs:
    """The same for a tower whose tables move to the device of the pixels."""
    return {name: values.to("meta") for name, values in pixels(shown).items()}


def sized_pixels(shown: Shown) -> Inputs:
    """All views, and the size of each."""
    return {**pixels(shown), "image_sizes": torch.tensor([_edges(shown)] * shown.view.count)}


def stacked_pixels(shown: Shown) -> Inputs:
    """The views of one image."""
    return {"pixel_values": pixels(shown)["pixel_values"][None]}


def stacked_with_size(shown: Shown) -> Inputs:
    """The views of one image, and its size as given."""
    return {**stacked_pixels(shown), "image_sizes": torch.tensor([[shown.height, shown.width]])}


def stacked_with_mask(shown: Shown) -> Inputs:
    """The views of one image, of which none is padding."""
    mask = torch.ones(1, shown.view.count, dtype=torch.bool)
    return {**stacked_pixels(shown), "pixel_attention_mask": mask}


def padded_patches(shown: Shown) -> Inputs:
    """Patches and their columns and rows, both padded to the most that the rule allows."""
    rule, view = shown.rule, shown.view
    most = rule.most * rule.merge**2
    places = torch.full((1, most, 2), -1)
    rows, columns = torch.arange(view.rows), torch.arange(view.columns)
    places[0, : view.rows * view.columns] = torch.cartesian_prod(rows, columns).flip(1)
    return {
        "pixel_values": _ones(1, most, CHANNELS * rule.patch**2),
        "image_position_ids": places,
    }


def padded_views(shown: Shown) -> Inputs:
    """Patches of all tiles and of the whole image, padded to the most that the rule allows."""
    rule = shown.rule
    sizes = [(view.rows, view.columns) for view in (shown.tiles, shown.view)
             for _ in range(view.count)]  # fmt: skip
    most, patches = rule.most * rule.merge**2, torch.tensor(sizes).prod(dim=1)
    return {
        "pixel_values": _ones(len(sizes), most, CHANNELS * rule.patch**2),
        "spatial_shapes": torch.tensor(sizes),
        "pixel_attention_mask": (torch.arange(most) < patches[:, None]).long(),
    }


def joined_tiles(shown: Shown) -> Inputs:
    """All tiles of one image, none of which is padding; its aspect ratio is the first one."""
    rule = shown.rule
    return {
        "pixel_values": _ones(1, 1, rule.most, CHANNELS, rule.tile, rule.tile),
        "aspect_ratio_ids": torch.ones(1, 1, dtype=torch.long),
        "aspect_ratio_mask": torch.ones(1, 1, rule.most, dtype=torch.long),
    }


INPUTS: dict[str, Callable[[Shown], Inputs]] = {
    "native": flat_patches,
    "native_scaled": flat_patches,
    "native_newlines": flat_patches,
    "native_widened": square_patches,
    "navit": square_patches,
    "fixed": pixels,
    "aspect_tiles": pixels,
    "least_upscaling": pixels,
    "best_fit": pixels_without_values,
    "longest_edge": sized_pixels,
    "anyres": stacked_with_size,
    "split_longest": stacked_pixels,
    "bounded_edges": stacked_pixels,
    "tagged_tiles": stacked_with_mask,
    "budget": padded_patches,
    "tiles_of_large": padded_views,
    "joint_tiles": joined_tiles,
}
"""Image rule to the inputs of `get_image_features` of the models that have it."""


def inputs_of(shown: Shown, vision_config: Any) -> Inputs:
    """What `get_image_features` takes of an image.

    Parameters
    ----------
    shown : Shown
        The image; the frames of a patch are those of the config.
    vision_config : PreTrainedConfig
        Of the tower.

    Raises
    ------
    KeyError
        When the inputs of models with this rule are not known.
    """
    if vision_config.model_type == "whisper":  # of sound, two frames a row
        frames = 2 * vision_config.max_source_positions
        return {"input_features": _ones(1, vision_config.num_mel_bins, frames)}
    frames = getattr(vision_config, "temporal_patch_size", None) or 1
    found = INPUTS[shown.rule.name](shown._replace(frames=frames))
    if vision_config.model_type == "video_llama_3_vision":
        found["image_merge_sizes"] = torch.tensor([shown.rule.merge])
    return found
