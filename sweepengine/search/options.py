"""The records of options: what each command accepts, with defaults and help texts."""

from pathlib import Path
from typing import Annotated, NamedTuple

from sweepengine.formulas.formats import OWN
from sweepengine.formulas.points import INPUTS, MOST_DRAFTED
from sweepengine.formulas.serving import CONTINUOUS, SERVING
from sweepengine.formulas.speculation import DRAFTS
from sweepengine.formulas.speeds import FRAMEWORKS, TIMES
from sweepengine.search.declarations import Option
from sweepengine.search.money_options import EnergyOptions, PriceListName, Prices

AGGREGATED, DISAGGREGATED = "aggregated", "disaggregated"
MODES = (AGGREGATED, DISAGGREGATED)
"""Each replica prefills and decodes; or prefill workers and decode workers are separate."""
BATCHES = 1024
"""Largest batch that a search tries by default."""
_INFINITE = 1.7e308
_PART = {"above": 0.0, "most": 1.0, "expected": "above 0, at most 1"}
_SECONDS = {"above": 0.0, "most": _INFINITE, "expected": "seconds above 0"}
_BATCH = {"least": 1, "most": 65_536}
Layout = Annotated[
    str | None,
    Option("Parallel layout, such as tp2.", shown="the fewest devices that hold the model"),
]
Precision = Annotated[str, Option("Formats of weights, activations and KV cache, such as fp8-kv8.")]
Framework = Annotated[
    str, Option("Serving engine whose kernels were measured.", choices=FRAMEWORKS)
]
Times = Annotated[
    str | None,
    Option("Source of times: measured kernels, with factors of measured families (silicon) or "
           "without (model), or the data sheet.", choices=TIMES,
           shown="silicon where the device has rates"),
]  # fmt: skip
Serving = Annotated[
    str,
    Option("One batch after the other, or requests that join a running batch.", choices=SERVING),
]


def _default(name: str) -> str:
    return f"{INPUTS[name].default:,}"


class LatencyTargets(NamedTuple):
    """Latencies that an answer must meet."""

    ttft_s: Annotated[
        float,
        Option("Target for the time to the first token (TTFT), s.", keyword="ttft", **_SECONDS),
    ] = 2.0
    tpot_s: Annotated[
        float,
        Option("Target for the time per further token (TPOT), s.", keyword="tpot", **_SECONDS),
    ] = 0.05


class GridTargets(NamedTuple):
    """Latency targets of a command on a grid, which may state its own."""

    ttft_s: Annotated[
        float | None,
        Option(
            "Target for the time to the first token (TTFT), s.", keyword="ttft", shown="the grid's"
        ),
    ] = None
    tpot_s: Annotated[
        float | None,
        Option(
            "Target for the time per further token (TPOT), s.", keyword="tpot", shown="the grid's"
        ),
    ] = None


class ServingAssumptions(NamedTuple):
    """Assumptions about requests of a serving engine."""

    share: Annotated[
        float, Option("Share of requests that must meet TTFT and fit in memory.", **_PART)
    ] = 0.95


class EngineOptions(NamedTuple):
    """Version and settings of the serving engine that decide its memory."""

    framework_version: Annotated[
        str | None,
        Option("Version of the serving engine, such as 0.12.", flag="--engine-version",
               shown="newest known"),
    ] = None  # fmt: skip
    memory_share: Annotated[
        float | None,
        Option("Share of the device memory that the serving engine takes.",
               shown="the engine's", **_PART),
    ] = None  # fmt: skip
    max_sequences: Annotated[
        int | None,
        Option("Most sequences that the serving engine runs at once.", flag="--max-num-seqs",
               shown="the engine's for the device", **_BATCH),
    ] = None  # fmt: skip
    chunk_tokens: Annotated[
        int | None,
        Option("Most tokens of one pass of the serving engine.", flag="--max-num-batched-tokens",
               shown="the engine's for the device", least=1, most=10_000_000),
    ] = None  # fmt: skip


class SpeculationOptions(NamedTuple):
    """Speculative decoding: what drafts tokens, and how many of them are accepted."""

    draft: Annotated[
        str | None,
        Option("What drafts tokens: mtp, eagle, or a model by name or file.", shown=DRAFTS[0]),
    ] = None
    draft_tokens: Annotated[
        int | None,
        Option("Tokens drafted a step.", shown="none; with a draft 1, deploy tries 0 to 3",
               least=0, most=MOST_DRAFTED),
    ] = None  # fmt: skip
    accepted_tokens: Annotated[
        float | None,
        Option("Tokens that a step yields on average, of those verified.",
               shown="1 + half of those drafted", least=1, most=1 + MOST_DRAFTED),
    ] = None  # fmt: skip


