"""Medians of repeated calls on a device, and a budget of time."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch

Call = Callable[[], object]
WARM_UP = 3
"""Calls before the first one that counts."""
FEWEST, MOST = 3, 20
"""Repeats of a measurement."""
ENOUGH_SECONDS = 0.3
"""Repeats beyond `FEWEST` end after this time."""
MICROSECONDS = 1e6
"""Per second."""


class Median(NamedTuple):
    """What one measurement found."""

    microseconds: float
    repeats: int


class Clock:
    """Times calls: CUDA events on a GPU, `time.perf_counter` on a CPU.

    Parameters
    ----------
    device : torch.device
        On which the calls compute.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.on_gpu = device.type == "cuda"

    @property
    def cache_bytes(self) -> int:
        """Bytes of the L2 cache of a GPU; 0 on a CPU."""
        return torch.cuda.get_device_properties(self.device).L2_cache_size if self.on_gpu else 0

    def kernels(self, calls: Sequence[Call], captured: bool = True) -> Median:
        """Time of one call where calls run one behind the other.

        On a GPU all calls are captured as one CUDA graph, as serving engines run them, so that the
        host takes no part.

        Parameters
        ----------
        calls : sequence of callable
            The same operator on operands of their own, so that no call finds them in a cache.
        captured : bool
            False: of calls that wait for the device, which no graph can hold.

        Raises
        ------
        RuntimeError
            When torch cannot run or capture a call.
        """

        def run_all() -> None:
            for call in calls:
                call()

        run = self._captured(run_all) if self.on_gpu and captured else run_all
        found = self.single(run)
        return found._replace(microseconds=found.microseconds / len(calls))

    def single(self, call: Call) -> Median:
        """Time of a call, the host included where it is slower than the device.

        Raises
        ------
        RuntimeError
            When torch cannot run it.
        """
        for _ in range(WARM_UP):
            call()
        taken: list[float] = []
        while len(taken) < FEWEST or (
            len(taken) < MOST and sum(taken) < ENOUGH_SECONDS * MICROSECONDS
        ):
            taken.append(self._once(call))
        return Median(statistics.median(taken), len(taken))

    def _once(self, call: Call) -> float:
        """Microseconds of a call."""
        if not self.on_gpu:
            began = time.perf_counter()
            call()
            return (time.perf_counter() - began) * MICROSECONDS
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize(self.device)
        first.record()
        call()
        last.record()
        last.synchronize()
        return first.elapsed_time(last) * 1e3

    def _captured(self, call: Call) -> Call:
        """A call as a CUDA graph, warmed up on a stream of its own as torch demands."""
        stream = torch.cuda.Stream(self.device)
        stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                call()
        torch.cuda.current_stream(self.device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            call()
        return graph.replay


class Budget:
    """Time that measurements may take, and what was left out of it.

    A measurement starts only if the longest one before it of the same kind would still fit.

    Parameters
    ----------
    seconds : float
        Of all measurements together.
    now : callable
        Seconds of a clock.
    """

    def __init__(self, seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self.now = now
        self.began = now()
        self.longest: dict[str, float] = {}
        self.left_out: list[tuple[str, str]] = []
        """What was not measured, and why."""

    @property
    def used(self) -> float:
        """Seconds since the start."""
        return self.now() - self.began

    @contextmanager
    def measured(
        self, kind: str, what: str, share: float = 1.0, expected: float = 0.0
    ) -> Iterator[bool]:
        """Whether there is time for a measurement; what fails or does not fit is noted.

        Parameters
        ----------
        kind : str
            Measurements that take about as long.
        what : str
            Its name for the user.
        share : float
            Part of the budget that this kind may reach into.
        expected : float
            Seconds of the first one of its kind, of which none is known yet.
        """
        began = self.used
        fits = began + self.longest.get(kind, expected) <= share * self.seconds
        if not fits:
            self.left_out.append((what, "the budget was used up"))
        try:
            yield fits
        except Exception as error:  # torch and transformers may raise anything
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            self.left_out.append((what, reason))
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        if fits:
            self.longest[kind] = max(self.longest.get(kind, 0.0), self.used - began)
