"""A Docker Compose file that starts all servers of a plan on one node, and its router."""

import json
from collections.abc import Sequence
from typing import Any

from sweepengine.data.errors import InputError
from sweepengine.search.deploy import Deployment
from sweepengine.search.engine_arguments import UNKNOWN_DRAFT, Launch
from sweepengine.search.servers import Server, nodes_used, placed, process_of, router_of
from sweepengine.show.plan_texts import headline
from sweepengine.show.yaml_text import yaml_text

CACHE = "/huggingface"
"""Where a container keeps downloaded checkpoints: the folder of the host's own cache."""


def _host(server: Server, rank: int) -> str:
    """The name of a service is that of its host."""
    assert rank == 0
    return server.name


def _with_draft(text: str, launch: Launch) -> str:
    """A text in which a draft whose place is unknown is a variable that must be set."""
    note = json.dumps(launch.draft.note)[1:-1]
    return text.replace(UNKNOWN_DRAFT, f"${{{UNKNOWN_DRAFT}:?{note}}}")


def launch_compose(deployment: Deployment, launches: Sequence[Launch]) -> str:
    """Text of a Compose file for the servers of one plan, a service each, and one of the router.

    Raises
    ------
    InputError
        When the plan needs several nodes.
    """
    servers = placed(launches)
    if (nodes := nodes_used(servers)) > 1:
        raise InputError(
            f"deploy: the plan needs {nodes} nodes, and Compose starts one: expected "
            "--script FILE.sh, or --manifest FILE.yaml for Kubernetes"
        )
    services = {server.name: _service(server) for server in servers}
    configs = {
        f"{server.name}-config": {
            "content": _with_draft(yaml_text(server.launch.config), server.launch)
        }
        for server in servers
        if server.launch.config
    }
    router = router_of(servers, _host)
    if router is None:
        for server in servers:
            services[server.name]["ports"] = [f"{server.port()}:{server.port()}"]
    else:
        rules = launches[0].rules["router"]
        words = list(router.words)
        if router.config:
            configs["router-config"] = {"content": yaml_text(router.config)}
            words.append("/router-config")
        service: dict[str, Any] = {"image": rules["image"], "command": words}
        if "install" in rules:
            line = f'pip install {rules["install"]} && exec "$$0" "$$@"'
            service = {"image": rules["image"], "entrypoint": ["sh", "-c", line], "command": words}
        if router.config:
            service["configs"] = ["router-config"]
        service["ports"] = [f"{router.port}:{router.port}"]
        service["depends_on"] = [server.name for server in servers]
        services["router"] = service
    content: dict[str, Any] = {"services": services}
    if configs:
        content["configs"] = configs
    comment = "".join(f"# {line}\n" for line in headline(deployment, launches))
    return comment + yaml_text(content)


def _service(server: Server) -> dict[str, Any]:
    """The service of one server."""
    launch, process = server.launch, process_of(server, 0, _host)
    words = list(process.words)
    model = words.index(launch.arguments[len(launch.rules["model"])])
    volumes = [f"~/.cache/huggingface:{CACHE}"] if launch.downloads else []
    volumes += [f"{folder}:{folder}:ro" for folder in launch.folders]
    if not launch.checkpoint.path:
        words[model] = "${MODEL:?" + json.dumps(launch.checkpoint.note)[1:-1] + "}"
    words = [_with_draft(word, launch) for word in words]
    reserved = {"driver": "nvidia", "device_ids": [f"{n}" for n in server.devices_a_node],
                "capabilities": ["gpu"]}  # fmt: skip
    service: dict[str, Any] = {
        "image": launch.rules["image"],
        "entrypoint": words[: len(launch.rules["program"])],
        "command": words[len(launch.rules["program"]) :],
        "environment": {"HF_TOKEN": "${HF_TOKEN:-}", "HF_HOME": CACHE} | process.environment,
        "volumes": volumes,
        "ipc": "host",
        "deploy": {"resources": {"reservations": {"devices": [reserved]}}},
    }
    if launch.config:
        service["command"] += ["--config", f"/{server.name}-config"]
        service["configs"] = [f"{server.name}-config"]
    return service
