"""Predicts public runs of servers: data/measured/real_runs.csv and inferencex.csv."""

from collections import Counter
from functools import lru_cache
from typing import Any, Final, NamedTuple

from sweepengine.data.devices import load_device
from sweepengine.data.error_classes import FACTORS, FAMILY, model_kind
from sweepengine.data.errors import InputError
from sweepengine.data.files import known, shipped_table
from sweepengine.data.models import Model, build, load_model, merged
from sweepengine.data.serving_engines import BURSTS, STEADY
from sweepengine.formulas.architecture import Architecture
from sweepengine.grid.shorthand import layout_name, read_layout
from sweepengine.validation.judged import JudgedRun
from sweepengine.validation.measured_operators import silicon_folder
from sweepengine.validation.served import Served, predicted_row
from sweepengine.validation.served_groups import Server, server_of, target_of
from sweepengine.validation.served_rows import ABOVE_LIMIT, ServedRow, Workers, half_of, served_row
from sweepengine.validation.shipped_rows import shipped_rows

REAL, INFERENCEX = "real", "inferencex"
AGAIN = "is a row of the extra too"
A_SECOND = 1000.0
"""Milliseconds."""
_FACTS: Final[dict[str, Any]] = shipped_table("measured", "real_runs.toml")


class PublicRun(NamedTuple):
    """One row of either file."""

    row: ServedRow
    server: Server
    chunk: int
    """Tokens of a pass of prefills; 0: the default for the device."""
    speculative: bool
    again: bool
    """Whether the row is one of the extra `silicon` too."""
    ahead: float = 0.0
    """Requests of a rank that come before the median one as all arrive together; 0: in waves."""

    @property
    def architecture(self) -> Architecture:
        """Of the model that it serves."""
        return self.server.model.architecture

    @property
    def fitted(self) -> bool:
        """Whether constants are fitted to the training half of rows like it."""
        return self.row.collection == INFERENCEX or self.borrowed

    @property
    def borrowed(self) -> bool:
        """Whether the device of the row has no rates of its own."""
        return bool(target_of(self.row.system, self.row.engine).borrowed)


class PublicRuns(NamedTuple):
    """Predicted rows, and the reasons why others were not predicted."""

    runs: list[tuple[PublicRun, Served]]
    speculative: list[PublicRun]
    reasons: Counter[str]


@lru_cache
def model_of(name: str) -> Model:
    """A shipped model, one stated by its differences, or a config of the extra `silicon`."""
    if stated := _FACTS["models"].get(name):
        base = load_model(stated["extends"])
        return build(merged(base.data, {"name": name, "decoder": stated["decoder"]}), name)
    if name in known("models"):
        return load_model(name)
    return load_model(silicon_folder("model_configs") / f"{name}_config.json")


def _of_page(cells: dict[str, Any]) -> PublicRun:
    """A row of real_runs.csv."""
    model, seen = model_of(cells["model"]), cells["image_tokens"]
    inputs: dict[str, Any] = {"precision": cells["precision"] or "checkpoint"}
    if model.has_vision:
        inputs |= _FACTS["images"][str(seen)] if seen else {"images": 0}
    workers = Workers(1, read_layout(cells["layout"]))
    bursts = cells["limit"] is None
    measured = cells["tpot_median_ms" if bursts else "tpot_mean_ms"]
    configuration = (cells["engine"], cells["model"], cells["device"], cells["prompt"],
                     cells["answer"], cells["limit"], workers)  # fmt: skip
    row = ServedRow(
        collection=REAL,
        source=cells["source"],
        engine=cells["engine"],
        system=load_device(cells["device"]).measured or cells["device"],
        path=f"/{cells['model']}",
        precision=cells["precision"],
        weights="",
        expert_weights="",
        load=BURSTS if bursts else STEADY,
        judged=half_of(configuration),
        prompt=cells["prompt"],
        output=cells["answer"],
        concurrency=cells["running"],
        batch=max(1.0, cells["running"] / workers.layout.data),
        prefill=workers,
        decode=workers,
        aggregated=True,
        settings={},
        measured_tpot=measured,
        measured_ttft=cells["ttft_median_ms"] or cells["ttft_mean_ms"],
    )
    server = Server(model, inputs)
    requests = cells["requests"]
    at_once = min(cells["limit"] or requests, requests)
    ahead = max(0.0, at_once - requests / 2) / workers.layout.data
    return PublicRun(
        row, server, cells["chunk_tokens"] or 0, cells["draft_tokens"] > 0, False, ahead
    )


