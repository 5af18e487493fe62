"""What a cluster consists of, written into its folder: storage, settings and command line of every node."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kafkalab.brokers.certificates import Certificates
from kafkalab.brokers.java import KafkaJava
from kafkalab.brokers.node import Node
from kafkalab.brokers.ports import free_ports
from kafkalab.brokers.properties import (
    cluster_properties,
    logging_properties,
    node_properties,
    sasl_properties,
    text,
    tls_properties,
)
from kafkalab.brokers.storage import bootstrap_checkpoint, format_storage, random_id
from kafkalab.errors import ConfigError

PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
CONTROLLER_ID = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What somebody wants of a cluster.

    Parameters
    ----------
    brokers : int
        How many brokers it has. One is its own controller; more have a controller beside them.
    protocols : tuple of str
        The security protocols of every broker's listeners.
    properties : mapping of str to str
        Settings that win over the ones made here.
    users : mapping of str to str
        Passwords by user name.
    host : str
        The name by which clients are told to connect.
    jvm_options : tuple of str
        Options of every node's virtual machine.
    timeout : float
        For how many seconds a start, or a stop, of a node may take.
    """

    brokers: int
    protocols: tuple[str, ...]
    properties: Mapping[str, str] = field(repr=False)
    users: Mapping[str, str] = field(repr=False)
    host: str
    jvm_options: tuple[str, ...]
    timeout: float

    def __post_init__(self) -> None:
        if self.brokers < 1:
            raise ConfigError(f"brokers is {self.brokers}: a cluster needs at least 1")
        if unknown := set(self.protocols).difference(PROTOCOLS):
            raise ConfigError(f"unknown listeners {sorted(unknown)}: they can be {', '.join(PROTOCOLS)}")

    @property
    def has_tls(self) -> bool:
        """Whether some listener speaks TLS."""
        return any(protocol.endswith("SSL") for protocol in self.protocols)

    def make_nodes(self, kafka: KafkaJava, root: Path) -> list[Node]:
        """Write all that the nodes need into a folder.

        Parameters
        ----------
        kafka : KafkaJava
            The runtime and the jars.
        root : Path
            An empty folder.

        Returns
        -------
        list of Node
            The nodes, none of them started.
        """
        roles = self._roles()
        ports = self._ports(roles)
        controller = max(roles)
        shared = self._shared_properties(root)
        checkpoint = bootstrap_checkpoint(kafka, self.users)
        cluster_id = random_id()
        (root / "log4j2.properties").write_text(logging_properties(), "ascii")
        nodes = []
        for node_id, role in roles.items():
            node = Node(
                node_id=node_id,
                ports=ports[node_id],
                command=self._command(kafka, root / str(node_id)),
                root=root,
                folder=root / str(node_id),
                timeout=self.timeout,
            )
            format_storage(node.data_dir, node_id, cluster_id, checkpoint)
            voter = controller, ports[controller]["CONTROLLER"]
            own = node_properties(node_id, role, node.ports, voter, data=str(node.data_dir), host=self.host)
            (node.folder / "server.properties").write_text(text(own | shared), "ascii")
            nodes.append(node)
        return nodes

    def _roles(self) -> dict[int, str]:
        if self.brokers == 1:
            return {1: "broker,controller"}
        return dict.fromkeys(range(1, self.brokers + 1), "broker") | {CONTROLLER_ID: "controller"}

    def _ports(self, roles: Mapping[int, str]) -> dict[int, dict[str, int]]:
        listeners = {"broker": self.protocols, "controller": ("CONTROLLER",)}
        names = {
            node_id: [name for part in role.split(",") for name in listeners[part]] for node_id, role in roles.items()
        }
        free = iter(free_ports(sum(map(len, names.values()))))
        return {node_id: {name: next(free) for name in of_node} for node_id, of_node in names.items()}

    def _shared_properties(self, root: Path) -> dict[str, str]:
        properties = cluster_properties(self.brokers)
        if self.has_tls:
            properties |= tls_properties(Certificates.make(root))
        if secured := [protocol for protocol in self.protocols if protocol.startswith("SASL")]:
            properties |= sasl_properties(secured, self.users)
        return {**properties, **self.properties}

    def _command(self, kafka: KafkaJava, folder: Path) -> list[str]:
        options = (
            "-XX:-UsePerfData",  # it would leave a file behind when it is killed
            f"-Djava.io.tmpdir={folder}",  # so would the compression libraries
            f"-Dlog4j2.configurationFile={folder.parent / 'log4j2.properties'}",
            *self.jvm_options,
        )
        return kafka.command("kafka.Kafka", str(folder / "server.properties"), jvm_options=options)
