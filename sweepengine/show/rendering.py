"""Write charts as SVG, PNG and offline HTML, and whole pages; nothing uses a network."""

from collections.abc import Sequence
from functools import cache
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert
from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from sweepengine.data.errors import InputError
from sweepengine.data.kept import keep, kept_folder, read_kept
from sweepengine.data.outputs import KINDS, written
from sweepengine.engine import progress
from sweepengine.show.look import title_of

SVG, PNG, HTML = KINDS
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
    content = drawn(specification_of(chart), (path.suffix,))[path.suffix]
    with written(path) as file:
        file.write(content)


def specification_of(chart: alt.TopLevelMixin) -> dict[str, Any]:
    """Return the Vega-Lite of a chart; tests check it against the schema, which takes as long."""
    return chart.to_dict(validate=False)


def drawn(specification: dict[str, Any], kinds: Sequence[str] = KINDS) -> dict[str, bytes]:
    """Return the bytes of the files of a chart, by their endings; it is drawn once for all.

    Parameters
    ----------
    specification : dict
        As `specification_of` returns it.
    kinds : sequence of str
        Some of `KINDS`.
    """
    files: dict[str, bytes] = {}
    if SVG in kinds or PNG in kinds:
        picture = vl_convert.vegalite_to_svg(specification)
        files[SVG] = picture.encode()
        if PNG in kinds:
            files[PNG] = vl_convert.svg_to_png(picture, scale=PNG_SCALE)
    if HTML in kinds:
        charts = [("chart", specification)]
        page = render("chart.html", title=title_of(specification), charts=charts)
        files[HTML] = page.encode()
    progress.advance(len(kinds))
    return {kind: files[kind] for kind in kinds}


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
    """Return Vega, Vega-Lite and Vega-Embed, which vl-convert takes seconds to join: kept."""
    path = kept_folder() / f"vega-{version('vl-convert-python')}.js"
    try:
        return Markup(read_kept(path).decode())
    except OSError:
        joined = vl_convert.javascript_bundle()  # type: ignore[call-arg] # its stub is wrong
    keep(path, joined.encode())
    return Markup(joined)
