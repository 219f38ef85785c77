"""Compares predicted TTFT and TPOT with the public serving rows of the extra `silicon`."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from sweepengine.data.error_classes import model_kind
from sweepengine.data.errors import InputError
from sweepengine.data.family_factors import (
    FAMILY_FACTORS,
    NO_FACTORS,
    Family,
    factors_of,
    family_of,
    layers_of,
    was_measured,
)
from sweepengine.data.serving_engines import ENGINES, STEADY, disaggregated_engine, serving_engine
from sweepengine.data.serving_engines.memory import chunk_of
from sweepengine.data.speeds import TimingTarget
from sweepengine.formulas.layout import Layout
from sweepengine.formulas.serving import (
    CONTINUOUS,
    IDEAL_SERVING_ENGINE,
    Batch,
    Passes,
    ServingEngine,
    chunk_requests,
    disaggregated,
    disaggregated_ttft,
    engine_step,
    seconds_of,
)
from sweepengine.validation.served_groups import Server, group_of, server_of, target_of
from sweepengine.validation.served_rows import ABOVE_LIMIT, WHEEL, ServedRow, read_served

A_SECOND = 1e3
"""Milliseconds; also microseconds per millisecond."""
NESTED = ("family", "layout", "settings", "work")
"""Fields of a row that are no numbers or names."""


class ServedWork(NamedTuple):
    """What the forms of serving times are made of; us."""

    kernels: float
    """Of a decode step, without launches of element-wise kernels."""
    launches: float
    """Element-wise kernels of a decode step."""
    prefill: float
    """Of one request alone."""
    refill: float
    """Prefills of all sequences of a batch, in chunks."""
    queued: float
    """Prefills of all requests under way over the ranks that prefill; 0 in aggregated serving."""
    layers: int
    """Of the model."""
    batch: Batch

    def seconds(self, launch: float, engine: ServingEngine) -> tuple[float, float]:
        """TPOT and TTFT with continuous batching, ms.

        Parameters
        ----------
        launch : float
            Of an element-wise kernel of a step, us.
        engine : ServingEngine
        """
        step = self.kernels + launch * self.launches
        passes = Passes(0.0, self.prefill, self.refill, step * self.batch.steps)
        engine = engine._replace(least=engine.least * self.layers)
        seconds = seconds_of(passes, self.batch, CONTINUOUS, engine)
        return seconds.tpot * A_SECOND, seconds.ttft * A_SECOND


class Served(NamedTuple):
    """One row, predicted; times in ms."""

    collection: str
    source: str
    engine: str
    system: str
    device: str
    model: str
    kind: str
    """Of the model, one of `error_classes.KINDS`."""
    precision: str
    load: str
    single: bool
    """Whether it is one request at a time."""
    aggregated: bool
    judged: bool
    """Whether it is held out."""
    full: bool
    """Whether its requests queue for a full engine, whose limit is unknown."""
    family: Family
    has_factors: bool
    """Whether its prediction has factors of its family."""
    layout: Layout
    """Of decode steps."""
    settings: dict[str, float]
    """Settings of the serving engine that differ from its defaults."""
    work: ServedWork
    tpot: float
    ttft: float
    model_tpot: float
    """Without the factors of its family, as the next."""
    model_ttft: float
    plain_tpot: float
    """Without anything fitted to serving rows, as the next."""
    plain_ttft: float
    sheet_tpot: float
    """By the data sheet alone, as the next; NaN where disaggregated."""
    sheet_ttft: float
    measured_tpot: float
    measured_ttft: float


class Rows(NamedTuple):
    """Predicted rows, and the reasons why other rows were not predicted."""

    served: list[Served]
    reasons: Counter[str]
    doubles: int


def read_rows(path: Path | None = None) -> Rows:
    """Predict every row of the file.

    Raises
    ------
    InputError
        When the extra `silicon` is not installed.
    """
    read = read_served(path)
    predicted, reasons = [], Counter(read.reasons)
    for row in read.rows:
        try:
            predicted.append(predicted_row(row, server_of(row)))
        except InputError as error:
            reasons[str(error)] += 1
    reasons[ABOVE_LIMIT] += sum(row.full for row in predicted)
    return Rows(predicted, reasons, read.doubles)


def predicted_row(row: ServedRow, server: Server, chunk: int = 0, ahead: float = 0.0) -> Served:
    """A row with its predicted times.

    Parameters
    ----------
    row : ServedRow
    server : Server
        What it serves.
    chunk : int
        Tokens of a pass of prefills; 0: the serving engine's default for the device.
    ahead : float
        Requests of a rank whose prefills the median one waits for, as all arrive together; 0: they
        arrive in waves.

    Raises
    ------
    InputError
        When the row cannot be laid out as it says, or was measured faster than can be.
    """
    target = target_of(row.system, row.engine)
    engine = engine_of_row(row, target, chunk)
    if ahead:
        engine = engine._replace(burst=max(engine.burst, ahead / row.batch))
    constants, tokens, output = ENGINES[row.engine], row.prompt, row.output
    first, then = (group_of(server, target, workers) for workers in (row.prefill, row.decode))
    arch = then.model.architecture
    launch = constants["launch_us"] / constants["overlap"]
    prefill, factors = first.prefill(tokens), NO_FACTORS

    def step_of_batch(batch: float, launch: float) -> float:
        return then.step(batch, tokens, output, launch)

    apart, apart_launch = disaggregated_engine(row.engine)

    def decoding(batch: float) -> float:
        return engine_step(step_of_batch(batch, apart_launch), batch, apart)

    if row.aggregated:
        batch, waited, each = row.batch, 0.0, 0.0
        whole = (row.measured_ttft + output * row.measured_tpot) * A_SECOND
        if batch * first.prefill(tokens, ideal=True) > whole:
            raise InputError("measured faster than the data sheet allows for its columns")
        factors = factors_of(arch, then.point.weight_format, then.layout, target)
    else:
        each, waited, batch = disaggregated(
            decoding, prefill, row.concurrency, output, row.prefill.ranks, row.decode.ranks
        )
    kernels = step_of_batch(batch, 0.0)
    sheet = ServedWork(
        kernels=then.step(batch, tokens, output, 0.0, ideal=True),
        launches=0.0,
        prefill=first.prefill(tokens, ideal=True),
        refill=batch * first.prefill(tokens, ideal=True),
        queued=0.0,
        layers=0,
        batch=Batch(batch, tokens, output),
    )
    together = chunk_requests(batch, tokens, engine.chunk)
    work = ServedWork(
        kernels=kernels,
        launches=step_of_batch(batch, 1.0) - kernels,
        prefill=prefill,
        refill=batch / together * first.prefill(tokens, together),
        queued=0.0 if row.aggregated else row.concurrency * prefill / row.prefill.ranks,
        layers=layers_of(arch),
        batch=Batch(batch, tokens, output),
    )
    if row.aggregated:
        in_serving = engine._replace(tpot_factor=factors.tpot, ttft_factor=factors.ttft)
        times = (work.seconds(launch, in_serving), work.seconds(launch, engine),
                 work.seconds(constants["step_launch_us"], IDEAL_SERVING_ENGINE),
                 sheet.seconds(0.0, IDEAL_SERVING_ENGINE))  # fmt: skip
    else:
        first_token = disaggregated_ttft(prefill, work.queued, each, apart)
        split = (each / A_SECOND, first_token / A_SECOND)
        times = (split, split, (each / A_SECOND, waited / A_SECOND), (float("nan"), float("nan")))
    return Served(
        row.collection,
        row.source,
        row.engine,
        row.system,
        target.device.name,
        row.model,
        model_kind(arch, images=False),
        row.precision,
        row.load,
        row.concurrency == 1,
        row.aggregated,
        row.judged,
        row.full,
        family_of(arch, then.point.weight_format, target),
        row.aggregated and was_measured(arch, then.point.weight_format, target),
        then.layout,
        row.settings,
        work,
        *times[0],
        *times[1],
        *times[2],
        *times[3],
        row.measured_tpot,
        row.measured_ttft,
    )


def states_mean(row: ServedRow | Served) -> bool:
    """Whether the TTFT of a row is a mean; that of others is a median."""
    return row.collection == WHEEL and row.load == STEADY


def engine_of_row(row: ServedRow, target: TimingTarget, chunk: int = 0) -> ServingEngine:
    """What the serving engine of a row adds, before factors of families; `least` is of one layer.

    The extra's rows are means, which hold the first requests of a server: all of them arrive at
    once. Where constants are of medians, such a row has more of some (`means` of
    `family_factors.toml`).

    Parameters
    ----------
    row : ServedRow
    target : TimingTarget
        Its device and serving engine.
    chunk : int
        Tokens of a pass of prefills; 0: the serving engine's default for the device.
    """
    device = target.device
    chunk = chunk_of(row.engine, device.product, device.usable_bytes, chunk)
    engine = serving_engine(row.engine, row.load, row.decode.layout.data, row.settings)
    engine = engine._replace(chunk=float(chunk))
    added = FAMILY_FACTORS["means"].get(row.engine, {}) if states_mean(row) else {}
    return engine._replace(**{name: getattr(engine, name) + added[name] for name in added})


def as_frame(rows: Rows) -> pl.DataFrame:
    """Predicted rows with their errors, %."""

    def error(predicted: str, measured: str) -> pl.Expr:
        return 100 * (pl.col(predicted) / pl.col(f"measured_{measured}") - 1).abs()

    named = [name for name in Served._fields if name not in NESTED]
    data = {name: [getattr(row, name) for row in rows.served] for name in named}
    return pl.DataFrame(data).with_columns(
        error("tpot", "tpot").alias("tpot_error"),
        error("ttft", "ttft").alias("ttft_error"),
        *(
            error(f"{kind}_{what}", what).alias(f"{kind}_{what}_error")
            for kind in ("model", "plain")
            for what in ("tpot", "ttft")
        ),
        (pl.col("tpot") / pl.col("measured_tpot")).alias("tpot_ratio"),
        (pl.col("ttft") / pl.col("measured_ttft")).alias("ttft_ratio"),
    )


def errors_by(frame: pl.DataFrame, *names: str) -> Iterator[dict[str, Any]]:
    """Number of rows, mean and median errors, %, and median ratios, by the columns `names`."""
    measures = [
        pl.len().alias("rows"),
        *(
            getattr(pl.col(f"{prefix}{what}_error"), how)().alias(f"{prefix}{what}_{how}")
            for prefix in ("", "model_", "plain_")
            for what in ("tpot", "ttft")
            for how in ("mean", "median")
        ),
        pl.col("tpot_ratio").median(),
        pl.col("ttft_ratio").median(),
    ]
    grouped = frame.group_by(*names).agg(measures).sort(*names) if names else frame.select(measures)
    yield from grouped.iter_rows(named=True)
