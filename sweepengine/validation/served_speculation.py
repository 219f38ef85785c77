"""Fits accepted tokens to serving rows that decode speculatively, and judges on the held-out half.

    python -m sweepengine.validation.served_speculation

rewrites data/measured/speculative.toml. No row states how many drafted tokens were accepted, so it
is fitted: one number for each serving engine and number of drafted tokens, to the training half of
the rows, by the least sum of absolute log ratios of TPOT. The error is that of the other half.
Numbers are fitted with the factors of families, as times are predicted, and without.
"""

from collections.abc import Iterator, Sequence
from importlib import resources
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sweepengine.data.error_classes import FACTORS, FAMILY, model_kind
from sweepengine.data.family_factors import factors_of, layers_of, was_measured
from sweepengine.data.files import shipped_table
from sweepengine.data.serving_engines import BURSTS, ENGINES
from sweepengine.formulas.serving import (
    CONTINUOUS,
    Batch,
    Passes,
    ServingEngine,
    chunk_requests,
    seconds_of,
)
from sweepengine.grid.shorthand import layout_name
from sweepengine.validation.judged import JudgedRun
from sweepengine.validation.served import engine_of_row
from sweepengine.validation.served_files import written as as_toml
from sweepengine.validation.served_groups import group_of, server_of, target_of
from sweepengine.validation.served_rows import (
    FILE,
    ServedRow,
    drafting_fact,
    measurements_of,
    row_of,
)

TABLE = "speculative.toml"
KINDS = (FACTORS, FAMILY)
"""Predictions with factors of families, and without."""
STEP = 0.01
"""Accepted tokens are fitted in steps of this size."""
MILLI = 1e3
Floats = NDArray[np.float64]


class SpeculativeRow(NamedTuple):
    """One measurement of a server that decodes speculatively, with the model's own MTP layer."""

    served: ServedRow
    draft_tokens: int
    """Tokens drafted a step, by the benchmark's scripts."""


def read_speculative(path: Path | None = None) -> list[SpeculativeRow]:
    """Read the rows of aggregated serving that decode speculatively, each measurement once.

    Raises
    ------
    InputError
        When the extra `silicon` is not installed.
    """
    rows = []
    for same in measurements_of(path):
        fact = drafting_fact(same)
        if fact is None:
            continue
        served = row_of(same)
        several = served.decode.layout.data > 1
        drafted = fact["draft_tokens_of_groups" if several else "draft_tokens"]
        rows.append(SpeculativeRow(served, drafted))
    return rows


class Predicted(NamedTuple):
    """A row as the forms of serving times take it; times in us."""

    row: SpeculativeRow
    device: str
    kind: str
    """Of the model, one of `error_classes.KINDS`."""
    measured: bool
    """Whether its family has factors."""
    passes: Passes
    """`decode` is the time that all of an answer's steps took if each yielded one token."""
    batch: Batch
    adds: dict[str, ServingEngine]
    """What the serving engine adds, by `KINDS`."""

    @property
    def group(self) -> tuple[str, int]:
        """Serving engine and tokens drafted, for which one number is fitted."""
        return self.row.served.engine, self.row.draft_tokens

    def times(self, basis: str, accepted: float) -> tuple[float, float]:
        """TPOT and TTFT where a step yields so many tokens, ms."""
        passes = self.passes._replace(decode=self.passes.decode / accepted)
        batch = self.batch._replace(accepted=accepted)
        seconds = seconds_of(passes, batch, CONTINUOUS, self.adds[basis])
        return seconds.tpot * MILLI, seconds.ttft * MILLI


class Accepted(NamedTuple):
    """Accepted tokens of the rows of one serving engine and number of drafted tokens."""

    engine: str
    draft_tokens: int
    basis: str
    """One of `KINDS`."""
    accepted_tokens: float
    fitted_rows: int
    held_out_rows: int
    tpot_median: float
    """Of the errors of held-out rows, %, as of the next."""
    tpot_mean: float


def predicted(row: SpeculativeRow) -> Predicted:
    """The passes of a row.

    Raises
    ------
    InputError
        When its model has no config, or cannot be laid out so.
    """
    served, drafted = row
    target = target_of(served.system, served.engine)
    group = group_of(server_of(served), target, served.decode)
    arch, constants = group.model.architecture, ENGINES[served.engine]
    engine = engine_of_row(served, target)
    engine = engine._replace(least=engine.least * layers_of(arch))
    weights = group.point.weight_format
    factors = factors_of(arch, weights, group.layout, target)
    launch = constants["launch_us"] / constants["overlap"]
    batch, tokens, output = served.batch, served.prompt, served.output
    step = group.speculative_step(batch, tokens, output, launch, drafted)
    together = chunk_requests(batch, tokens, engine.chunk)
    refill = batch / together * group.drafted_prefill(tokens, together)
    return Predicted(
        row=row,
        device=target.device.name,
        kind=model_kind(arch, images=False),
        measured=was_measured(arch, weights, target),
        passes=Passes(0.0, group.drafted_prefill(tokens), refill, step * output),
        batch=Batch(batch, tokens, output),
        adds={
            FACTORS: engine._replace(tpot_factor=factors.tpot, ttft_factor=factors.ttft),
            FAMILY: engine,
        },
    )


