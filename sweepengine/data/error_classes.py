"""How far predicted serving times were off on measured runs of the same class.

A class is what runs share: serving engine, generation of devices, kind of model, kind of layout and
load. `make silicon` writes the table of classes that hold at least `LEAST_RUNS` held-out runs. A
point takes the closest of them: its own, else without the kind of layout, then without the load,
the generation and the serving engine (docs/times.md, "Classes of errors").
"""

from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Any, Final, NamedTuple

from sweepengine.data.family_factors import was_measured
from sweepengine.data.files import shipped_table
from sweepengine.data.generations import GENERATION_TITLES, generation_of
from sweepengine.data.speeds import TimingTarget
from sweepengine.formulas.architecture import Architecture
from sweepengine.formulas.layout import Layout
from sweepengine.formulas.speeds import ROOFLINE

LEAST_RUNS = 10
"""Runs of the smallest class that is taken."""
SPREAD = (0.05, 0.95)
"""Percentiles of measured over predicted times between which 90 % of the runs of a class are."""
ENGINE_TITLES: Final = {"vllm": "vLLM", "trtllm": "TensorRT-LLM", "sglang": "SGLang"}
KINDS: Final = {
    "dense": "dense models",
    "moe": "MoE models",
    "latent": "models with latent attention",
    "sparse": "models with sparse attention",
    "hybrid": "models with recurrent layers",
    "vision": "models that see images",
}
"""Kinds of models, and how texts call them; a model is of the last one that fits."""
LAYOUT_KINDS: Final = {
    "single": "one device",
    "tensor": "tensor parallel",
    "pipeline": "pipeline parallel",
    "expert": "expert parallel",
    "data": "data parallel attention",
}
"""Kinds of layouts; a layout is of the last one that fits."""
LOADS: Final = {
    "steady": "steady load",
    "burst": "bursts",
    "one": "one request at a time",
}
MODES: Final = {
    "": "",
    "disaggregated": "disaggregated",
    "speculative": "speculative decoding",
    "disaggregated speculative": "disaggregated, speculative decoding",
}
MODE_NOTES: Final = {"speculative": ", accepted tokens fitted to other runs of these servers"}
"""What predictions of a mode took from runs."""
FACTORS, FAMILY, GENERATION, DATA_SHEET = "factors", "family", "generation", "data sheet"
BASES: Final = {
    FACTORS: "",
    FAMILY: ", without a factor of their family",
    GENERATION: ", their generation left out of the fit",
    DATA_SHEET: "",
}
"""What predictions of a class knew of its runs: constants of the serving engine with factors of
families; those with the family or the generation of each left out of the fit; the data sheet."""
COLLECTIONS: Final = {
    "wheel": "Serving rows of the extra silicon",
    "inferencex": "InferenceX, DeepSeek-R1",
    "real": "Runs that public pages report",
}
"""Collections of measured runs."""
IMAGE_WORK = "; CPU work on images is not in these times: 12 to 180 ms a megapixel in public runs"
TIMES = ("tpot", "ttft")
NOT_MEASURED = "no measured run like this"


class ClassKey(NamedTuple):
    """What the runs of a class share; empty where it does not matter."""

    basis: str
    mode: str
    kind: str
    engine: str
    generation: str
    load: str
    layout: str
    """A key of `LAYOUT_KINDS`."""


RELAXED: Final = ("layout", "load", "generation", "engine")
"""Keys that the search for the closest class leaves out, one after the other."""


class Figures(NamedTuple):
    """Errors of one time in a class."""

    median: float
    """Of |predicted/measured - 1|, %, as the next."""
    p90: float
    low: float
    """Percentile `SPREAD[0]` of measured over predicted times."""
    high: float
    """Percentile `SPREAD[1]`."""


class ErrorClass(NamedTuple):
    """What is known of the error of a point's times."""

    text: str
    """One sentence for people."""
    runs: int
    """Measured runs of the class; 0: no run is like the point."""
    tpot: Figures | None
    """None where no run is like the point, as of the next."""
    ttft: Figures | None


class Case(NamedTuple):
    """What of a point decides its class, beside model and timing target."""

    weights: int = 0
    """Value of the column `weight_format`."""
    layout: Layout | None = None
    """None: of any kind."""
    continuous: bool = True
    single: bool = False
    """Whether it is one request at a time."""
    images: bool = True
    """Whether its requests have images, if the model sees them."""
    disaggregated: bool = False
    speculative: bool = False
    """Whether its decode steps draft tokens."""


