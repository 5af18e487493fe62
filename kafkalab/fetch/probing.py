"""Single offsets looked up by the fast engine: a request brings one batch, and many are under way at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from confluent_kafka import KafkaError

from kafkalab.fetch.base import Fetched
from kafkalab.fetch.parsing import parsed
from kafkalab.model import OffsetRange, StopReason
from kafkalab.net.requests import OUT_OF_RANGE, PartitionFetch
from kafkalab.translation import translate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from kafkalab import _native
    from kafkalab.fetch.conversation import Job
    from kafkalab.net.wire import BrokerConnection

IN_FLIGHT = 20


@dataclass(slots=True)
class Walk:
    """Draws of one partition, settled one after the other."""

    offset_range: OffsetRange
    draws: NDArray[np.int64]
    position: int = field(init=False)

    def __post_init__(self) -> None:
        self.position = int(self.draws[0])

    @property
    def settled(self) -> bool:
        """Whether every draw is known to be a visible record or none."""
        return self.position >= self.offset_range.end

    def ask(self, connection: BrokerConnection, job: Job) -> int:
        """Ask for the one batch that holds or follows the next draw; return the number of the request."""
        part = PartitionFetch(self.offset_range.partition, self.position, 1)
        return connection.send_fetch(job.topic, [part], read_committed=job.read_committed, max_wait_ms=0, max_bytes=1)

    def take(self, response: _native.FetchResponse, job: Job) -> Iterator[Fetched]:
        """Yield the records of an answer that were drawn."""
        part, position = self.offset_range, self.position
        if not response.partitions:  # throttled: it is to be asked for again
            job.patience.progress()
            return
        (head,) = response.partitions
        if head.error_code not in (0, OUT_OF_RANGE):
            raise translate(KafkaError(head.error_code), topic=part.topic, partition=part.partition, offset=position)
        job.patience.progress()
        # No batch means that none follows, or that retention has passed the draws.
        behind = part.end if head.next_offset is None else max(head.next_offset, position + 1)
        here = self.draws[slice(*np.searchsorted(self.draws, (position, behind)))]
        following = self.draws[np.searchsorted(self.draws, behind) :]
        self.position = int(following[0]) if len(following) else part.end
        for step in parsed(response, {(part.topic, part.partition): (position, int(here[-1]) + 1)}, job.options):
            rows = pa.record_batch(step)
            hits = np.isin(rows["offset"].to_numpy(), here)
            if hits.any():
                yield Fetched(part, rows.filter(pa.array(hits)), self.position)
        if self.settled:
            yield Fetched.without_rows(part, part.end, job.options, StopReason.REACHED)


def walks_over(topic: str, draws: Mapping[int, NDArray[np.int64]]) -> list[Walk]:
    """Cut each partition's draws into stretches, so that requests under way do not ask for the same batch."""
    total = sum(len(offsets) for offsets in draws.values())
    stretches = [
        (partition, stretch)
        for partition, offsets in draws.items()
        for stretch in np.array_split(offsets, min(len(offsets), -(-IN_FLIGHT * len(offsets) // total)))
    ]
    return [Walk(OffsetRange(topic, p, int(draw[0]), int(draw[-1]) + 1), draw) for p, draw in stretches]