def _of_inferencex(cells: dict[str, Any]) -> PublicRun:
    """A row of inferencex.csv, read as the extra's rows of the same source are."""
    prefill = decode = Workers(cells["workers"], read_layout(cells["layout"]))
    if cells["prefill_workers"]:
        prefill = Workers(cells["prefill_workers"], read_layout(cells["prefill_layout"]))
    fp4 = cells["precision"] == "fp4"
    name = "nvfp4" if fp4 else "fp8"
    raw = {
        "id": f"InferenceX, {cells['date']}",
        "silicon_data_source": f"measured={cells['date']}; "
        f"silicon_concurrency={cells['concurrency']}",
        "backend": cells["engine"],
        "backend_version": cells["version"],
        "model_path": "deepseek-ai/DeepSeek-R1",
        "system": load_device(cells["device"]).measured or cells["device"],
        "precision": cells["precision"],
        "mode": "disagg" if cells["prefill_workers"] else "agg",
        "isl": cells["prompt"],
        "osl": cells["answer"],
        "tp_size": decode.layout.tensor,
        "moe_ep_size": decode.layout.expert,
        "gemm_quant_mode": name,
        "moe_quant_mode": name if fp4 or cells["engine"] != "sglang" else "fp8_block",
        "silicon_ttft_ms": cells["ttft_median_ms"],
        "silicon_tpot_ms": cells["tpot_mean_ms"] or cells["tpot_median_ms"],
    }
    row = served_row(raw, prefill, decode, INFERENCEX)
    return PublicRun(row, server_of(row), 0, cells["draft_tokens"] > 0, cells["in_extra"])


@lru_cache
def read_public() -> PublicRuns:
    """Predict every row that is not speculative and not one of the extra too."""
    found = PublicRuns([], [], Counter())
    runs = [_of_page(cells) for cells in shipped_rows("real_runs.csv")]
    runs += [_of_inferencex(cells) for cells in shipped_rows("inferencex.csv")]
    for run in runs:
        if run.speculative:
            found.speculative.append(run)
            continue
        try:
            if run.again:
                raise InputError(AGAIN)
            served = predicted_row(run.row, run.server, run.chunk, run.ahead)
            if served.full and served.load == STEADY:
                raise InputError(ABOVE_LIMIT)
            found.runs.append((run, served))
        except InputError as error:
            found.reasons[str(error)] += 1
    return found


def _judged(run: PublicRun, served: Served | None) -> JudgedRun:
    row = run.row
    device = target_of(row.system, row.engine).device.name
    full = served is None or served.full
    return JudgedRun(
        collection=row.collection,
        source=row.source,
        engine=row.engine,
        device=device,
        model=row.model,
        kind=model_kind(run.architecture, images=bool(run.server.inputs.get("images", 1))),
        layout=layout_name(row.decode.layout),
        load="burst" if row.load == BURSTS else "one" if row.concurrency == 1 else STEADY,
        speculative=run.speculative,
        disaggregated=not row.aggregated,
        judging=row.judged or not run.fitted,
        ttft_measured=None if full else row.measured_ttft / A_SECOND,
        ttft_predicted=None if served is None else served.ttft / A_SECOND,
        tpot_measured=row.measured_tpot / A_SECOND,
        tpot_predicted=None if served is None else served.tpot / A_SECOND,
        basis=FACTORS if served is not None and served.has_factors else FAMILY,
    )


def real_rows() -> tuple[JudgedRun, ...]:
    """Runs of InferenceX and of public pages with their predictions.

    TTFT is the median, TPOT the mean; of bursts the median, as the mean is that of requests with
    few tokens, which wait for all other prefills. TTFT of requests that queue for a full serving
    engine is left out, and so are predictions of speculative runs.
    """
    public = read_public()
    rows = [_judged(run, served) for run, served in public.runs]
    return (*rows, *(_judged(run, None) for run in public.speculative))
