"""`explore`: an interactive page."""

import sys
from importlib.resources import files

import click


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), help="Of the page [default: a free one].")
@click.option("--headless", is_flag=True, help="Do not open a browser.")
def explore(port: int | None, headless: bool) -> None:
    """Open a page to choose a workload and a device and watch the costs."""
    import subprocess
    from importlib.util import find_spec

    from sweepengine.data.errors import InputError

    if find_spec("marimo") is None:
        raise InputError(
            "explore: marimo is not installed: expected the extra, pip install "
            "'sweepengine[explore]'"
        )
    page = str(files("sweepengine.show") / "explorer.py")
    command = [sys.executable, "-m", "marimo", "run", page]
    command += ["--headless"] if headless else []
    command += ["--port", str(port)] if port else []
    sys.exit(subprocess.run(command, check=False).returncode)
