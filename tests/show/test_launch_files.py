import json
import shutil

import pytest
import yaml

from sweepengine.data.errors import InputError
from sweepengine.search.engine_arguments import ENGINE_COMMANDS
from sweepengine.search.servers import placed
from sweepengine.show.launch_compose import launch_compose
from sweepengine.show.launch_files import write_launch_files
from sweepengine.show.launch_manifest import DYNAMO, launch_manifest, worker_arguments
from sweepengine.show.launch_script import launch_script
from sweepengine.show.yaml_text import yaml_text
from tests.search.launched_plans import PLANS, Asked, answered
from tests.search.started_programs import run_script
from tests.search.test_servers import ACCEPTED, refused

ONE_NODE = [plan for plan in PLANS if plan.devices <= 8]
IDS = {"ids": lambda a: f"{a.model}-{a.engine}-{a.mode}"}


def script_of(asked):
    deployment = answered(asked)
    return launch_script(deployment, deployment.launches)


@pytest.fixture
def programs(tmp_path):
    def run(script, **variables):
        path = tmp_path / "start.sh"
        path.write_text(script, encoding="utf-8")
        return run_script(path, tmp_path, **variables)

    return run


@pytest.mark.skipif(not shutil.which("bash"), reason="needs Bash")
@pytest.mark.parametrize("asked", [PLANS[1], PLANS[3], PLANS[5]], **IDS)
def test_script_starts_every_server_and_its_router(programs, asked):
    deployment = answered(asked)
    done, started = programs(script_of(asked))
    assert done.returncode == 0, done.stderr
    servers = placed(deployment.launches)
    assert len(started) == len(servers) + 1
    engines = [each for each in started if each.devices]
    devices = ",".join(each.devices for each in engines).split(",")
    assert sorted(devices) == sorted(map(str, range(len(engines) * 2)))
    ports = {each.words[each.words.index("--port") + 1] for each in engines}
    assert len(ports) == len(servers)
    assert all(deployment.launches[0].checkpoint.path in each.words for each in engines)


@pytest.mark.skipif(not shutil.which("bash"), reason="needs Bash")
def test_script_of_two_nodes_starts_what_is_of_each(programs):
    script = script_of(PLANS[8])
    for node in ("0", "1"):
        done, (started,) = programs(script, HOSTS="alpha beta", NODE=node)
        assert done.returncode == 0, done.stderr
        assert (started.node, started.devices) == (node, "0,1,2,3,4,5,6,7")
        assert started.words[started.words.index("--master-addr") + 1] == "alpha"
        assert ("--headless" in started.words) == (node == "1")
    done, _ = programs(script, HOSTS="alpha")
    assert (done.returncode, done.stderr) == (2, "expected HOSTS of 2 nodes\n")


@pytest.mark.skipif(not shutil.which("bash"), reason="needs Bash")
def test_script_of_a_checkpoint_that_is_not_known_asks_for_it(programs):
    deployment = answered(PLANS[0])
    (launch,) = deployment.launches
    unknown = launch._replace(
        checkpoint=launch.checkpoint._replace(path="", note="the folder of 'x y'"),
        arguments=("MODEL", *launch.arguments[1:]),
    )
    script = launch_script(deployment, [unknown])
    done, started = programs(script)
    assert done.returncode == 1
    assert "MODEL: expected the folder of 'x y'" in done.stderr
    assert started == []
    done, (started,) = programs(script, MODEL="/a b/c")
    assert (done.returncode, started.words[:2]) == (0, ["serve", "/a b/c"])


@pytest.mark.parametrize("asked", ONE_NODE, **IDS)
def test_compose_file_holds_a_service_for_each_server(asked):
    """Required fields by the Compose specification: services, image, capabilities of devices."""
    deployment = answered(asked)
    content = yaml.safe_load(launch_compose(deployment, deployment.launches))
    assert set(content) <= {"services", "configs"}
    servers = placed(deployment.launches)
    assert set(content["services"]) - {"router"} == {server.name for server in servers}
    used = []
    for name, service in content["services"].items():
        assert service["image"].rpartition(":")[2] not in ("", "latest")
        assert all(isinstance(word, str) for word in service["command"])
        for config in service.get("configs", ()):
            assert yaml.safe_load(content["configs"][config]["content"])
        if name != "router":
            (device,) = service["deploy"]["resources"]["reservations"]["devices"]
            assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
            used += device["device_ids"]
    assert sorted(used) == [str(i) for i in range(deployment.best["devices"])]
    published = [port for s in content["services"].values() for port in s.get("ports", ())]
    assert len(published) == (1 if "router" in content["services"] else len(servers))


