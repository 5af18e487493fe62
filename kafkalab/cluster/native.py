"""A cluster that is asked over native connections: every wait is bounded, and ends by a stop or by Ctrl-C."""

from __future__ import annotations

import base64
import re
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from confluent_kafka import KafkaError

from kafkalab.cluster.metadata import (
    GRACE_S,
    LAST_TIME_MS,
    OFFSETS_TOPIC,
    check_partitions,
    offline,
    unknown_topic,
)
from kafkalab.errors import ArgumentError, CorruptDataError, KafkalabError, UnsupportedError
from kafkalab.model import PartitionInfo, TimedOffset, TopicInfo, TopicPartition, Watermarks
from kafkalab.net import requests
from kafkalab.net.client import Call, Client
from kafkalab.translation import translate

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from kafkalab.connection import ConnectionConfig
    from kafkalab.net.client import Answers, Stops
    from kafkalab.net.connections import Address
    from kafkalab.net.requests import Request

_UNKNOWN_TOPIC = frozenset({3, 100})  # by its name, or by its id
_NO_TOPIC_HAS_THIS_NAME = 17
_TOPIC_NOT_ALLOWED, _GROUP_NOT_ALLOWED = 29, 30
_NO_LEADER_YET = 5
_NOT_COORDINATOR = 16
# Leaders that move, are behind, or start; a request that took too long; a quota.
_NOT_YET = frozenset({3, 5, 6, 7, 8, 9, 13, 56, 74, 75, 78, 89, 100, 103})
_COORDINATOR_MOVES = frozenset({7, 13, 14, 15, _NOT_COORDINATOR})
_NO_SUCH_GROUP = 69
_CONSUMER_GROUPS = frozenset({"", "consumer"})
_TIMES_UNKNOWN = frozenset({35, 43})
_MOST_LOOKS = 1000
_LONGEST_LOOK_S = 300.0
_MOMENT_S = 5.0
_FIRST_LOOK_S = 2.0
_UNKNOWN_TIME = -2
_UNKNOWN = _UNKNOWN_TIME, -1
_SETTLING_S = 0.5
_NO_ID = bytes(16)

Found: TypeAlias = "dict[int, tuple[int, int]]"
"""The timestamp and offset that a broker has for a time, by partition."""


@dataclass(frozen=True, slots=True)
class Look:
    """A topic, and where its partitions are led, as a broker told at a time."""

    info: TopicInfo
    leaders: Mapping[int, Address]
    at: float


