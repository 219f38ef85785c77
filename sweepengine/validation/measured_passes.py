"""Passes of whole modules that a user measured (`benchmarks/on_gpu`), and what is predicted.

A prediction is that of a static batch (`--serving static`): the sum of the operators of the pass.
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sweepengine.data.errors import InputError, from_validation
from sweepengine.data.files import known, read_text
from sweepengine.data.models import Model, load_model
from sweepengine.data.speeds import TimingTarget, speeds_of
from sweepengine.formulas.crops import crop_views
from sweepengine.formulas.images import image_of_size
from sweepengine.formulas.layout import WHOLE
from sweepengine.formulas.reductions import cached_before
from sweepengine.formulas.serving import STATIC
from sweepengine.formulas.speeds import Speeds
from sweepengine.formulas.tokens import Pass
from sweepengine.formulas.towers import Towers
from sweepengine.formulas.views import ImageSizeError
from sweepengine.formulas.vision_times import blocks_us, join_us, vision_us
from sweepengine.grid.points import checked_point
from sweepengine.grid.timed import OWN_HEADS, prefill_us, step_of

PASSES = "passes.csv"
What = Literal["SAM", "CLIP", "tower", "prefill", "decode"]
SAM, CLIP, TOWER, PREFILL, DECODE = get_args(What)
EAGER, COMPILED = "eager", "compiled"
EDGE = 64
"""Pixels of which the edge of a view of DeepSeek-OCR is a multiple."""

Count = Annotated[int, Field(ge=1, le=1 << 24)]
Some = Annotated[int, Field(ge=0, le=1 << 24)]


class MeasuredPass(BaseModel):
    """A row of passes.csv, whose columns are these fields."""

    model_config = ConfigDict(frozen=True)
    device: str
    """As its driver names it."""
    torch: str
    """Version."""
    model: str
    """A shipped name, or a file in the folder of the table."""
    what: What
    mode: Literal["eager", "compiled"]
    batch: Count
    """Images, or sequences."""
    tokens: Some
    """New tokens of each sequence; 0 for images."""
    cached_tokens: Some
    image_height: Some
    """Pixels; 0 for sequences."""
    image_width: Some
    dtype: Literal["bfloat16"]
    microseconds: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    """Median."""
    repeats: Count

    @model_validator(mode="after")
    def _whole(self) -> "MeasuredPass":
        if self.what in (PREFILL, DECODE):
            if self.tokens < 1 or (self.what == DECODE and self.tokens > 1):
                expected = "1" if self.what == DECODE else "1 or more"
                raise ValueError(f"tokens = {self.tokens}: expected {expected} of a {self.what}")
        elif min(self.image_height, self.image_width) < 1:
            raise ValueError(f"image_height, image_width: expected pixels of an image: {self.what}")
        elif self.what != TOWER and (
            self.image_height % EDGE or self.image_height != self.image_width
        ):
            raise ValueError(
                f"image_height = {self.image_height}, image_width = {self.image_width}: expected "
                f"the same multiple of {EDGE} for {self.what}"
            )
        return self


COLUMNS = tuple(MeasuredPass.model_fields)


class PassCase(NamedTuple):
    """A measured pass and its prediction, us."""

    measured: MeasuredPass
    predicted: float

    @property
    def ratio(self) -> float:
        """Predicted / measured."""
        return self.predicted / self.measured.microseconds

    @property
    def error(self) -> float:
        """|predicted / measured - 1|, %."""
        return 100 * abs(self.ratio - 1)


def read_passes(path: Path) -> list[MeasuredPass]:
    """Rows of a table of passes.

    Raises
    ------
    InputError
        When it cannot be read, lacks a column or has no rows, or a value is not valid.
    """
    reader = csv.DictReader(read_text(path).splitlines())
    lacking = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
    if lacking:
        raise InputError(f"{path}: column {lacking[0]} is missing: expected {', '.join(COLUMNS)}")
    rows = []
    try:
        for row in reader:
            place = f"{path}: line {reader.line_num}"
            try:
                rows.append(MeasuredPass.model_validate(row))
            except ValidationError as error:
                raise from_validation(place, error, COLUMNS) from None
    except csv.Error as error:
        raise InputError(f"{path}: not a CSV file: {error}") from None
    if not rows:
        raise InputError(f"{path}: has no rows: expected one for each pass")
    return rows


def compared_passes(path: Path, target: TimingTarget) -> Iterator[PassCase]:
    """Rows of a table of passes with predictions.

    Parameters
    ----------
    path : Path
        The table; models that do not ship lie beside it.
    target : TimingTarget
        Device and serving engine whose kernels are predicted.

    Raises
    ------
    InputError
        When the table or a model is not valid, or a model has no such part.
    """
    for row in read_passes(path):
        model_file = None if row.model in known("models") else path.parent / row.model
        if model_file is not None and not model_file.is_file():
            raise InputError(
                f'{path}: model = "{row.model}": expected a file of this folder, or a name that '
                "`sweepengine models` lists"
            )
        model = load_model(model_file or row.model)
        try:
            yield PassCase(row, predicted_us(row, model, target))
        except ImageSizeError as error:
            raise InputError(f"{path}: {row.model}: {error}") from None
        except InputError as error:
            raise InputError(f"{path}: {error}") from None


def predicted_us(row: MeasuredPass, model: Model, target: TimingTarget) -> float:
    """Predicted time of a measured pass, us.

    Parameters
    ----------
    row : MeasuredPass
    model : Model
        That the row names.
    target : TimingTarget

    Raises
    ------
    InputError
        When the model has no such part.
    ImageSizeError
        When the processor of the model refuses an image of this size.
    """
    arch = model.architecture
    point = checked_point(model, {"precision": "bf16"})._replace(serving=STATIC)
    speeds, sequences = speeds_of(arch, point, target), float(row.batch)
    if row.what == PREFILL:
        new = Pass(sequences, row.tokens, row.cached_tokens, decode=0)
        return prefill_us(arch, OWN_HEADS, WHOLE, new, speeds)
    if row.what == DECODE:
        step = step_of(arch, OWN_HEADS, WHOLE, sequences, speeds)
        return step.total(cached_before(arch.convention, row.cached_tokens), 1)
    if arch.towers is None:
        raise InputError(f"{row.model}: what = {row.what}: expected a model that sees images")
    if row.what != TOWER:
        return _part_us(row, arch.towers, speeds)
    if arch.towers.crops is not None:
        raise InputError(f"{row.model}: what = {TOWER}: expected {SAM} or {CLIP}")
    image = image_of_size(arch.towers, row.image_height, row.image_width)
    return vision_us(arch.towers, image, sequences, speeds)


def _part_us(row: MeasuredPass, towers: Towers, speeds: Speeds) -> float:
    """SAM or CLIP of DeepSeek-OCR on views of one size.

    Raises
    ------
    InputError
        When the model has no such part.
    """
    parts = {name.part for name in towers.block_names}
    if towers.crops is None or row.what not in parts:
        raise InputError(f"{row.model}: what = {row.what}: expected a model with {row.what}")
    view = crop_views(towers.crops, row.image_height, EDGE, 0, 0).views
    images, found = float(row.batch), 0.0
    for name, blocks in zip(towers.block_names, towers.blocks, strict=True):
        if name.part == row.what:
            found += blocks_us(blocks, view, images, speeds)
    for name, join in zip(towers.join_names, towers.joins, strict=True):
        if name.part == row.what:
            found += join_us(join, view, images, 0, speeds)
    return found
