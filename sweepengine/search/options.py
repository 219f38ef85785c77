"""The records of options: what each command may be asked, and what stands where nobody says."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, NamedTuple

from sweepengine.formulas.formats import OWN
from sweepengine.formulas.points import INPUTS
from sweepengine.formulas.serving import SERVING
from sweepengine.formulas.speeds import FRAMEWORKS, TIMES
from sweepengine.search.declarations import Option

AGGREGATED, DISAGGREGATED = "aggregated", "disaggregated"
MODES = (AGGREGATED, DISAGGREGATED)
"""Copies prefill and decode both; or some groups of devices prefill, others decode."""
BATCHES = 1024
"""Largest batch that a search tries by default."""
_INFINITE = 1.7e308
_PART = {"above": 0.0, "most": 1.0, "expected": "above 0, at most 1"}
_SECONDS = {"above": 0.0, "most": _INFINITE, "expected": "seconds above 0"}
_BATCH = {"least": 1, "most": 65_536}
Layout = Annotated[
    str | None,
    Option("Such as tp2.", shown="the fewest devices that hold the model"),
]
Precision = Annotated[str, Option("Formats of weights, activations and KV cache, such as fp8-kv8.")]
Framework = Annotated[
    str, Option("Serving engine whose kernels were measured.", choices=FRAMEWORKS)
]
Times = Annotated[
    str | None,
    Option("Times of measured kernels, or of the data sheet.", choices=TIMES,
           shown="silicon where a device has rates"),
]  # fmt: skip
Serving = Annotated[
    str, Option("One batch after the other, or requests that join a running one.", choices=SERVING)
]
Prices = Annotated[
    Mapping[str, float],
    Option("USD an hour of a device, such as h100-sxm=2.5.", flag="--price"),
]


def _default(name: str) -> str:
    return f"{INPUTS[name].default:,}"


class LatencyTargets(NamedTuple):
    """Latencies that an answer must meet."""

    ttft_s: Annotated[
        float, Option("Seconds to the first token at most.", keyword="ttft", **_SECONDS)
    ] = 2.0
    tpot_s: Annotated[
        float, Option("Seconds for each further token at most.", keyword="tpot", **_SECONDS)
    ] = 0.05


class GridTargets(NamedTuple):
    """Latencies where a grid may have its own."""

    ttft_s: Annotated[
        float | None,
        Option("Seconds to the first token.", keyword="ttft", shown="the grid's"),
    ] = None
    tpot_s: Annotated[
        float | None,
        Option("Seconds for each further token.", keyword="tpot", shown="the grid's"),
    ] = None


class ServingAssumptions(NamedTuple):
    """What is assumed of a serving engine."""

    share: Annotated[
        float, Option("Part of the requests that TTFT and memory hold for.", **_PART)
    ] = 0.95
    memory_share: Annotated[
        float, Option("Part of a device's memory that an engine takes.", **_PART)
    ] = 0.9
    chunk_tokens: int = 8192
    """Tokens of a prefill that engines run at once on data-centre devices, and so its
    activations."""


class RequestOptions(NamedTuple):
    """How long requests are: a file of many, or one."""

    lengths: Annotated[
        Path | None, Option("CSV or Parquet of requests: prompt, answer, mode or crops, weight.")
    ] = None
    mode: Annotated[
        str | None, Option("Of an image: resolution mode and crops, such as gundam:2x3.")
    ] = None
    crops: Annotated[str | None, Option("Of an image: crop grid, such as 2x3.")] = None
    prompt: Annotated[
        int | None,
        Option("Tokens of a prompt, or beside images.",
               shown=f"{_default('prompt_tokens')}; with images {_default('text_tokens')}"),
    ] = None  # fmt: skip
    answer: Annotated[int | None, Option("Tokens decoded.", shown=_default("decode_steps"))] = None
    cached_tokens: Annotated[int | None, Option("Tokens before those, already in the cache.")] = (
        None
    )


class FitOptions(NamedTuple):
    """What a card of `fit` is of."""

    layout: Layout = None
    precision: Precision = OWN
    framework: Framework = FRAMEWORKS[0]
    times: Times = None
    serving: ServingAssumptions = ServingAssumptions()


class DeployOptions(NamedTuple):
    """What a deployment must do, and what may be tried for it."""

    targets: LatencyTargets = LatencyTargets()
    devices: Annotated[int | None, Option("Devices that there are.", shown="a node", **_BATCH)] = (
        None
    )
    """Of one kind; None: a node of them, or as many as a rate takes."""
    rate: Annotated[
        float | None,
        Option("Requests a second that must be served.", above=0.0, most=1e12,
               expected="requests a second above 0"),
    ] = None  # fmt: skip
    """None: as many as devices make."""
    frameworks: Annotated[
        tuple[str, ...],
        Option("Serving engines to compare.", flag="--framework", choices=FRAMEWORKS,
               shown=FRAMEWORKS[0]),
    ] = FRAMEWORKS[:1]  # fmt: skip
    modes: Annotated[
        tuple[str, ...], Option("Modes that are tried.", flag="--mode-of-serving", choices=MODES)
    ] = MODES
    precisions: Annotated[
        tuple[str, ...],
        Option(
            "Precisions that are tried, such as fp8-kv8.",
            flag="--precision",
            shown="those that a device has the peaks for",
        ),
    ] = ()
    layouts: Annotated[
        tuple[str, ...],
        Option(
            "Layouts that are tried, such as tp4-ep8.",
            flag="--layout",
            shown="all that a model can have",
        ),
    ] = ()
    most_batch: Annotated[int, Option("Largest batch that is tried.", flag="--batch", **_BATCH)] = (
        BATCHES
    )
    times: Times = None
    serving: ServingAssumptions = ServingAssumptions()
    prices: Prices = {}


class MapOptions(NamedTuple):
    """What a map of limits is of."""

    targets: LatencyTargets = LatencyTargets()
    over: Annotated[
        str | None,
        Option("Length that varies.", choices=("prompt", "answer"),
               shown="prompt; of models with vision answer"),
    ] = None  # fmt: skip
    longest: Annotated[
        int | None, Option("Longest length, tokens.", shown="131,072; of answers 8,192")
    ] = None
    most_batch: Annotated[int, Option("Largest batch.", flag="--batch")] = BATCHES
    cells: Annotated[int, Option("Points of a device's map.", least=100, most=100_000_000)] = 40_000
    layout: Annotated[str, Option("Such as tp4-ep8.")] = "tp1"
    precision: Precision = OWN
    framework: Framework = FRAMEWORKS[0]
    times: Times = None
    serving: ServingAssumptions = ServingAssumptions()


class PlaceOptions(NamedTuple):
    """How a device serves, and what its times are of."""

    framework: Framework = FRAMEWORKS[0]
    serving: Serving = SERVING[0]
    times: Times = None


class SloOptions(NamedTuple):
    """How devices serve points, what times are of, and what devices cost."""

    framework: Framework = FRAMEWORKS[0]
    serving: Serving = SERVING[0]
    times: Times = None
    compute_fraction: Annotated[
        float, Option("Fraction of the compute peaks that kernels reach, at the roofline.")
    ] = 1.0
    bandwidth_fraction: Annotated[
        float, Option("Fraction of the memory bandwidth that kernels reach, at the roofline.")
    ] = 1.0
    prices: Prices = {}


class CompareOptions(NamedTuple):
    """How measured runs were served, and whether to calibrate on them."""

    layout: Annotated[
        str | None, Option("Such as tp4, where runs say none.", shown="one device")
    ] = None
    framework: Framework = FRAMEWORKS[0]
    times: Times = None
    calibrate: Annotated[bool, Option("Fit a host constant and one factor to the runs.")] = False
