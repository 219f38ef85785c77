import tomllib
from pathlib import Path

import pytest

from sweepengine.data.errors import InputError
from sweepengine.data.models import load_model
from sweepengine.grid.shorthand import read_layout
from sweepengine.search.checkpoints import checkpoint_of, context_of
from sweepengine.search.engine_arguments import ENGINE_COMMANDS, runs_layout
from sweepengine.search.servers import (
    FIRST_PORTS,
    nodes_used,
    placed,
    process_of,
    router_of,
)
from tests.search.launched_plans import PLANS, Asked, answered

ACCEPTED = tomllib.loads(Path(__file__).with_name("accepted_arguments.toml").read_text("utf-8"))


def host_of(server, rank):
    return f"node{server.node + rank}"


def refused(words, accepted, several=()):
    """Words of a command line that its program's parser does not take."""
    wrong, i = [], 0
    while i < len(words):
        flag = words[i]
        values = 0
        while i + 1 + values < len(words) and not words[i + 1 + values].startswith("--"):
            values += 1
        right = values == 0 if flag in accepted["alone"] else values == 1
        if flag not in accepted["flags"] or not (right or flag in several):
            wrong.append(words[i : i + 1 + values])
        i += 1 + values
    return wrong


def processes(deployment):
    """Every process of the best plan."""
    servers = placed(deployment.launches)
    return [
        (server, rank, process_of(server, rank, host_of))
        for server in servers
        for rank in range(server.nodes)
    ]


@pytest.mark.parametrize("asked", PLANS, ids=lambda a: f"{a.model}-{a.engine}-{a.mode}")
def test_every_argument_is_one_that_the_engines_parser_takes(asked):
    rules = ENGINE_COMMANDS[asked.engine]
    assert ACCEPTED[asked.engine]["version"] == rules["version"]
    for _, _, process in processes(answered(asked)):
        words = list(process.words[len(rules["program"]) :])
        if rules["model"]:
            assert words[0] == rules["model"][0]
        else:
            words = words[1:]
        assert "/" in process.words[len(rules["program"]) + len(rules["model"])]
        assert refused(words, ACCEPTED[asked.engine]) == []


@pytest.mark.parametrize("asked", PLANS, ids=lambda a: f"{a.model}-{a.engine}-{a.mode}")
def test_servers_share_no_port_and_no_device(asked):
    deployment = answered(asked)
    taken = set()
    for server, rank, process in processes(deployment):
        node = server.node + rank
        mine = {(node, device) for device in server.devices_a_node}
        mine |= {(node, server.port(name)) for name in FIRST_PORTS}
        assert not mine & taken
        taken |= mine
        assert str(server.port()) in process.words
        assert len(server.devices_a_node) * server.nodes == server.launch.devices
    best = deployment.best
    devices = {place for place in taken if place[1] < 8}
    assert len(devices) == best["devices"]
    assert nodes_used(placed(deployment.launches)) == best["nodes"]


def test_router_knows_every_server():
    for asked, names in ((PLANS[1], ("--prefill", "--decode")), (PLANS[2], ("--worker-urls",))):
        servers = placed(answered(asked).launches)
        router = router_of(servers, host_of)
        rules = ENGINE_COMMANDS[asked.engine]["router"]
        words = list(router.words[len(rules["program"]) :])
        accepted = ACCEPTED[f"{asked.engine}-router"]
        assert accepted["version"] in rules["source"]
        assert refused(words, accepted, ("--worker-urls", "--prefill")) == []
        assert set(names) <= set(words)
        for server in servers:
            assert f"http://node{server.node}:{server.port()}" in words
    assert router_of(placed(answered(PLANS[0]).launches), host_of) is None


def test_router_of_sglang_knows_the_bootstrap_port_of_each_prefill_worker():
    servers = placed(answered(PLANS[3]).launches)
    words = router_of(servers, host_of).words
    for server in servers:
        if server.launch.role == "prefill":
            at = words.index(f"http://node{server.node}:{server.port()}")
            assert words[at + 1] == str(server.port("bootstrap_port"))
            process = process_of(server, 0, host_of).words
            flag = process.index("--disaggregation-bootstrap-port")
            assert process[flag + 1] == words[at + 1]


