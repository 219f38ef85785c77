"""A Kubernetes manifest of NVIDIA Dynamo that starts a plan: one DynamoGraphDeployment."""

import json
import re
from collections.abc import Sequence
from typing import Any, Final

from sweepengine.data.errors import InputError
from sweepengine.data.files import shipped_table
from sweepengine.search.deploy import Deployment
from sweepengine.search.engine_arguments import (
    SERVE,
    UNKNOWN,
    UNKNOWN_DRAFT,
    Launch,
    added_rows,
    read_rows,
)
from sweepengine.search.servers import FIRST_PORTS
from sweepengine.show.plan_texts import headline
from sweepengine.show.yaml_text import yaml_text

DYNAMO: Final[dict[str, Any]] = shipped_table("dynamo.toml")
GPU = "nvidia.com/gpu"


def launch_manifest(deployment: Deployment, launches: Sequence[Launch]) -> str:
    """Text of a manifest for the servers of one plan.

    Raises
    ------
    InputError
        When it is not known where the checkpoint is, or that of the draft.
    """
    first = launches[0]
    if not first.checkpoint.path:
        raise InputError(
            f"deploy: --manifest: {UNKNOWN}: expected {first.checkpoint.note}; a folder with "
            "config.json and weights is a checkpoint"
        )
    if first.draft_unknown:
        raise InputError(
            f"deploy: --manifest: {UNKNOWN_DRAFT}: expected {first.draft.note}: --script takes it "
            "from the environment"
        )
    name = re.sub(r"[^a-z0-9]+", "-", f"{deployment.model.name}-{first.engine}".lower()).strip("-")
    image = DYNAMO[first.engine]["image"]
    frontend = {
        "name": "Frontend",
        "type": "frontend",
        "replicas": 1,
        "podTemplate": {"spec": {"containers": [{"name": "main", "image": image}]}},
    }
    content = {
        "apiVersion": DYNAMO["api"],
        "kind": "DynamoGraphDeployment",
        "metadata": {"name": name},
        "spec": {
            "backendFramework": first.engine,
            "components": [frontend, *(_component(launch) for launch in launches)],
        },
    }
    comment = "".join(f"# {line}\n" for line in headline(deployment, launches))
    comment += (
        f"# Dynamo {DYNAMO['version']}; its images hold their own version of {first.engine}\n"
    )
    return comment + yaml_text(content)


def _component(launch: Launch) -> dict[str, Any]:
    """The workers of one role."""
    rules = DYNAMO[launch.engine]
    nodes = -(-launch.devices // launch.node)
    container: dict[str, Any] = {
        "name": "main",
        "image": rules["image"],
        "command": list(rules["program"]),
        "args": worker_arguments(launch),
        "resources": {"limits": {GPU: f"{launch.devices // nodes}"}},
    }
    pod: dict[str, Any] = {"containers": [container]}
    if launch.folders:
        named = list(zip(("checkpoint", "draft"), launch.folders, strict=False))
        container["volumeMounts"] = [{"name": name, "mountPath": path} for name, path in named]
        pod["volumes"] = [{"name": name, "hostPath": {"path": path}} for name, path in named]
    if launch.downloads:
        container["envFrom"] = [{"secretRef": {"name": DYNAMO["secret"]}}]
    component: dict[str, Any] = {
        "name": "worker" if launch.role == SERVE else launch.role,
        "type": "worker" if launch.role == SERVE else launch.role,
        "replicas": launch.copies,
        "podTemplate": {"spec": pod},
    }
    if nodes > 1:
        component["multinode"] = {"nodeCount": nodes}
    return component


def worker_arguments(launch: Launch) -> list[str]:
    """Arguments of Dynamo's worker; ports are those of a pod's only server."""
    rules, engine = DYNAMO[launch.engine], launch.rules
    own = added_rows(engine, launch.role, launch.settings)
    if "arguments" in rules:
        rows = [*rules["arguments"], *(row for row in own if "key" in row)]
    else:
        rows = [*engine["arguments"], *own]
    rows += rules.get(launch.role, ())
    made = read_rows(engine, rows, launch.settings | FIRST_PORTS)
    words = [*rules["model"], launch.checkpoint.path, *made.words]
    if made.config:
        words += [rules["overrides"], json.dumps(made.config)]
    return words
