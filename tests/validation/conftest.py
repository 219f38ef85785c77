import os

import pytest
import torch

from sweepengine.data.models import load_model
from sweepengine.validation import summary

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)  # threads of two workers on as many cores would wait for each other


@pytest.fixture(scope="session")
def validation():
    """Everything that `sweepengine validate` measures, measured once."""
    return summary.measure(load_model())
