import pickle

import pytest

from sweepengine.data.models import load_model
from sweepengine.validation import summary
from sweepengine.validation.silicon import measure
from tests.conftest import made_once


@pytest.fixture(scope="session")
def validation(tmp_path_factory):
    """Everything that `sweepengine validate` measures, measured once for all workers."""
    with made_once(tmp_path_factory, "validation") as (folder, todo):
        kept = folder / "validation.pickle"
        if todo:
            kept.write_bytes(pickle.dumps(summary.measure(load_model())))
    return pickle.loads(kept.read_bytes())


@pytest.fixture(scope="session")
def silicon(tmp_path_factory):
    """Everything that `sweepengine validate --silicon` compares, made once for all workers."""
    with made_once(tmp_path_factory, "silicon") as (folder, todo):
        kept = folder / "silicon.pickle"
        if todo:
            kept.write_bytes(pickle.dumps(measure()))
    return pickle.loads(kept.read_bytes())
