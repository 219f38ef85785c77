"""Every family of configs against transformers on the meta device, with a few of its layers."""

import pytest

from sweepengine.validation.configs import measure
from tests.data.configs import all_configs, covered, shortened, write

pytestmark = pytest.mark.slow


def differences(path):
    return [figure for figure in measure(path) if figure.difference]


@pytest.mark.parametrize("kind", [kind for kind in covered() if kind != "nemotron-nas"])
def test_every_family_equals_torch_in_every_figure(kind, tmp_path):
    """The code of Nemotron-NAS is no part of transformers."""
    assert differences(write(tmp_path, shortened(all_configs()[covered()[kind]]))) == []
