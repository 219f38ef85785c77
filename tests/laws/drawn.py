"""Points drawn at random: a model, a device, a layout, formats, a load and a serving engine."""

import json
import math

import pytest
from hypothesis import strategies as st

import sweepengine as se
from sweepengine.data.files import known
from sweepengine.formulas.points import INPUTS
from sweepengine.formulas.speeds import FRAMEWORKS

DEVICES = tuple(known("devices"))
MODELS = tuple(known("models"))
LAYOUTS = ("tp1", "tp2", "tp4", "tp8", "pp2", "pp3", "tp2-pp2", "dp2", "dp3", "tp2-dp2", "tp4-ep4",
           "dp4-ep4", "tp8-ep8", "tp4-ep8", "ep8", "tp8-pp2", "tp16", "dp16-ep16")  # fmt: skip
PRECISIONS = ("checkpoint", "checkpoint", "checkpoint-kv8", "bf16", "fp8", "fp8-kv8", "int8",
              "w4a16", "w4a8", "mxfp4", "nvfp4-kv4", "fp8-row")  # fmt: skip
RARE = {
    "cached_tokens": (1, 100, 5000),
    "shared_tokens": (1, 7, 60),
    "attention": ("eager",),
    "latent": ("expanded",),
    "max_sequences": (8, 300),
    "chunk_tokens": (512, 4096),
    "memory_share": (0.5, 0.85),
    "framework_version": ("0.8", "0.17"),  # listed ones: a point alone takes any, such as 0.12
    "device_tensor_tflops": (100.0, 1234.5),
    "device_bandwidth_gbs": (500.0, 9000.0),
    "device_memory_gb": (24.0, 300.0),
    "link_bandwidth_gbs": (50.0, 2000.0),
}
"""Inputs that most points leave at their defaults, and values of them."""


def sizes(most, least=1):
    """Integers spread evenly over their magnitudes."""
    return st.floats(math.log(least), math.log(most)).map(lambda power: round(math.exp(power)))


def workloads(model):
    """Inputs of a model that state what it reads and writes."""
    named = {"decode_steps": sizes(2000), "batch_size": sizes(512)}
    if not model.has_vision:
        return st.fixed_dictionaries(named | {"prompt_tokens": sizes(100_000)})
    named |= {"text_tokens": sizes(5000)}
    if model.has["crops"]:
        named["crops"] = st.sampled_from(["none", "1x2", "2x3", "4x4"])
    elif model.has["image"]:
        pixels = st.integers(32, 2500)
        named["image"] = st.tuples(pixels, pixels).map("{0[0]}x{0[1]}".format)
    return st.fixed_dictionaries(named)


@st.composite
def points(draw, models=MODELS, devices=DEVICES, rare=RARE, frameworks=FRAMEWORKS):
    """A model's name and the inputs of a point on a device, as grids spell them; most are valid."""
    name = draw(st.sampled_from(models))
    model = se.load_model(name)
    point = draw(workloads(model)) | {
        "device": draw(st.sampled_from(devices)),
        "layout": draw(st.sampled_from(LAYOUTS)),
        "precision": draw(st.sampled_from(PRECISIONS)),
        "framework": draw(st.sampled_from(frameworks)),
        "serving": draw(st.sampled_from(INPUTS["serving"].choices)),
    }
    held = [key for key in rare if key in model.inputs or not model.has.get(INPUTS[key].needs, 1)]
    for key in draw(st.permutations(sorted(held)))[: draw(st.integers(0, 2))]:
        point[key] = draw(st.sampled_from(rare[key]))
    return name, point


def answer(ask, *arguments, **options):
    """What a call answers, or None where it refuses the question."""
    try:
        return ask(*arguments, **options)
    except se.InputError:
        return None


def alike(one, other, rel=1e-9):
    """Whether two answers hold the same columns and numbers; which differ."""
    assert one.keys() == other.keys()
    return {
        name: (value, other[name])
        for name, value in one.items()
        if value != other[name]
        and not (
            isinstance(value, float)
            and isinstance(other[name], float | int)
            and value == pytest.approx(other[name], rel=rel, abs=1e-300)
        )
    }


def grid_text(name, axes):
    """A grid file of one model and lists of values, each of one where it is a single value."""
    lines = ["name = 'g'", f"model = {json.dumps(str(name))}", "[axes]"]
    lines += [
        f"{axis} = {json.dumps(value if isinstance(value, list) else [value])}"
        for axis, value in axes.items()
    ]
    return "\n".join(lines) + "\n"
