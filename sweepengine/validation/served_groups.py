"""Groups of devices that serve a model, as public serving rows state them."""

from functools import lru_cache
from typing import Any, NamedTuple

from sweepengine.data.devices import load_device
from sweepengine.data.errors import InputError
from sweepengine.data.files import known
from sweepengine.data.models import Model, load_model
from sweepengine.data.speeds import TimingTarget, speeds_of, timing_target
from sweepengine.formulas.attention import chooses
from sweepengine.formulas.drafts import draft_layout, draft_of
from sweepengine.formulas.formats import FORMAT_NAMES
from sweepengine.formulas.layout import Layout
from sweepengine.formulas.points import Point
from sweepengine.formulas.speculation import DRAFTS, MTP
from sweepengine.formulas.speeds import ROOFLINE, Speeds
from sweepengine.formulas.tokens import Pass
from sweepengine.formulas.vision_times import vision_us
from sweepengine.grid.layout_checks import layout_problem
from sweepengine.grid.plain import image_of, step_figures
from sweepengine.grid.points import checked_point
from sweepengine.grid.timed import OWN_HEADS, prefill_us, step_of
from sweepengine.validation.measured_operators import silicon_folder
from sweepengine.validation.served_rows import ServedRow, Workers

CONFIGS = {
    "Llama-3.1-70B": "meta-llama--Meta-Llama-3.1-70B",
    "Llama-3.1-8B-Instruct": "meta-llama--Meta-Llama-3.1-8B",
    "Llama-3.1-8B-Instruct-FP8": "meta-llama--Meta-Llama-3.1-8B",
    "DeepSeek-R1-NVFP4": "nvidia--DeepSeek-V3.1-NVFP4",
    "Qwen3-32B-NVFP4": "Qwen--Qwen3-32B",
    "GLM-5": "nvidia--GLM-5-NVFP4",
}
"""Model of a row to its config in the extra, where the names differ."""
QUANTISED = {"fp8": "fp8-tensor", "fp8_block": "fp8", "nvfp4": "nvfp4", "int4_wo": "int4"}
"""Name of a weight format in the rows to ours, for configs without one."""
UNQUANTISED_CACHE = ("gpt-oss", "sglang")
"""Models and engines whose default KV cache is bf16 even for quantised models."""


def _config(path: str, precision: str | None) -> str:
    """Path of the config of a model in the extra, or the name of a shipped model."""
    owner, base = path.split("/")
    configs = silicon_folder("model_configs")
    quantised = "DeepSeek-V3.1" if base.startswith("DeepSeek") else base
    names = [f"nvidia--{quantised}-NVFP4"] if precision == "fp4" else []
    names += [CONFIGS[base]] if base in CONFIGS else [f"{owner}--{base}"]
    for name in names:
        if (file := configs / f"{name}_config.json").is_file():
            return str(file)
    if base in known("models"):
        return base
    raise InputError("no config for the model")


MTP_LAYER = DRAFTS.index(MTP)
"""Code of the model's own draft."""


class Server(NamedTuple):
    """What a row serves: a model, and inputs of a point but for its lengths."""

    model: Model
    inputs: dict[str, Any]


@lru_cache
def _model(path: str, precision: str | None) -> Model:
    return load_model(_config(path, precision))


def server_of(row: ServedRow) -> Server:
    """What a row of the public file, or of InferenceX, serves.

    Raises
    ------
    InputError
        When there is no config of its model.
    """
    model = _model(row.path, row.precision)
    text = {"images": 0} if model.has_vision else {}
    return Server(model, {**_formats(row, model), **text})


def _formats(row: ServedRow, model: Model) -> dict[str, str]:
    """Formats of a row: those of the checkpoint if it is quantised, else those of the row."""
    quantised = row.weights != ""
    plain = any(name in (row.engine, row.model) or name in row.path for name in UNQUANTISED_CACHE)
    blackwell = row.system.startswith(("b", "gb"))
    sparse = any(chooses(attention) for attention in model.architecture.attentions)
    if row.engine == "sglang" and sparse and blackwell:
        plain = False  # its default for sparse attention there
    formats = {"cache_format": "fp8" if quantised and not plain else "bf16"}
    checkpoint = model.architecture.checkpoint
    if any(checkpoint[:3]):
        formats["activation_format"] = FORMAT_NAMES[checkpoint.activation]
        if FORMAT_NAMES[checkpoint.experts] == "mxfp4" and blackwell:
            formats["activation_format"] = "fp8"  # kernels of Blackwell for mxfp4 weights
    elif quantised:
        mixed = row.expert_weights == "fp8_block"
        name = QUANTISED["fp8_block" if mixed else row.weights]
        usual = {"nvfp4": "nvfp4", "int4": "bf16"}.get(name, "fp8")
        formats |= {"weight_format": name, "activation_format": usual}
    return formats


