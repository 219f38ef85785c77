"""Write charts as SVG, PNG and offline HTML, and whole pages; nothing uses a network."""

from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert
from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from sweepengine.data.errors import InputError
from sweepengine.data.outputs import KINDS, written
from sweepengine.engine import progress
from sweepengine.show.look import title_of

PNG_SCALE = 1.5


def save_chart(chart: alt.TopLevelMixin, path: Path) -> None:
    """Write a chart as SVG, PNG or offline HTML, by the ending of the file name.

    Raises
    ------
    InputError
        When the name has another ending, or the file cannot be written.
    """
    if path.suffix not in KINDS:
        raise InputError(f"{path}: expected a file name that ends in {', '.join(KINDS)}")
    with written(path) as file:
        file.write(drawn(chart.to_dict(), path.suffix))


def drawn(specification: dict[str, Any], kind: str) -> bytes:
    """Return a chart as the bytes of a file.

    Parameters
    ----------
    specification : dict
        Vega-Lite, as `to_dict` of a chart returns it, which takes as long as drawing it.
    kind : str
        One of `KINDS`.
    """
    progress.advance()
    if kind == ".png":
        return vl_convert.vegalite_to_png(specification, scale=PNG_SCALE)
    if kind == ".svg":
        return vl_convert.vegalite_to_svg(specification).encode()
    return render(
        "chart.html", title=title_of(specification), charts=[("chart", specification)]
    ).encode()


def render(template: str, charts: list[tuple[str, dict[str, Any]]], **values: Any) -> str:
    """Fill the template of a page; texts are escaped, and scripts are part of the page."""
    return _templates().get_template(template).render(charts=charts, scripts=_scripts(), **values)


@cache
def _templates() -> Environment:
    folder = resources.files("sweepengine.show") / "templates"

    def load(name: str) -> str:
        return (folder / name).read_text(encoding="utf-8")

    return Environment(
        loader=FunctionLoader(load), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )


@cache
def _scripts() -> Markup:
    """Return Vega, Vega-Lite and Vega-Embed, which vl-convert contains."""
    return Markup(vl_convert.javascript_bundle())  # type: ignore[call-arg] # its stub is wrong
