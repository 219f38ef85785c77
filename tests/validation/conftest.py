import pytest

from sweepengine.architecture import load_model
from sweepengine.validation import summary


@pytest.fixture(scope="session")
def validation():
    """Everything that `sweepengine validate` measures, measured once."""
    return summary.measure(load_model())
