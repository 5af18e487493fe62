"""A trial: a cluster, those who use it, faults, and what came of it."""

import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, TopicPartition

from tests.chaos.checker import check_follower, check_group, check_rows
from tests.chaos.cluster import bootstrap, proxied
from tests.chaos.crew import Worker
from tests.chaos.faults import ON_BROKERS, Fault, Scene
from tests.chaos.history import Event, events
from tests.chaos.producers import LOGGER, Topic

RATE = 60.0
TOPICS = {"steady": 4, "shrinking": 2, "reborn": 2}
"""By name the number of partitions."""
DRAIN_S = 120.0
LONGEST_CALL_S = 90.0
"""A verb waits at most a minute for brokers that are away, beyond its own timeout."""
MAY_FAIL = {"reborn", "shrinking"}
"""Topics of which a follower may say that records were lost."""


@dataclass(slots=True)
class Outcome:
    """What a trial came to.

    Attributes
    ----------
    faults : Counter of str
        How often each fault was made.
    calls, errors : Counter of (str, str)
        Calls that returned, and errors by class, of each verb and topic.
    rows : int
        How many rows were compared with what producers wrote.
    violations : list of str
        What is wrong; empty if nothing is.
    """

    faults: Counter[str] = field(default_factory=Counter)
    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    errors: Counter[tuple[str, str]] = field(default_factory=Counter)
    rows: int = 0
    violations: list[str] = field(default_factory=list)


