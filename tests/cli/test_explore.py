"""The explorer is its command: it ends with it, listens on this machine alone, and runs nothing."""

import json
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psutil
import pytest

from tests.waits import PATIENCE_SECONDS, free_port, waiting

pytestmark = pytest.mark.slow


def heed():
    """Take signals as a shell's foreground does, though `nohup` may have started the tests."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def fetched(address):
    with urllib.request.urlopen(address, timeout=60) as answer:
        return answer.read().decode()


@contextmanager
def servers(folder):
    """Starts explorers, whose files lie in a folder, and ends them all."""
    running = []

    def start(*words):
        port = free_port()
        command = [
            sys.executable,
            "-m",
            "sweepengine",
            "explore",
            "--headless",
            "--port",
            str(port),
        ]
        process = subprocess.Popen(
            [*command, *words], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, start_new_session=True, preexec_fn=heed,
        )  # fmt: skip
        running.append(process)
        for _ in waiting("the page does not answer"):
            try:
                fetched(f"http://127.0.0.1:{port}/nope")
            except urllib.error.HTTPError:  # no page takes less than the first, and tells as much
                break
            except OSError:
                assert process.poll() is None
        return process, port

    try:
        yield start
    finally:
        for process in running:
            process.kill()
            process.wait()


@pytest.fixture
def started(tmp_path):
    with servers(tmp_path) as start:
        yield start


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """An explorer for tests that ask and end nothing: its process and port."""
    with servers(tmp_path_factory.mktemp("explorer")) as start:
        yield start()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_whatever_ends_the_command_ends_its_server(started, number):
    process, port = started()
    family = [process.pid, *(one.pid for one in psutil.Process(process.pid).children(True))]
    process.send_signal(number)
    process.wait(timeout=PATIENCE_SECONDS)
    for _ in waiting("a process is left"):
        if not any(map(psutil.pid_exists, family)):
            break
    with pytest.raises((urllib.error.URLError, ConnectionError)):
        fetched(f"http://127.0.0.1:{port}/")


def asked(address, body=None, **headers):
    """Status and JSON of an answer."""
    request = urllib.request.Request(address, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as refused:
        return refused.code, json.loads(refused.read())


def test_page_is_for_this_machine_and_reads_no_file_that_a_request_names(server, tmp_path):
    process, port = server
    listening = {
        one.laddr.ip
        for one in psutil.Process(process.pid).net_connections()
        if one.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}
    address = f"http://127.0.0.1:{port}"
    own = tmp_path / "own.toml"
    own.write_text('extends = "deepseek-ocr-3b"\nname = "own"\n')
    for model, device in ((own, "l4"), ("llama-3.1-8b", own), ("/etc/passwd", "l4"), ("", "l4")):
        query = urllib.parse.urlencode({"model": model, "device": device})
        status, facts = asked(f"{address}/view?{query}")
        assert (status, facts["error"].split(" = ")[0]) in ((400, "model"), (400, "device"))
    for path in ("/../../etc/passwd", "/config", "/nope"):
        assert asked(address + path)[0] == 404
    assert asked(f"{address}/view?model=llama-3.1-8b&device=l4&batch=-1")[0] == 400


def test_other_sites_are_refused(server):
    _, port = server
    address = f"http://127.0.0.1:{port}"
    assert asked(f"{address}/controls?model=qwen3-8b")[0] == 200
    assert asked(f"{address}/controls?model=qwen3-8b", Host="evil.example")[0] == 403
    for host in ("", "evil.com@127.0.0.1", "[::1", "[x]", "127.0.0.1:80:80", "localhost/x"):
        assert asked(f"{address}/controls?model=qwen3-8b", Host=host)[0] == 403, host
    for host in ("LOCALHOST", f"localhost:{port}", "[::1]:8000"):
        assert asked(f"{address}/controls?model=qwen3-8b", Host=host)[0] == 200, host
    simple = {"Content-Type": "text/plain"}  # what a form of another site may send
    assert asked(f"{address}/config", b"{}", **simple)[0] == 404


def status_of(port, *lines):
    """Status of an answer to a request of raw lines."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        return int(connection.makefile("rb").readline().split()[1])