def test_compose_of_several_nodes_says_what_to_take():
    deployment = answered(PLANS[8])
    with pytest.raises(InputError, match=r"needs 2 nodes, and Compose starts one: expected --scr"):
        launch_compose(deployment, deployment.launches)


@pytest.mark.parametrize("asked", PLANS, **IDS)
def test_manifest_is_a_graph_of_workers_whose_arguments_dynamo_takes(asked):
    deployment = answered(asked)
    content = yaml.safe_load(launch_manifest(deployment, deployment.launches))
    assert (content["apiVersion"], content["kind"]) == (DYNAMO["api"], "DynamoGraphDeployment")
    name = content["metadata"]["name"]
    assert len(name) <= 63
    assert name.replace("-", "").isalnum()
    assert name == name.lower()
    frontend, *workers = content["spec"]["components"]
    assert frontend["type"] == "frontend"
    assert sum(
        w["replicas"] * int(w["podTemplate"]["spec"]["containers"][0]["resources"]["limits"]
                            ["nvidia.com/gpu"]) * w.get("multinode", {"nodeCount": 1})["nodeCount"]
        for w in workers
    ) == deployment.best["devices"]  # fmt: skip
    accepted = ACCEPTED[f"dynamo.{asked.engine}"]
    assert accepted["version"] == DYNAMO["version"]
    if asked.engine != "trtllm":
        accepted = {k: accepted[k] + ACCEPTED[asked.engine][k] for k in ("flags", "alone")}
    for worker, launch in zip(workers, deployment.launches, strict=True):
        (container,) = worker["podTemplate"]["spec"]["containers"]
        assert container["name"] == "main"
        assert container["args"] == worker_arguments(launch)
        assert refused(container["args"], accepted) == []
        if launch.role != "serve":
            assert worker["type"] == launch.role
            at = container["args"].index("--disaggregation-mode")
            assert container["args"][at + 1] == launch.role
    if asked.engine == "trtllm":
        overrides = json.loads(workers[0]["podTemplate"]["spec"]["containers"][0]["args"][-1])
        assert overrides["enable_chunked_prefill"] is True


def test_files_are_written_by_their_ending(tmp_path):
    deployment = answered(PLANS[0])
    script, compose, manifest = (tmp_path / name for name in ("a.sh", "b.yml", "c.yaml"))
    write_launch_files(deployment, script, manifest)
    write_launch_files(deployment, compose, None)
    assert script.read_text("utf-8").startswith("#!/usr/bin/env bash\n# llama-3.1-8b on 1 h100-sxm")
    assert yaml.safe_load(compose.read_text("utf-8"))["services"]["serve-0"]["ports"]
    assert yaml.safe_load(manifest.read_text("utf-8"))["kind"] == "DynamoGraphDeployment"
    with pytest.raises(InputError, match="expected another file than --script"):
        write_launch_files(deployment, compose, compose)


def test_containers_are_for_devices_of_nvidia(tmp_path):
    deployment = answered(Asked("llama-3.1-8b", "mi300x", "vllm", "aggregated", "tp1", devices=1))
    write_launch_files(deployment, tmp_path / "a.sh", None)
    for script, manifest in ((tmp_path / "a.yml", None), (None, tmp_path / "a.yaml")):
        with pytest.raises(InputError, match="mi300x is a device of AMD: images of containers"):
            write_launch_files(deployment, script, manifest)


def test_manifest_of_a_checkpoint_that_is_not_known_is_refused():
    deployment = answered(PLANS[0])
    (launch,) = deployment.launches
    unknown = launch._replace(checkpoint=launch.checkpoint._replace(path="", note="the folder"))
    with pytest.raises(InputError, match="--manifest: MODEL: expected the folder; a folder with"):
        launch_manifest(deployment, [unknown])


def test_every_engine_has_a_version_and_a_source():
    for name, rules in ENGINE_COMMANDS.items():
        assert rules["version"].partition(".")[0] in rules["image"] or name == "trtllm"
        assert rules["source"]
        assert rules["router"]["source"]
        assert name in DYNAMO


def test_yaml_text_is_read_back_as_it_was():
    value = {"a": "yes", "b": ["x", {"c": 1, "d": [True, None, 1.5]}, []], "e": {}, "f": "0.10",
             "g": "a: b", "h": {"i": "nested/path", "j": "x\ny", "k": "null"}}  # fmt: skip
    assert yaml.safe_load(yaml_text(value)) == value
