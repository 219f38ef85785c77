"""The same questions to `deploy` and to aiconfigurator, in one run: candidates, seconds, answers.

They are three that its README asks: Qwen3-32B in fp8 on H200, TensorRT-LLM's kernels.
"""

import contextlib
import io
import logging
import re
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks.measure import Measurement, run_command
from sweepengine.data.models import load_model
from sweepengine.grid.lengths import lengths_of
from sweepengine.search.deploy import find_deployment
from sweepengine.search.options import AGGREGATED, DeployOptions, LatencyTargets

GROUP = "deploy"
MODEL, PATH = "qwen3-32b", "Qwen/Qwen3-32B-FP8"
DEVICE, SYSTEM, FRAMEWORK, PRECISION = "h200", "h200_sxm", "trtllm", "fp8"
LARGE = ("deploy", "llama-3.1-70b", "--device", "h200", "--devices", "8", "--batch", "16384",
         "--precision", "any", "--prompt", "4000", "--answer", "500")  # fmt: skip
"""A search of more than a million candidates, as a process."""


class Question(NamedTuple):
    """One question; times are seconds."""

    text: str
    devices: int | None
    rate: float | None
    prompt: int
    cached: int
    answer: int
    ttft: float
    tpot: float


QUESTIONS = (
    Question("32 devices, TTFT 2 s, TPOT 30 ms", 32, None, 4000, 0, 1000, 2.0, 0.03),
    Question("50 requests/s, TTFT 2 s, TPOT 30 ms", None, 50.0, 4000, 0, 1000, 2.0, 0.03),
    Question("32 devices, 500 of 4,000 cached, TTFT 0.3 s, TPOT 10 ms", 32, None, 4000, 500, 500,
             0.3, 0.01),
)  # fmt: skip


class Reply(NamedTuple):
    """What a tool says."""

    candidates: int
    devices: int
    device_tokens_per_s: float
    text: str


def ours(question: Question) -> Reply:
    """`deploy`'s answer."""
    model = load_model(MODEL)
    table = {"prompt": [question.prompt - question.cached], "cached_tokens": [question.cached],
             "answer": [question.answer]}  # fmt: skip
    options = DeployOptions(
        LatencyTargets(question.ttft, question.tpot), question.devices, question.rate,
        frameworks=(FRAMEWORK,), precisions=(PRECISION,), margin=0.0,
    )  # fmt: skip
    found = find_deployment(MODEL, [DEVICE], lengths_of("benchmark", model, table), options)
    best = found.best
    if best is None:
        raise SystemExit(f"{question.text}: {found.reason}")
    way = f"{best['layout']}, batch {best['batch_size']}"
    if best["mode"] != AGGREGATED:
        way = f"{best['prefill_layout']} prefill, {best['layout']} decode"
    return Reply(found.candidates, best["devices"], best["device_tokens_per_s"],
                 f"{best['mode']}, {way}")  # fmt: skip


def theirs(question: Question) -> Reply:
    """Aiconfigurator's answer; what it considered are the results that its log counts."""
    from aiconfigurator.cli.api import cli_default, cli_recommend

    ways: dict[str, Any] = {
        "isl": question.prompt, "osl": question.answer, "prefix": question.cached,
        "ttft": question.ttft * 1000, "tpot": question.tpot * 1000, "backend": FRAMEWORK,
    }  # fmt: skip
    said = _Results()
    log = logging.getLogger("aiconfigurator")
    log.setLevel(logging.INFO)
    log.addHandler(said)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        if question.rate is None:
            found = cli_default(PATH, question.devices, SYSTEM, **ways)
        else:
            found = cli_recommend(PATH, SYSTEM, target_request_rate=question.rate,
                                  database_mode="SILICON", **ways)  # fmt: skip
    log.removeHandler(said)
    best = found.best_configs[found.chosen_exp].iloc[0]
    made = float(best["tokens/s/gpu_cluster" if "tokens/s/gpu_cluster" in best else "tokens/s/gpu"])
    used = best.get("total_gpus_used", question.devices) or question.devices
    if question.rate is not None:
        used = best.get("total_gpus_needed", used)
    return Reply(said.count, int(used or 0), made, str(found.chosen_exp))


class _Results(logging.Handler):
    """Counts results of experiments as a log tells them."""

    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        match = re.search(r"completed with (\d+) results", record.getMessage())
        self.count += int(match[1]) if match else 0


def timed(tool: Callable[[Question], Reply], question: Question) -> tuple[Reply, float]:
    """An answer and its seconds, the second time that it is asked."""
    tool(question)
    began = time.perf_counter()
    reply = tool(question)
    return reply, time.perf_counter() - began


def measurements() -> list[Measurement]:
    """Seconds and answers of both tools; points are candidates."""
    found = []
    for question in QUESTIONS:
        for name, tool in (("sweepengine", ours), ("aiconfigurator", theirs)):
            reply, seconds = timed(tool, question)
            note = f"{reply.devices} devices, {reply.device_tokens_per_s:,.0f} tokens/s/device"
            found.append(Measurement(GROUP, f"{question.text}: {name}", reply.candidates,
                                     [seconds], note=f"{note}; {reply.text}"))  # fmt: skip
    return [*found, large()]


def large() -> Measurement:
    """A search of a million candidates, start of the process included."""
    run_command(*LARGE)
    runs = [run_command(*LARGE) for _ in range(3)]
    line = runs[0].output.splitlines()[1]
    candidates = int(line.split(" candidates")[0].replace(",", ""))
    seconds = [run.seconds for run in runs]
    peak = max(run.megabytes for run in runs)
    return Measurement(GROUP, "a million candidates, whole process", candidates, seconds, peak)
