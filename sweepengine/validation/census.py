"""Compares every config.json of a folder with transformers and writes a table.

    python -m sweepengine.validation.census OUT [FOLDER]

The default folder is that of the extra `silicon` (aiconfigurator-core). Configs of the same
decoder, for example in another format, are compared once.
"""

import json
import sys
import warnings
from pathlib import Path
from typing import NamedTuple

from sweepengine.data.errors import InputError
from sweepengine.data.models import load_model
from sweepengine.data.outputs import write_text
from sweepengine.formulas.architecture import Architecture
from sweepengine.formulas.checkpoint import Checkpoint
from sweepengine.validation.configs import Comparison, measure
from sweepengine.validation.counters import Figure
from sweepengine.validation.measured_operators import silicon_folder

CENSUS_COLUMNS = ("config", "model_type", "parameters", "text: equal", "vision: equal",
                  "largest difference", "reason")  # fmt: skip

NOT_COMPARED = Comparison([], [], ())


class Row(NamedTuple):
    """Result of one config."""

    config: str
    model_type: str
    parameters: int
    compared: Comparison
    reason: str
    """What was not compared, and why; empty where all was."""

    @property
    def different(self) -> int:
        """Number of figures that differ."""
        return sum(figure.difference != 0 for figure in self.compared.figures)

    @property
    def cells(self) -> tuple[str, ...]:
        """Cells of its row, as in `CENSUS_COLUMNS`."""
        figures = self.compared.figures
        largest = max((abs(figure.difference) for figure in figures), default=0)
        return (
            self.config,
            self.model_type,
            f"{self.parameters:,}" if figures else "",
            _equal(self.compared.text),
            _equal(self.compared.vision),
            f"{largest:,}" if figures else "",
            self.reason,
        )


def _equal(figures: list[Figure]) -> str:
    """How many figures are equal, such as "11 of 11"; empty where there are none."""
    equal = sum(figure.difference == 0 for figure in figures)
    return f"{equal} of {len(figures)}" if figures else ""


def configs_in(folder: Path) -> list[Path]:
    """Configs in a folder, by name; files without a model_type are left out."""
    paths = sorted(folder.glob("*config.json"))
    return [path for path in paths if "model_type" in json.loads(path.read_text("utf-8"))]


def census(paths: list[Path]) -> list[Row]:
    """Compare each config; configs of the same decoder share the measurement."""
    measured: dict[Architecture, Comparison] = {}
    rows = []
    for path in paths:
        whole = json.loads(path.read_text("utf-8"))
        part = whole.get("text_config") or whole.get("language_config") or {}
        kind = str(
            (part if isinstance(part, dict) else {}).get("model_type") or whole["model_type"]
        )
        name = path.name.removesuffix("_config.json").replace("--", "/")
        try:
            model = load_model(path)
            arch = model.architecture._replace(checkpoint=Checkpoint())
            if arch not in measured:
                measured[arch] = measure(path)
            compared = measured[arch]
            rows.append(Row(name, kind, model.parameter_count, compared, "; ".join(compared.notes)))
        except InputError as error:
            reason = str(error).removeprefix(f"{path}: ").split(": expected")[0]
            rows.append(Row(name, kind, 0, NOT_COMPARED, reason))
        print(" ".join(rows[-1].cells), flush=True)
    return rows


def verdict(rows: list[Row]) -> str:
    """One sentence with the number of configs that equal torch, differ, or are not compared."""
    compared = [row for row in rows if row.compared.figures]
    equal = [row for row in compared if not row.different]
    seeing = [row for row in compared if row.compared.vision]
    exact = sum(not any(f.difference for f in row.compared.vision) for row in seeing)
    figures = sum(len(row.compared.figures) for row in equal)
    return (
        f"{len(equal)} of {len(rows)} configs equal torch in every figure ({figures:,} figures); "
        f"{len(compared) - len(equal)} differ, {len(rows) - len(compared)} are not compared; "
        f"vision is equal in {exact} of {len(seeing)} configs whose towers are read"
    )


def main() -> None:
    """Compare the configs of a folder, print the results, and write a Markdown table."""
    warnings.filterwarnings("ignore")
    out = Path(sys.argv[1])
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else silicon_folder("model_configs")
    rows = census(configs_in(folder))
    lines = ["# Configs against torch", "", f"{verdict(rows)}.", ""]
    lines += ["| " + " | ".join(CENSUS_COLUMNS) + " |", "|---|---|---:|---:|---:|---:|---|"]
    lines += ["| " + " | ".join(row.cells) + " |" for row in rows]
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, "\n".join(lines) + "\n")
    print(verdict(rows))
    sys.exit(any(row.different for row in rows))


if __name__ == "__main__":
    main()
