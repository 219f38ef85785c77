import os
import pickle

import pytest
import torch

from sweepengine.data.models import load_model
from sweepengine.validation import summary
from tests.conftest import made_once

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)  # threads of two workers on as many cores would wait for each other


@pytest.fixture(scope="session")
def validation(tmp_path_factory):
    """Everything that `sweepengine validate` measures, measured once for all workers."""
    with made_once(tmp_path_factory, "validation") as (folder, todo):
        kept = folder / "validation.pickle"
        if todo:
            kept.write_bytes(pickle.dumps(summary.measure(load_model())))
    return pickle.loads(kept.read_bytes())
