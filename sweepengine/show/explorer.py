"""The explorer's page: one page of controls, with a server behind it or all its answers within.

A view is what one device shows where controls stand; the page puts views side by side. A server
makes views as they are asked for (`show/server.py`), an export holds all of a few choices.
"""

import gzip
import hashlib
import json
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import polars as pl

from sweepengine.data.devices import GIGA
from sweepengine.data.errors import InputError, printable
from sweepengine.data.files import known
from sweepengine.data.models import Model, load_model
from sweepengine.search.exploration import Control, Explored, controls_of, explore
from sweepengine.show.cards import bound_text
from sweepengine.show.charts import fronts_drawn
from sweepengine.show.map_chart import maps_chart
from sweepengine.show.operators_chart import WIDTH, operators_bars, operators_roofline
from sweepengine.show.rendering import render

TITLE = "What will it cost?"
MOST_VIEWS = 5_000
"""Views that an export holds at most."""
FRONT = ("user_tokens_per_s", "device_tokens_per_s", "batch_size", "layout", "weight_format")


def view_of(found: Explored) -> dict[str, Any]:
    """What a page shows of one device, for JSON."""
    model, memory, cost = found.model, found.memory, found.cost
    held = sum(memory[name] for name in ("weights", "cache", "activations"))
    fits = held <= memory["capacity"]
    figures = [
        ("ttft", "TTFT", cost["ttft_seconds"], f"{cost['ttft_seconds'] * 1000:,.4g} ms"),
        ("tpot", "TPOT", cost["tpot_seconds"], f"{cost['tpot_seconds'] * 1000:,.4g} ms"),
        ("rate", "output tokens/s/device", found.device_tokens_per_s,
         f"{found.device_tokens_per_s:,.0f}"),
        ("layout", "layout", found.layout, found.layout),
        ("largest", "largest batch that fits", memory["largest_batch"],
         f"{memory['largest_batch']:,}"),
        *(
            (f"{stage}_bound", f"{stage} bound by", next(iter(parts)),
             bound_text(parts))
            for stage, parts in found.bound.items()
            if parts
        ),
    ]  # fmt: skip
    counts = [
        (stage, *(f"{cost[f'{stage}_{name}'] / scale:,.4g}" for name, scale in COUNTED.values()))
        for stage in found.bound
    ]
    return {
        "model": model.name,
        "parameters": f"{model.parameter_count / 1e9:,.2f} billion parameters, "
        f"{model.kv_bytes_per_token:,} bytes of cache a token",
        "device": found.device.name,
        "figures": [dict(zip(("name", "label", "value", "text"), row, strict=True))
                    for row in figures],
        "cost": cost,
        "memory": {
            "fits": fits,
            "capacity": memory["capacity"],
            "parts": [{"name": name, "bytes": memory[name], "text": f"{memory[name] / GIGA:,.1f}"}
                      for name in ("weights", "cache", "activations")],
            "text": f"{held / GIGA:,.1f} of {memory['capacity'] / GIGA:,.0f} GB a device"
            + ("" if fits else ": does not fit"),
        },
        "counts": {"columns": ("stage", *COUNTED), "rows": counts},
        "front": _front(found),
        "basis": [printable(found.times.basis), *map(printable, model.notes), *map(
            printable, model.assumed)],
        "charts": {
            "operators": operators_bars(found.times).to_dict(),
            "roofline": operators_roofline(found.times).to_dict(),
            "limits": maps_chart(found.maps, WIDTH).to_dict(),
        },
    }  # fmt: skip


COUNTED = {
    "tensor TFLOP": ("tensor_flops", 1e12),
    "CUDA TFLOP": ("cuda_flops", 1e12),
    "activation GB": ("activation_io_bytes", GIGA),
    "weight GB": ("weight_io_bytes", GIGA),
    "KV GB": ("kv_io_bytes", GIGA),
    "link GB": ("link_bytes", GIGA),
}
"""Columns of the table of counts: the output column of each stage, and its unit."""


def _front(found: Explored) -> list[dict[str, Any]]:
    rows = found.front.select(FRONT).with_columns(pl.col("weight_format").cast(pl.String))
    return [{"device": found.device.name} | row for row in rows.to_dicts()]


