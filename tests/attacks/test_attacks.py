"""A part of the attacks, spread over all groups; `make attack` runs them all.

Those on files and options are commands within this process here, those on the machine are not.
"""

import pytest

from tests.attacks.attack import cheapest, fresh, outcome, prepare
from tests.attacks.cases import attacks

pytestmark = pytest.mark.slow
ALL = attacks()
LONG = ("counting 5e9 points", "cache by several")
"""Take half a minute each; `make attack` runs them with the rest."""
PART = [attack for attack in ALL[::27] if attack.name not in LONG]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("attacked") / "prepared"
    folder.mkdir()
    prepare(folder)
    return folder


def test_there_are_enough_and_each_has_a_name_of_its_own():
    assert len(ALL) >= 1_800
    assert len({(attack.group, attack.name) for attack in ALL}) == len(ALL)
    assert set(LONG) <= {attack.name for attack in ALL}


@pytest.mark.parametrize("attack", PART, ids=lambda attack: f"{attack.group}-{attack.name}")
def test_attack_ends_as_promised(attack, prepared, tmp_path):
    assert outcome(attack, fresh(prepared, tmp_path / "folder"), cheapest) == ""


def test_promise_is_checked(prepared, tmp_path):
    """An attack whose command ends otherwise than it says is a failure."""
    broken = next(attack for attack in ALL if attack.status == (2,) and not attack.shell)
    problem = outcome(broken._replace(status=(0,)), fresh(prepared, tmp_path / "folder"))
    assert "status 2, expected (0,)" in problem
    left = broken._replace(shell="touch left; exit 2", says="")
    assert "left behind: left" in outcome(left, fresh(prepared, tmp_path / "second"))
