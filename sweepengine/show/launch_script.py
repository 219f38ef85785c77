"""A Bash script that starts all servers of a plan, and its router."""

import re
import shlex
from collections.abc import Sequence

from sweepengine.data.errors import printable
from sweepengine.search.deploy import Deployment
from sweepengine.search.engine_arguments import UNKNOWN_DRAFT, Launch
from sweepengine.search.servers import (
    ROUTER_PORT,
    Process,
    Server,
    nodes_used,
    placed,
    process_of,
    router_of,
)
from sweepengine.show.plan_texts import headline
from sweepengine.show.yaml_text import yaml_text


def _host(server: Server, rank: int) -> str:
    """A host as the script knows it: replaced by its variable after quoting."""
    return f"@HOST{server.node + rank}@"


def shell_words(words: Sequence[str]) -> str:
    """A command line; words that set a variable stand before the program, and stay as they are."""
    return " ".join(shlex.quote(word) for word in words)


def _with_hosts(text: str) -> str:
    """A text in which the names of `_host` are variables of the script."""
    return re.sub("@HOST([0-9]+)@", r"${HOSTS[\1]}", text)


def _with_draft(quoted: str) -> str:
    """A quoted word in which a draft whose place is unknown is a variable of the script."""
    inside = f"'\"${UNKNOWN_DRAFT}\"'"
    return quoted.replace(UNKNOWN_DRAFT, inside if quoted[0] == "'" else f'"${UNKNOWN_DRAFT}"')


def _shell(words: Sequence[str], model: str) -> str:
    """A command line in which hosts, the model and an unknown draft are variables."""
    return " ".join(
        '"$MODEL"' if word == model else _with_draft(_with_hosts(shlex.quote(word)))
        for word in words
    )


def launch_script(deployment: Deployment, launches: Sequence[Launch]) -> str:
    """Text of a script for the servers of one plan.

    Every node runs it with its number; `HOSTS` names the nodes.

    Raises
    ------
    InputError
        When a server needs a launcher on several nodes, or servers are too many.
    """
    servers = placed(launches)
    nodes = nodes_used(servers)
    first = launches[0]
    model = first.arguments[len(first.rules["model"])]
    path = f":-{shlex.quote(model)}"
    if not first.checkpoint.path:
        path = f":?{shlex.quote(f'expected {printable(first.checkpoint.note)}')}"
    draft = f":?{shlex.quote(f'expected {printable(first.draft.note)}')}"
    lines = [
        "#!/usr/bin/env bash",
        *(f"# {line}" for line in headline(deployment, launches)),
        *(f"# {line}" for line in _usage(servers, nodes)),
        "set -euo pipefail",
        f"MODEL=${{MODEL{path}}}",
        *([f"{UNKNOWN_DRAFT}=${{{UNKNOWN_DRAFT}{draft}}}"] if first.draft_unknown else []),
        "read -ra HOSTS <<< \"${HOSTS:-127.0.0.1}\"",
        "NODE=${NODE:-0}",
        f'[ "${{#HOSTS[@]}}" -eq {nodes} ] || {{ echo "expected HOSTS of {nodes} nodes" >&2; '
        "exit 2; }",
        "FILES=$(mktemp -d)",
        'trap \'kill $(jobs -p) 2>/dev/null || true; rm -r "$FILES"\' EXIT',
        "",
        "case $NODE in",
    ]  # fmt: skip
    router = router_of(servers, _host)
    for node in range(nodes):
        lines.append(f"{node})")
        for server in servers:
            if server.node <= node < server.node + server.nodes:
                rank = node - server.node
                lines += _started(server, process_of(server, rank, _host), model)
        if router is not None and node == 0:
            words = list(router.words)
            if router.config:
                lines += _file("router", yaml_text(router.config))
                words.append("@FILES@/router.yaml")
            lines.append(f"    {_shell(words, model)} &".replace("@FILES@", '"$FILES"'))
        lines.append("    ;;")
    lines += ['*) echo "expected NODE 0 to ' + f'{nodes - 1}" >&2; exit 2 ;;', "esac",
              "wait -n", ""]  # fmt: skip
    return "\n".join(lines)


def _usage(servers: Sequence[Server], nodes: int) -> list[str]:
    """How to run the script, and the port that takes requests."""
    lines = []
    if nodes > 1:
        hosts = " ".join(f"host{node}" for node in range(min(nodes, 2)))
        lines.append(f"run it on each of {nodes} nodes, the first with NODE=0: "
                     f"HOSTS='{hosts}{' ...' if nodes > 2 else ''}' NODE=0 bash FILE")  # fmt: skip
    if router_of(servers, _host) is not None:
        return [*lines, f"requests go to port {ROUTER_PORT} of the first node"]
    if len(servers) == 1:
        return [*lines, f"requests go to port {servers[0].port()}"]
    return [*lines, "requests go to each server's own port: put a load balancer before them"]


def _started(server: Server, process: Process, model: str) -> list[str]:
    """Lines that start one process in the background."""
    devices = ",".join(map(str, server.devices_a_node))
    settings = {"CUDA_VISIBLE_DEVICES": devices} | process.environment
    words, lines = list(process.words), list[str]()
    if server.launch.config:
        lines += _file(server.name, yaml_text(server.launch.config))
        words += ["--config", f"@FILES@/{server.name}.yaml"]
    named = " ".join(f"{name}={_shell([value], model)}" for name, value in settings.items())
    command = _shell(words, model).replace("@FILES@", '"$FILES"')
    return [*lines, f"    {named} \\", f"        {command} &"]


def _file(name: str, text: str) -> list[str]:
    """Lines that write a configuration file, whose hosts and unknown draft are variables."""
    text = _with_hosts(text).replace(UNKNOWN_DRAFT, f"${UNKNOWN_DRAFT}")
    return [f'    cat > "$FILES/{name}.yaml" <<END', *text.rstrip("\n").split("\n"), "END"]