class RequestOptions(NamedTuple):
    """How long requests are: a file of many, or one."""

    lengths: Annotated[
        Path | None, Option("CSV or Parquet of requests: prompt, answer, image or crops, weight.")
    ] = None
    mode: Annotated[
        str | None, Option("Resolution mode and crops of an image, such as gundam:2x3.")
    ] = None
    crops: Annotated[str | None, Option("Crop grid of an image, such as 2x3.")] = None
    image: Annotated[
        str | None, Option("Size of an image, HEIGHTxWIDTH in pixels, such as 1654x2339.")
    ] = None
    page: Annotated[
        str | None, Option("Scanned page as the image: paper and resolution, such as a4@200dpi.")
    ] = None
    images: Annotated[int | None, Option("Images of a request.", shown=_default("images"))] = None
    prompt: Annotated[
        int | None,
        Option("Tokens of a prompt, without those of images.",
               alias="--prompt-tokens",
               shown=f"{_default('prompt_tokens')}; with images {_default('text_tokens')}"),
    ] = None  # fmt: skip
    answer: Annotated[
        int | None,
        Option("Tokens of an answer.", alias="--decode-steps", shown=_default("decode_steps")),
    ] = None
    cached_tokens: Annotated[
        int | None, Option("Tokens before the prompt that are already in the KV cache.")
    ] = None
    shared_tokens: Annotated[
        int | None,
        Option("First tokens of the prompt that all requests share.", flag="--shared-prefix"),
    ] = None


class FitOptions(NamedTuple):
    """Options of `fit`: what must be met, and how a model runs on each device."""

    targets: LatencyTargets = LatencyTargets()
    users: Annotated[
        int | None, Option("Requests that must run at once on one replica.", **_BATCH)
    ] = None
    rate: Annotated[
        float | None,
        Option("Requests/s that one replica must serve.", above=0.0, most=1e12,
               expected="requests a second above 0"),
    ] = None  # fmt: skip
    layout: Layout = None
    precision: Precision = OWN
    framework: Framework = FRAMEWORKS[0]
    times: Times = None
    serving: ServingAssumptions = ServingAssumptions()
    engine: EngineOptions = EngineOptions()
    speculation: SpeculationOptions = SpeculationOptions()


class DeployOptions(NamedTuple):
    """Options of `deploy`: what a deployment must achieve, and what the search may try."""

    targets: LatencyTargets = LatencyTargets()
    devices: Annotated[
        int | None,
        Option("Devices available, of each type.", shown="a node, or as many as a load needs",
               **_BATCH),
    ] = None  # fmt: skip
    rate: Annotated[
        float | None,
        Option("Requests/s that the deployment must serve.", above=0.0, most=1e12,
               expected="requests a second above 0"),
    ] = None  # fmt: skip
    """None: as many as the devices can serve."""
    users: Annotated[
        int | None,
        Option("Concurrent users that the deployment must serve, each with one request at a time.",
               least=1, most=1_000_000_000),
    ] = None  # fmt: skip
    """Their rate follows from Little's law: users = rate * (TTFT + K * TPOT)."""
    latency_s: Annotated[
        float | None,
        Option("Target for a whole answer, TTFT + K x TPOT of K decoded tokens, s.",
               keyword="latency", shown="none", **_SECONDS),
    ] = None  # fmt: skip
    """In addition to `targets`."""
    margin: Annotated[
        float | None,
        Option("Share by which predictions must be better than the targets.",
               shown="10 %, or the error of the serving mode", least=0.0, most=10.0,
               expected="0..10"),
    ] = None  # fmt: skip
    """Also the difference up to which plans are ties; see `search.margins.margin_of`."""
    decode_device: Annotated[
        str | None,
        Option("Device of decode workers, where prefill workers run on --device.",
               shown="the same device"),
    ] = None  # fmt: skip
    frameworks: Annotated[
        tuple[str, ...],
        Option("Serving engines; each gets a plan of its own.", flag="--framework",
               choices=FRAMEWORKS, shown=FRAMEWORKS[0]),
    ] = FRAMEWORKS[:1]  # fmt: skip
    modes: Annotated[
        tuple[str, ...], Option("Serving modes to try.", flag="--mode-of-serving", choices=MODES)
    ] = MODES
    precisions: Annotated[
        tuple[str, ...],
        Option(
            "Precisions to try, such as fp8-kv8, or any: all whose peak the device has.",
            flag="--precision",
            shown="the checkpoint's and fp8",
        ),
    ] = ()
    layouts: Annotated[
        tuple[str, ...],
        Option(
            "Layouts to try, such as tp4-ep8.",
            flag="--layout",
            shown="all that the model allows",
        ),
    ] = ()
    most_batch: Annotated[int, Option("Largest batch to try.", flag="--batch", **_BATCH)] = BATCHES
    times: Times = None
    serving: ServingAssumptions = ServingAssumptions()
    engine: EngineOptions = EngineOptions()
    attainment: Annotated[
        float,
        Option("Share of requests that must be within both targets, hour by hour, where the "
               "lengths have timestamps.", **_PART),
    ] = 0.95  # fmt: skip
    speculation: SpeculationOptions = SpeculationOptions()
    prices: Prices = {}
    price_list: PriceListName = None
    energy: EnergyOptions = EnergyOptions()

    @property
    def has_load(self) -> bool:
        """Whether a rate or users are given, so that the fewest devices are searched."""
        return self.rate is not None or self.users is not None


