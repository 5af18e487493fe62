"""How long a sample takes, by how much there is to sample from."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from benchmarks.contenders import Contender
from benchmarks.measure import measure
from benchmarks.readers import SAMPLED
from benchmarks.topics import Case

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from benchmarks.topics import Written
    from kafkalab.brokers import ApacheKafka

JAVA_BATCH_BYTES = 16_384
"""What Java's producer makes unless told otherwise."""
SMALL, LARGE = 1_000_000, 10_000_000
_SIZE = 110


def cases(records: int | None) -> list[Case]:
    """Return a topic and one of ten times as many records, in batches as Java's producer makes them, and in large ones.

    A probe brings a whole batch.
    """
    totals = (records, 10 * records) if records else (SMALL, LARGE)
    large = Case(_SIZE, "none", 0).batch_bytes
    return [Case(_SIZE, "none", total, bound) for bound in (JAVA_BATCH_BYTES, large) for total in totals]


def sample(broker: ApacheKafka, written: Mapping[Case, Written], folder: Path) -> Iterator[dict[str, Any]]:
    """Yield a measurement of a sample of each topic."""
    for case, all_of_it in written.items():
        found = measure(Contender("sample", "sample").command(broker, case, folder))
        assert found.content.records == SAMPLED, f"{found.content.records} records of {case.topic} were sampled"
        content = all_of_it.content_at(found.places or [])
        assert found.content == content, f"the sample of {case.topic} is {found.content}, not {content}"
        yield {**asdict(case), **found.row}
