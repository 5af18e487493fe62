"""Compare what readers, exports and groups saw with what producers had acknowledged: histories in, violations out."""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import inf

from tests.chaos.history import Event

Place = tuple[int, int]
"""A partition and an offset."""


@dataclass(slots=True)
class Truth:
    """The acknowledged records of one topic, by the life of the topic: each time it is recreated, a new one begins.

    Attributes
    ----------
    lives : dict of int to dict of Place to str
        For each life the value at each place.
    sent : set of str
        Every value that a producer sent, acknowledged or not.
    deleted : dict of int to int
        Up to which offset of a partition records may have been deleted.
    """

    lives: dict[int, dict[Place, str]] = field(default_factory=lambda: defaultdict(dict))
    sent: set[str] = field(default_factory=set)
    deleted: dict[int, int] = field(default_factory=dict)

    def acknowledged(self, life: int, place: Place, value: str) -> None:
        """Note a record that the brokers acknowledged."""
        self.lives[life][place] = value


def value_of(topic: str, life: int, number: int) -> str:
    """Return the value of the record with a number, which names its topic and its life."""
    return f"{topic}/{life}/{number}"


def life_of(value: str) -> int:
    """Return the life of the topic in which a value was sent."""
    return int(value.rsplit("/", 2)[1])


def check_rows(truth: Truth, event: Event) -> Iterator[str]:
    """Yield what is wrong with the rows that a verb returned for some ranges.

    ``event["rows"]`` holds ``[partition, offset, value]`` in the order of arrival, ``event["ranges"]`` the half-open
    ranges ``[partition, start, next_offset]`` that the receipt calls read.
    """
    where = f"{event['verb']} of {event['topic']}"
    found: dict[Place, str] = {}
    last: dict[int, int] = {}
    for partition, offset, value in event["rows"]:
        if offset <= last.get(partition, -1):
            yield f"{where}: [{partition}]@{offset} came after @{last[partition]}"
        last[partition] = offset
        found[partition, offset] = value
    lives = {life_of(value) for value in found.values() if value in truth.sent}
    yield from _invented(truth, where, found)
    if len(lives) > 1:
        yield f"{where}: rows of the topic's lives {sorted(lives)} in one answer"
    elif event.get("ranges"):
        yield from _missed(truth, where, event, found, lives)


def _invented(truth: Truth, where: str, found: Mapping[Place, str]) -> Iterator[str]:
    for place, value in found.items():
        if value not in truth.sent:
            yield f"{where}: {_text(place)} holds {value!r}, which nobody sent"
        elif (other := truth.lives[life_of(value)].get(place, value)) != value:
            yield f"{where}: {_text(place)} holds {value!r}, not {other!r}"


def _text(place: Place) -> str:
    return f"[{place[0]}]@{place[1]}"


def _missed(truth: Truth, where: str, event: Event, found: Mapping[Place, str], lives: set[int]) -> Iterator[str]:
    # Without rows, any life of the topic that has nothing there explains the answer.
    candidates = lives or set(truth.lives)
    missed = [_missing(truth.lives[life], event["ranges"], found) for life in sorted(candidates)]
    if missed and all(missed):
        fewest = min(missed, key=len)
        yield f"{where}: {len(fewest)} acknowledged records are missing, the first at {_text(fewest[0])}"


def _missing(
    acknowledged: Mapping[Place, str], ranges: Iterable[tuple[int, int, int]], found: Mapping[Place, str]
) -> list[Place]:
    return [
        (partition, offset)
        for partition, start, end in ranges
        for offset in range(start, end)
        if (partition, offset) in acknowledged and (partition, offset) not in found
    ]


def check_follower(truth: Truth, topic: str, verb: str, steps: Iterable[Event]) -> Iterator[str]:
    """Yield what is wrong with a stream that was followed from the first record on."""
    rows = [row for step in steps for row in step["rows"]]
    ends: dict[int, int] = {}
    for partition, offset, _ in rows:
        ends[partition] = max(ends.get(partition, 0), offset + 1)
    ranges = [(partition, 0, end) for partition, end in ends.items()]
    yield from check_rows(truth, {"verb": verb, "topic": topic, "rows": rows, "ranges": ranges})


def check_group(
    truth: Truth, topic: str, members: Iterable[Iterable[Event]], commits: Iterable[Event]
) -> Iterator[str]:
    """Yield what is wrong with what the members of a group handled, and with what they committed.

    A member's history has ``assigned`` and ``handled`` events. ``commits`` has, by the time they were observed, the
    committed offset of each partition and the life of the topic.
    """
    handled: dict[str, float] = {}
    for member, history in enumerate(members):
        last: dict[tuple[int, int], int] = {}
        for event in history:
            if event["kind"] == "assigned":
                last.clear()
            elif event["kind"] == "handled":
                value, partition, offset = event["value"], event["partition"], event["offset"]
                handled[value] = min(event["at"], handled.get(value, event["at"]))
                life = life_of(value)
                if offset <= last.get((life, partition), -1):
                    yield f"member {member} of {topic}: [{partition}]@{offset} came after @{last[life, partition]}"
                last[life, partition] = offset
                if truth.lives[life].get((partition, offset), value) != value:
                    yield f"member {member} of {topic}: [{partition}]@{offset} holds {value!r}, which is not there"
    yield from _committed_too_far(truth, topic, handled, commits)
    newest = max(truth.lives, default=0)
    kept = (
        (place, value) for place, value in truth.lives[newest].items() if place[1] >= truth.deleted.get(place[0], 0)
    )
    if left := [place for place, value in kept if value not in handled]:
        yield f"group of {topic}: {len(left)} acknowledged records were never handled, the first at {_text(min(left))}"


def _committed_too_far(
    truth: Truth, topic: str, handled: Mapping[str, float], commits: Iterable[Event]
) -> Iterator[str]:
    done = {life: _done_by(truth, life, handled) for life in list(truth.lives)}
    for event in commits:
        for partition, committed in event["offsets"]:
            offsets, times = done.get(event["life"], {}).get(partition, ([], []))
            below = bisect_left(offsets, committed)
            if below and times[below - 1] > event["at"]:
                late = bisect_right(times, event["at"])
                place = partition, offsets[late]
                yield f"group of {topic}: committed to {_text((partition, committed))}, {_text(place)} was not handled"


def _done_by(truth: Truth, life: int, handled: Mapping[str, float]) -> dict[int, tuple[list[int], list[float]]]:
    """Return for each partition its offsets, and when the last record up to each was handled."""
    done: dict[int, tuple[list[int], list[float]]] = {}
    for (partition, offset), value in sorted(truth.lives[life].items()):
        if offset >= truth.deleted.get(partition, 0):
            offsets, times = done.setdefault(partition, ([], []))
            offsets.append(offset)
            times.append(max(handled.get(value, inf), times[-1] if times else 0.0))
    return done
