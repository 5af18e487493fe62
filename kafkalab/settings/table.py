"""The settings of a consumer: each once, with librdkafka's default and bounds, and its names in Java and sarama."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from kafkalab.settings import golang, java, strategies
from kafkalab.settings.forms import LIST, LOWERCASE, NEVER, OFFSET_RESET
from kafkalab.settings.knob import Counterpart, Knob, knob

_INT_MAX = 2**31 - 1
_MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs:
    """The fields of `ConsumerSettings`."""

    fetch_min_bytes: int = knob(
        1,
        (1, 100_000_000),
        "bytes",
        effect="The broker waits until it has this much, or fetch_max_wait_ms has passed. Larger: fewer, fuller "
        "answers from a live topic, later by up to the wait. Reading a backlog, it changes nothing.",
        interacts="fetch_max_wait_ms max_partition_fetch_bytes fetch_max_bytes",
        librdkafka="fetch.min.bytes",
        java=Counterpart("fetch.min.bytes", 1),
        sarama=Counterpart("Consumer.Fetch.Min", 1, form=golang.INT),
    )
    fetch_max_wait_ms: int = knob(
        500,
        (0, 300_000),
        "ms",
        effect="How long the broker may wait for fetch_min_bytes; the most that waiting adds to a record's delay.",
        interacts="fetch_min_bytes socket_timeout_ms",
        librdkafka="fetch.wait.max.ms",
        java=Counterpart("fetch.max.wait.ms", 500),
        sarama=Counterpart("Consumer.MaxWaitTime", 500, form=golang.WAIT),
    )
    max_partition_fetch_bytes: int = knob(
        _MIB,
        (1, 1_000_000_000),
        "bytes",
        effect="The most that one answer brings of one partition; a first batch that is larger comes whole. Larger: "
        "fewer requests where few partitions are read, for more memory.",
        interacts="fetch_max_bytes fetch_min_bytes queued_max_messages_kbytes",
        librdkafka="fetch.message.max.bytes",
        java=Counterpart("max.partition.fetch.bytes", _MIB),
        sarama=Counterpart(
            "Consumer.Fetch.Default", _MIB, "it doubles when a message is cut, up to Consumer.Fetch.Max", golang.INT
        ),
    )
    fetch_max_bytes: int = knob(
        50 * _MIB,
        (1000, _INT_MAX - 512),
        "bytes",
        effect="The most that one answer brings of all partitions; brokers cap it, at 55 MiB by default.",
        interacts="max_partition_fetch_bytes receive_message_max_bytes queued_max_messages_kbytes",
        librdkafka="fetch.max.bytes",
        java=Counterpart("fetch.max.bytes", 50 * _MIB),
        sarama=Counterpart(
            "Consumer.Fetch.MaxBytes",
            50 * _MIB,
            "older releases lack the field and ask for MaxResponseSize; Consumer.Fetch.Max is something else",
            golang.INT,
        ),
    )
    receive_message_max_bytes: int = knob(
        100_000_000,
        (1000, _INT_MAX),
        "bytes",
        effect="A larger answer of a broker is an error: a guard against nonsense on the wire.",
        interacts="fetch_max_bytes",
        librdkafka="receive.message.max.bytes",
        sarama=Counterpart("MaxResponseSize", 100 * _MIB, "a variable of the package, for all its clients", golang.INT),
    )
    fetch_error_backoff_ms: int = knob(
        500,
        (0, 300_000),
        "ms",
        effect="How long a partition rests after a fetch of it has failed.",
        interacts="retry_backoff_ms",
        librdkafka="fetch.error.backoff.ms",
        java=Counterpart(meaning="retry.backoff.ms is the nearest"),
        sarama=Counterpart("Consumer.Retry.Backoff", 2000, form=golang.DURATION),
    )
    queued_min_messages: int = knob(
        100_000,
        (1, 10_000_000),
        "messages",
        effect="How many fetched messages may wait, of all partitions; with as many, fetching pauses for "
        "fetch_queue_backoff_ms. Small messages drain sooner than that, and the consumer idles: raise it first.",
        interacts="fetch_queue_backoff_ms queued_max_messages_kbytes",
        librdkafka="queued.min.messages",
        java=Counterpart(meaning="max.poll.records is the nearest, but limits only what one poll() returns"),
        sarama=Counterpart(meaning="ChannelBufferSize is the nearest, but counts messages in a channel a partition"),
    )
    queued_max_messages_kbytes: int = knob(
        65_536,
        (1, 2_097_151),
        "KiB",
        effect="How much may wait in that queue; it counts before queued_min_messages, and is overshot by one answer.",
        interacts="queued_min_messages fetch_max_bytes fetch_queue_backoff_ms",
        librdkafka="queued.max.messages.kbytes",
    )
    fetch_queue_backoff_ms: int = knob(
        1000,
        (0, 300_000),
        "ms",
        effect="How long fetching pauses when the queue is full. At its default throughput is often a sawtooth; 0 to "
        "10 ms keeps the queue full, for some CPU.",
        interacts="queued_min_messages queued_max_messages_kbytes",
        librdkafka="fetch.queue.backoff.ms",
    )
    isolation_level: str = knob(
        "read_committed",
        choices=("read_committed", "read_uncommitted"),
        effect="Whether records of aborted transactions are left out, and those of open ones waited for.",
        librdkafka="isolation.level",
        form=LOWERCASE,
        java=Counterpart("isolation.level", "read_uncommitted", form=LOWERCASE),
        sarama=Counterpart("Consumer.IsolationLevel", "read_uncommitted", form=golang.ISOLATION),
    )
    check_crcs: bool = knob(
        default=False,
        effect="Whether the checksum of each batch is verified.",
        librdkafka="check.crcs",
        java=Counterpart("check.crcs", default=True),
        sarama=Counterpart(default=True),
    )
    client_rack: str = knob(
        "",
        effect="Where this client is, so that a replica close to it may serve it.",
        librdkafka="client.rack",
        java=Counterpart("client.rack", ""),
        sarama=Counterpart("RackID", "", form=golang.STRING),
    )
    session_timeout_ms: int = knob(
        45_000,
        (1, 3_600_000),
        "ms",
        effect="After so long without a heartbeat a member of a group is taken for dead. The broker has bounds for it; "
        "group.protocol=consumer leaves it to the broker.",
        interacts="heartbeat_interval_ms max_poll_interval_ms",
        librdkafka="session.timeout.ms",
        java=Counterpart("session.timeout.ms", 45_000),
        sarama=Counterpart("Consumer.Group.Session.Timeout", 10_000, form=golang.DURATION),
    )
    heartbeat_interval_ms: int = knob(
        3000,
        (1, 3_600_000),
        "ms",
        effect="How often a member says that it lives, and hears of a rebalance.",
        interacts="session_timeout_ms",
        librdkafka="heartbeat.interval.ms",
        java=Counterpart("heartbeat.interval.ms", 3000),
        sarama=Counterpart("Consumer.Group.Heartbeat.Interval", 3000, form=golang.DURATION),
    )
    max_poll_interval_ms: int = knob(
        300_000,
        (1, 86_400_000),
        "ms",
        effect="How long a member may go without asking for records before it has to leave, and how long a rebalance "
        "waits for it.",
        interacts="session_timeout_ms",
        librdkafka="max.poll.interval.ms",
        java=Counterpart("max.poll.interval.ms", 300_000),
        sarama=Counterpart(
            "Consumer.Group.Rebalance.Timeout",
            60_000,
            "there it is only how long a rebalance waits; slow processing is Consumer.MaxProcessingTime's",
            golang.DURATION,
        ),
    )
    partition_assignment_strategy: str = knob(
        "range,roundrobin",
        effect="How the partitions are handed out: the first strategy that all members of the group have.",
        librdkafka="partition.assignment.strategy",
        form=LIST,
        java=Counterpart(
            "partition.assignment.strategy", "range", "with cooperative-sticky beside it", strategies.JAVA
        ),
        sarama=Counterpart("Consumer.Group.Rebalance.GroupStrategies", "range", form=strategies.GO),
    )
    auto_offset_reset: str = knob(
        "latest",
        choices=("earliest", "latest", "error"),
        effect="Where a member begins that finds no commit, or one that the log no longer holds.",
        librdkafka="auto.offset.reset",
        form=OFFSET_RESET,
        java=Counterpart("auto.offset.reset", "latest", form=java.OFFSETS),
        sarama=Counterpart(
            "Consumer.Offsets.Initial", "latest", "see Consumer.Group.ResetInvalidOffsets too", golang.INITIAL
        ),
    )
    enable_auto_commit: bool = knob(
        default=True,
        effect="Whether positions are committed by the clock. kafkalab's readers never commit, whatever it says.",
        interacts="auto_commit_interval_ms",
        librdkafka="enable.auto.commit",
        java=Counterpart("enable.auto.commit", default=True),
        sarama=Counterpart(
            "Consumer.Offsets.AutoCommit.Enable", default=True, meaning="only what MarkMessage has marked is committed"
        ),
    )
    auto_commit_interval_ms: int = knob(
        5000,
        (0, 86_400_000),
        "ms",
        effect="How often positions are committed: how much is read again after a crash.",
        interacts="enable_auto_commit",
        librdkafka="auto.commit.interval.ms",
        java=Counterpart("auto.commit.interval.ms", 5000),
        sarama=Counterpart("Consumer.Offsets.AutoCommit.Interval", 1000, form=golang.COMMIT_INTERVAL),
    )
    socket_receive_buffer_bytes: int = knob(
        0,
        (0, 100_000_000),
        "bytes",
        effect="The kernel's receive buffer of a connection; 0 leaves it to the system. Far away, it wants to be at "
        "least bandwidth times round trip.",
        librdkafka="socket.receive.buffer.bytes",
        java=Counterpart("receive.buffer.bytes", 65_536, "-1 leaves it to the system", java.BUFFER),
    )
    socket_timeout_ms: int = knob(
        60_000,
        (10, 300_000),
        "ms",
        effect="How long an answer may take; a fetch has fetch_max_wait_ms more.",
        interacts="fetch_max_wait_ms",
        librdkafka="socket.timeout.ms",
        java=Counterpart("request.timeout.ms", 30_000, "a fetch has no more than that"),
        sarama=Counterpart("Net.ReadTimeout", 30_000, "a fetch has no more than that", golang.WAIT),
    )
    socket_connection_setup_timeout_ms: int = knob(
        30_000,
        (1000, _INT_MAX),
        "ms",
        effect="How long connecting to a broker may take, TLS and login included.",
        librdkafka="socket.connection.setup.timeout.ms",
        java=Counterpart("socket.connection.setup.timeout.ms", 10_000, "grows with each failure"),
        sarama=Counterpart("Net.DialTimeout", 30_000, "without the login", golang.WAIT),
    )
    socket_keepalive_enable: bool = knob(
        default=False,
        effect="Whether the system probes idle connections, so that a firewall does not forget them.",
        librdkafka="socket.keepalive.enable",
        java=Counterpart(default=True),
        sarama=Counterpart(
            "Net.KeepAlive", default=True, meaning="a duration: below zero is off", form=golang.KEEPALIVE
        ),
    )
    max_in_flight: int = knob(
        1_000_000,
        (1, 1_000_000),
        "requests",
        effect="How many requests a connection may have under way; of fetches librdkafka has one a broker anyway.",
        librdkafka="max.in.flight.requests.per.connection",
        java=Counterpart(meaning="a consumer has one fetch a broker under way"),
        sarama=Counterpart("Net.MaxOpenRequests", 5, form=golang.INT),
    )
    retry_backoff_ms: int = knob(
        100,
        (1, 300_000),
        "ms",
        effect="How long to wait before a request is tried again; doubled each time, up to retry_backoff_max_ms.",
        interacts="retry_backoff_max_ms fetch_error_backoff_ms",
        librdkafka="retry.backoff.ms",
        java=Counterpart("retry.backoff.ms", 100, "failed fetches wait for it too"),
        sarama=Counterpart(meaning="each part has a back-off of its own"),
    )
    retry_backoff_max_ms: int = knob(
        1000,
        (1, 300_000),
        "ms",
        effect="The most that a wait between tries grows to.",
        interacts="retry_backoff_ms topic_metadata_refresh_fast_interval_ms",
        librdkafka="retry.backoff.max.ms",
        java=Counterpart("retry.backoff.max.ms", 1000),
        sarama=Counterpart(meaning="its waits do not grow"),
    )
    topic_metadata_refresh_fast_interval_ms: int = knob(
        100,
        (1, 60_000),
        "ms",
        effect="How long to wait before asking again for the leader of a partition that has lost its own.",
        interacts="retry_backoff_ms retry_backoff_max_ms",
        librdkafka="topic.metadata.refresh.fast.interval.ms",
        java=Counterpart(meaning="retry.backoff.ms is the nearest"),
        sarama=Counterpart("Metadata.Retry.Backoff", 250, form=golang.DURATION),
    )
    topic_metadata_refresh_interval_ms: int = knob(
        300_000,
        (-1, 3_600_000),
        "ms",
        effect="How often topics, partitions and leaders are looked up without need: new partitions are seen so late. "
        "0 or -1 is never.",
        librdkafka="topic.metadata.refresh.interval.ms",
        java=Counterpart(
            "metadata.max.age.ms", 300_000, "of that name, librdkafka has the age of its cache", java.REFRESH
        ),
        sarama=Counterpart("Metadata.RefreshFrequency", 600_000, "0 is never", golang.REFRESH),
    )
    topic_metadata_refresh_sparse: bool = knob(
        default=True,
        effect="Whether only the topics in use are looked up, not all of the cluster's.",
        librdkafka="topic.metadata.refresh.sparse",
        java=Counterpart(default=True),
        sarama=Counterpart(
            "Metadata.Full", default=False, meaning="the other way round: true is all topics", form=golang.INVERTED
        ),
    )
    allow_auto_create_topics: bool = knob(
        default=False,
        choices=(False,),
        effect="Whether asking for a topic may create it. It may not.",
        librdkafka="allow.auto.create.topics",
        form=NEVER,
        java=Counterpart("allow.auto.create.topics", default=True, form=NEVER),
        sarama=Counterpart("Metadata.AllowAutoTopicCreation", default=True, form=NEVER),
    )


KNOBS: dict[str, Knob] = {known.name: replace(known.metadata["knob"], name=known.name) for known in fields(Knobs)}
