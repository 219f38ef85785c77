"""Files that start the best plan of a deployment: a script, a Compose file, a manifest."""

from pathlib import Path

from sweepengine.data.errors import InputError
from sweepengine.data.outputs import write_text
from sweepengine.search.deploy import Deployment
from sweepengine.show.launch_compose import launch_compose
from sweepengine.show.launch_manifest import launch_manifest
from sweepengine.show.launch_script import launch_script

NVIDIA = "NVIDIA"
"""The maker for whose devices data/engine_arguments.toml and data/dynamo.toml name images."""


def write_launch_files(deployment: Deployment, script: Path | None, manifest: Path | None) -> None:
    """Write the files that are asked for.

    Parameters
    ----------
    deployment : Deployment
    script : Path or None
        Bash, or Docker Compose where it ends in ``.yml`` or ``.yaml``.
    manifest : Path or None
        Of Kubernetes.

    Raises
    ------
    InputError
        When no plan meets the targets, or the plan cannot be started this way.
    """
    if deployment.best is None:
        assert deployment.reason is not None
        raise InputError(f"deploy: nothing to start: {deployment.reason.text}")
    if script == manifest:
        raise InputError(f"deploy: --manifest {manifest}: expected another file than --script")
    engine = deployment.best["framework"]
    launches = [launch for launch in deployment.launches if launch.engine == engine]
    other = next((run.device for run in launches if run.device.maker != NVIDIA), None)
    if other is not None and (manifest is not None or (script and script.suffix != ".sh")):
        raise InputError(
            f"deploy: {other.name} is a device of {other.maker}: images of containers are known "
            f"for {NVIDIA} alone: expected --script FILE.sh"
        )
    texts = {}
    if script is not None:
        write = launch_script if script.suffix == ".sh" else launch_compose
        texts[script] = write(deployment, launches)
    if manifest is not None:
        texts[manifest] = launch_manifest(deployment, launches)
    for path, text in texts.items():
        write_text(path, text)
