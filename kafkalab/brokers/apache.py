"""Real Apache Kafka in KRaft mode, started for one process and gone with it."""

import shutil
import tempfile
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from kafkalab.brokers.certificates import Certificates
from kafkalab.brokers.jars import KAFKA_VERSION
from kafkalab.brokers.java import KafkaJava
from kafkalab.brokers.layout import CONTROLLER_ID, Layout
from kafkalab.brokers.node import Node
from kafkalab.errors import BrokerStartError, ConfigError

_ATTEMPTS = 3


class ApacheKafka:
    """Apache Kafka 4 on loopback ports, for demos, tests and benchmarks.

    It needs a Java 17+ runtime, and fetches Kafka's jars on first use; the extra ``kafkalab[broker]`` brings all that
    this takes. Its data are in a temporary folder. It ends when it is stopped, when this object is collected, and when
    this process ends, however it ends.

    Parameters
    ----------
    properties : mapping of str to object, optional
        Settings of the brokers, as in ``server.properties``; they win over what is set here. Brokers talk to each other
        without TLS and SASL, so an authorizer needs ``User:ANONYMOUS`` among its ``super.users``. A broker that comes
        back is let in once its old session is over: ``broker.session.timeout.ms``, 9 s unless set.
    brokers : int, default 1
        How many brokers the cluster has, with the ids 1, 2, 3... One broker is its own controller, more than one have
        a controller beside them, so that each of them can be stopped.
    listeners : collection of str, optional
        The security protocols to listen on: ``SSL``, ``SASL_PLAINTEXT``, ``SASL_SSL``. ``PLAINTEXT`` is always one, and
        lets in every user of this machine, without a password.
    users : mapping of str to str, optional
        Passwords by user name, for SASL's mechanisms PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512. OAUTHBEARER takes
        unsecured tokens of anyone.
    host : str, default "127.0.0.1"
        The name by which clients are told to connect: one of this machine's own, as ``localhost``.
    jvm_options : iterable of str, default ("-Xmx1g",)
        Options of the virtual machine of every node.
    timeout : float, default 60
        For how many seconds a start, or a node's own stop, may take.

    Examples
    --------
    >>> with ApacheKafka({"num.partitions": 3}) as broker:  # doctest: +SKIP
    ...     lab = kafkalab.connect(broker.bootstrap_servers)
    """

    def __init__(
        self,
        properties: Mapping[str, object] | None = None,
        brokers: int = 1,
        *,
        listeners: Collection[str] = (),
        users: Mapping[str, str] | None = None,
        host: str = "127.0.0.1",
        jvm_options: Iterable[str] = ("-Xmx1g",),
        timeout: float = 60,
    ) -> None:
        wanted = {"PLAINTEXT", *(listener.upper() for listener in listeners)}
        self._layout = Layout(
            brokers=brokers,
            protocols=tuple(sorted(wanted)),
            properties={name: _java_text(value) for name, value in (properties or {}).items()},
            users=dict(users or {}),
            host=host,
            jvm_options=tuple(jvm_options),
            timeout=timeout,
        )
        self._root: Path | None = None
        self._nodes: list[Node] = []

    def start(self) -> Self:
        """Start the cluster, and wait until every broker's metadata show all of them; does nothing when it runs.

        Returns
        -------
        ApacheKafka
            This cluster.

        Raises
        ------
        BrokerStartError
            If Java or the jars are missing, or a process ended or was not ready in time; the end of its log is a
            note of the error.
        """
        if self._nodes:
            return self
        kafka = KafkaJava.find()
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._start_once(kafka)
            except BaseException as error:
                # Another program can take a port between its choice and its use.
                taken = isinstance(error, BrokerStartError) and "Address already in use" in self.logs()
                self.stop()
                if not taken or attempt == _ATTEMPTS:
                    raise
            else:
                break
        return self

    def stop(self) -> None:
        """End the cluster and remove its data; does nothing when it does not run."""
        nodes, self._nodes = self._nodes, []
        root, self._root = self._root, None
        for node in nodes:
            node.discard()
        for node in nodes:
            node.wait()
        if root is not None:
            shutil.rmtree(root, ignore_errors=True)

    @property
    def bootstrap_servers(self) -> str:
        """Where clients without TLS and SASL connect: ``host:port``, comma-separated."""
        return self.bootstrap("PLAINTEXT")

    def bootstrap(self, protocol: str) -> str:
        """Tell where clients of a security protocol connect.

        Parameters
        ----------
        protocol : str
            ``PLAINTEXT``, ``SSL``, ``SASL_PLAINTEXT`` or ``SASL_SSL``; one of the listeners.

        Returns
        -------
        str
            ``host:port`` of every broker, comma-separated.
        """
        if protocol.upper() not in self._layout.protocols:
            raise ConfigError(f"there is no listener {protocol!r}: ApacheKafka(listeners=[{protocol!r}]) makes one")
        return ",".join(f"{self._layout.host}:{node.ports[protocol.upper()]}" for node in self.brokers.values())

    @property
    def brokers(self) -> dict[int, Node]:
        """The brokers by id; each can be stopped, killed, and started again on the same ports and data."""
        if not self._nodes:
            raise BrokerStartError("the broker does not run: call start(), or use it in a with statement")
        return {node.node_id: node for node in self._nodes if node.node_id != CONTROLLER_ID}

    @property
    def data_dir(self) -> Path:
        """The first broker's folder of log segments; ``brokers[i].data_dir`` is any other's."""
        return self.brokers[1].data_dir

    @property
    def log_path(self) -> Path:
        """The file with what the first broker prints."""
        return self.brokers[1].log_path

    def logs(self) -> str:
        """Read what every node of the cluster printed so far."""
        return "".join(node.logs() for node in self._nodes)

    @property
    def ca_pem(self) -> Path:
        """The certificate of the authority that clients of a TLS listener are to trust."""
        return self._tls().ca

    @property
    def client_pem(self) -> Path:
        """A client's certificate, signed by the same authority."""
        return self._tls().client

    @property
    def client_key_pem(self) -> Path:
        """The private key of the client's certificate."""
        return self._tls().client_key

    def client_config(
        self, protocol: str = "PLAINTEXT", *, user: str | None = None, mechanism: str = "PLAIN"
    ) -> dict[str, str]:
        """Give the settings with which a librdkafka client gets in.

        Parameters
        ----------
        protocol : str, default "PLAINTEXT"
            One of the listeners.
        user : str, optional
            Who logs in, where the protocol has SASL: one of the users, or anyone with OAUTHBEARER.
        mechanism : str, default "PLAIN"
            ``PLAIN``, ``SCRAM-SHA-256``, ``SCRAM-SHA-512`` or ``OAUTHBEARER``.

        Returns
        -------
        dict of str to str
            For confluent-kafka, with the user's password in it.
        """
        config = {"bootstrap.servers": self.bootstrap(protocol), "security.protocol": protocol.lower()}
        if protocol.upper().endswith("SSL"):
            config["ssl.ca.location"] = str(self.ca_pem)
        if not protocol.upper().startswith("SASL"):
            return config
        config["sasl.mechanism"] = mechanism
        if mechanism == "OAUTHBEARER":
            return config | {
                "enable.sasl.oauthbearer.unsecure.jwt": "true",
                "sasl.oauthbearer.config": f"principal={user}",
            }
        if user is None or user not in self._layout.users:
            raise ConfigError(f"there is no user {user!r}: ApacheKafka(users={{...}}) makes them")
        return config | {"sasl.username": user, "sasl.password": self._layout.users[user]}

    def java_command(self, main_class: str, *arguments: str) -> list[str]:
        """Build the command line of a program that Kafka's jars bring.

        Parameters
        ----------
        main_class : str
            For example ``org.apache.kafka.tools.consumer.ConsoleConsumer`` or
            ``org.apache.kafka.tools.DumpLogSegments``.
        *arguments : str
            What it is given.

        Returns
        -------
        list of str
            The command line, for `subprocess.run`.
        """
        return KafkaJava.find().command(main_class, *arguments)

    def _tls(self) -> Certificates:
        if self._root is None or not self._layout.has_tls:
            raise BrokerStartError("there is no TLS: ApacheKafka(listeners=['SSL']) has it once it is started")
        return Certificates.at(self._root)

    def _start_once(self, kafka: KafkaJava) -> None:
        self._root = Path(tempfile.mkdtemp(prefix="kafkalab-"))
        self._nodes = self._layout.make_nodes(kafka, self._root)
        for node in self._nodes:
            node.launch()
        for broker in self.brokers.values():
            broker.wait_until_ready(self.brokers.keys(), self._nodes)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        where = self.bootstrap_servers if self._nodes else "stopped"
        layout = self._layout
        return f"<ApacheKafka {KAFKA_VERSION} {where}, brokers={layout.brokers}, listeners={list(layout.protocols)}>"


def _java_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