class ServedGroup(NamedTuple):
    """A group of devices that serves a model in a layout."""

    model: Model
    layout: Layout
    point: Point
    """Formats and images."""
    speeds: Speeds
    ideal: Speeds
    """At the data sheet's rates."""

    def prefill(self, tokens: int, requests: float = 1.0, ideal: bool = False) -> float:
        """Time of a pass of prefills, us.

        Parameters
        ----------
        tokens : int
            Of each prompt.
        requests : float
            That share the pass.
        ideal : bool
            By the data sheet.
        """
        arch, speeds = self.model.architecture, self.ideal if ideal else self.speeds
        prefill = Pass(requests, tokens, 0, decode=0)
        found = prefill_us(arch, OWN_HEADS, self.layout, prefill, speeds)
        if arch.towers is not None:
            image = image_of(arch, self.point)
            found += vision_us(arch.towers, image, requests * self.point.images, speeds)
        return found

    def step(
        self, batch: float, tokens: int, output: int, launch: float, ideal: bool = False
    ) -> float:
        """Mean time of a decode step over `output` steps after `tokens` tokens, us.

        Parameters
        ----------
        batch : float
            Sequences of a data-parallel rank.
        tokens, output : int
            Of a prompt and of an answer.
        launch : float
            Of an element-wise kernel, us.
        ideal : bool
            By the data sheet.
        """
        arch, speeds = self.model.architecture, self.ideal if ideal else self.speeds
        speeds = speeds._replace(host=speeds.host._replace(step_launch=launch))
        step = step_of(arch, OWN_HEADS, self.layout, max(batch, 1.0), speeds)
        return step.total(tokens, output) / output

    def drafted_prefill(self, tokens: int, requests: float = 1.0) -> float:
        """As `prefill`, with the prefills of the model's MTP layer."""
        arch, speeds = self.model.architecture, self.speeds
        own, on = draft_of(arch, MTP_LAYER), draft_layout(arch, MTP_LAYER, self.layout)
        passed = prefill_us(own, OWN_HEADS, on, Pass(requests, tokens, 0, decode=0), speeds)
        return self.prefill(tokens, requests) + passed

    def speculative_step(
        self, batch: float, tokens: int, output: int, launch: float, drafted: int
    ) -> float:
        """Mean time of a step that the MTP layer drafts tokens for, us.

        Parameters
        ----------
        batch, tokens, output, launch : as `step`
        drafted : int
            Tokens drafted a step.
        """
        arch = self.model.architecture
        speeds = self.speeds._replace(host=self.speeds.host._replace(step_launch=launch))
        own, on = draft_of(arch, MTP_LAYER), draft_layout(arch, MTP_LAYER, self.layout)
        verified = step_of(arch, OWN_HEADS, self.layout, batch, speeds, tokens=1 + drafted)
        passed = step_of(own, OWN_HEADS, on, batch, speeds)
        spent = verified.total(tokens + drafted, output)
        return (spent + drafted * passed.total(tokens + drafted, output)) / output


def group_of(server: Server, target: TimingTarget, workers: Workers) -> ServedGroup:
    """The devices that some workers of a row are.

    Parameters
    ----------
    server : Server
    target : TimingTarget
        Device and serving engine.
    workers : Workers

    Raises
    ------
    InputError
        When the row's model cannot be laid out so.
    """
    model, layout = server.model, workers.layout
    arch = model.architecture
    if not arch.routings:
        layout = layout._replace(expert=1)
    if layout_problem(model, layout):
        raise InputError("the layout does not divide the heads of the model")
    point = checked_point(model, server.inputs)
    point = point._replace(expert_parallel=layout.expert)
    weights = step_figures(
        arch, 0, 0, 1, 1, point.weight_format, point.cache_format, layout
    ).weights
    if weights.held_bytes > target.device.memory_bytes:
        raise InputError("the weights are larger than the memory of the devices of the row")
    ideal = timing_target(target.device, target.framework, ROOFLINE)
    measured, sheet = (speeds_of(arch, point, one) for one in (target, ideal))
    return ServedGroup(model, layout, point, measured, sheet)


@lru_cache
def target_of(system: str, engine: str) -> TimingTarget:
    """The device, by its name in the measured tables or its own, and serving engine of a row."""
    devices = {load_device(name).measured or name: name for name in known("devices")}
    return timing_target(load_device(devices[system]), engine)
