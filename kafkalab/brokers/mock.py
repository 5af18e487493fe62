"""librdkafka's mock cluster, inside this process."""

import ctypes
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from confluent_kafka import cimpl

from kafkalab.errors import BrokerStartError, ConfigError

_PRODUCER = 0
_ERROR_SIZE = 512

_POINTER, _TEXT, _INT = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
_SIGNATURES: dict[str, tuple[type | None, tuple[type, ...]]] = {
    "rd_kafka_conf_new": (_POINTER, ()),
    "rd_kafka_conf_set_log_cb": (None, (_POINTER, _POINTER)),
    "rd_kafka_new": (_POINTER, (_INT, _POINTER, _TEXT, ctypes.c_size_t)),
    "rd_kafka_destroy": (None, (_POINTER,)),
    "rd_kafka_err2str": (_TEXT, (_INT,)),
    "rd_kafka_mock_cluster_new": (_POINTER, (_POINTER, _INT)),
    "rd_kafka_mock_cluster_destroy": (None, (_POINTER,)),
    "rd_kafka_mock_cluster_bootstraps": (_TEXT, (_POINTER,)),
    "rd_kafka_mock_topic_create": (_INT, (_POINTER, _TEXT, _INT, _INT)),
}


class MockBroker:
    """A cluster of librdkafka's mock brokers, on loopback ports of this process.

    It starts in a millisecond and needs nothing but confluent-kafka. It has no controller (``describe_*`` calls time
    out), answers -1 to every look-up of a time, ignores fetch sizes and shows aborted records; `ApacheKafka` does not.

    Parameters
    ----------
    topics : mapping of str to int, optional
        The topics to make, and how many partitions each has.
    brokers : int, default 1
        How many brokers the cluster has.

    Examples
    --------
    >>> with MockBroker(topics={"orders": 3}) as broker:
    ...     broker.bootstrap_servers.startswith("127.0.0.1:")
    True
    """

    def __init__(self, topics: Mapping[str, int] | None = None, brokers: int = 1) -> None:
        if brokers < 1:
            raise ConfigError(f"brokers is {brokers}: a cluster needs at least 1")
        self._topics = dict(topics or {})
        for topic, partitions in self._topics.items():
            _check_partitions(topic, partitions)
        self._brokers = brokers
        self._handle: int | None = None
        self._cluster: int | None = None

    @property
    def bootstrap_servers(self) -> str:
        """Where clients connect: ``host:port``, comma-separated."""
        bootstraps: bytes = _library().rd_kafka_mock_cluster_bootstraps(self._running())
        return bootstraps.decode()

    @property
    def topics(self) -> dict[str, int]:
        """The topics made through this object, and their numbers of partitions."""
        return dict(self._topics)

    def start(self) -> Self:
        """Start the cluster and make its topics; does nothing when it runs.

        Returns
        -------
        MockBroker
            This broker.

        Raises
        ------
        BrokerStartError
            If librdkafka could not start it.
        """
        if self._cluster is None:
            try:
                self._start_now()
            except BaseException:
                self.stop()
                raise
        return self

    def stop(self) -> None:
        """Stop the cluster; its records are gone. Does nothing when it does not run."""
        cluster, self._cluster = self._cluster, None
        handle, self._handle = self._handle, None
        if cluster is not None:
            _library().rd_kafka_mock_cluster_destroy(cluster)
        if handle is not None:
            _library().rd_kafka_destroy(handle)

    def create_topic(self, topic: str, partitions: int = 1) -> None:
        """Make one more topic on the running cluster.

        Parameters
        ----------
        topic : str
            Its name.
        partitions : int, default 1
            How many partitions it has.

        Raises
        ------
        BrokerStartError
            If the broker does not run, or librdkafka refuses the topic.
        """
        _check_partitions(topic, partitions)
        library = _library()
        code = library.rd_kafka_mock_topic_create(self._running(), topic.encode(), partitions, min(3, self._brokers))
        if code:
            raise BrokerStartError(library.rd_kafka_err2str(code).decode(), topic=topic)
        self._topics[topic] = partitions

    def _start_now(self) -> None:
        library = _library()
        self._handle = _silent_client(library)
        self._cluster = library.rd_kafka_mock_cluster_new(self._handle, self._brokers)
        if self._cluster is None:
            raise BrokerStartError("librdkafka could not start its mock cluster: no loopback port could be bound")
        for topic, partitions in self._topics.items():
            self.create_topic(topic, partitions)

    def _running(self) -> int:
        if self._cluster is None:
            raise BrokerStartError("the mock broker does not run: call start(), or use it in a with statement")
        return self._cluster

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __del__(self) -> None:
        # A constructor that raised leaves an object without these.
        if getattr(self, "_cluster", None) is not None:
            self.stop()

    def __repr__(self) -> str:
        where = "stopped" if self._cluster is None else self.bootstrap_servers
        return f"<MockBroker {where}, topics={self._topics}>"


def _check_partitions(topic: str, partitions: int) -> None:
    if partitions < 1:
        raise ConfigError(f"topic {topic!r} is to have {partitions} partitions: it needs at least 1")


def _library() -> ctypes.CDLL:
    # The wheel's extension links the librdkafka it brings, so its handle finds that library's symbols too.
    library = ctypes.CDLL(cimpl.__file__)
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def _silent_client(library: ctypes.CDLL) -> int:
    conf = library.rd_kafka_conf_new()
    # The mock cluster logs through this client, and without a callback librdkafka writes nothing to stderr.
    library.rd_kafka_conf_set_log_cb(conf, None)
    error = ctypes.create_string_buffer(_ERROR_SIZE)
    handle: int | None = library.rd_kafka_new(_PRODUCER, conf, error, _ERROR_SIZE)
    if handle is None:
        raise BrokerStartError(f"librdkafka could not make a client for its mock cluster: {error.value.decode()}")
    return handle
