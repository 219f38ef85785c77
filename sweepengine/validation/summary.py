"""All comparisons with torch, and their verdict."""

from typing import Any, NamedTuple

from sweepengine.data.models import Model
from sweepengine.validation import activation_memory, end_to_end, per_layer
from sweepengine.validation.counters import Figure


class Validation(NamedTuple):
    """All results of `validate`."""

    model: str
    layers: list[per_layer.Row]
    published: dict[str, float]
    """Layer to the relative difference of the published validation, %."""
    end_to_end: list[Figure]
    activation_memory: list[activation_memory.Peak]

    @property
    def passed(self) -> bool:
        """Whether all layers and figures are equal and all peaks within their tolerance."""
        return self._counts() == tuple(
            len(part) for part in (self.layers, self.end_to_end, self.activation_memory)
        )

    @property
    def verdict(self) -> str:
        """One line with the numbers of equal layers, equal figures and peaks within tolerance."""
        layers, figures, peaks = self._counts()
        return (
            f"{layers} of {len(self.layers)} layers and {figures} of {len(self.end_to_end)} "
            f"end-to-end figures equal, {peaks} of {len(self.activation_memory)} activation "
            "peaks within tolerance"
        )

    def _counts(self) -> tuple[int, ...]:
        return (
            sum(row.status != "different" for row in self.layers),
            sum(check.status == "equal" for check in self.end_to_end),
            sum(peak.status == "within" for peak in self.activation_memory),
        )

    def as_dict(self) -> dict[str, Any]:
        """All results, for JSON."""
        return {
            "model": self.model,
            "layers": [
                {
                    **row._asdict(),
                    "relative_difference": row.relative_difference,
                    "published_difference_percent": self.published[row.layer],
                    "status": row.status,
                }
                for row in self.layers
            ],
            "end_to_end": [
                {**check._asdict(), "status": check.status} for check in self.end_to_end
            ],
            "activation_memory": [
                {
                    **peak._asdict(),
                    "relative_difference": peak.relative_difference,
                    "status": peak.status,
                }
                for peak in self.activation_memory
            ],
        }


def measure(model: Model) -> Validation:
    """Measure layers, phases and activation memory of a model with torch."""
    return Validation(
        model.name,
        per_layer.measure(model.architecture),
        per_layer.published_differences(),
        end_to_end.measure(model),
        activation_memory.measure(model.architecture),
    )
