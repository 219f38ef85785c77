"""Fits of rates: one kind of operator in one format, kernel by kernel, and which kernel runs."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from sweepengine.data.texts import Name

STRICT = ConfigDict(extra="forbid", frozen=True)
Rates = dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]]
_Percent = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Kernel(BaseModel):
    """Rates of one kernel, and the shapes that a serving engine runs it for."""

    model_config = STRICT
    name: Name
    shapes: tuple[tuple[Annotated[int, Field(ge=1, strict=True)], ...], ...] = ()
    """Shapes that it was measured for: the width of a head; hidden width, inner width, experts a
    token and experts. Empty: those of no other kernel."""
    expert_parallel: bool | None = None
    """Whether it runs where experts are spread over devices; without: in either case."""
    rates: Rates
    rates_many: Rates | None = None
    """Of a MoE kernel that meets more tokens than there are experts; without: the same."""

    @property
    def all_rates(self) -> tuple[Rates, Rates]:
        """Rates up to as many tokens as there are experts, and beyond."""
        return self.rates, self.rates if self.rates_many is None else self.rates_many


class Fit(BaseModel):
    """Rates of one kind of operator in one format, and their errors on held-out rows."""

    model_config = STRICT
    version: Name
    """Version of the measured serving engine or library."""
    rows: Annotated[int, Field(ge=1, strict=True)]
    judged: Annotated[int, Field(ge=1, strict=True)]
    """Number of held-out rows among them."""
    median: _Percent
    """Median of |predicted / measured - 1| on held-out rows, %."""
    p90: _Percent
    roofline_median: _Percent
    """The same error of the data sheet: peaks reached, no launch time."""
    roofline_p90: _Percent
    kernels: Annotated[tuple[Kernel, ...], Field(min_length=1)]
    """Those with most rows first."""

    def kernel_for(self, shape: tuple[int, ...], expert_parallel: bool) -> Kernel:
        """The kernel measured for a shape, else the one that was measured for most rows.

        Parameters
        ----------
        shape : tuple of int
            As `Kernel.shapes` has them; empty for kinds without.
        expert_parallel : bool
            Whether experts are spread over devices.
        """
        alike = [k for k in self.kernels if k.expert_parallel in (None, expert_parallel)]
        usable = alike or self.kernels
        return next((kernel for kernel in usable if shape in kernel.shapes), usable[0])