def page(models: Mapping[str, str], devices: Sequence[str], start: Mapping[str, Any],
         views: str = "") -> str:  # fmt: skip
    """The page.

    Parameters
    ----------
    models : mapping of str to str
        Key of each model that can be chosen, and how it is called.
    devices : sequence of str
        That can be chosen.
    start : mapping
        `model`, `device`, a list, and values of other controls, where the address says none.
    views : str
        What `exported` made; empty: a server is asked.
    """
    schema = {"device": pl.String, "user_tokens_per_s": pl.Float64,
              "device_tokens_per_s": pl.Float64, "batch_size": pl.Int64}  # fmt: skip
    note = "Batches, layouts and formats that fit and meet the TTFT; requests join a running batch"
    front = fronts_drawn(pl.DataFrame(schema=schema), [], "No other beats these", note).to_dict()
    facts = {"models": models, "devices": list(devices), "start": start, "front": front,
             "exported": bool(views)}  # fmt: skip
    return render("explorer.html", charts=[], title=TITLE, facts=facts, views=views)


def choices(model: Model, offered: Mapping[str, Sequence[str]]) -> list[Control]:
    """Controls of a model; those that choices are offered of have no others."""
    found = []
    for one in controls_of(model):
        mine = [text for text in offered.get(one.name, ()) if one.read(text)]
        found.append(one._replace(default=mine[0], choices=tuple(mine)) if mine else one)
    return found


def exported(
    models: Sequence[str],
    devices: Sequence[str],
    offered: Mapping[str, Sequence[str]],
    done: Callable[[int, int], None],
) -> str:
    """A page that holds the views of every choice of a few, and needs no server.

    Parameters
    ----------
    models, devices : sequence of str
        By name or file.
    offered : mapping of str to sequence of str
        Values of controls; those that nothing is offered of stand at their defaults.
    done : callable
        Told how many views are made, and of how many.

    Raises
    ------
    InputError
        When a choice is none, or the choices are more than a page holds.
    """
    loaded = {name: load_model(name) for name in models}
    controls = {
        name: [
            one if one.name in offered else one._replace(choices=(one.default,))
            for one in choices(model, offered)
        ]
        for name, model in loaded.items()
    }
    states = sum(prod(len(one.choices) for one in mine) for mine in controls.values())
    whole = states * len(devices)
    if whole > MOST_VIEWS:
        raise InputError(f"explore: --export: {whole:,} views: expected at most {MOST_VIEWS:,}")
    parts: dict[str, Any] = {}
    views: dict[str, Any] = {}
    for name, mine in controls.items():
        for values in product(*(one.choices for one in mine)):
            state = dict(zip((one.name for one in mine), values, strict=True))
            for device in devices:
                key = "&".join(f"{k}={v}" for k, v in {"model": name, "device": device,
                                                       **state}.items())  # fmt: skip
                try:
                    views[key] = _shared(view_of(explore(name, device, state)), parts)
                except InputError as error:
                    views[key] = {"error": str(error)}
                done(len(views), whole)
    facts = {"views": views, "parts": parts,
             "controls": {name: [one._asdict() for one in mine]
                          for name, mine in controls.items()}}  # fmt: skip
    packed = b64encode(gzip.compress(json.dumps(facts).encode(), mtime=0)).decode()
    start = {"model": models[0], "device": list(devices)}
    names = {name: model.name for name, model in loaded.items()}
    return page(names, devices, start, packed)


def _shared(view: dict[str, Any], parts: dict[str, Any]) -> dict[str, Any]:
    """A view whose charts are names of parts."""
    names = {}
    for name, chart in view["charts"].items():
        text = json.dumps(chart, sort_keys=True)
        names[name] = hashlib.sha256(text.encode()).hexdigest()[:16]
        parts[names[name]] = chart
    return view | {"charts": names}


def all_models(given: Sequence[str]) -> dict[str, str]:
    """Models to choose from: those given, by name or file, and all that ship."""
    found = {name: load_model(name).name for name in given}
    return found | {name: name for name in known("models") if name not in found}


def read_model(path: Path) -> Model:
    """A model of a file that was dropped on the page; errors do not say where it was put."""
    try:
        return load_model(path)
    except InputError as error:
        raise InputError(str(error).replace(f"{path.parent}/", "")) from None
