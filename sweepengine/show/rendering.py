"""Write charts as SVG, PNG and offline HTML, and whole pages; nothing uses a network."""

from collections.abc import Sequence
from functools import cache
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

import altair as alt
from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from sweepengine.data.errors import InputError
from sweepengine.data.kept import keep, kept_folder, read_kept
from sweepengine.data.outputs import KINDS, written
from sweepengine.show.look import title_of

SVG, PNG, HTML = KINDS


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
    from sweepengine.show.painter import png_of, svg_of  # loads what a report's page does without

    files: dict[str, bytes] = {}
    if SVG in kinds or PNG in kinds:
        files[SVG] = svg_of(specification)
        if PNG in kinds:
            files[PNG] = png_of(files[SVG])
    if HTML in kinds:
        files[HTML] = page_of(specification)
    return {kind: files[kind] for kind in kinds}


def page_of(specification: dict[str, Any]) -> bytes:
    """Return the offline page of one chart."""
    charts = [("chart", specification)]
    return render("chart.html", title=title_of(specification), charts=charts).encode()


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
        import vl_convert

        joined = vl_convert.javascript_bundle()  # type: ignore[call-arg] # its stub is wrong
    keep(path, joined.encode())
    return Markup(joined)