class Recorded(NamedTuple):
    """Errors of the runs of a class."""

    runs: int
    tpot: Figures | None
    ttft: Figures | None


@cache
def error_table() -> dict[str, Any]:
    """Content of data/measured/error_classes.toml, read where a time asks for its error."""
    return shipped_table("measured", "error_classes.toml")


@cache
def _classes() -> dict[ClassKey, Recorded]:
    return {
        ClassKey(*(row.get(name, "") for name in ClassKey._fields)): Recorded(
            row["runs"], *(Figures(*row[what]) if what in row else None for what in TIMES)
        )
        for row in error_table()["classes"]
    }


@cache
def _measured(mode: str) -> frozenset[tuple[str, str]]:
    """Kinds of models and generations of their runs in a mode, or in modes without drafts."""
    return frozenset(
        (key.kind, key.generation)
        for key in _classes()
        if key.basis == FAMILY and (key.mode == mode or "speculative" not in key.mode)
    )


@lru_cache(1 << 8)
def model_kind(arch: Architecture, images: bool = True) -> str:
    """The kind of a model, of its decoder alone where requests have no images."""
    attentions = arch.attentions
    fitting = {
        "dense": True,
        "moe": bool(arch.routings),
        "latent": any(attention.latent for attention in attentions),
        "sparse": any(attention.index_heads or attention.stride for attention in attentions),
        "hybrid": any(group.recurrent.heads for group in arch.groups),
        "vision": arch.towers is not None and images,
    }
    return [kind for kind, fits in fitting.items() if fits][-1]


def mode_of(disaggregated: bool, speculative: bool) -> str:
    """The mode of serving, one of `MODES`."""
    return " ".join(["disaggregated"] * disaggregated + ["speculative"] * speculative)


def layout_kind(layout: Layout) -> str:
    """The kind of a layout."""
    fitting = {
        "single": True,
        "tensor": layout.tensor > 1,
        "pipeline": layout.pipeline > 1,
        "expert": layout.expert > 1,
        "data": layout.data > 1,
    }
    return [kind for kind, fits in fitting.items() if fits][-1]


def relaxed(key: ClassKey) -> Iterator[ClassKey]:
    """The classes that a run of this class is in, closest first."""
    yield key
    for name in RELAXED:
        if getattr(key, name):
            key = key._replace(**{name: ""})
            yield key


def error_class(arch: Architecture, target: TimingTarget, case: Case) -> ErrorClass:
    """What is known of the error of predicted times.

    Parameters
    ----------
    arch : Architecture
    target : TimingTarget
    case : Case
    """
    kind = model_kind(arch, case.images)
    images = IMAGE_WORK if kind == "vision" else ""
    if not case.continuous:
        return _unlike(f"none of a static batch{images}")
    roofline = target.times == ROOFLINE
    known = not case.disaggregated and was_measured(arch, case.weights, target)
    key = ClassKey(
        DATA_SHEET if roofline else FACTORS if known else FAMILY,
        mode_of(case.disaggregated, case.speculative),
        kind,
        target.framework,
        generation_of(target),
        "one" if case.single else "steady",
        "" if case.layout is None else layout_kind(case.layout),
    )
    found = closest(key, target.slower != 1.0)
    return found._replace(text=found.text + images)


@lru_cache(1 << 12)
def closest(key: ClassKey, unlike: bool = False) -> ErrorClass:
    """The closest class that holds enough runs.

    Never one of another kind of model. Of a generation without runs of the kind, times are not
    taken to be as good as those of others: the text says how far times of generations were off that
    were left out of the fit.

    Parameters
    ----------
    key : ClassKey
    unlike : bool
        Whether kernels of the device are unlike those whose rates it takes, so that runs of other
        generations say nothing of it; those of other kinds of models on its own are named instead.
    """
    known = bool(key.generation) and (key.kind, key.generation) in _measured(key.mode)
    if key.basis == DATA_SHEET:
        return _of_data_sheet(key, known)
    if not known:
        return _of_unmeasured(key, unlike)
    found = _first(key)
    if found is None:
        return _unlike(f"none of {_described(key._replace(load='', layout='', generation=''))}")
    near, recorded = found
    text = f"{_errors(recorded)}: {recorded.runs:,} runs of {_described(near)}{BASES[key.basis]}"
    return ErrorClass(text + MODE_NOTES.get(key.mode, ""), *recorded)