class MapOptions(NamedTuple):
    """Options of `map`: axes, targets, and how the model runs."""

    targets: LatencyTargets = LatencyTargets()
    over: Annotated[
        str | None,
        Option("Length that varies.", choices=("prompt", "answer"),
               shown="prompt; answer for vision models"),
    ] = None  # fmt: skip
    longest: Annotated[
        int | None, Option("Longest length, tokens.", shown="131,072; 8,192 for answers")
    ] = None
    most_batch: Annotated[int, Option("Largest batch.", flag="--batch")] = BATCHES
    cells: Annotated[int, Option("Points of the map of a device.", least=100, most=100_000_000)] = (
        40_000
    )
    layout: Annotated[str, Option("Parallel layout, such as tp4-ep8.")] = "tp1"
    precision: Precision = OWN
    framework: Framework = FRAMEWORKS[0]
    times: Times = None
    serving: ServingAssumptions = ServingAssumptions()
    engine: EngineOptions = EngineOptions()
    speculation: SpeculationOptions = SpeculationOptions()


class PlaceOptions(NamedTuple):
    """Options of `explain`: the timing target and the serving mode."""

    framework: Framework = FRAMEWORKS[0]
    serving: Serving = SERVING[CONTINUOUS]
    times: Times = None
    engine: EngineOptions = EngineOptions()


class SloOptions(NamedTuple):
    """Options of `slo`: timing targets, serving mode, achievable peaks and prices."""

    framework: Framework = FRAMEWORKS[0]
    serving: Serving = SERVING[CONTINUOUS]
    times: Times = None
    compute_fraction: Annotated[
        float, Option("Fraction of the compute peaks that kernels reach, for --times roofline.")
    ] = 1.0
    bandwidth_fraction: Annotated[
        float, Option("Fraction of the memory bandwidth that kernels reach, for --times roofline.")
    ] = 1.0
    engine: EngineOptions = EngineOptions()
    prices: Prices = {}
    price_list: PriceListName = None


class ReportOptions(NamedTuple):
    """Options of `report` on a grid of several models."""

    prices: Prices = {}
    price_list: PriceListName = None


class CompareOptions(NamedTuple):
    """Options of `compare`: how the runs were served, and whether to calibrate on them."""

    layout: Annotated[
        str | None,
        Option("Parallel layout of runs or a log that states none, such as tp4.",
               shown="one device"),
    ] = None  # fmt: skip
    precision: Annotated[
        str | None,
        Option("Precision of a log that leaves it open, such as int4.", shown="as the log says"),
    ] = None
    serving: Annotated[
        str | None,
        Option("How the runs of a table were served: continuous for measurements under load.",
               choices=SERVING, shown="as the runs state it, else static"),
    ] = None  # fmt: skip
    framework: Framework = FRAMEWORKS[0]
    times: Times = None
    calibrate: Annotated[bool, Option("Fit a host time per step and one factor to the runs.")] = (
        False
    )
    engine: EngineOptions = EngineOptions()
    """Of a log that does not say."""
