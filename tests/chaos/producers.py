"""Producers that write down what the brokers acknowledged."""

import itertools
import logging
import threading

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from tests.chaos.checker import Truth, value_of

LOGGER = logging.getLogger("chaos.client")
SECONDS = 60
_KEYS = 50
_FIRST = 8_000
"""So many records are written at once, for verbs that count back from the end."""


class Topic:
    """A topic that a thread keeps writing to; it can be recreated meanwhile.

    Parameters
    ----------
    bootstrap : str
        Where the brokers are.
    name : str
        Its name.
    partitions : int
        How many it has.
    rate : float
        About how many records a second are written.
    """

    def __init__(self, bootstrap: str, name: str, partitions: int, rate: float) -> None:
        self.name = name
        self.partitions = partitions
        self.truth = Truth()
        self.life = 0
        self.lock = threading.Lock()
        """Held while the topic is deleted and made again."""
        self.bootstrap = bootstrap
        self._pause = 1 / rate
        self._numbers = itertools.count()
        self._over = threading.Event()
        self.admin = AdminClient({"bootstrap.servers": bootstrap, "allow.auto.create.topics": False}, logger=LOGGER)
        self._create()
        self._producer = self._new_producer()
        for _ in range(_FIRST):
            self._send()
        self._producer.flush(SECONDS)
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def _create(self) -> None:
        pause = threading.Event()
        while True:
            try:
                self.admin.create_topics([NewTopic(self.name, self.partitions, 3)])[self.name].result(SECONDS)
            except KafkaException as error:
                if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS and not self.life:
                    return
                pause.wait(0.2)  # the old topic is on its way out, or a broker is away
            else:
                return

    def _new_producer(self) -> Producer:
        options: dict[str, str | int | float | bool] = {
            "bootstrap.servers": self.bootstrap,
            "enable.idempotence": True,
            "linger.ms": 20,
            "delivery.timeout.ms": 600_000,
            "allow.auto.create.topics": False,
            "partitioner": "murmur2_random",
        }
        return Producer(options, logger=LOGGER)

    def _write(self) -> None:
        while not self._over.wait(self._pause):
            with self.lock:
                self._send()

    def _send(self) -> None:
        number = next(self._numbers)
        value = value_of(self.name, self.life, number)
        self.truth.sent.add(value)
        try:
            self._producer.produce(self.name, value, str(number % _KEYS), on_delivery=self._delivered)
        except BufferError:  # brokers are away: this record is not written
            self._producer.poll(0.1)
        self._producer.poll(0)

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        value, partition, offset = message.value(), message.partition(), message.offset()
        if error is None and value is not None and partition is not None and offset is not None:
            text = value.decode()
            self.truth.acknowledged(int(text.rsplit("/", 2)[1]), (partition, offset), text)

    def recreate(self) -> None:
        """Delete the topic when all that was sent is settled, and make it again."""
        with self.lock:
            if self._producer.flush(SECONDS):
                return  # brokers are away: another time
            deleted = self.admin.delete_topics([self.name], request_timeout=SECONDS)[self.name]
            try:
                deleted.result(SECONDS)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    return
            self.life += 1
            self._create()
            self._producer = self._new_producer()

    def stop(self) -> int:
        """End writing; return how many records nobody knows the fate of."""
        self._over.set()
        self._thread.join()
        return self._producer.flush(SECONDS)
