"""`explore`: an interactive page."""

import os
import socket
import sys
from importlib.resources import files

import click

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), help="Of the page [default: a free one].")
@click.option(
    "--host",
    default=LOOPBACK[0],
    show_default=True,
    help="Address to listen on; beyond this machine a page asks for a random token.",
)
@click.option("--headless", is_flag=True, help="Do not open a browser.")
def explore(port: int | None, host: str, headless: bool) -> None:
    """Open a page to choose a workload and a device and watch the costs.

    The page shows what we wrote and runs nothing that a request brings. The command becomes its
    server, so that whatever ends the one ends the other.
    """
    from importlib.util import find_spec

    from sweepengine.data.errors import InputError
    from sweepengine.engine.interrupts import unwatched

    if find_spec("marimo") is None:
        raise InputError(
            "explore: marimo is not installed: expected the extra, pip install "
            "'sweepengine[explore]'"
        )
    _refuse_taken(host, port or 0)
    page = str(files("sweepengine.show") / "explorer.py")
    command = [sys.executable, "-m", "marimo", "run", page, "--host", host]
    command += ["--no-token"] if host in LOOPBACK else ["--token"]
    command += ["--headless"] if headless else []
    command += ["--port", str(port)] if port else []
    sys.stdout.flush()
    with unwatched():
        os.execv(sys.executable, command)


def _refuse_taken(host: str, port: int) -> None:
    """Refuse an address that nobody can listen on."""
    from sweepengine.data.errors import InputError

    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"explore: {host}:{port}: cannot listen there: {reason}") from None
