"""Passes of whole modules with random weights in bf16, eager and compiled.

Modules are those of the torch suite, which proves the formulas (`sweepengine/validation`): SAM,
CLIP and the decoder of DeepSeek-OCR, and what transformers makes of a config. Attention is torch's
`scaled_dot_product_attention` but for SAM's, which transformers writes out; experts are grouped
GEMMs. Prefills and steps end in the logits of the last token.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import ValidationError
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import CacheLayerMixin

from benchmarks.on_gpu.clock import Budget, Call, Clock, Median
from benchmarks.on_gpu.operators import DTYPE, NAME
from benchmarks.on_gpu.sizes import Sizes
from sweepengine.data.errors import InputError
from sweepengine.data.files import known, read_json
from sweepengine.data.models import Model, load_model
from sweepengine.formulas.published import own_heads
from sweepengine.validation.configs import decoder_config
from sweepengine.validation.measured_operators import silicon_folder
from sweepengine.validation.measured_passes import (
    CLIP,
    COLUMNS,
    COMPILED,
    DECODE,
    EAGER,
    PREFILL,
    SAM,
    TOWER,
    MeasuredPass,
)
from sweepengine.validation.modules import decoder_of, made_on
from sweepengine.validation.reference_configs import text_config
from sweepengine.validation.references import VisionReference, random_weights
from sweepengine.validation.towers import build, config_of, features_of, inputs_of_image

MODES = (EAGER, COMPILED)
SHARES = {EAGER: 0.5, COMPILED: 1.0}
"""Part of the budget that passes may reach into, by mode."""
EXPECTED = {EAGER: 0.0, COMPILED: 45.0}
"""Seconds that the first one is expected to take."""
SDPA, GROUPED = "sdpa", "grouped_mm"
"""Implementations of transformers of attention and of experts."""

Case = tuple[int, int, int]
"""Images, height and width; or sequences, new tokens and cached ones."""
Runner = Callable[[Case], Call]
"""Makes a pass of a case."""


class Entry(NamedTuple):
    """Passes of one module."""

    model: Model
    path: Path | None
    """Its file; None for a shipped model."""
    what: str
    cases: tuple[Case, ...]
    compiled: int
    """How many of the cases are compiled too."""

    @property
    def name(self) -> str:
        """Name of the model in the table: a shipped one, or a file in the same folder."""
        return self.model.name if self.path is None else self.path.name


def entries_of(sizes: Sizes, folder: Path) -> list[Entry]:
    """Passes to measure.

    Parameters
    ----------
    sizes : Sizes
    folder : Path
        In which their models are looked for.

    Raises
    ------
    InputError
        When a model does not exist or is not valid, or has no such part.
    """
    entries = []
    for row in sizes.passes:
        path = None if row.model in known("models") else _path_of(row.model, folder)
        model = load_model(row.model if path is None else path)
        entry = Entry(model, path, row.what, row.cases, row.compiled)
        _check(entry)
        entries.append(entry)
    return entries


def _path_of(name: str, folder: Path) -> Path:
    """File of a model: beside the sizes, or of the extra `silicon`."""
    own = folder / name
    return own if own.exists() else silicon_folder("model_configs") / name


def _check(entry: Entry) -> None:
    towers, what = entry.model.architecture.towers, entry.what
    is_ocr = towers is not None and towers.crops is not None and bool(towers.ocr.clip.width)
    is_config = entry.path is not None and entry.path.suffix == ".json"
    possible = {SAM: is_ocr, CLIP: is_ocr, TOWER: is_config and towers is not None,
                PREFILL: is_ocr or is_config, DECODE: is_ocr or is_config}  # fmt: skip
    if not possible[what]:
        raise InputError(
            f"sizes: {entry.name}: {what}: expected DeepSeek-OCR with CLIP for {SAM} and {CLIP}, a "
            f"config.json that sees images for {TOWER}, either of both for {PREFILL} and {DECODE}"
        )
    for number, case in enumerate(entry.cases):
        row = _row(entry, EAGER, case, torch.device("cpu")) | {"microseconds": 1.0, "repeats": 1}
        try:
            MeasuredPass.model_validate(row)
        except ValidationError as error:
            reason = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise InputError(f"sizes: {entry.name}: {what}: cases[{number}]: {reason}") from None


def measure(
    entries: list[Entry], out: Path, clock: Clock, budget: Budget
) -> Iterator[dict[str, Any]]:
    """Rows of the table of passes, eager ones first, as far as the budget reaches.

    Parameters
    ----------
    entries : list of Entry
    out : Path
        Folder into which the files of models are copied.
    clock : Clock
    budget : Budget

    Yields
    ------
    dict
        A row of `measured_passes.COLUMNS`.
    """
    for entry in entries:
        if entry.path is not None:
            shutil.copyfile(entry.path, out / entry.name)
    for mode in MODES:
        for entry in entries:
            cases = entry.cases if mode == EAGER else entry.cases[: entry.compiled]
            yield from _measured(entry, mode, cases, clock, budget)


def _measured(
    entry: Entry, mode: str, cases: tuple[Case, ...], clock: Clock, budget: Budget
) -> Iterator[dict[str, Any]]:
    runner: Runner | None = None
    for case in cases:
        title = f"{mode} {entry.what} {entry.name} {' x '.join(map(str, case))}"
        found: Median | None = None
        with budget.measured(mode, title, SHARES[mode], EXPECTED[mode]) as fits:
            if fits:
                runner = runner or RUNNERS[entry.what](entry, clock.device)
                with torch.inference_mode():
                    call = runner(case)
                    found = clock.single(_compiled(call, clock) if mode == COMPILED else call)
        if found is not None:
            yield _row(entry, mode, case, clock.device) | {
                "microseconds": f"{found.microseconds:.7g}",
                "repeats": found.repeats,
            }


def _compiled(call: Call, clock: Clock) -> Call:
    """A call through torch.compile, of this shape alone; with CUDA graphs on a GPU."""
    torch.compiler.reset()
    mode = "reduce-overhead" if clock.on_gpu else "default"
    compiled = torch.compile(call, dynamic=False, mode=mode)

    def step() -> object:
        torch.compiler.cudagraph_mark_step_begin()
        return compiled()

    return step


def _row(entry: Entry, mode: str, case: Case, device: torch.device) -> dict[str, Any]:
    first, second, third = case
    of_images = entry.what in (SAM, CLIP, TOWER)
    shape = (first, 0, 0, second, third) if of_images else (first, second, third, 0, 0)
    values = (device_name(device), torch.__version__, entry.name, entry.what, mode, *shape, NAME)
    return dict(zip(COLUMNS, values, strict=False))


def device_name(device: torch.device) -> str:
    """Name of a device as its driver states it."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _sam(entry: Entry, device: torch.device) -> Runner:
    """SAM on images of pixels."""
    reference = _vision(entry, device)

    def runner(case: Case) -> Call:
        images, *edges = case
        channels = entry.model.architecture.ocr.image.channels
        pixels = torch.randn(images, channels, *edges, dtype=DTYPE, device=device)
        return lambda: reference.sam(pixels).last_hidden_state

    return runner