class Trial:
    """Runs faults until there were enough, then checks every history.

    Parameters
    ----------
    faults : int
        How many at least.
    seed : int
        Of all draws.
    seconds : float, default 0
        For how long at least.
    choice : sequence of (int, callable), default ON_BROKERS
        The faults that are made, with their weights.
    """

    def __init__(
        self, faults: int, seed: int, *, seconds: float = 0, choice: Sequence[tuple[int, Fault]] = ON_BROKERS
    ) -> None:
        self._wanted = faults
        self._seconds = seconds
        self._choice = choice
        self._draw = random.Random(seed)
        self._over = threading.Event()
        self._commits: dict[str, list[Event]] = {}
        self.outcome = Outcome()

    def run(self) -> Outcome:
        """Run it whole."""
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kafkalab-chaos-")))
            kafka, proxies = stack.enter_context(proxied())
            servers = bootstrap(proxies)
            steady, shrinking, reborn = topics = [Topic(servers, name, count, RATE) for name, count in TOPICS.items()]
            scene = Scene(kafka, proxies, steady, shrinking, reborn, self._draw, self._over)
            crew = [
                Worker(kind, topic.name, servers, folder / f"{kind}-{topic.name}-{number}")
                for topic in topics
                for kind, count in (("read", 1), ("follow", 1), ("export", 1), ("group", 2))
                if (kind, topic.name) != ("export", "reborn")
                for number in range(count)
            ]
            for worker in crew:
                stack.callback(worker.kill)
                worker.start()
            self._break(scene, crew, topics)
            self._end(topics, crew)
            self._check(topics, crew)
        return self.outcome

    def _break(self, scene: Scene, crew: list[Worker], topics: list[Topic]) -> None:
        others = [
            threading.Thread(target=self._disturb, args=(crew,), daemon=True),
            threading.Thread(target=self._observe, args=(topics,), daemon=True),
        ]
        for thread in others:
            thread.start()
        weights, faults = zip(*self._choice, strict=True)
        end = time.monotonic() + self._seconds
        while self.outcome.faults.total() < self._wanted or time.monotonic() < end:
            (fault,) = self._draw.choices(faults, weights)
            fault(scene)
            self.outcome.faults[fault.__name__] += 1
            self._over.wait(self._draw.uniform(0.2, 2))
        self._over.set()
        for thread in others:
            thread.join()

    def _disturb(self, crew: list[Worker]) -> None:
        """Kill and halt those who use the cluster, beside the faults of the brokers."""
        draw = random.Random(1)
        mortal = [worker for worker in crew if worker.kind in ("group", "export")]
        while not self._over.wait(draw.uniform(3, 8)):
            worker = draw.choice(mortal)
            if draw.random() < 0.7:
                worker.kill()
                worker.start()
                self.outcome.faults[f"kill_{worker.kind}"] += 1
            else:
                worker.halt()
                self._over.wait(draw.uniform(1, 8))
                worker.resume()
                self.outcome.faults[f"halt_{worker.kind}"] += 1

    def _observe(self, topics: list[Topic]) -> None:
        """Note what the groups have committed, and the life of the topic at that time."""
        while not self._over.wait(2.0):
            for topic in topics:
                with topic.lock:
                    self._note_commits(topic)

    def _note_commits(self, topic: Topic, seconds: float = 5.0) -> dict[int, int]:
        options = {
            "bootstrap.servers": topic.bootstrap,
            "group.id": f"of-{topic.name}",
            "enable.auto.commit": False,
            "allow.auto.create.topics": False,
        }
        consumer = Consumer(options, logger=LOGGER)
        try:
            asked = [TopicPartition(topic.name, partition) for partition in range(topic.partitions)]
            answer = consumer.committed(asked, timeout=seconds)
        except KafkaException:  # brokers are away: it is looked at again
            return {}
        finally:
            consumer.close()
        found = {part.partition: part.offset for part in answer if part.offset >= 0}
        event = {"at": time.time(), "life": topic.life, "offsets": list(found.items())}
        self._commits.setdefault(topic.name, []).append(event)
        return found

    # The end

    def _end(self, topics: list[Topic], crew: list[Worker]) -> None:
        for topic in topics:
            if left := topic.stop():
                self.outcome.violations.append(f"trial: {left} records of {topic.name} were never settled")
        for topic in topics:
            self._drain(topic)
        for worker in crew:
            if not worker.end():
                text = (worker.folder / "errors.txt").read_text(errors="replace")[-2000:]
                self.outcome.violations.append(f"{worker.kind} of {worker.topic} did not end as it should: {text}")

    def _drain(self, topic: Topic) -> None:
        """Wait until the group has committed everything: all of it is handled then."""
        deadline = time.monotonic() + DRAIN_S
        ends: dict[int, int] = {}
        for partition, offset in topic.truth.lives[topic.life]:
            ends[partition] = max(ends.get(partition, 0), offset + 1)
        pause = threading.Event()
        while any(self._note_commits(topic).get(partition, 0) < end for partition, end in ends.items()):
            if time.monotonic() > deadline:
                last = self._commits.get(topic.name, [])[-1:]
                self.outcome.violations.append(f"group of {topic.name} stands still at {last}, of {ends}")
                return
            pause.wait(0.5)

    def _check(self, topics: list[Topic], crew: list[Worker]) -> None:
        for topic in topics:
            mine = [worker for worker in crew if worker.topic == topic.name]
            found: list[str] = []
            for worker in mine:
                for history in worker.histories:
                    found += self._checked(topic, worker, history)
            members = [events(history) for worker in mine if worker.kind == "group" for history in worker.histories]
            found += check_group(topic.truth, topic.name, members, self._commits.get(topic.name, []))
            self.outcome.violations += list(dict.fromkeys(found))

    def _checked(self, topic: Topic, worker: Worker, history: Path) -> Iterator[str]:
        steps: list[Event] = []
        for event in events(history):
            if event["kind"] == "rows":
                self.outcome.calls[event["verb"], topic.name] += 1
                self.outcome.rows += len(event["rows"])
                yield from check_rows(topic.truth, event)
            elif event["kind"] == "step":
                steps.append(event)
                self.outcome.rows += len(event["rows"])
            elif event["kind"] == "handled":
                self.outcome.rows += 1
            elif event["kind"] == "failed":
                self.outcome.errors[event["verb"], event["error"]] += 1
                yield from self._judged(topic, event)
            if event.get("seconds", 0) > LONGEST_CALL_S:
                yield f"{event['verb']} of {topic.name} took {event['seconds']:.0f} s"
        if worker.kind == "follow":
            # A topic of which records are deleted has no first record to follow from.
            live = steps if topic.name == "steady" else []
            yield from check_follower(topic.truth, topic.name, "follow", live)

    @staticmethod
    def _judged(topic: Topic, event: Event) -> Iterator[str]:
        if not event["declared"]:
            yield f"{event['verb']} of {topic.name} raised {event['error']}: {event['text']}"
        elif event["verb"] in ("follow", "tail", "group") and topic.name not in MAY_FAIL:
            yield f"{event['verb']} of {topic.name} ended: {event['error']}: {event['text']}"
