"""The server of the explorer: the page, and views at the values of its controls, as JSON.

It listens on this machine only; with another host it requires a token. It reads no file that a
request names, and runs nothing from a request. Models and devices are the shipped ones, those of
the command line, and configs dropped on the page, which are parsed like any other.
"""

import hashlib
import hmac
import json
import re
import secrets
import socket
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from sweepengine.data.errors import InputError, printable
from sweepengine.data.files import LARGEST_FILE, known
from sweepengine.data.models import Model, load_model
from sweepengine.engine import interrupts
from sweepengine.search.exploration import controls_of, explore
from sweepengine.show.explorer import all_models, page, read_model, view_of
from sweepengine.show.terminal import say

LOOPBACK = ("127.0.0.1", "::1", "localhost")
LOOPBACK_HOST = re.compile(r"(127\.0\.0\.1|\[::1\]|localhost)(:[0-9]{1,5})?", re.IGNORECASE)
"""A Host header of this machine."""
NOT_CONTROLS = ("model", "device", "token")
"""Parameters of a view that are not controls of its model."""
KEPT_CONFIGS = 64
POLL_SECONDS = 0.2


class Explorer(ThreadingHTTPServer):
    """The server, with the models and devices on offer."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        host: str,
        port: int,
        models: Sequence[str],
        devices: Sequence[str],
        start: Mapping[str, Any],
    ) -> None:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        self.address_family = family
        super().__init__(address[:2], Answers)  # type: ignore[arg-type] # of either family
        self.host, self.start = host, start
        self.token = "" if host in LOOPBACK else secrets.token_urlsafe(16)
        self.models = all_models(models)
        self.dropped: dict[str, Model] = {}
        self.devices = list(dict.fromkeys([*devices, *known("devices")]))
        self.lock = threading.Lock()

    @property
    def address(self) -> str:
        """The address for a browser."""
        shown = f"[{self.host}]" if ":" in self.host else self.host
        token = f"?token={self.token}" if self.token else ""
        return f"http://{shown}:{self.server_port}/{token}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print errors, except those of closed connections."""
        error = sys.exc_info()[1]
        if not isinstance(error, ConnectionError | TimeoutError):
            say(f"sweepengine: explore: {type(error).__name__}: {error}", error=True)

    def model(self, key: str) -> Model | str:
        """Return a model on offer: one that was dropped, or the name or path of another.

        Raises
        ------
        InputError
            When the model is not on offer.
        """
        if key in self.dropped:
            return self.dropped[key]
        if key not in self.models:
            raise InputError(
                f"model = {printable(key)}: expected {', '.join(self.models)}, or a config.json "
                "dropped on the page"
            )
        return key

    def device(self, key: str) -> str:
        """Return the name or path of a device on offer.

        Raises
        ------
        InputError
            When the device is not on offer.
        """
        if key not in self.devices:
            raise InputError(f"device = {printable(key)}: expected {', '.join(self.devices)}")
        return key

    def view(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Return what the page shows of a device."""
        model, device = self.model(query.get("model", "")), self.device(query.get("device", ""))
        chosen = {name: text for name, text in query.items() if name not in NOT_CONTROLS}
        with self.lock:
            return view_of(explore(model, device, chosen))

    def controls(self, query: Mapping[str, str]) -> list[dict[str, Any]]:
        """Return the controls of a model."""
        with self.lock:
            model = load_model(self.model(query.get("model", "")))
        return [control._asdict() for control in controls_of(model)]

    def config(self, body: bytes) -> dict[str, str]:
        """Read a config that was dropped; return its key and name. No file is left of it."""
        digest = hashlib.sha256(body).hexdigest()[:12]
        with self.lock, tempfile.TemporaryDirectory(prefix="sweepengine-") as folder:
            path = Path(folder) / digest / "config.json"
            path.parent.mkdir()
            path.write_bytes(body)
            model = read_model(path)
            while len(self.dropped) >= KEPT_CONFIGS:
                del self.dropped[next(iter(self.dropped))]
            self.dropped[f"config-{digest}"] = model
        return {"key": f"config-{digest}", "name": f"{model.name} (dropped)"}

    def page(self) -> str:
        """Return the page."""
        dropped = {key: f"{model.name} (dropped)" for key, model in self.dropped.items()}
        return page(self.models | dropped, self.devices, self.start)


class Answers(BaseHTTPRequestHandler):
    """The handler of requests."""

    server: Explorer
    timeout = 60
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "sweepengine", ""

    def do_GET(self) -> None:
        """Send the page, a view, or the controls of a model."""
        where = urlsplit(self.path)
        query = dict(parse_qsl(where.query, keep_blank_values=True))
        if not self._allowed(query):
            return
        match where.path:
            case "/":
                self._send(HTTPStatus.OK, self.server.page().encode(), "text/html; charset=utf-8",
                           token=True)  # fmt: skip
            case "/view":
                self._answer(lambda: self.server.view(query))
            case "/controls":
                self._answer(lambda: self.server.controls(query))
            case _:
                self._refuse(HTTPStatus.NOT_FOUND, "no such page")

    def do_POST(self) -> None:
        """Take a config that was dropped on the page."""
        if not self._allowed({}):
            return
        kind = self.headers.get_content_type()
        length = self.headers.get("Content-Length", "")
        if self.path != "/config" or kind != "application/json":
            self._refuse(HTTPStatus.NOT_FOUND, "expected JSON for /config")
        elif not length.isdecimal() or not 0 < int(length) <= LARGEST_FILE:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                         f"config.json: expected at most {LARGEST_FILE:,} bytes")  # fmt: skip
        else:
            body = self.rfile.read(int(length))
            self._answer(lambda: self.server.config(body))

    def _allowed(self, query: Mapping[str, str]) -> bool:
        """Tell whether a request comes from this page, and refuse it if not.

        Other sites can neither use this host name nor read the token.
        """
        token = self.server.token
        if not self.path.startswith("/"):
            self._refuse(HTTPStatus.BAD_REQUEST, "expected a path of this page")
            return False
        if not token:
            hosts = self.headers.get_all("Host", [])
            if len(hosts) == 1 and LOOPBACK_HOST.fullmatch(hosts[0]):
                return True
        elif any(hmac.compare_digest(given.encode(), token.encode()) for given in
                 (query.get("token", ""), self._cookie())):  # fmt: skip
            return True
        self._refuse(HTTPStatus.FORBIDDEN, "expected the address that the command printed")
        return False

    def _cookie(self) -> str:
        try:
            cookie = SimpleCookie(self.headers.get("Cookie", "")).get("token")
        except CookieError:
            return ""
        return cookie.value if cookie else ""

    def _answer(self, work: Any) -> None:
        try:
            facts, status = work(), HTTPStatus.OK
        except InputError as error:
            facts, status = {"error": str(error)}, HTTPStatus.BAD_REQUEST
        except MemoryError:
            facts, status = {"error": "out of memory"}, HTTPStatus.INSUFFICIENT_STORAGE
        self._send(status, json.dumps(facts).encode(), "application/json")

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        self.close_connection = True
        self._send(status, json.dumps({"error": reason}).encode(), "application/json")

    def _send(self, status: HTTPStatus, body: bytes, kind: str, token: bool = False) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("X-Frame-Options", "DENY")
        if token and self.server.token:
            cookie = f"token={self.server.token}; HttpOnly; SameSite=Strict; Path=/"
            self.send_header("Set-Cookie", cookie)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 # its name in the base
        """Print nothing for a request."""


def serve(
    host: str,
    port: int,
    models: Sequence[str],
    devices: Sequence[str],
    start: Mapping[str, Any],
    browser: bool,
) -> None:
    """Serve the page until a signal ends the command.

    Parameters
    ----------
    host, port : str, int
        Address to listen on; port 0 takes a free one.
    models, devices : sequence of str
        Names or files to offer, in addition to the shipped ones.
    start : mapping
        First values of the controls.
    browser : bool
        Whether to open a browser.

    Raises
    ------
    InputError
        When a model or device is not valid, or the address cannot be listened on.
    """
    try:
        server = Explorer(host, port, models, devices, start)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"explore: {host}:{port}: cannot listen there: {reason}") from None
    with server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        say(server.address)
        sys.stdout.flush()
        if browser:
            import webbrowser

            webbrowser.open(server.address)
        ended = threading.Event()
        try:
            while not ended.wait(POLL_SECONDS):
                interrupts.check()
        finally:
            server.shutdown()
