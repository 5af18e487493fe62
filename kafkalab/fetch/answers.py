"""What the answers to fetches mean: a broker may say anything, so each is judged before it is believed."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError

from kafkalab import _native
from kafkalab.errors import (
    CorruptDataError,
    KafkalabError,
    ReadTimeoutError,
    UnknownPartitionError,
    UnknownTopicError,
    UnsupportedError,
)
from kafkalab.fetch.loss import after_retention, deleted, made_anew
from kafkalab.fetch.patience import Clock, Round, is_passing
from kafkalab.model import IsolationLevel
from kafkalab.net.requests import ANSWERS_FIRST, LARGEST_BATCH_BYTES, OUT_OF_RANGE
from kafkalab.translation import translate

if TYPE_CHECKING:
    from collections.abc import Collection

    from kafkalab.cluster import Cluster
    from kafkalab.fetch.base import FetchControl, FetchOptions
    from kafkalab.fetch.patience import Track
    from kafkalab.model import OffsetRange, Watermarks

GROWTH = 4
# What new metadata or another try mend: a leader that has moved, or is not there yet, or is a little behind.
_PASSING = frozenset({-1, 3, 5, 6, 7, 9, 56, 70, 71, 74, 75, 78, 100, 103})


@dataclass(frozen=True, slots=True)
class Job:
    """What all connections of one fetch share."""

    topic: str
    options: FetchOptions
    control: FetchControl
    cluster: Cluster
    response_bytes: int
    has_portable: bool
    clock: Clock = field(default_factory=Clock)
    round: Round = field(default_factory=Round)

    @property
    def read_committed(self) -> bool:
        """Whether records of open and aborted transactions are hidden."""
        return self.options.isolation_level == IsolationLevel.READ_COMMITTED

    def visible_end(self, head: _native.PartitionHead) -> int:
        """Return up to where an answer says that the log can be read."""
        return head.last_stable_offset if self.read_committed else head.high_watermark


class Verdict(Enum):
    """What an answer says about one partition, asked from a position."""

    RECORDS = auto()
    """Whole batches, which lead further than the position."""
    UNSURE = auto()
    """Such batches, of which it could not be told whether the log reaches so far: they are not to be read."""
    CUT = auto()
    """The front of a batch that is larger than what was asked for."""
    OLD = auto()
    """Messages of format v0 or v1."""
    END = auto()
    """Nothing, as nothing more is visible."""
    NOTHING = auto()
    """Nothing, though something is visible."""
    MOVED = auto()
    """An error that new metadata may mend."""
    OUTSIDE = auto()
    """The log does not hold the position."""


def judge(job: Job, head: _native.PartitionHead, track: Track, end: int) -> Verdict:
    """Return what an answer says about a partition, of which records below ``end`` are wanted.

    Raises
    ------
    KafkalabError
        The broker's error, where another attempt does not mend it.
    CorruptDataError
        Batches are out of order: that is outside of their checksums, so none of them is believed.
    UnsupportedError
        Messages of an old format, where no other engine is at hand to read them.
    """
    position = track.position
    if head.error_code == OUT_OF_RANGE:
        return Verdict.OUTSIDE
    if head.error_code:
        track.patience.failed(_passing(head.error_code, job.topic, head.partition, position))
        return Verdict.MOVED
    if head.misplaced is not None:
        message = "the record batch is corrupt: its offsets do not follow those of the batch before"
        raise CorruptDataError(message, topic=job.topic, partition=head.partition, offset=head.misplaced)
    if head.next_offset is not None and head.next_offset > position:
        return Verdict.RECORDS if _is_written(job, head, head.next_offset, track, end) else Verdict.UNSURE
    if head.old_format:
        _check_portable(job, head.partition, position)
        return Verdict.OLD
    if head.cut_batch_bytes is not None or (head.record_bytes and head.next_offset is None):
        return Verdict.CUT
    return Verdict.END if position >= job.visible_end(head) and not head.record_bytes else Verdict.NOTHING


def _is_written(job: Job, head: _native.PartitionHead, next_offset: int, track: Track, end: int) -> bool:
    """Tell whether the log reaches to where the batches of an answer end.

    Their offsets stand outside of their checksums. An answer's high watermark is older than its records, though, and
    may have risen in between; so the cluster is asked. It is, too, where a batch leads past the end of what is wanted
    over offsets that no batch has. A tail need not ask: what follows in its log tells.
    """
    after_gap = next_offset if (head.base_offset or 0) > track.position else head.after_gap or 0
    if job.options.follow or (next_offset <= head.high_watermark and after_gap <= end):
        return True
    marks = _watermarks(job, track)
    if marks is not None and marks.high_watermark < next_offset:
        message = f"the record batches are corrupt: their offsets reach to {next_offset}, and the log does not"
        raise CorruptDataError(message, topic=job.topic, partition=head.partition, offset=track.position)
    return marks is not None


def _passing(code: int, topic: str, partition: int | None = None, position: int | None = None) -> KafkalabError:
    if code < KafkaError.UNKNOWN:  # the client's own errors are below, and no broker's
        message = f"the broker's answer has the error code {code}, which is none of Kafka's"
        raise CorruptDataError(message, topic=topic, partition=partition, offset=position)
    error = translate(KafkaError(code), topic=topic, partition=partition, offset=position)
    if code not in _PASSING:
        raise error
    return error


def _check_portable(job: Job, partition: int, position: int) -> None:
    if not job.has_portable:
        message = (
            "the messages have the old format v0 or v1, which the arrow engine does not read: engine='librdkafka' does"
        )
        raise UnsupportedError(message, topic=job.topic, partition=partition, offset=position)


def heads_of(response: _native.FetchResponse, topic: str, asked: Collection[Track]) -> list[_native.PartitionHead]:
    """Return what an answer says, partition by partition: of those that were asked for, and of each once.

    Raises
    ------
    CorruptDataError
        It says something else too.
    KafkalabError
        The broker refuses the request as a whole.
    """
    if response.error_code:
        error = _passing(response.error_code, topic)
        for track in asked:
            track.patience.failed(error)
        return []
    heads = response.partitions
    left = {track.partition for track in asked}
    for head in heads:
        if head.topic != topic or head.partition not in left:
            message = "the broker's answer has this partition without being asked for it, or twice"
            raise CorruptDataError(message, topic=topic, partition=head.partition)
        left.discard(head.partition)
    return heads


def throttled_s(response: _native.FetchResponse, version: int, asked: Collection[Track]) -> float:
    """Return for how many seconds the broker's quota asks to wait; brokers before 2.0 have waited themselves."""
    seconds = max(0.0, response.throttle_ms / 1000) if version >= ANSWERS_FIRST else 0.0
    if seconds and not response.partitions:
        for track in asked:
            track.patience.failed(ReadTimeoutError(f"the broker's quota asks this client to wait for {seconds:g} s"))
    return seconds


