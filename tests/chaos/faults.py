"""What is done to the cluster and to those who use it, a function each."""

import json
import random
import subprocess
import tempfile
import threading
from collections.abc import Callable  # noqa: TC003 - of an alias
from dataclasses import dataclass
from typing import TypeAlias

from confluent_kafka import KafkaException, TopicPartition

from kafkalab.brokers import ApacheKafka
from kafkalab.brokers.node import Node
from tests.apache.proxy import Proxy
from tests.chaos.producers import SECONDS, Topic

Fault: TypeAlias = "Callable[[Scene], None]"


@dataclass(slots=True)
class Scene:
    """All that a fault can touch."""

    kafka: ApacheKafka
    proxies: dict[int, Proxy]
    steady: Topic
    shrinking: Topic
    reborn: Topic
    draw: random.Random
    over: threading.Event

    def wait(self, least: float, most: float) -> None:
        """Let a fault last for a while."""
        self.over.wait(self.draw.uniform(least, most))

    def leader(self) -> Node:
        """Return the leader of some partition, or any broker."""
        topic = self.draw.choice([self.steady, self.shrinking, self.reborn])
        found = topic.admin.list_topics(topic.name, timeout=SECONDS).topics[topic.name].partitions
        leaders = [part.leader for part in found.values() if part.leader in self.kafka.brokers]
        return self.kafka.brokers[self.draw.choice(leaders or list(self.kafka.brokers))]


def kill_leader(scene: Scene) -> None:
    """Kill a leader with -9, and start it again."""
    node = scene.leader()
    node.kill()
    scene.wait(0.5, 4)
    node.start()


def stop_broker(scene: Scene) -> None:
    """Stop a broker as an operator does, and start it again."""
    node = scene.leader()
    node.stop()
    scene.wait(0.1, 1)
    node.start()


def pause_leader(scene: Scene) -> None:
    """Let a leader hang with its connections open."""
    node = scene.leader()
    node.pause()
    scene.wait(1, 7)
    node.resume()


def silence(scene: Scene) -> None:
    """Have the way to a broker forward nothing."""
    proxy = scene.draw.choice(list(scene.proxies.values()))
    proxy.hold()
    scene.wait(1, 8)
    proxy.release()


def cut_connections(scene: Scene) -> None:
    """Break every connection to a broker."""
    scene.draw.choice(list(scene.proxies.values())).cut()
    scene.wait(0.1, 1)


def black_out(scene: Scene) -> None:
    """Have the way to every broker forward nothing."""
    for proxy in scene.proxies.values():
        proxy.hold()
    scene.wait(1, 12)
    for proxy in scene.proxies.values():
        proxy.release()


def move_partitions(scene: Scene) -> None:
    """Give partitions other replicas, and so other leaders."""
    topic = scene.draw.choice([scene.steady, scene.shrinking])
    numbers = list(scene.kafka.brokers)
    plan = [
        {"topic": topic.name, "partition": partition, "replicas": scene.draw.sample(numbers, len(numbers))}
        for partition in range(topic.partitions)
    ]
    tools = [
        ("org.apache.kafka.tools.reassign.ReassignPartitionsCommand", "--execute", "--reassignment-json-file"),
        ("org.apache.kafka.tools.LeaderElectionCommand", "--election-type", "preferred", "--path-to-json-file"),
    ]
    for main, *options in tools:
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump({"version": 1, "partitions": plan}, file)
            file.flush()
            command = scene.kafka.java_command(
                main, *options, file.name, "--bootstrap-server", scene.kafka.bootstrap_servers
            )
            subprocess.run(command, check=False, capture_output=True, timeout=2 * SECONDS)


def pass_retention(scene: Scene) -> None:
    """Delete the older half of what a topic holds."""
    topic = scene.shrinking
    ends: dict[int, int] = {}
    for partition, offset in list(topic.truth.lives[topic.life]):
        ends[partition] = max(ends.get(partition, 0), offset)
    places = [TopicPartition(topic.name, partition, max(end - 150, 0)) for partition, end in ends.items()]
    topic.truth.deleted.update({place.partition: place.offset for place in places})
    for done in topic.admin.delete_records(places, request_timeout=SECONDS).values() if places else ():
        try:
            done.result(SECONDS)
        except KafkaException:  # its leader is away just now
            continue


def recreate(scene: Scene) -> None:
    """Delete a topic and make it again."""
    scene.reborn.recreate()
    scene.wait(0.5, 2)


def restart_in_turn(scene: Scene) -> None:
    """Stop and start each broker, one after the other, as a rolling upgrade does."""
    for node in scene.kafka.brokers.values():
        node.stop()
        node.start()
        scene.wait(0.5, 2)


ON_BROKERS: list[tuple[int, Fault]] = [
    (4, kill_leader),
    (2, stop_broker),
    (3, pause_leader),
    (4, silence),
    (4, cut_connections),
    (1, black_out),
    (2, move_partitions),
    (4, pass_retention),
    (2, recreate),
]
"""Each with its weight."""
