"""The pure half of the arrow engine alone, on responses of a real broker, beside what no reader can do without.

That is the floor: each batch's checksum, its decompression by the usual C library, and one copy of the result.
"""

from __future__ import annotations

import time
from collections import deque
from itertools import count
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from benchmarks.floor import floor
from benchmarks.topics import Case
from kafkalab import _native
from kafkalab.net import requests
from kafkalab.net.requests import PartitionFetch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.topics import Topics
    from kafkalab.brokers import ApacheKafka

    Work = Callable[[], int]

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
FLOORED = ("none", "lz4", "zstd")
"""Those that pyarrow decompresses at least as fast as the kernel does."""
_SIZE, _RECORDS = 110, 300_000
_VERSION = 11
_TIMEOUT_S = 30.0
_END = 2**63 - 1
_RESPONSE_BYTES = _PARTITION_BYTES = 4 << 20  # as the engine asks


def kernel(broker: ApacheKafka, topics: Topics, repeats: int, records: int | None) -> Iterator[dict[str, Any]]:
    """Yield measurements of the kernel and of the floor, in turn, by codec."""
    for codec in CODECS:
        case = Case(_SIZE, codec, records or _RECORDS)
        total = topics.fill(case).content.records
        frames = list(responses(broker, case))
        least = {"floor": floor(frames, codec)} if codec in FLOORED else {}
        for repeat in range(-1, repeats):
            for what, work in {"kernel": parsing(frames), **least}.items():
                seconds = _cpu_seconds(work, total)
                if repeat >= 0:  # the first turn warms up
                    yield {"repeat": repeat, "codec": codec, "what": what, "records": total, "cpu_seconds": seconds}


def parsing(frames: Sequence[bytes]) -> Work:
    """Return what makes Arrow of responses and tells how many records they are; it works once."""
    parsed = [_native.FetchResponse.from_bytes(frame, _VERSION) for frame in frames]
    begin = (0, _END, _native.Transactions())
    wanted = [{(head.topic, head.partition): begin for head in response.partitions} for response in parsed]

    def work() -> int:
        records = 0
        for response, ranges in zip(parsed, wanted, strict=True):
            while step := response.next_step(ranges, read_committed=True):
                records += pa.record_batch(step).num_rows
        return records

    return work


def _cpu_seconds(work: Work, total: int) -> float:
    """Return what this thread takes: others share the machine."""
    began = time.thread_time()
    records = work()
    seconds = time.thread_time() - began
    assert records == total, f"{records} of {total} records"
    return seconds


def responses(broker: ApacheKafka, case: Case) -> Iterator[bytes]:
    """Yield the answers of the broker to fetches from one end of a topic to the other."""
    host, port = broker.bootstrap_servers.split(":")
    connection = _native.Connection.open(host, int(port), connect_timeout=_TIMEOUT_S)
    positions = dict.fromkeys(range(case.partitions), 0)
    for number in count():
        parts = [PartitionFetch(partition, offset, _PARTITION_BYTES) for partition, offset in positions.items()]
        asked = requests.fetch(case.topic, parts, read_committed=True, max_wait_ms=0, max_bytes=_RESPONSE_BYTES)
        connection.send(asked.encode((_VERSION, number, "benchmark")))
        frame = connection.receive(_TIMEOUT_S, max_bytes=1 << 30)
        heads = _native.FetchResponse.from_bytes(frame, _VERSION).partitions
        ends = {head.partition: head.next_offset for head in heads if head.next_offset is not None}
        if not ends:
            connection.close()
            return
        yield frame
        # The last partition of an answer may come back empty, so each is to be the first.
        partitions = deque(positions)
        partitions.rotate(-1)
        positions = {partition: ends.get(partition, positions[partition]) for partition in partitions}
