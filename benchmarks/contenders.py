"""What is compared, and the command line of each."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from benchmarks.drains import c_drain, java_drain
from benchmarks.readers import Source

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.topics import Case
    from kafkalab.brokers import ApacheKafka


@dataclass(frozen=True, slots=True)
class Contender:
    """A program that reads a topic.

    Attributes
    ----------
    name : str
        How it is called in the tables.
    reader : str
        One of `benchmarks.readers`, or a program that only counts: ``c-drain``, ``java-drain``.
    everywhere : bool
        Whether it takes part on every topic; others do on the first alone.
    tls : bool
        Whether it reads over TLS.
    spinning : bool
        Whether another thread of its process runs Python all the time.
    """

    name: str
    reader: str
    everywhere: bool = False
    tls: bool = False
    spinning: bool = False

    def command(self, broker: ApacheKafka, case: Case, folder: Path) -> list[str]:
        """Return the command line that reads the topic of a case; what has to be built goes into the folder."""
        config = broker.client_config("SSL" if self.tls else "PLAINTEXT")
        source = Source(config, case.topic, case.records)
        if self.reader == "c-drain":
            return c_drain(source, folder)
        if self.reader == "java-drain":
            return java_drain(source)
        task = {"reader": self.reader, "source": asdict(source), "spinning": self.spinning}
        return [sys.executable, "-m", "benchmarks.child", json.dumps(task)]


def contenders() -> dict[str, Contender]:
    """Return all that take part, by name; the first is the one that the others are compared with."""
    listed = (
        Contender("loop", "loop", everywhere=True),
        Contender("tuned-loop", "tuned-loop", everywhere=True),
        Contender("arrow", "arrow", everywhere=True),
        Contender("arrow-table", "arrow-table", everywhere=True),
        Contender("arrow-count", "arrow-count", everywhere=True),
        Contender("c-drain", "c-drain", everywhere=True),
        Contender("java-drain", "java-drain", everywhere=True),
        Contender("arrow-1", "arrow-1"),
        Contender("librdkafka", "librdkafka"),
        Contender("kafkarrow", "kafkarrow"),
        Contender("tuned-loop-tls", "tuned-loop", tls=True),
        Contender("arrow-tls", "arrow", tls=True),
        Contender("tuned-loop-spinning", "tuned-loop", spinning=True),
        Contender("arrow-spinning", "arrow", spinning=True),
        Contender("arrow-tls-spinning", "arrow", tls=True, spinning=True),
    )
    return {contender.name: contender for contender in listed}
