"""Constants of serving engines are what the training half of the serving rows says."""

import numpy as np
import pytest

from sweepengine.data.family_factors import FAMILY_FACTORS
from sweepengine.data.serving_engines import BURSTS, ENGINES, SETTINGS, STEADY
from sweepengine.formulas.speeds import FRAMEWORKS
from sweepengine.validation.served_constants import (
    FITTED,
    OF_LOADS,
    family_factors,
    fit_engine,
    fitted_to,
    medians_of,
    shrunk,
)
from sweepengine.validation.served_files import with_constants


def test_constants_of_exact_rows_are_found():
    drawn = np.random.default_rng(0)
    design, base = drawn.uniform(0.1, 1, (200, 3)), drawn.uniform(0, 1, 200)
    measured = base + design @ np.array([2.0, 0.5, 0.0])
    assert fitted_to(design, base, measured) == pytest.approx([2.0, 0.5, 0.0], abs=1e-3)


def test_loads_have_no_constant_of_an_unknown_name():
    known = {*OF_LOADS, *SETTINGS.values()}
    for engine in FRAMEWORKS:
        for load in (STEADY, BURSTS):
            assert {*ENGINES[engine][load]} == {*getattr(FITTED[engine], load)} <= known


def test_a_constant_that_no_row_depends_on_is_none():
    design = np.column_stack([np.ones(20), np.zeros(20)])
    assert fitted_to(design, np.ones(20), np.full(20, 4.0)) == pytest.approx([3.0, 0.0], rel=1e-3)


def test_rows_that_are_far_off_do_not_pull():
    design = np.ones((100, 1))
    measured = np.where(np.arange(100) < 90, 3.0, 300.0)
    assert fitted_to(design, np.zeros(100), measured) == pytest.approx([3.0], rel=0.02)


def test_a_factor_of_few_rows_is_shrunk():
    assert shrunk([0.3, 0.3], 2) == pytest.approx(0.15)
    assert shrunk([0.3] * 98, 2) == pytest.approx(0.294)


def test_constants_are_written_over_those_of_the_last_version():
    text = '[versions."1"]\nburst = 1\n\n[versions."2"]\nburst = 2\nsource = "x"\n'
    assert with_constants(text, {"burst": 0.5}) == text.replace("burst = 2", "burst = 0.5")


@pytest.mark.slow
def test_shipped_constants_and_factors_are_what_the_command_makes(silicon):
    served = [row for row in silicon.served.served if row.aggregated and not row.full]
    factors = {}
    for framework in FRAMEWORKS:
        rows = [row for row in served if row.engine == framework] + medians_of(framework)
        training = np.array([not row.judged for row in rows])
        fitted = fit_engine(rows, training)
        for name, value in fitted.constants.items():
            assert ENGINES[framework][name] == pytest.approx(value, rel=0.02), name
        assert FAMILY_FACTORS["means"].get(framework, {}) == pytest.approx(fitted.means, rel=0.02)
        measured = {what: np.array([getattr(row, f"measured_{what}") for row in rows])
                    for what in ("tpot", "ttft")}  # fmt: skip
        ratios = {what: measured[what] / getattr(fitted, what) for what in measured}
        factors |= family_factors(rows, ratios, training)
    shipped = {(row["engine"], row["parameters"], row["format"], row["generation"]): row
               for row in FAMILY_FACTORS["families"]}  # fmt: skip
    assert set(shipped) == {tuple(family) for family in factors}
    for family, row in factors.items():
        assert shipped[tuple(family)]["rows"] == row["rows"]
        assert shipped[tuple(family)]["tpot"] == pytest.approx(row["tpot"], abs=0.01)
        assert shipped[tuple(family)]["ttft"] == pytest.approx(row["ttft"], abs=0.02)