def _clip(entry: Entry, device: torch.device) -> Runner:
    """CLIP on SAM's features of images."""
    reference, ocr = _vision(entry, device), entry.model.architecture.ocr
    merged = ocr.image.patch_size * ocr.image.patches_per_token

    def runner(case: Case) -> Call:
        images, height, width = case
        rows = -(-height // merged) * -(-width // merged)
        features = torch.randn(images, rows, ocr.clip.width, dtype=DTYPE, device=device)
        return lambda: reference.seen(features)

    return runner


def _vision(entry: Entry, device: torch.device) -> VisionReference:
    with made_on(device, DTYPE):
        reference = VisionReference(entry.model.architecture, SDPA, str(device))
    for module in (reference.sam, reference.embeddings, reference.norm, reference.clip):
        random_weights(module)
    return reference


def _tower(entry: Entry, device: torch.device) -> Runner:
    """Tower and projector of a config on one image, or several of one size."""
    assert entry.path is not None, "checked"
    config = config_of(read_json(entry.path))
    config.dtype = DTYPE
    with made_on(device, DTYPE):
        model = build(config, SDPA, str(device))

    def runner(case: Case) -> Call:
        images, height, width = case
        towers = entry.model.architecture.vision
        one = inputs_of_image(towers, config, height, width)
        inputs = {name: _of_images(values, images, device) for name, values in one.items()}
        return lambda: features_of(model, inputs)

    return runner


def _of_images(values: Tensor, images: int, device: torch.device) -> Tensor:
    """An input of one image as that of several."""
    typed = values.to(DTYPE) if values.is_floating_point() else values
    return torch.cat([typed] * images).contiguous().to(device)


class FilledLayer(CacheLayerMixin):
    """KV cache of a layer, filled; each pass writes its new tokens behind the cached ones anew.

    Parameters
    ----------
    cached : int
        Tokens of each sequence.
    keys, values : Tensor, shape (sequences, heads, cached and new tokens, width)
    """

    is_compileable = True
    is_sliding = False

    def __init__(self, cached: int, keys: Tensor, values: Tensor) -> None:
        super().__init__()
        self.cached, self.keys, self.values = cached, keys, values
        self.is_initialized = True
        for tensor in (keys, values):
            torch._dynamo.mark_static_address(tensor)

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Do nothing: keys and values are there from the start."""

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write new keys and values in place; return all."""
        self.keys[:, :, self.cached :].copy_(key_states)
        self.values[:, :, self.cached :].copy_(value_states)
        return self.keys, self.values

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return keys of a pass, and the position of the first."""
        return self.cached + query_length, 0

    def get_seq_length(self) -> int:
        """Return the tokens before a pass."""
        return self.cached

    def get_max_length(self) -> int:
        """Return the tokens behind a pass."""
        return self.keys.shape[-2]


def _decoder(entry: Entry, device: torch.device) -> Runner:
    """Decoder and head on tokens, behind cached ones; logits of the last token alone."""
    arch = entry.model.architecture
    if entry.path is not None and entry.path.suffix == ".json":
        config = decoder_config(entry.path)
        config._attn_implementation, config._experts_implementation = SDPA, None  # grouped GEMMs
    else:
        config = text_config(arch, own_heads(arch), SDPA, GROUPED)
    config.dtype = DTYPE
    with made_on(device, DTYPE):
        body, head = decoder_of(config)
    random_weights(body)
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads

    def runner(case: Case) -> Call:
        sequences, tokens, cached = case
        shape = (sequences, config.num_key_value_heads, cached + tokens, width)
        layers = [
            FilledLayer(cached, *(torch.randn(shape, dtype=DTYPE, device=device) for _ in range(2)))
            for _ in range(config.num_hidden_layers)
        ]
        inputs = {
            "input_ids": torch.randint(config.vocab_size, (sequences, tokens), device=device),
            "position_ids": torch.arange(cached, cached + tokens, device=device)[None],
            "past_key_values": Cache(layers=layers),
            "use_cache": True,
        }
        if head is None:
            return lambda: body(**inputs, logits_to_keep=1).logits
        return lambda: head(body(**inputs).last_hidden_state[:, -1:])

    return runner


RUNNERS: dict[str, Callable[[Entry, torch.device], Runner]] = {
    SAM: _sam,
    CLIP: _clip,
    TOWER: _tower,
    PREFILL: _decoder,
    DECODE: _decoder,
}
"""What is measured to the maker of its passes."""
