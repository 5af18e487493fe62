"""How fast a whole topic is read: the contenders take turns."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from benchmarks.measure import measure
from benchmarks.topics import Case

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from benchmarks.contenders import Contender
    from benchmarks.topics import Content
    from kafkalab.brokers import ApacheKafka

_RECORDS = 1_000_000


def cases(topics: Sequence[str], records: int | None) -> list[Case]:
    """Return the cases that are written as ``110-none``: the size of the values and the codec."""
    split = [topic.split("-") for topic in topics]
    return [Case(int(size), codec, records or _RECORDS) for size, codec in split]


def read(
    broker: ApacheKafka, contents: Mapping[Case, Content], contenders: Sequence[Contender], folder: Path
) -> Iterator[dict[str, Any]]:
    """Yield a measurement of each contender on each of its topics: not all read more than the first topic."""
    for number, (case, content) in enumerate(contents.items()):
        for contender in contenders:
            if contender.everywhere or number == 0:
                found = measure(contender.command(broker, case, folder))
                told = f"{contender.name} read {found.content} of {case.topic}, not {content}"
                assert found.content == content, told
                yield {"contender": contender.name, **asdict(case), **asdict(content), **found.row}
