"""Serving rows that decode speculatively: the shipped table is what they give, and its error."""

from importlib import resources

import numpy as np

from sweepengine.data.serving_engines import serving_engine
from sweepengine.formulas.serving import CONTINUOUS, Batch, Passes, seconds_of
from sweepengine.validation.served_rows import SPECULATIVE, read_served, read_speculative
from sweepengine.validation.served_speculation import (
    FILE,
    Predicted,
    all_predicted,
    errors_of,
    fit_accepted,
    written,
)


def test_shipped_table_is_what_the_rows_give():
    rows = all_predicted()
    accepted = fit_accepted(rows)
    shipped = resources.files("sweepengine.data") / "measured" / FILE
    assert "\n".join(written(rows, accepted)) + "\n" == shipped.read_text("utf-8")
    errors = errors_of(rows, accepted)
    assert len(errors) == 60
    assert np.median(errors) <= 20
    assert all(1 < one.accepted_tokens < 1 + one.draft_tokens for one in accepted)


def test_rows_that_decode_speculatively_are_read_apart():
    rows = read_speculative()
    assert len(rows) == 122
    assert {row.served.engine for row in rows} == {"sglang", "trtllm"}
    assert {row.draft_tokens for row in rows if row.served.decode.layout.data > 1} == {1}
    assert read_served().reasons[SPECULATIVE] == 271


def test_accepted_tokens_of_made_up_rows_are_found_again():
    engine = serving_engine("vllm", "steady")

    def row(step, prefill, judged):
        passes, batch = Passes(0.0, prefill, 4 * prefill, 100 * step), Batch(4.0, 500, 100)
        told = passes._replace(decode=passes.decode / 2.25)
        seconds = seconds_of(told, batch._replace(accepted=2.25), CONTINUOUS, engine)
        return Predicted("vllm", 3, judged, passes, batch, "steady", 1000 * seconds.tpot)

    rows = [row(step, 30_000.0, step > 9000) for step in (5000.0, 8000.0, 13_000.0, 40_000.0)]
    (found,) = fit_accepted(rows)
    assert found.accepted_tokens == 2.25
    assert (found.fitted_rows, found.held_out_rows) == (2, 2)
    assert found.tpot_median == found.tpot_mean == 0.0
