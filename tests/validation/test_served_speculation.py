"""Serving rows that decode speculatively: the shipped table is what they give, and its error."""

from importlib import resources

import numpy as np
import pytest

import sweepengine as se
from sweepengine.data.error_classes import FACTORS, FAMILY
from sweepengine.data.family_factors import FAMILY_FACTORS
from sweepengine.data.serving_engines import serving_engine
from sweepengine.formulas.serving import Batch, Passes
from sweepengine.grid.shorthand import layout_name
from sweepengine.validation.served_groups import server_of, target_of
from sweepengine.validation.served_rows import SPECULATIVE, read_served
from sweepengine.validation.served_speculation import (
    TABLE,
    SpeculativeRow,
    all_predicted,
    errors_of,
    fit_accepted,
    read_speculative,
    speculative_runs,
    written,
)


def test_shipped_table_is_what_the_rows_give():
    rows = all_predicted()
    accepted = fit_accepted(rows)
    shipped = resources.files("sweepengine.data") / "measured" / TABLE
    assert "\n".join(written(rows, accepted)) + "\n" == shipped.read_text("utf-8")
    for basis in (FACTORS, FAMILY):
        errors = errors_of(rows, accepted, basis)
        assert len(errors) == 60
        assert np.median(errors) <= 12
    assert all(1 < one.accepted_tokens < 1 + one.draft_tokens for one in accepted)


def test_prediction_of_a_row_is_that_of_its_point(monkeypatch):
    monkeypatch.setitem(FAMILY_FACTORS, "means", {})  # points are medians
    rows = [
        row
        for row in all_predicted()
        if row.batch.sequences == 4 and row.measured and not row.row.served.settings
    ]
    assert len(rows) > 5
    for row in rows:
        served = row.row.served
        target = target_of(served.system, served.engine)
        server = server_of(served)
        costs = se.cost(
            server.model, decode_steps=served.output,
            batch_size=round(served.batch) * served.decode.layout.data,
            layout=layout_name(served.decode.layout), framework=served.engine,
            device=target.device, draft_tokens=row.row.draft_tokens, accepted_tokens=1.5,
            **{name: value for name, value in server.inputs.items() if name != "images"},
            **({"images": 0, "text_tokens": served.prompt} if server.model.has_vision
               else {"prompt_tokens": served.prompt}),
        )  # fmt: skip
        tpot, ttft = row.times(FACTORS, 1.5)
        assert costs["tpot_seconds"] == pytest.approx(tpot / 1000, rel=1e-3)
        assert costs["ttft_seconds"] == pytest.approx(ttft / 1000, rel=1e-3)


def test_judged_runs_are_rows_with_and_without_factors():
    found = speculative_runs()
    assert len(found.runs) == 122
    assert {run.basis for run in found.runs} <= {FACTORS, FAMILY}
    assert all(run.judging and run.basis == FAMILY for run in found.variants)
    assert all(run.speculative and not run.disaggregated for run in (*found.runs, *found.variants))


def test_rows_that_decode_speculatively_are_read_apart():
    rows = read_speculative()
    assert len(rows) == 122
    assert {row.served.engine for row in rows} == {"sglang", "trtllm"}
    assert {row.draft_tokens for row in rows if row.served.decode.layout.data > 1} == {1}
    assert read_served().reasons[SPECULATIVE] == 271


def test_accepted_tokens_of_made_up_rows_are_found_again():
    first = all_predicted()[0]
    engine = serving_engine("vllm", "steady")
    adds = {FACTORS: engine._replace(tpot_factor=1.25), FAMILY: engine}

    def row(step, prefill, judged):
        passes, batch = Passes(0.0, prefill, 4 * prefill, 100 * step), Batch(4.0, 500, 100)
        made = first._replace(passes=passes, batch=batch, adds=adds)
        tpot, _ = made.times(FAMILY, 2.25)
        served = first.row.served._replace(engine="vllm", judged=judged, measured_tpot=tpot)
        return made._replace(row=SpeculativeRow(served, 3))

    rows = [row(step, 30_000.0, step > 9000) for step in (5000.0, 8000.0, 13_000.0, 40_000.0)]
    scaled, found = fit_accepted(rows)
    assert scaled.accepted_tokens > found.accepted_tokens == 2.25
    assert (found.fitted_rows, found.held_out_rows) == (2, 2)
    assert found.tpot_median == found.tpot_mean == 0.0
