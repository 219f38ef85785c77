"""Servers of a plan: which node and devices each runs on, its ports, and how requests reach it."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from sweepengine.data.errors import InputError
from sweepengine.search.engine_arguments import PREFILL, SERVE, Launch, read_rows

ROUTER_PORT = 8_000
FIRST_PORTS = {"port": 8_001, "bootstrap_port": 9_001, "transfer_port": 20_000,
               "rendezvous_port": 29_500}  # fmt: skip
"""Ports of the first server of a node, by the settings of data/engine_arguments.toml."""
PORT_STEPS = {"transfer_port": 100}
"""Distance of the ports of two servers of a node, where an engine adds its ranks to a port."""
MOST_SERVERS = 2_000
"""Most servers that a script starts."""
Host = Callable[["Server", int], str]
"""How a server is reached from others: of it and one of its nodes."""


class Server(NamedTuple):
    """One server of a plan."""

    launch: Launch
    name: str
    """Role and number, such as "prefill-0"."""
    node: int
    """The first of its nodes."""
    nodes: int
    first_device: int
    """Number of the first of its devices within its node."""
    place: int
    """Its number among the servers of its node."""

    @property
    def devices_a_node(self) -> tuple[int, ...]:
        """Numbers of its devices within each of its nodes."""
        many = self.launch.devices // self.nodes
        return tuple(range(self.first_device, self.first_device + many))

    def port(self, name: str = "port") -> int:
        """One of its ports, by the name of `FIRST_PORTS`."""
        return FIRST_PORTS[name] + self.place * PORT_STEPS.get(name, 1)


def placed(launches: Sequence[Launch]) -> list[Server]:
    """Servers of one plan on nodes, as `search.ranking.nodes_of` counts them.

    Raises
    ------
    InputError
        When they are more than a script starts.
    """
    count = sum(launch.copies for launch in launches)
    if count > MOST_SERVERS:
        raise InputError(f"deploy: {count:,} servers: expected at most {MOST_SERVERS:,}")
    node_sizes = {launch.node for launch in launches}
    whole = sum(launch.copies * launch.devices for launch in launches)
    shared = len({launch.device.name for launch in launches}) == 1 and whole <= max(node_sizes)
    servers, node, device, place = list[Server](), 0, 0, 0
    for launch in launches:
        if not shared and servers:
            node, device, place = nodes_used(servers), 0, 0
        spanned = -(-launch.devices // launch.node)
        for number in range(launch.copies):
            if device and device + launch.devices > launch.node:
                node, device, place = node + 1, 0, 0
            name = f"{launch.role}-{number}"
            servers.append(Server(launch, name, node, spanned, device, place))
            device, place = device + launch.devices, place + 1
            if spanned > 1:
                node, device, place = node + spanned, 0, 0
    return servers


def nodes_used(servers: Sequence[Server]) -> int:
    """Nodes that servers use, from 0 on."""
    return max(server.node + server.nodes for server in servers)


class Process(NamedTuple):
    """One process of a server: on one of its nodes."""

    words: tuple[str, ...]
    """Program and arguments."""
    environment: dict[str, str]


def process_of(server: Server, rank: int, host: Host) -> Process:
    """The process of a server on the node of a rank, 0 for the first.

    Parameters
    ----------
    server : Server
    rank : int
    host : callable

    Raises
    ------
    InputError
        When the engine cannot start a server on several nodes without a launcher.
    """
    launch, rules = server.launch, server.launch.rules
    groups = launch.settings["data"] // server.nodes
    first = host(server, 0)
    values: dict[str, Any] = launch.settings | {
        "host": host(server, rank),
        "first_host": first,
        "nodes": server.nodes,
        "node_rank": rank,
        "local_groups": groups,
        "first_group": rank * groups,
        "rendezvous": f"{first}:{server.port('rendezvous_port')}",
        **{name: server.port(name) for name in FIRST_PORTS},
    }
    rows = list(rules["placed"])
    if server.nodes > 1:
        if "spans" not in rules:
            raise InputError(
                f"deploy: a server of {launch.engine} on {server.nodes} nodes needs a launcher: "
                "expected --manifest, or --layout of one node"
            )
        rows += rules["groups"] if groups and "groups" in rules else rules["spans"]
        rows += rules["followers"] if rank else []
    of_role = rules.get(launch.role, {})
    rows += [row for row in of_role.get("arguments", ()) if row.get("setting") in FIRST_PORTS]
    words = read_rows(rules, rows, values).words
    environment = {
        name: f"{values[setting]}" for name, setting in of_role.get("environment", {}).items()
    }
    return Process((*rules["program"], *launch.arguments, *words), environment)


class Router(NamedTuple):
    """What stands before the servers of a plan."""

    words: tuple[str, ...]
    """Program and arguments; a configuration file comes last where there is one."""
    config: dict[str, Any]
    """Content of its configuration file; empty where it needs none."""
    port: int = ROUTER_PORT


def router_of(servers: Sequence[Server], host: Host) -> Router | None:
    """The router of servers; None where one server answers alone, or none is known.

    Parameters
    ----------
    servers : sequence of Server
    host : callable
    """
    launch = servers[0].launch
    rules = launch.rules["router"]
    urls = {server.name: f"{host(server, 0)}:{server.port()}" for server in servers}
    prefill = {server.name for server in servers if server.launch.role == PREFILL}
    if launch.role == SERVE and (len(servers) == 1 or "replicas" not in rules):
        return None
    if "config" in rules:
        sides = {"context_servers": prefill, "generation_servers": urls.keys() - prefill}
        config = {"hostname": "0.0.0.0", "port": ROUTER_PORT, **rules["config"]}
        for name, side in sides.items():
            of_side = [url for server, url in urls.items() if server in side]
            config[name] = {"num_instances": len(side), "urls": of_side}
        return Router(tuple(rules["program"]), config)
    words = [*rules["program"], "--host", "0.0.0.0", "--port", f"{ROUTER_PORT}",
             *rules["arguments"]]  # fmt: skip
    if not prefill:
        words += [rules["replicas"], *(f"http://{url}" for url in urls.values())]
        return Router(tuple(words), {})
    words += rules["split"]
    for server in servers:
        flag = "--prefill" if server.name in prefill else "--decode"
        words += [flag, f"http://{urls[server.name]}"]
        if server.name in prefill and "prefill_port" in rules:
            words.append(f"{server.port(rules['prefill_port'])}")
    return Router(tuple(words), {})
