"""Fits accepted tokens to serving rows that decode speculatively, and judges on the held-out half.

    python -m sweepengine.validation.served_speculation

rewrites data/measured/speculative.toml. No row states how many drafted tokens were accepted, so it
is fitted: one number for each serving engine and number of drafted tokens, to the training half of
the rows, by the least sum of absolute log ratios of TPOT. The error is that of the other half.
"""

from collections.abc import Iterator, Sequence
from importlib import resources
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sweepengine.data.serving_engines import ENGINES, serving_engine
from sweepengine.formulas.serving import (
    A_SECOND,
    CONTINUOUS,
    Batch,
    Passes,
    chunk_requests,
    seconds_of,
)
from sweepengine.validation.served_groups import group_of, server_of, target_of
from sweepengine.validation.served_rows import ServedRow, drafting_fact, measurements_of, row_of

FILE = "speculative.toml"
STEP = 0.01
"""Accepted tokens are fitted in steps of this size."""
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
    """A row as the forms of serving times take it; times in us but for the measured one."""

    engine: str
    draft_tokens: int
    judged: bool
    passes: Passes
    """`decode` is the time that all of an answer's steps took if each yielded one token."""
    batch: Batch
    load: str
    measured_tpot: float
    """ms."""

    def tpot(self, accepted: float) -> float:
        """TPOT where a step yields so many tokens, ms."""
        passes = self.passes._replace(decode=self.passes.decode / accepted)
        batch = self.batch._replace(accepted=accepted)
        engine = serving_engine(self.engine, self.load)
        return seconds_of(passes, batch, CONTINUOUS, engine).tpot * A_SECOND / 1e3


class Accepted(NamedTuple):
    """Accepted tokens of the rows of one serving engine and number of drafted tokens."""

    engine: str
    draft_tokens: int
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
    constants, engine = ENGINES[served.engine], serving_engine(served.engine, served.load)
    launch = constants["launch_us"] / constants["overlap"]
    batch, tokens, output = served.batch, served.prompt, served.output
    step = group.speculative_step(batch, tokens, output, launch, drafted)
    together = chunk_requests(batch, tokens, engine.chunk)
    refill = batch / together * group.prefill(tokens, together)
    return Predicted(
        engine=served.engine,
        draft_tokens=drafted,
        judged=served.judged,
        passes=Passes(0.0, group.prefill(tokens), refill, step * output),
        batch=Batch(batch, tokens, output),
        load=served.load,
        measured_tpot=served.measured_tpot,
    )


def _logs(rows: Sequence[Predicted], accepted: float) -> Floats:
    """Logarithms of predicted over measured TPOT."""
    return np.log([row.tpot(accepted) / row.measured_tpot for row in rows])


def fitted(rows: Sequence[Predicted]) -> float:
    """Accepted tokens at which predictions are closest to rows of one number of drafted tokens."""
    most = 1 + rows[0].draft_tokens
    tried = np.arange(1.0, most + STEP / 2, STEP)
    losses = [np.abs(_logs(rows, accepted)).sum() for accepted in tried]
    return round(float(tried[int(np.argmin(losses))]), 2)


def fit_accepted(rows: Sequence[Predicted]) -> list[Accepted]:
    """Accepted tokens of each serving engine and number of drafted tokens, with their errors."""

    def kind(row: Predicted) -> tuple[str, int]:
        return row.engine, row.draft_tokens

    found = []
    for (engine, drafted), of_kind in groupby(sorted(rows, key=kind), kind):
        members = list(of_kind)
        training = [row for row in members if not row.judged]
        held_out = [row for row in members if row.judged]
        accepted = fitted(training)
        errors = 100 * np.abs(np.expm1(_logs(held_out, accepted)))
        found.append(
            Accepted(engine, drafted, accepted, len(training), len(held_out),
                     *(round(float(of(errors)), 2) for of in (np.median, np.mean)))
        )  # fmt: skip
    return found


def errors_of(rows: Sequence[Predicted], accepted: Sequence[Accepted]) -> Floats:
    """Errors of TPOT of held-out rows, %."""
    known = {(one.engine, one.draft_tokens): one.accepted_tokens for one in accepted}
    held_out = [row for row in rows if row.judged]
    logs = [_logs([row], known[row.engine, row.draft_tokens])[0] for row in held_out]
    return np.asarray(100 * np.abs(np.expm1(logs)))


def all_predicted() -> list[Predicted]:
    """All speculative rows, predicted."""
    return [predicted(row) for row in read_speculative()]


def written(rows: Sequence[Predicted], accepted: Sequence[Accepted]) -> Iterator[str]:
    """Lines of data/measured/speculative.toml."""
    errors = errors_of(rows, accepted)
    yield "# Accepted tokens of public serving rows that decode speculatively, which state none:"
    yield "# fitted to the training half, and errors of TPOT on the held-out half, %."
    yield "# Made by `python -m sweepengine.validation.served_speculation` (docs/times.md,"
    yield '# "Speculative decoding").'
    yield ""
    yield "[all]"
    yield f"held_out_rows = {len(errors)}"
    yield f"tpot_median = {np.median(errors):.2f}"
    yield f"tpot_mean = {np.mean(errors):.2f}"
    for one in accepted:
        yield "\n[[accepted]]"
        for name, value in one._asdict().items():
            yield f"{name} = {_toml(value)}"


def _toml(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def main() -> None:
    """Fit accepted tokens, and write them to their file."""
    rows = all_predicted()
    lines = "\n".join(written(rows, fit_accepted(rows))) + "\n"
    path = Path(str(resources.files("sweepengine.data"))) / "measured" / FILE
    path.write_text(lines, "utf-8")


if __name__ == "__main__":
    main()
