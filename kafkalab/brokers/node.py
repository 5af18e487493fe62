"""One process of a cluster: a broker, a controller, or both."""

import contextlib
import re
import subprocess
import sys
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from kafkalab.brokers import watchdog
from kafkalab.errors import BrokerStartError
from kafkalab.forks import close_in_forked_children
from kafkalab.text import safe

_TAIL_LINES = 40
_ATTEMPT_SECONDS = 0.5
_WRONG = re.compile(r"(Caused by: )?[\w.$]+(Exception|Error)\b|Error: |Exception in thread")


@dataclass(eq=False, slots=True, kw_only=True)
class Node:
    """A process that runs Kafka, can be ended, and started again on the same ports and the same data.

    Parameters
    ----------
    node_id : int
        Its ``node.id``; what metadata call the broker's id.
    ports : mapping of str to int
        Its ports on 127.0.0.1, by security protocol.
    command : list of str
        The command line that runs it.
    root : Path
        The cluster's folder, which goes when this process's owner is gone.
    folder : Path
        This node's own folder.
    timeout : float
        For how many seconds a start, or a stop, may take.
    """

    node_id: int
    ports: Mapping[str, int]
    command: list[str] = field(repr=False)
    root: Path = field(repr=False)
    folder: Path
    timeout: float = field(repr=False)
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def running(self) -> bool:
        """Whether its process is alive."""
        return self._process is not None and self._process.poll() is None

    @property
    def bootstrap_servers(self) -> str:
        """Its address without TLS and SASL."""
        return f"127.0.0.1:{self.ports['PLAINTEXT']}"

    @property
    def data_dir(self) -> Path:
        """The folder with its log segments."""
        return self.folder / "data"

    @property
    def log_path(self) -> Path:
        """The file with what it prints."""
        return self.folder / "kafka.log"

    def logs(self) -> str:
        """Read what it printed so far."""
        return self.log_path.read_text("utf-8", "replace") if self.log_path.exists() else ""

    def start(self) -> None:
        """Start it, and wait until metadata show it as a live broker."""
        self.launch()
        self.wait_until_ready({self.node_id})

    def stop(self) -> None:
        """End it as Kafka wants to be ended: it hands over its partitions and closes its files."""
        self._end(b"t")

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self._end(b"k")

    def pause(self) -> None:
        """Have it hang as it is, with its connections open and unanswered, until it is resumed, killed or discarded."""
        self._order(b"p")

    def resume(self) -> None:
        """Let it go on where it was paused."""
        self._order(b"c")

    def launch(self) -> None:
        """Start its process, without waiting for it; does nothing when it runs."""
        if self.running:
            return
        watched = [sys.executable, "-I", "-S", watchdog.__file__, str(self.root), *self.command]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - the command line made here
                watched,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                bufsize=0,
                cwd=self.folder,
                start_new_session=True,  # a terminal's Ctrl-C is for the owner alone
            )
        close_in_forked_children(self._process)

    def wait_until_ready(self, expected: Collection[int], others: Collection["Node"] = ()) -> None:
        """Wait until this broker's metadata show live brokers.

        Parameters
        ----------
        expected : collection of int
            The ids of these brokers.
        others : collection of Node, optional
            Nodes that must stay alive meanwhile.

        Raises
        ------
        BrokerStartError
            If one of the processes ends, or the time is over; the end of its log is in the message.
        """
        deadline = time.monotonic() + self.timeout
        while not _live_brokers(self.bootstrap_servers).issuperset(expected):
            for node in (self, *others):
                if not node.running:
                    raise node.failure("ended while starting")
            if time.monotonic() > deadline:
                raise self.failure(f"was not ready after {self.timeout:g} s")

    def failure(self, what: str) -> BrokerStartError:
        """Make the error that tells what this node said last."""
        return failure(f"the Kafka node {self.node_id} {what}", self.logs())

    def discard(self) -> None:
        """Tell the watchdog that the owner is done: it kills Kafka and removes the cluster's folder."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    def wait(self) -> None:
        """Wait until its process has ended."""
        if self._process is not None:
            self._process.wait()

    def _order(self, order: bytes) -> subprocess.Popen[bytes] | None:
        """Tell the watchdog to send a signal; return the process, if it was alive."""
        process = self._process
        if process is None or process.stdin is None or process.poll() is not None:
            return None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(order)
        return process

    def _end(self, order: bytes) -> None:
        process = self._order(order)
        if process is None or process.stdin is None:
            return
        try:
            process.wait(self.timeout)
        except subprocess.TimeoutExpired:
            process.stdin.write(b"k")
            process.wait()
        process.stdin.close()


def failure(what: str, log: str) -> BrokerStartError:
    """Make an error of the last thing that went wrong in a log, with the end of that log as a note."""
    lines = log.splitlines()[-_TAIL_LINES:]
    reason = next((line for line in reversed(lines) if _WRONG.match(line)), lines[-1] if lines else "it said nothing")
    error = BrokerStartError(f"{what}: {reason.strip()}")
    error.add_note("\n".join(("the end of its log:", *map(safe, lines))))
    return error


def _live_brokers(bootstrap_servers: str) -> set[int]:
    # A new client every time: one that knows the cluster could ask another broker.
    admin = AdminClient(
        {
            "bootstrap.servers": bootstrap_servers,
            "allow.auto.create.topics": False,
            "reconnect.backoff.ms": 20,
            "reconnect.backoff.max.ms": 100,
            "log_level": 0,  # that nobody listens yet is no news
        }
    )
    try:
        return set(admin.list_topics(timeout=_ATTEMPT_SECONDS).brokers)
    except KafkaException:
        return set()
