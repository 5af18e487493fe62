"""Three brokers that clients, and the brokers among themselves, reach through proxies."""

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from kafkalab.brokers import ApacheKafka
from kafkalab.brokers.java import KafkaJava
from kafkalab.brokers.layout import Layout
from kafkalab.brokers.node import Node
from tests.apache.proxy import Proxy

BROKERS = 3
PROPERTIES = {
    "broker.session.timeout.ms": 3000,
    "broker.heartbeat.interval.ms": 500,
    "replica.lag.time.max.ms": 5000,
    "min.insync.replicas": 2,
    "log.initial.task.delay.ms": 200,
    "log.retention.check.interval.ms": 500,
    "auto.leader.rebalance.enable": False,
}
JVM = ("-Xmx320m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")


class ProxiedLayout(Layout):
    """A layout whose brokers advertise a proxy's port instead of their own."""

    def with_proxies(self, proxies: dict[int, Proxy]) -> "ProxiedLayout":
        """Return this layout, with the proxy of each broker."""
        object.__setattr__(self, "proxies", proxies)
        return self

    def make_nodes(self, kafka: KafkaJava, root: Path) -> list[Node]:
        """Make the nodes as usual, then change what their properties advertise."""
        nodes = super().make_nodes(kafka, root)
        proxies: dict[int, Proxy] = self.proxies  # type: ignore[attr-defined]  # set above
        for node in nodes:
            if (proxy := proxies.get(node.node_id)) is not None:
                file = node.folder / "server.properties"
                advertised = f"advertised.listeners=PLAINTEXT://127.0.0.1:{proxy.port}"
                file.write_text(re.sub(r"(?m)^advertised\.listeners=.*$", advertised, file.read_text("ascii")), "ascii")
                proxy.lead_to(node.ports["PLAINTEXT"])
        return nodes


@contextmanager
def proxied() -> Iterator[tuple[ApacheKafka, dict[int, Proxy]]]:
    """Start three brokers with a proxy before each; end all of it."""
    with ExitStack() as stack:
        proxies = {number: stack.enter_context(Proxy()) for number in range(1, BROKERS + 1)}
        kafka = ApacheKafka(PROPERTIES, brokers=BROKERS, jvm_options=JVM)
        plain = kafka._layout
        fields = {name: getattr(plain, name) for name in Layout.__dataclass_fields__}
        kafka._layout = ProxiedLayout(**fields).with_proxies(proxies)
        yield stack.enter_context(kafka), proxies


def bootstrap(proxies: dict[int, Proxy]) -> str:
    """Return where clients begin: every proxy."""
    return ",".join(f"127.0.0.1:{proxy.port}" for proxy in proxies.values())
