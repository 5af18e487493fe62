"""What a node's ``server.properties`` say."""

import json
from collections.abc import Iterable, Mapping

from kafkalab.brokers.certificates import Certificates

_LOG4J = {
    "rootLogger.level": "WARN",
    "rootLogger.appenderRef.console.ref": "console",
    "appender.console.type": "Console",
    "appender.console.name": "console",
    "appender.console.layout.type": "PatternLayout",
    "appender.console.layout.pattern": "[%d] %p %m (%c)%n",
}


def text(properties: Mapping[str, str]) -> str:
    r"""Write properties as Java reads them.

    Examples
    --------
    >>> print(text({"password": "grün", "folder": r"C:\kafka"}), end="")
    password=gr\u00fcn
    folder=C:\\kafka
    """
    # JSON's escapes are ones that java.util.Properties knows.
    return "".join(f"{name}={json.dumps(value)[1:-1]}\n" for name, value in properties.items())


def logging_properties() -> str:
    """Write the Log4j configuration: warnings and errors to standard output."""
    return text(_LOG4J)


def cluster_properties(brokers: int) -> dict[str, str]:
    """Give the settings of a cluster that is for demos, tests and benchmarks.

    Parameters
    ----------
    brokers : int
        How many brokers there are to hold replicas.
    """
    replicas, in_sync = str(min(brokers, 3)), str(min(brokers, 3) - 1 or 1)
    return {
        "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": "0",
        # Records with old timestamps would otherwise be deleted within minutes.
        "log.retention.ms": "-1",
        "log.cleaner.dedupe.buffer.size": str(16 << 20),  # an eighth of Kafka's own, of a heap that is small
        "default.replication.factor": replicas,
        "offsets.topic.replication.factor": replicas,
        "offsets.topic.num.partitions": "8",
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": in_sync,
        "transaction.state.log.num.partitions": "8",
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": in_sync,
        "share.coordinator.state.topic.num.partitions": "8",
    }


def node_properties(
    node_id: int, roles: str, ports: Mapping[str, int], controller: tuple[int, int], *, data: str, host: str
) -> dict[str, str]:
    """Give the settings that tell one node from another.

    Parameters
    ----------
    node_id : int
        Its ``node.id``.
    roles : str
        ``broker``, ``controller`` or ``broker,controller``.
    ports : mapping of str to int
        The node's ports, by the names of its listeners.
    controller : tuple of int and int
        The controller's ``node.id`` and port.
    data : str
        Its storage folder.
    host : str
        The name by which clients are told to connect.
    """
    voter, port = controller
    names = ("CONTROLLER", "PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
    protocols = {name: name.replace("CONTROLLER", "PLAINTEXT") for name in names}
    properties = {
        "process.roles": roles,
        "node.id": str(node_id),
        "controller.quorum.voters": f"{voter}@127.0.0.1:{port}",
        "controller.listener.names": "CONTROLLER",
        "listeners": ",".join(f"{name}://127.0.0.1:{port}" for name, port in ports.items()),
        "listener.security.protocol.map": ",".join(f"{name}:{protocol}" for name, protocol in protocols.items()),
        "log.dirs": data,
    }
    if "PLAINTEXT" in ports:
        told = {name: port for name, port in ports.items() if name != "CONTROLLER"}
        properties["advertised.listeners"] = ",".join(f"{name}://{host}:{port}" for name, port in told.items())
        properties["inter.broker.listener.name"] = "PLAINTEXT"
    return properties


def tls_properties(certificates: Certificates) -> dict[str, str]:
    """Give the settings of the listeners with TLS: a client's certificate is asked for, and may be missing."""
    return {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(certificates.server),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(certificates.ca),
        "ssl.client.auth": "requested",
    }


def sasl_properties(listeners: Iterable[str], users: Mapping[str, str]) -> dict[str, str]:
    """Give the settings of the listeners with SASL: who gets in, and how."""
    modules = {
        "PLAIN": _jaas("plain.PlainLoginModule", {f"user_{user}": password for user, password in users.items()}),
        "SCRAM-SHA-256": _jaas("scram.ScramLoginModule", {}),
        "SCRAM-SHA-512": _jaas("scram.ScramLoginModule", {}),
        "OAUTHBEARER": _jaas("oauthbearer.OAuthBearerLoginModule", {"unsecuredLoginStringClaim_sub": "broker"}),
    }
    properties = {"sasl.enabled.mechanisms": ",".join(modules)}
    for listener in listeners:
        for mechanism, module in modules.items():
            properties[f"listener.name.{listener.lower()}.{mechanism.lower()}.sasl.jaas.config"] = module
    return properties


def _jaas(module: str, options: Mapping[str, str]) -> str:
    words = [f"org.apache.kafka.common.security.{module}", "required"]
    words += [f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in options.items()]
    return " ".join(words) + ";"
