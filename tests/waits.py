"""Waiting for what another process does, however slow the machine is."""

import socket
import time

PATIENCE_SECONDS = 120
"""How long what is waited for may take before that is a failure."""


def waiting(problem):
    """Turns of a loop that waits for a condition; it fails with the problem at the end."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        yield
        time.sleep(0.01)
    raise AssertionError(f"{problem} after {PATIENCE_SECONDS} seconds")


def free_port():
    """A port that nobody listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