@dataclass(frozen=True, slots=True)
class Question:
    """Times to look up in partitions of a topic; one that is optional need not be known to the brokers."""

    times: Mapping[int, int]
    read_committed: bool = False
    optional: bool = False


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request to one leader: the number of its question, and the partitions that it is about."""

    number: int
    partitions: Collection[int]
    request: Request[requests.Offsets]


class NativeCluster:
    """A cluster, asked over the connections that fetches use too.

    Parameters
    ----------
    config : ConnectionConfig
        Where it is and how to get in.
    timeout : float
        Seconds that each call may take.
    """

    def __init__(self, config: ConnectionConfig, timeout: float) -> None:
        self._client = Client(config)
        self._timeout = timeout
        self._looks: dict[str, Look] = {}
        self._unused: set[str] = set()
        self._lock = threading.Lock()
        self._has_controller = False
        self.was_in = False

    @property
    def client(self) -> Client:
        """What asks the brokers."""
        return self._client

    @property
    def count(self) -> int:
        """How many brokers are known."""
        return len(self._client.brokers)

    def connect(self) -> None:
        """Check that the cluster lets this client in, and that the addresses that it advertises lead to a broker.

        Raises
        ------
        BrokerUnreachableError, TlsError, AuthenticationError
            Why it does not.
        """
        if self._client.brokers:
            return
        call = self._call()
        self._metadata([], call)
        advertised = dict.fromkeys(self._client.brokers.values())
        if self._client.reaches(advertised, call):
            return
        error = call.given_up(self._client)
        self._client.close()
        raise error

    def topics(self) -> list[TopicInfo]:
        """Return all topics that this client may see, by name."""
        self.connect()
        found = [look.info for code, look in self._metadata(None, self._call()) if code in (0, _NO_LEADER_YET)]
        return sorted(found, key=lambda info: info.name)

    def topic(self, name: str) -> TopicInfo:
        """Return one topic; a name that nobody knows is asked for again for a moment, as it may be new."""
        self.connect()
        return self._look(name, self._call()).info

    def overview(self, name: str) -> tuple[TopicInfo, dict[int, Watermarks]]:
        """Return one topic, and the watermarks of its partitions but those without a leader.

        Where its leaders are known from before, both are asked for at once.
        """
        self.connect()
        call, known = self._call(), self._known(name)
        look, found = (self._look(name, call), None) if known is None else self._both(known, call)
        live = [part.partition for part in look.info.partitions if part.leader is not None]
        return look.info, _watermarks(self._ask(name, _marks(live), call, found))

    def watermarks(self, topic: str, partitions: Sequence[int], *, stop: Stops | None = None) -> dict[int, Watermarks]:
        """Return where the logs of partitions begin and end."""
        self.connect()
        return _watermarks(self._ask(topic, _marks(partitions), self._call(stop)))

    def offsets_for_times(self, topic: str, times_ms: Mapping[int, int]) -> dict[int, TimedOffset | None]:
        """Return the first offset whose timestamp is at least the partition's time; None where no record's is."""
        self.connect()
        times = {partition: min(max(0, ms), LAST_TIME_MS) for partition, ms in times_ms.items()}
        (found,) = self._ask(topic, [Question(times)], self._call())
        offsets = {p: TimedOffset(offset, time) if offset >= 0 else None for p, (time, offset) in found.items()}
        # A broker without a controller is librdkafka's mock, which has -1 for every time.
        if None in offsets.values() and not self._has_controller:
            raise UnsupportedError("this broker keeps no times: give offsets, or use Apache Kafka", topic=topic)
        return offsets

    def timestamp_span(self, topic: str, partitions: Sequence[int]) -> dict[int, tuple[int | None, int | None]]:
        """Return the first record's and the greatest timestamp in ms; None for what is unknown or not there."""
        self.connect()
        call, look = self._call(), self._known(topic)
        if look is None or not look.leaders.keys() >= set(partitions):
            look = self._look(topic, call)
            check_partitions(look.info, partitions)
        live = [partition for partition in partitions if partition in look.leaders]
        zero, greatest = dict.fromkeys(live, 0), dict.fromkeys(live, requests.GREATEST)
        first, last = self._ask(topic, [Question(zero, optional=True), Question(greatest, optional=True)], call)
        deadline = time.monotonic() + GRACE_S
        while time.monotonic() < deadline:
            # The newest record is not told while it is on its way to the replicas.
            hidden = [p for p in live if first[p][0] >= 0 > last[p][0] != _UNKNOWN_TIME]
            if not hidden:
                break
            call.pause()
            last |= self._ask(topic, [Question(dict.fromkeys(hidden, requests.GREATEST), optional=True)], call)[0]
        return {p: (_time(first, p), _time(last, p)) for p in partitions}

    def leaders(self, topic: str, *, stop: Stops | None = None) -> dict[int, Address]:
        """Return the host and port of each partition's leader; what was seen a moment ago counts once."""
        self.connect()
        with self._lock:
            look = self._looks.get(topic)
            usable = topic in self._unused and look is not None and time.monotonic() - look.at < _MOMENT_S
            self._unused.discard(topic)
        if look is None or not usable:
            look = self._look(topic, self._call(stop))
            self._unused.discard(topic)
        return dict(look.leaders)

    def brokers(self) -> dict[int, Address]:
        """Return the host and port of each broker by id, as they advertise them."""
        self.connect()
        return dict(self._client.brokers)

    def api_versions(self) -> dict[int, tuple[int, int]]:
        """Return the least and the most version of each request that a broker takes."""
        self.connect()
        _, apis = self._client.any(requests.api_versions(), self._call())
        return {key: (least, most) for key, least, most in apis}

    def close(self) -> None:
        """Let go of the connections; the next call makes others."""
        self._client.close()

    # Groups

    def committed_offsets(self, group_id: str, topic: str) -> dict[int, int | None]:
        """Return a group's committed offset in every partition of a topic; None where it has none."""
        places = [TopicPartition(topic, part.partition) for part in self.topic(topic).partitions]
        found = self.commits(group_id, places)
        return {place.partition: found.get(place) for place in places}

    def commits(self, group_id: str, places: Sequence[TopicPartition] | None = None) -> dict[TopicPartition, int]:
        """Return a group's committed offsets in some partitions, or in all of the cluster, where it has any."""
        request = requests.offset_fetch(group_id, places)
        answers = self._coordinated(group_id, [request], lambda answers: answers[0][0])
        found: dict[TopicPartition, int] = {}
        for topic, partitions in answers[0][1] if answers else ():
            for partition, offset, code in partitions:
                if code:
                    raise translate(KafkaError(code), topic=topic, partition=partition)
                if offset >= 0:
                    found[TopicPartition(topic, partition)] = offset
        return found

    def members(self, group_id: str) -> tuple[str, list[str]]:
        """Return a group's state, and who is in it: client, member and host of each."""
        both = [requests.describe_consumer_group(group_id), requests.describe_group(group_id)]
        answers = self._coordinated(group_id, both, lambda answers: _described(answers)[0])
        if answers is None:
            return "DEAD", []
        _, state, members = _described(answers)
        shown = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", state).upper()
        return shown, [f"{client} ({member}) on {host}" for client, member, host in members]

    def commit(self, group_id: str, offsets: Mapping[TopicPartition, int]) -> None:
        """Set a group's committed offsets; the broker refuses that while it has members."""
        if not offsets:
            return
        request = requests.offset_commit(group_id, offsets)
        answers = self._coordinated(group_id, [request], _worst_commit, create=True)
        for topic, partitions in answers[0] if answers else ():
            for partition, code in partitions:
                if code:
                    raise translate(KafkaError(code), topic=topic, partition=partition)

    def group_ids(self) -> list[str]:
        """Return the ids of all consumer groups that this client may see, sorted."""
        self.connect()
        listed = self._listed(self._call())
        return sorted({group for groups in listed.values() for group, kind in groups if kind in _CONSUMER_GROUPS})

    # How

    def _call(self, stop: Stops | None = None) -> Call:
        return Call(self._timeout, stop)

    def _metadata(self, names: Sequence[str] | None, call: Call) -> list[tuple[int, Look]]:
        return self._read(self._client.any(requests.metadata(names), call))

    def _read(self, answer: tuple[list[requests.Broker], int, list[requests.Topic]]) -> list[tuple[int, Look]]:
        """Return the topics of an answer with their error codes, and remember the brokers."""
        brokers, controller, topics = answer
        self._client.brokers = {number: (host, port) for number, host, port in brokers} or self._client.brokers
        self._has_controller = controller in self._client.brokers
        self.was_in = True
        return [(topic[0], self._seen(topic)) for topic in topics]

    def _seen(self, topic: requests.Topic) -> Look:
        _, name, topic_id, is_internal, parts = topic
        brokers = self._client.brokers
        partitions = {part[1]: _partition(part, brokers) for part in parts}
        shown = None if topic_id == _NO_ID else base64.urlsafe_b64encode(topic_id).decode().rstrip("=")
        hidden = is_internal or (name or "").startswith("__")
        info = TopicInfo(name or "", tuple(partitions[number] for number in sorted(partitions)), shown, hidden)
        led = {part.partition: brokers[part.leader] for part in info.partitions if part.leader is not None}
        return Look(info, led, time.monotonic())

    def _known(self, topic: str) -> Look | None:
        look = self._looks.get(topic)
        return look if look is not None and time.monotonic() - look.at < _LONGEST_LOOK_S else None

    def _look(self, name: str, call: Call) -> Look:
        """Ask for one topic; a name that nobody knows is asked for again for a moment, as it may be new."""
        error: KafkalabError | None = None
        for _ in call.attempts():
            look = self._kept(name, self._metadata([name], call))
            if isinstance(look, Look):
                return look
            if look in _UNKNOWN_TOPIC and (call.age > GRACE_S or not name):
                raise self._unknown(name)
            error = translate(KafkaError(look), topic=name)
            if look not in _NOT_YET:
                raise error
        raise error or call.given_up(self._client)

    def _kept(self, name: str, topics: list[tuple[int, Look]]) -> Look | int:
        """Return what was asked for, and keep it for whoever asks next; or its error code."""
        for code, look in topics:
            if look.info.name == name and (not code or (code == _NO_LEADER_YET and look.info.partitions)):
                with self._lock:
                    while len(self._looks) >= _MOST_LOOKS:
                        self._looks.pop(next(iter(self._looks)), None)
                    self._looks[name] = look
                    self._unused.add(name)
                return look
        with self._lock:
            self._looks.pop(name, None)
        if not topics:
            raise CorruptDataError("the answer about this topic says nothing of it", topic=name)
        return topics[0][0]

    def _unknown(self, name: str) -> KafkalabError:
        return unknown_topic(name, (look.info.name for code, look in self._metadata(None, self._call()) if not code))

    def _both(self, known: Look, call: Call) -> tuple[Look, list[Found] | None]:
        """Ask for a topic, and for the watermarks where its leaders are believed to be, in one go."""
        name = known.info.name
        asked = self._asked(name, _marks(list(known.leaders)), known.leaders)
        first = next(iter(asked), None)
        if first is None:
            return self._look(name, call), None
        requested: dict[Address, list[Request[Any]]] = {
            at: [each.request for each in those] for at, those in asked.items()
        }
        requested[first].insert(0, requests.metadata([name]))
        answers = self._client.each(requested, min(call.left, _FIRST_LOOK_S), call)
        told = answers[first]
        if not isinstance(told, list):
            return self._look(name, call), None
        seen = self._kept(name, self._read(told.pop(0)))
        look = seen if isinstance(seen, Look) else self._look(name, call)
        if look.info.topic_id != known.info.topic_id or look.leaders != known.leaders:
            return look, None
        found: list[Found] = [{}, {}, {}]
        self._take(name, asked, answers, found, set())
        return look, found

    def _ask(
        self, topic: str, questions: Sequence[Question], call: Call, found: list[Found] | None = None
    ) -> list[Found]:
        """Return what the leaders of partitions answer; those who are not the leaders any more are not believed."""
        found = found or [{} for _ in questions]
        look, error = self._known(topic), None
        for seconds in call.attempts():
            missing = [
                Question({p: at for p, at in each.times.items() if p not in have}, each.read_committed, each.optional)
                for each, have in zip(questions, found, strict=True)
            ]
            wanted = {partition for each in missing for partition in each.times}
            if look is None or not wanted <= look.leaders.keys():
                look = self._look(topic, call)
                self._check(look, wanted, call)
            asked = self._asked(topic, missing, look.leaders)
            requested = {address: [each.request for each in those] for address, those in asked.items()}
            optional = {number for number, each in enumerate(questions) if each.optional}
            answers = self._client.each(requested, seconds, call)
            error = self._take(topic, asked, answers, found, optional) or error
            if all(have.keys() >= each.times.keys() for each, have in zip(questions, found, strict=True)):
                return [{p: have[p] for p in each.times} for each, have in zip(questions, found, strict=True)]
            look = None
        raise error or call.given_up(self._client)

    @staticmethod
    def _check(look: Look, wanted: Iterable[int], call: Call) -> None:
        check_partitions(look.info, wanted)
        for part in look.info.partitions:
            # One that is new can be without a leader for a moment.
            if part.partition in wanted and part.leader is None and (part.offline_replicas or call.age > GRACE_S):
                raise offline(look.info.name, part)

    @staticmethod
    def _asked(
        topic: str, questions: Sequence[Question], leaders: Mapping[int, Address]
    ) -> dict[Address, list[_Asked]]:
        """Return by leader the requests to make."""
        asked: dict[Address, list[_Asked]] = {}
        for number, question in enumerate(questions):
            by_leader: dict[Address, dict[int, int]] = {}
            for partition, at in question.times.items():
                if partition in leaders:
                    by_leader.setdefault(leaders[partition], {})[partition] = at
            for address, times in by_leader.items():
                request = requests.list_offsets(topic, times, read_committed=question.read_committed)
                asked.setdefault(address, []).append(_Asked(number, times.keys(), request))
        return asked

    @staticmethod
    def _take(
        topic: str,
        asked: Mapping[Address, Sequence[_Asked]],
        answers: Mapping[Address, Answers],
        found: list[Found],
        optional: Collection[int],
    ) -> KafkalabError | None:
        """Put answers where they belong; return an error that another attempt may mend."""
        error: KafkalabError | None = None
        for address, those in asked.items():
            told = answers[address]
            for each, answer in zip(those, told if isinstance(told, list) else (), strict=False):
                if isinstance(answer, UnsupportedError):
                    if each.number not in optional:
                        raise answer
                    found[each.number] |= dict.fromkeys(each.partitions, _UNKNOWN)
                    continue
                for partition, code, timestamp, offset in (part for _, parts in answer for part in parts):
                    if partition not in each.partitions:
                        continue
                    if not code:
                        found[each.number][partition] = timestamp, offset
                    elif code in _TIMES_UNKNOWN and each.number in optional:
                        found[each.number][partition] = _UNKNOWN
                    else:
                        error = translate(KafkaError(code), topic=topic, partition=partition)
                        if code not in _NOT_YET:
                            raise error
        return error

    def _coordinated(
        self,
        group_id: str,
        asked: Sequence[Request[Any]],
        code_of: Callable[[list[Any]], int],
        *,
        create: bool = False,
    ) -> list[Any] | None:
        """Return what a group's coordinator answers; None where the group is not there.

        To ask for a coordinator creates the topic of commits, and reading must not change a cluster. So where there is
        no such topic the group is looked for among those that the brokers list, with their coordinator.
        """
        if not group_id:
            raise ArgumentError("group_id is empty: name a consumer group, see group_ids()")
        self.connect()
        call, error, moved = self._call(), None, False
        for seconds in call.attempts():
            code = 0 if create else self._metadata([OFFSETS_TOPIC], call)[0][0]
            there = code in (0, _NO_LEADER_YET)
            coordinator = self._coordinator(group_id, call) if there else self._lister(group_id, call)
            if coordinator is None and code != _TOPIC_NOT_ALLOWED:
                return None
            told = (
                [self._client.any(asked[-1], call)]
                if coordinator is None
                else self._client.each({coordinator: asked}, seconds, call)[coordinator]
            )
            code = code_of(told) if isinstance(told, list) else _NOT_COORDINATOR
            if coordinator is None and code != _GROUP_NOT_ALLOWED:
                return None  # nobody lists it, and this client may see it
            if isinstance(told, list) and not code:
                if create or not moved:
                    return told
                # A new coordinator knows the commits that the replicas have confirmed to it: none at first.
                moved = False
                call.pause(_SETTLING_S)
                continue
            moved = True
            if isinstance(told, list):
                error = translate(KafkaError(code), group_id=group_id)
                if code not in _COORDINATOR_MOVES:
                    raise error
        raise error or call.given_up(self._client)

    def _coordinator(self, group_id: str, call: Call) -> Address:
        error: KafkalabError | None = None
        for _ in call.attempts():
            code, (_, host, port) = self._client.any(requests.find_coordinator(group_id), call)
            if not code:
                return host, port
            error = translate(KafkaError(code), group_id=group_id)
            if code not in _COORDINATOR_MOVES:
                break
        raise error or call.given_up(self._client)

    def _lister(self, group_id: str, call: Call) -> Address | None:
        """Return the broker that lists a group: its coordinator."""
        if requests.LIST_GROUPS not in self.api_versions():
            return self._coordinator(group_id, call)
        listed = self._listed(call)
        return next((at for at, groups in listed.items() if any(group == group_id for group, _ in groups)), None)

    def _listed(self, call: Call) -> dict[Address, list[tuple[str, str]]]:
        """Return the groups that each broker coordinates, with the type of their protocol."""
        listed: dict[Address, list[tuple[str, str]]] = {}
        error: KafkalabError | None = None
        for seconds in call.attempts():
            asked = {at: [requests.list_groups()] for at in self._client.brokers.values() if at not in listed}
            for address, told in self._client.each(asked, seconds, call).items():
                if not isinstance(told, list):
                    continue
                if isinstance(told[0], UnsupportedError):
                    raise told[0]
                code, groups = told[0]
                if not code:
                    listed[address] = groups
                    continue
                error = translate(KafkaError(code))
                if code not in _COORDINATOR_MOVES:
                    raise error
            if len(listed) >= len(set(self._client.brokers.values())):
                return listed
            self._metadata([], call)  # who does not answer may not be there any more
            listed = {at: groups for at, groups in listed.items() if at in self._client.brokers.values()}
        raise error or call.given_up(self._client)


