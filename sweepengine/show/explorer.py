"""The page of the explorer, with a server behind it or with all its views inside.

A view is the answer of one device at the values of the controls; the page shows views side by side.
A server computes views on request (`show/server.py`); an export contains those of a few choices.
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
from sweepengine.formulas.memory import GIB
from sweepengine.grid.points import phases_of
from sweepengine.search.exploration import Control, Explored, controls_of, explore
from sweepengine.search.plans import precision_of
from sweepengine.show.cards import verdict_text
from sweepengine.show.charts import FRONT, fronts_drawn, labelled_front
from sweepengine.show.map_chart import maps_chart
from sweepengine.show.operators_chart import WIDTH, operators_bars, operators_roofline
from sweepengine.show.rendering import render

TITLE = "What does it cost?"
MOST_VIEWS = 5_000
"""Most views in an export."""


def view_of(answer: Explored) -> dict[str, Any]:
    """Return what a page shows of one device, for JSON."""
    model, memory, cost = answer.model, answer.memory, answer.cost
    used, fits = sum(memory[name] for name in MEMORY_TITLES), bool(cost["fits"])
    meets = "yes" if not answer.missed else f"no: {', '.join(answer.missed)}"
    figures = [
        ("meets", f"batch {cost_batch(answer):,} within the targets?", meets, meets),
        *([("verdict", "a replica, within the targets?", verdict_text(answer.card),
            verdict_text(answer.card))] if answer.card else []),
        ("ttft", "TTFT", cost["ttft_seconds"], f"{cost['ttft_seconds'] * 1000:,.4g} ms"),
        ("tpot", "TPOT", cost["tpot_seconds"], f"{cost['tpot_seconds'] * 1000:,.4g} ms"),
        ("rate", "output tokens/s/device", answer.device_tokens_per_s,
         f"{answer.device_tokens_per_s:,.0f}"),
        ("layout", "layout", answer.layout, answer.layout),
        ("largest", "largest batch that fits", cost["largest_batch"],
         f"{cost['largest_batch']:,}"),
        ("pool", "KV pool, tokens", cost["kv_pool_tokens"], f"{cost['kv_pool_tokens']:,}"),
        *(
            (f"{name.lower()}_limit", f"{name} limited by", part, f"{part}, {share:.0%}")
            for name, (part, share) in answer.parts.limits.items()
        ),
    ]  # fmt: skip
    counts = [
        (stage, *(f"{cost[f'{stage}_{name}'] / scale:,.4g}" for name, scale in COUNTED.values()))
        for stage in phases_of(model)
    ]
    return {
        "model": model.name,
        "parameters": f"{model.parameter_count / 1e9:,.2f} billion parameters, "
        f"{model.kv_bytes_per_token:,} bytes of KV cache per token",
        "device": answer.device.name,
        "figures": [dict(zip(("name", "label", "value", "text"), row, strict=True))
                    for row in figures],
        "cost": cost,
        "memory": {
            "fits": fits,
            "capacity": memory["capacity"],
            "parts": [{"name": name, "title": title, "bytes": memory[name],
                       "text": f"{memory[name] / GIGA:,.1f}"}
                      for name, title in MEMORY_TITLES.items()],
            "text": f"{used / GIGA:,.1f} of {memory['capacity'] / GIGA:,.0f} GB per device"
            + ("" if fits else ": does not fit"),
        },
        "log": {"columns": ("as the engine's log", "value", "unit"), "rows": _log_rows(answer)},
        "counts": {"columns": ("phase", *COUNTED), "rows": counts},
        "parts": {
            "columns": ("part of", "TTFT, ms", "TPOT, ms"),
            "rows": [
                (name, *(f"{of[name] * 1000:,.4g}" if name in of else "" for of in answer.parts))
                for name in answer.parts.names
            ],
        },
        "front": _front(answer),
        "basis": [printable(answer.times.basis), *map(printable, model.notes), *map(
            printable, model.assumed)],
        "charts": {
            "operators": operators_bars(answer.times).to_dict(),
            "roofline": operators_roofline(answer.times).to_dict(),
            "limits": maps_chart(answer.maps, WIDTH).to_dict(),
        },
    }  # fmt: skip


MEMORY_TITLES = {"weights": "weights", "runtime": "runtime", "activations": "activations",
                 "graphs": "CUDA graphs", "cache": "KV cache"}  # fmt: skip
"""Parts of the memory of a device: keys of `Explored.memory`, and titles."""
COUNTED = {
    "tensor TFLOP": ("tensor_flops", 1e12),
    "CUDA TFLOP": ("cuda_flops", 1e12),
    "activation GB": ("activation_io_bytes", GIGA),
    "weight GB": ("weight_io_bytes", GIGA),
    "KV cache GB": ("kv_io_bytes", GIGA),
    "link GB": ("link_bytes", GIGA),
}
"""Columns of the table of counts: title, output column of a phase, and unit."""


def cost_batch(answer: Explored) -> int:
    """Return the batch size of a view."""
    return int(answer.inputs["batch_size"])


def _log_rows(answer: Explored) -> list[tuple[str, str, str]]:
    """Return the memory of a device at the start of the serving engine, as its log prints it."""
    memory = answer.logged
    return [
        ("model weights", f"{memory.weight_bytes / GIB:,.2f}", "GiB"),
        ("activations of the profile run", f"{memory.activation_bytes / GIB:,.2f}", "GiB"),
        ("CUDA graphs", f"{memory.graph_bytes / GIB:,.2f}", "GiB"),
        ("available for the KV cache", f"{memory.pool_bytes / GIB:,.2f}", "GiB"),
        ("KV cache size", f"{memory.pool_tokens:,}", "tokens"),
        ("concurrency at this length", f"{memory.requests:,.2f}", "requests"),
    ]


def _front(answer: Explored) -> list[dict[str, Any]]:
    """Return the points of the front as `charts.fronts_drawn` takes them."""
    if not answer.front.height:
        return []
    laid = [f"{plan['layout']} {precision_of(plan, answer.model)}"
            for plan in answer.front.iter_rows(named=True)]  # fmt: skip
    front = answer.front.with_columns(laid=pl.Series(laid))
    return labelled_front(answer.device.name, front).to_dicts()


def page(models: Mapping[str, str], devices: Sequence[str], start: Mapping[str, Any],
         views: str = "") -> str:  # fmt: skip
    """Return the page.

    Parameters
    ----------
    models : mapping of str to str
        Key and title of each model on offer.
    devices : sequence of str
        Devices on offer.
    start : mapping
        `model`, `device` (a list) and values of other controls, for an address without them.
    views : str
        Views made by `exported`; empty: the page asks a server.
    """
    note = "Batches, layouts and formats that fit and meet the TTFT; requests join a running batch"
    front = fronts_drawn(
        pl.DataFrame(schema=FRONT), [], "Pareto front: latency against throughput", note
    ).to_dict()
    facts = {"models": models, "devices": list(devices), "start": start, "front": front,
             "exported": bool(views)}  # fmt: skip
    return render("explorer.html", charts=[], title=TITLE, facts=facts, views=views)


def choices(model: Model, offered: Mapping[str, Sequence[str]]) -> list[Control]:
    """Return the controls of a model, limited to the offered choices where there are any."""
    controls = []
    for control in controls_of(model):
        values = tuple(text for text in offered.get(control.name, ()) if control.read(text))
        limited = control._replace(default=values[0], choices=values) if values else control
        controls.append(limited)
    return controls


def exported(
    models: Sequence[str],
    devices: Sequence[str],
    offered: Mapping[str, Sequence[str]],
    done: Callable[[int, int], None],
) -> str:
    """Return a page that contains a view of every offered choice, and needs no server.

    Parameters
    ----------
    models, devices : sequence of str
        Names or files.
    offered : mapping of str to sequence of str
        Values of controls; the others keep their defaults.
    done : callable
        Called with the number of views made and their total.

    Raises
    ------
    InputError
        When a choice is not valid, or there are more than `MOST_VIEWS` views.
    """
    loaded = {name: load_model(name) for name in models}
    controls = {
        name: [
            control if control.name in offered else control._replace(choices=(control.default,))
            for control in choices(model, offered)
        ]
        for name, model in loaded.items()
    }
    states = sum(prod(len(c.choices) for c in of_model) for of_model in controls.values())
    total = states * len(devices)
    if total > MOST_VIEWS:
        raise InputError(f"explore: --export: {total:,} views: expected at most {MOST_VIEWS:,}")
    parts: dict[str, Any] = {}
    views: dict[str, Any] = {}
    for name, of_model in controls.items():
        for values in product(*(control.choices for control in of_model)):
            state = dict(zip((control.name for control in of_model), values, strict=True))
            for device in devices:
                key = "&".join(f"{k}={v}" for k, v in {"model": name, "device": device,
                                                       **state}.items())  # fmt: skip
                try:
                    views[key] = _shared(view_of(explore(name, device, state)), parts)
                except InputError as error:
                    views[key] = {"error": str(error)}
                done(len(views), total)
    facts = {"views": views, "parts": parts,
             "controls": {name: [control._asdict() for control in of_model]
                          for name, of_model in controls.items()}}  # fmt: skip
    packed = b64encode(gzip.compress(json.dumps(facts).encode(), mtime=0)).decode()
    start = {"model": models[0], "device": list(devices)}
    names = {name: model.name for name, model in loaded.items()}
    return page(names, devices, start, packed)


def _shared(view: dict[str, Any], parts: dict[str, Any]) -> dict[str, Any]:
    """Move the charts of a view to `parts`, and put their keys in their place."""
    names = {}
    for name, chart in view["charts"].items():
        text = json.dumps(chart, sort_keys=True)
        names[name] = hashlib.sha256(text.encode()).hexdigest()[:16]
        parts[names[name]] = chart
    return view | {"charts": names}


def all_models(given: Sequence[str]) -> dict[str, str]:
    """Return keys and titles of models: those given, by name or file, and all shipped ones."""
    named = {name: load_model(name).name for name in given}
    return named | {name: name for name in known("models") if name not in named}


def read_model(path: Path) -> Model:
    """Load a file that was dropped on the page; errors do not name its folder."""
    try:
        return load_model(path)
    except InputError as error:
        raise InputError(str(error).replace(f"{path.parent}/", "")) from None
