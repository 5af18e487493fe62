"""Settings to begin with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kafkalab.settings.note import Note

if TYPE_CHECKING:
    from kafkalab.settings.forms import Value


@dataclass(frozen=True, slots=True)
class Preset:
    """What a preset is for, and what of librdkafka's defaults it changes."""

    purpose: str
    changes: dict[str, Value]


ARTICLE: dict[str, Value] = {
    "Consumer.MaxWaitTime": "1s",
    "Consumer.Fetch.Default": 1 << 20,
    "Consumer.Fetch.Min": 128 << 10,
    "Consumer.Fetch.Max": 10 << 20,
    "Consumer.MaxProcessingTime": "250ms",
    "Consumer.Return.Errors": True,
    "Consumer.Group.Session.Timeout": "30s",
    "Consumer.Group.Heartbeat.Interval": "10s",
    "Consumer.Group.Rebalance.GroupStrategies": "roundrobin",
    "Consumer.Group.Rebalance.Timeout": "30s",
    "Consumer.Group.Rebalance.Retry.Max": 2,
    "ChannelBufferSize": 256,
    "Metadata.Full": False,
    "Metadata.Retry.Max": 3,
}
"""A consumer group in Go, as sarama has it."""

PREFETCH = Note(
    "prefetch", "no equivalent", "500 there, but not sarama's: the depth of a group's own buffer is nearest"
)

PRESETS = {
    "default": Preset("librdkafka's own", {}),
    "latency": Preset(
        "a record as soon as it is there: short pauses after errors and full queues; no default waits for more records",
        {
            "fetch_error_backoff_ms": 50,
            "fetch_queue_backoff_ms": 1,
            "socket_keepalive_enable": True,
        },
    ),
    "throughput": Preset(
        "much at a time: large fetches, a deep queue that is never left to run dry; up to 512 MiB",
        {
            "fetch_min_bytes": 256 << 10,
            "max_partition_fetch_bytes": 8 << 20,
            "queued_min_messages": 2_000_000,
            "queued_max_messages_kbytes": 512 << 10,
            "fetch_queue_backoff_ms": 1,
        },
    ),
    "small-memory": Preset(
        "a queue of 8 MiB and small fetches, for many consumers on one machine",
        {
            "max_partition_fetch_bytes": 256 << 10,
            "fetch_max_bytes": 4 << 20,
            "queued_min_messages": 10_000,
            "queued_max_messages_kbytes": 8 << 10,
            "fetch_queue_backoff_ms": 10,
        },
    ),
}
