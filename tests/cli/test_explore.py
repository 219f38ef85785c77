"""The explorer is its command: it ends with it, listens on this machine alone, and runs nothing."""

import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import psutil
import pytest

pytestmark = pytest.mark.slow


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def fetched(address):
    with urllib.request.urlopen(address, timeout=10) as answer:
        return answer.read().decode()


@pytest.fixture
def started(tmp_path):
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
            [*command, *words], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, start_new_session=True,
        )  # fmt: skip
        running.append(process)
        for _ in range(300):
            try:
                fetched(f"http://127.0.0.1:{port}/health")
                return process, port
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.1)
        raise AssertionError("the page does not answer")

    yield start
    for process in running:
        process.kill()
        process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_whatever_ends_the_command_ends_its_server(started, number):
    process, port = started()
    family = [process.pid, *(one.pid for one in psutil.Process(process.pid).children(True))]
    process.send_signal(number)
    process.wait(timeout=20)
    for _ in range(100):
        if not any(map(psutil.pid_exists, family)):
            break
        time.sleep(0.1)
    assert not any(map(psutil.pid_exists, family))
    with pytest.raises((urllib.error.URLError, ConnectionError)):
        fetched(f"http://127.0.0.1:{port}/health")


def test_page_is_for_this_machine_and_takes_no_code(started):
    process, port = started()
    listening = {
        one.laddr.ip
        for one in psutil.Process(process.pid).net_connections()
        if one.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}
    for route in (
        "kernel/run",
        "kernel/instantiate",
        "kernel/save",
        "files/create",
        "files/list_files",
    ):
        asked = urllib.request.Request(
            f"http://127.0.0.1:{port}/api/{route}", b'{"cellIds": ["x"], "codes": ["1"]}',
            {"Content-Type": "application/json", "Marimo-Session-Id": "x"},
        )  # fmt: skip
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(asked, timeout=10)
        assert refused.value.code >= 400
    assert "import sweepengine" not in fetched(f"http://127.0.0.1:{port}/")


def test_beyond_this_machine_a_token_is_asked_for(started):
    _, port = started("--host", "0.0.0.0")
    with pytest.raises(urllib.error.HTTPError) as refused:
        fetched(f"http://127.0.0.1:{port}/api/status")
    assert refused.value.code in (401, 403)


def test_port_that_is_taken_is_one_line(command):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        done = command("explore", "--headless", "--port", listener.getsockname()[1])
    assert (done.returncode, done.stdout) == (2, "")
    assert "cannot listen there: Address already in use" in done.stderr
    assert done.stderr.count("\n") == 1