def ranges(known: ErrorClass, ttft: float, tpot: float | None) -> dict[str, Any]:
    """Ranges of times on 90 % of runs like a point, s, and what is known of them, by column.

    Parameters
    ----------
    known : ErrorClass
    ttft, tpot : float
        Predicted, s; the second may be None, where nothing is decoded.
    """
    found: dict[str, Any] = {}
    for name, seconds in (("ttft", ttft), ("tpot", tpot)):
        figures: Figures | None = getattr(known, name)
        for end in ("low", "high"):
            none = figures is None or seconds is None
            found[f"{name}_{end}_seconds"] = None if none else seconds * getattr(figures, end)
    return found | {"error_class": known.text, "error_runs": known.runs}


def _of_unmeasured(key: ClassKey, unlike: bool) -> ErrorClass:
    """Of a device with rates, on whose generation no serving run of the kind was measured."""
    none = f"none of {KINDS[key.kind]} on {GENERATION_TITLES.get(key.generation, 'this device')}"
    anywhere = key._replace(basis=GENERATION, generation="", load="", layout="")
    found = _of_generation(key) if unlike else _first(anywhere)
    if found is None:
        return _unlike(none)
    near, recorded = found
    runs = f"{recorded.runs:,} runs of {_described(near)}{BASES[near.basis]}"
    others = "models" if unlike else "devices"
    return _unlike(f"{none}; other {others}: {_errors(recorded)}: {runs}")


def _of_generation(key: ClassKey) -> tuple[ClassKey, Recorded] | None:
    """The largest class of any kind of model on the generation, of the same mode if it can be."""
    alike = {"basis": FAMILY, "generation": key.generation, "load": ""}.items()
    same = [row for row in _classes().items() if alike <= row[0]._asdict().items()]
    return max(same, key=lambda row: (row[0].mode == key.mode, row[1].runs), default=None)


def _of_data_sheet(key: ClassKey, known: bool) -> ErrorClass:
    """Of times by the data sheet, which measured ones are multiples of."""
    key = key._replace(load="", layout="", generation=key.generation if known else "")
    found = _first(key)
    if found is None:
        return _unlike(f"none of {_described(key)}")
    near, recorded = found
    took = ", ".join(
        f"{figures.low:.1f} to {figures.high:.1f} times this {name}"
        for name, figures in (("TPOT", recorded.tpot), ("TTFT", recorded.ttft))
        if figures is not None
    )
    runs = f"{recorded.runs:,} runs of {_described(near)}"
    if known:
        return ErrorClass(f"a lower bound; 90 % of {runs} took {took}", *recorded)
    return _unlike(f"times of its data sheet; 90 % of {runs} took {took} on other devices")


def _first(key: ClassKey) -> tuple[ClassKey, Recorded] | None:
    classes = _classes()
    return next(((near, classes[near]) for near in relaxed(key) if near in classes), None)


def _unlike(why: str) -> ErrorClass:
    return ErrorClass(f"{NOT_MEASURED}: {why}", 0, None, None)


def _described(key: ClassKey) -> str:
    """The runs of a class: "MoE models on vLLM, Hopper, tensor parallel, steady load"."""
    engine = f"{KINDS[key.kind]} on {ENGINE_TITLES[key.engine]}" if key.engine else KINDS[key.kind]
    titles = (
        engine,
        GENERATION_TITLES.get(key.generation, ""),
        LAYOUT_KINDS.get(key.layout, ""),
        LOADS.get(key.load, ""),
        MODES[key.mode],
    )
    return ", ".join(filter(None, titles))


def _errors(recorded: Recorded) -> str:
    """Errors of a class: "TPOT +-6 % (90 % within 21 %), TTFT +-15 % (40 %)"."""
    within = {"TPOT": "90 % within ", "TTFT": ""}
    return ", ".join(
        f"{name} +-{figures.median:.0f} % ({within[name]}{figures.p90:.0f} %)"
        for name, figures in (("TPOT", recorded.tpot), ("TTFT", recorded.ttft))
        if figures is not None
    )
