"""Compares published throughputs with predictions for the same settings; nothing is fitted."""

from typing import Any, NamedTuple

from sweepengine.data.devices import load_device
from sweepengine.data.family_factors import engine_of_point
from sweepengine.data.files import shipped_table
from sweepengine.data.models import load_model
from sweepengine.data.speeds import speeds_of, timing_target
from sweepengine.formulas.serving import CONTINUOUS, SERVING
from sweepengine.grid.points import checked_point
from sweepengine.grid.timed import timed

DAY = 86_400


class Throughput(NamedTuple):
    """One published figure and its prediction."""

    what: str
    unit: str
    published: float
    ours: float
    source: str

    @property
    def ratio(self) -> float:
        """Predicted / published."""
        return self.ours / self.published


def throughputs() -> list[Throughput]:
    """All published figures of data/measured/throughputs.toml, with predictions."""
    rows = shipped_table("measured", "throughputs.toml")
    return [_throughput(name, row) for name, row in rows.items()]


def _throughput(name: str, row: dict[str, Any]) -> Throughput:
    model = load_model(row["model"])
    point = checked_point(model, row["point"])
    steady_state = row["of"] in ("tokens", "pages")
    point = point._replace(serving=CONTINUOUS if steady_state else SERVING.index("static"))
    target = timing_target(load_device(row["device"]), row["framework"])
    arch = model.architecture
    speeds = speeds_of(arch, point, target)
    seconds = timed(arch, point, speeds, engine_of_point(arch, point, target))
    steps, batch = point.decode_steps, point.batch_size
    groups = point.tensor_parallel * point.data_parallel
    ours = {
        "tokens": batch * steps / (seconds.ttft + seconds.decode),
        "pages": DAY * batch / (seconds.ttft + seconds.decode),
        "prefill": batch * point.prompt_tokens / seconds.prefill / groups,
        "decode": batch * steps / max(seconds.decode, 1e-9) / groups,
    }[row["of"]]
    return Throughput(name, row["unit"], row["published"], ours, row["source"])