def test_second_host_and_the_address_of_another_site_are_refused(server):
    _, port = server
    path = "/controls?model=qwen3-8b"
    assert status_of(port, f"GET {path} HTTP/1.1", "Host: localhost") == 200
    assert status_of(port, f"GET {path} HTTP/1.1", "Host: localhost", "Host: evil.example") == 403
    assert status_of(port, f"GET {path} HTTP/1.1") == 403
    for start in ("http://evil.example", "http://127.0.0.1"):
        assert status_of(port, f"GET {start}{path} HTTP/1.1", "Host: localhost") == 400, start


def test_parameter_that_no_control_has_is_refused(server):
    _, port = server
    view = f"http://127.0.0.1:{port}/view?model=llama-3.1-8b&device=l4"
    status, facts = asked(f"{view}&crops=2x3")
    assert status == 400
    assert facts["error"].startswith("explore: crops: llama-3.1-8b has no such control: expected ")


def test_requests_at_once_are_answered_alike(server):
    _, port = server
    view = f"http://127.0.0.1:{port}/view?model=llama-3.1-8b&device=l4&batch=3"
    with ThreadPoolExecutor(24) as threads:
        answers = list(threads.map(asked, [view] * 24))
    assert answers == answers[:1] * 24
    assert answers[0][0] == 200


BODIES = (b"", b"{", b"[" * 100_000, b"null", b'{"model_type": "nope"}', b"\xff\xfe",
          b'{"a": 1, "a": 2}')  # fmt: skip


def test_config_that_is_none_is_one_line(server):
    _, port = server
    json_kind = {"Content-Type": "application/json"}
    for body in BODIES:
        status, facts = asked(f"http://127.0.0.1:{port}/config", body, **json_kind)
        assert status in (400, 413), body[:20]
        assert facts["error"].startswith("config.json: "), body[:20]
        assert "\n" not in facts["error"], body[:20]


SMALL = {
    "model_type": "llama",
    "hidden_size": 512,
    "intermediate_size": 1024,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "vocab_size": 1000,
    "tie_word_embeddings": False,
}


def test_nothing_is_left_of_what_was_dropped(started, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    process, port = started()
    for config in ({"model_type": "nope"}, SMALL):
        body, kind = json.dumps(config).encode(), {"Content-Type": "application/json"}
        status, facts = asked(f"http://127.0.0.1:{port}/config", body, **kind)
        assert list(tmp_path.iterdir()) == []
    assert status == 200
    key = urllib.parse.quote(facts["key"])
    assert asked(f"http://127.0.0.1:{port}/view?model={key}&device=l4")[0] == 200
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=PATIENCE_SECONDS)
    assert list(tmp_path.iterdir()) == []


def test_beyond_this_machine_a_token_is_asked_for(started):
    process, port = started("--host", "0.0.0.0")
    address = f"http://127.0.0.1:{port}"
    assert asked(f"{address}/controls?model=qwen3-8b")[0] == 403
    assert asked(f"{address}/controls?model=qwen3-8b&token=nope")[0] == 403
    token = process.stdout.readline().split("token=")[1].strip()
    assert asked(f"{address}/controls?model=qwen3-8b&token={token}")[0] == 200
    cookie = {"Cookie": f"token={token}"}
    assert asked(f"{address}/controls?model=qwen3-8b", **cookie)[0] == 200


def test_port_that_is_taken_is_one_line(command):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        done = command("explore", "--headless", "--port", listener.getsockname()[1])
    assert (done.returncode, done.stdout) == (2, "")
    assert "cannot listen there: Address already in use" in done.stderr
    assert done.stderr.count("\n") == 1