def grown(job: Job, head: _native.PartitionHead, track: Track, max_bytes: int) -> int:
    """Return how many bytes to ask for where a batch has come cut: much more, or no more than before.

    Raises
    ------
    UnsupportedError
        It is larger than any that is read here.
    """
    wanted = head.cut_batch_bytes or min(max_bytes * GROWTH, LARGEST_BATCH_BYTES)
    if wanted > LARGEST_BATCH_BYTES:
        message = (
            f"a batch of {wanted:,} bytes is more than the {LARGEST_BATCH_BYTES:,} that the arrow engine takes: "
            "engine='librdkafka' reads it"
        )
        raise UnsupportedError(message, topic=job.topic, partition=head.partition, offset=track.position)
    return max_bytes if wanted <= max_bytes else min(max(wanted, max_bytes * GROWTH), LARGEST_BATCH_BYTES)


def nothing(job: Job, track: Track) -> KafkalabError:
    """Return the error for an answer without a batch, although there are records to read."""
    message = "the broker answers without the records that it says are there"
    return ReadTimeoutError(message, topic=job.topic, partition=track.partition, offset=track.position)


def continued(job: Job, track: Track) -> int | None:
    """Return where to continue behind a position that the log does not hold; None to ask for it again.

    Raises
    ------
    DataLossError
        Retention has passed the read, and that is to be an error; or the log has been shorter for some seconds.
    """
    marks = _watermarks(job, track)
    if marks is None:
        return None
    partition, position = track.partition, track.position
    if marks.log_start_offset > position:
        return after_retention(marks, job.topic, partition, position, job.options.on_data_loss)
    if marks.high_watermark < position:
        track.patience.suspect(made_anew(marks, job.topic, partition, position))
    else:
        track.patience.failed(_out_of_range(job, track))
    return None


def is_end(job: Job, head: _native.PartitionHead, track: Track, offset_range: OffsetRange) -> bool:
    """Tell whether a range ends here, before its last offset, as an open transaction hides the rest.

    Raises
    ------
    DataLossError
        The log has been shorter than the range for some seconds.
    """
    if head.high_watermark < offset_range.end:
        marks = _watermarks(job, track)
        if marks is not None and marks.high_watermark < offset_range.end:
            track.patience.suspect(made_anew(marks, job.topic, track.partition, track.position))
        elif marks is not None:
            track.patience.failed(nothing(job, track))
        return False
    track.patience.progress()
    return True


def _watermarks(job: Job, track: Track) -> Watermarks | None:
    """Ask the cluster where a log begins and ends; None where it does not answer now."""
    try:
        return job.cluster.watermarks(job.topic, [track.partition], stop=job.control.stop)[track.partition]
    except UnknownTopicError:
        track.patience.suspect(deleted(job.topic, track.partition, track.position))
    except UnknownPartitionError as error:
        track.patience.suspect(error)
    except KafkalabError as error:
        if not is_passing(error):
            raise
        track.patience.failed(error)
    return None


def _out_of_range(job: Job, track: Track) -> KafkalabError:
    return translate(KafkaError(OUT_OF_RANGE), topic=job.topic, partition=track.partition, offset=track.position)


def leaders_of(job: Job, tracks: Collection[Track]) -> dict[int, tuple[str, int]]:
    """Return the address of each partition's leader, as far as the cluster tells; the others count as failures.

    Raises
    ------
    DataLossError
        The cluster has known no such topic for some seconds.
    """
    try:
        leaders = job.cluster.leaders(job.topic, stop=job.control.stop)
    except _native.StoppedError:
        return {}
    except UnknownTopicError:
        for track in tracks:
            track.patience.suspect(deleted(job.topic, track.partition, track.position))
        return {}
    except KafkalabError as error:
        if not is_passing(error):
            raise
        for track in tracks:
            track.patience.failed(error)
        return {}
    for track in tracks:
        if track.partition not in leaders:
            track.patience.failed(KafkalabError("the partition has no leader now: look at its brokers"))
    return leaders