def _logs(rows: Sequence[Predicted], basis: str, accepted: float) -> Floats:
    """Logarithms of predicted over measured TPOT."""
    return np.log([row.times(basis, accepted)[0] / row.row.served.measured_tpot for row in rows])


def fitted(rows: Sequence[Predicted], basis: str) -> float:
    """Accepted tokens at which predictions are closest to rows of one number of drafted tokens."""
    most = 1 + rows[0].row.draft_tokens
    tried = np.arange(1.0, most + STEP / 2, STEP)
    losses = [np.abs(_logs(rows, basis, accepted)).sum() for accepted in tried]
    return round(float(tried[int(np.argmin(losses))]), 2)


def fit_accepted(rows: Sequence[Predicted]) -> list[Accepted]:
    """Accepted tokens of each serving engine and number of drafted tokens, with their errors."""
    found = []
    for basis in KINDS:
        for (engine, drafted), of_group in groupby(
            sorted(rows, key=lambda row: row.group), lambda row: row.group
        ):
            members = list(of_group)
            training = [row for row in members if not row.row.served.judged]
            held_out = [row for row in members if row.row.served.judged]
            accepted = fitted(training, basis)
            errors = 100 * np.abs(np.expm1(_logs(held_out, basis, accepted)))
            found.append(
                Accepted(engine, drafted, basis, accepted, len(training), len(held_out),
                         *(round(float(of(errors)), 2) for of in (np.median, np.mean)))
            )  # fmt: skip
    return found


def errors_of(rows: Sequence[Predicted], accepted: Sequence[Accepted], basis: str) -> Floats:
    """Errors of TPOT of held-out rows, %."""
    known = {(a.engine, a.draft_tokens): a.accepted_tokens for a in accepted if a.basis == basis}
    held_out = [row for row in rows if row.row.served.judged]
    logs = [_logs([row], basis, known[row.group])[0] for row in held_out]
    return np.asarray(100 * np.abs(np.expm1(logs)))


def all_predicted() -> list[Predicted]:
    """All speculative rows, predicted."""
    return [predicted(row) for row in read_speculative()]


class SpeculativeRuns(NamedTuple):
    """Speculative rows, with the shipped accepted tokens."""

    runs: tuple[JudgedRun, ...]
    """As predicted by default."""
    variants: tuple[JudgedRun, ...]
    """The held-out rows with a factor once more, predicted without it."""


def speculative_runs() -> SpeculativeRuns:
    """Judge rows that decode speculatively."""
    known = {
        (row["basis"], row["engine"], row["draft_tokens"]): row["accepted_tokens"]
        for row in shipped_table("measured", TABLE)["accepted"]
    }

    def judged(row: Predicted, basis: str) -> JudgedRun:
        return _judged(row, basis, *row.times(basis, known[basis, *row.group]))

    rows = all_predicted()
    return SpeculativeRuns(
        tuple(judged(row, FACTORS if row.measured else FAMILY) for row in rows),
        tuple(judged(row, FAMILY) for row in rows if row.measured and row.row.served.judged),
    )


def _judged(row: Predicted, basis: str, tpot: float, ttft: float) -> JudgedRun:
    """A row predicted so; times in ms."""
    served = row.row.served
    return JudgedRun(
        collection=served.collection,
        source=FILE,
        engine=served.engine,
        device=row.device,
        model=served.model,
        kind=row.kind,
        layout=layout_name(served.decode.layout),
        load="one" if served.concurrency == 1 else "burst" if served.load == BURSTS else "steady",
        speculative=True,
        disaggregated=False,
        judging=served.judged,
        ttft_measured=None if served.full else served.measured_ttft / MILLI,
        ttft_predicted=ttft / MILLI,
        tpot_measured=served.measured_tpot / MILLI,
        tpot_predicted=tpot / MILLI,
        basis=basis,
    )


def written(rows: Sequence[Predicted], accepted: Sequence[Accepted]) -> Iterator[str]:
    """Lines of data/measured/speculative.toml."""
    yield "# Accepted tokens of public serving rows that decode speculatively, which state none:"
    yield "# fitted to the training half, and errors of TPOT on the held-out half, %, with factors"
    yield '# of families and without ("family"). Made by'
    yield "# `python -m sweepengine.validation.served_speculation`"
    yield '# (docs/times.md, "Speculative decoding").'
    for basis in KINDS:
        errors = errors_of(rows, accepted, basis)
        yield f"\n[all.{basis}]"
        yield f"held_out_rows = {len(errors)}"
        yield f"tpot_median = {np.median(errors):.2f}"
        yield f"tpot_mean = {np.mean(errors):.2f}"
    for one in accepted:
        yield "\n[[accepted]]"
        yield from (f"{name} = {as_toml(value)}" for name, value in one._asdict().items())


def main() -> None:
    """Fit accepted tokens, and write them to their file."""
    rows = all_predicted()
    lines = "\n".join(written(rows, fit_accepted(rows))) + "\n"
    path = Path(str(resources.files("sweepengine.data"))) / "measured" / TABLE
    path.write_text(lines, "utf-8")


if __name__ == "__main__":
    main()