def test_router_of_tensorrt_llm_is_a_file_with_both_sides():
    servers = placed(answered(PLANS[5]).launches)
    config = router_of(servers, host_of).config
    roles = [server.launch.role for server in servers]
    assert config["context_servers"]["num_instances"] == roles.count("prefill")
    assert config["generation_servers"]["num_instances"] == roles.count("decode")
    urls = config["context_servers"]["urls"] + config["generation_servers"]["urls"]
    assert sorted(urls) == sorted(f"node{s.node}:{s.port()}" for s in servers)


def test_server_on_two_nodes_names_the_first_to_both():
    for asked, flag, value in ((PLANS[8], "--master-addr", "node0"),
                               (PLANS[9], "--dist-init-addr", "node0:29500")):  # fmt: skip
        role = answered(asked).launches[0].role
        first, second = (process for server, _, process in processes(answered(asked))
                         if server.name == f"{role}-0")  # fmt: skip
        for rank, process in enumerate((first, second)):
            words = process.words
            assert words[words.index(flag) + 1] == value
            assert words[words.index("--node-rank") + 1] == str(rank)
            assert words[words.index("--nnodes") + 1] == "2"
    assert "--headless" in processes(answered(PLANS[8]))[1][2].words


def test_data_parallel_groups_on_two_nodes_start_where_the_first_node_ends():
    asked = Asked("deepseek-v3", "h100-sxm", "vllm", "aggregated", "tp1-ep16-dp16", devices=16)
    first, second = (process.words for _, _, process in processes(answered(asked)))
    for words in (first, second):
        assert words[words.index("--data-parallel-size-local") + 1] == "8"
        assert refused(words[3:], ACCEPTED["vllm"]) == []
    assert "--data-parallel-start-rank" not in first
    assert second[second.index("--data-parallel-start-rank") + 1] == "8"


def test_tensorrt_llm_splits_attention_over_all_devices_or_none():
    assert not runs_layout("trtllm", read_layout("tp2-ep8-dp4"))
    assert runs_layout("trtllm", read_layout("tp1-ep8-dp8"))
    assert runs_layout("vllm", read_layout("tp2-ep8-dp4"))
    (launch,) = answered(PLANS[7]).launches
    assert launch.config["enable_attention_dp"] is True
    asked = Asked("deepseek-v3", "h100-sxm", "trtllm", "aggregated", "tp16", devices=16)
    with pytest.raises(InputError, match="on 2 nodes needs a launcher: expected --manifest"):
        processes(answered(asked))


def test_memory_fraction_of_sglang_is_weights_and_pool_over_the_memory():
    """It leaves out what SGLang reserves for activations and graphs (8.3 % of an H200 at tp4)."""
    deployment = answered(PLANS[2])
    (launch,) = deployment.launches
    fraction = launch.settings["memory_share"]
    words = launch.arguments
    assert words[words.index("--mem-fraction-static") + 1] == str(fraction)
    from sweepengine.search.fit import find_fit
    from sweepengine.search.options import FitOptions

    options = FitOptions(layout=PLANS[2].layout, precision="fp8", framework="sglang")
    fitted = find_fit(deployment.model, ["h200"], deployment.lengths, options)
    row = fitted.cards[0].served.row(0, named=True)
    held = row["weight_bytes"] + row["kv_pool_bytes"] + row["runtime_bytes"]
    assert held / row["device_usable_bytes"] == pytest.approx(fraction, abs=0.001)
    assert fraction < 0.92


def test_context_has_room_up_to_the_models_own(tmp_path):
    model = load_model("llama-3.1-8b")
    assert context_of(model, 4500) == (5120, "")
    assert context_of(model, 4096) == (4096, "")
    config = tmp_path / "config.json"
    config.write_text('{"max_position_embeddings": 4600}', encoding="utf-8")
    own = model._replace(file=config)
    assert context_of(own, 4500) == (4600, "")
    assert context_of(own, 4700) == (
        5120, "the longest request has 4,700 tokens, the model's context 4,600",
    )  # fmt: skip


def test_checkpoint_is_a_hub_id_only_where_it_is_known(tmp_path):
    model = load_model("llama-3.1-8b")
    assert checkpoint_of(model) == ("meta-llama/Meta-Llama-3.1-8B", "")
    config = tmp_path / "config.json"
    config.write_text("{}", encoding="utf-8")
    alone = checkpoint_of(model._replace(file=config))
    assert alone.path == ""
    assert alone.note == f"the folder or Hub id of the checkpoint that {config} belongs to"
    (tmp_path / "model.safetensors").write_bytes(b"")
    local = checkpoint_of(model._replace(file=config))
    assert local == (str(tmp_path), f"{tmp_path} is a local folder: every node needs it")