def _marks(partitions: Sequence[int]) -> list[Question]:
    """Return the questions for the start, the last stable offset and the high watermark of partitions."""
    latest = dict.fromkeys(partitions, requests.LATEST)
    return [
        Question(dict.fromkeys(partitions, requests.EARLIEST)),
        Question(latest, read_committed=True),
        Question(latest),
    ]


def _watermarks(found: Sequence[Found]) -> dict[int, Watermarks]:
    start, stable, high = found
    return {p: Watermarks(start[p][1], stable[p][1], high[p][1]) for p in start}


def _time(found: Found, partition: int) -> int | None:
    timestamp = found[partition][0] if partition in found else -1
    return timestamp if timestamp >= 0 else None


def _partition(part: requests.Partition, brokers: Mapping[int, Address]) -> PartitionInfo:
    _, number, leader, replicas, in_sync, away = part
    gone = away or [replica for replica in replicas if replica not in brokers]
    return PartitionInfo(number, leader if leader in brokers else None, tuple(replicas), tuple(in_sync), tuple(gone))


def _described(answers: Sequence[Any]) -> requests.Group:
    """Return what is said of a group as one of the new protocol, or else as one of the old."""
    for answer in answers:
        if not isinstance(answer, UnsupportedError) and answer and answer[0][0] != _NO_SUCH_GROUP:
            group: requests.Group = answer[0]
            return group
    return 0, "Dead", []


def _worst_commit(answers: Sequence[Any]) -> int:
    """Return the error code that concerns all of a commit: a coordinator that is not, or a group not allowed."""
    codes = {code for _, partitions in answers[0] for _, code in partitions}
    about_all = codes & (_COORDINATOR_MOVES | {_GROUP_NOT_ALLOWED})
    return next(iter(about_all), 0)
