"""The settings of a consumer: what is known of each, how they bound one another, and everyone's names for them."""

import contextlib
import ctypes
import dataclasses
import datetime as dt
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from confluent_kafka import Consumer, KafkaException
from hypothesis import given, settings
from hypothesis import strategies as st

from kafkalab import options
from kafkalab.errors import ArgumentError, ConfigError
from kafkalab.settings import ConsumerSettings, couplings
from kafkalab.settings.couplings import COUPLINGS
from kafkalab.settings.foreign import FOREIGN
from kafkalab.settings.knob import TITLES, Knob
from kafkalab.settings.presets import ARTICLE, PRESETS
from kafkalab.settings.table import KNOBS

NUMBERS = [name for name, knob in KNOBS.items() if knob.minimum is not None]
DOCS = Path(__file__).parents[1] / "docs" / "settings.md"


def wishes(knob: Knob) -> st.SearchStrategy[Any]:
    """Values that somebody may ask for, allowed or not."""
    if knob.minimum is not None and knob.maximum is not None:
        return st.integers(knob.minimum - 5, knob.maximum + 5) | st.integers(0, 5000)
    if knob.name == "partition_assignment_strategy":
        return st.sampled_from(["range", "roundrobin,range", "cooperative-sticky", "sticky", ""])
    return st.sampled_from(knob.choices) if knob.choices else st.text("aé\\ \"'😀:=1s/").map(str.strip)


WISHES = {name: wishes(knob) for name, knob in KNOBS.items()}


@st.composite
def valid_settings(draw: st.DrawFn) -> ConsumerSettings:
    values: dict[str, Any] = ConsumerSettings().values()
    for name in draw(st.lists(st.sampled_from(list(KNOBS)), max_size=8)):
        values[name], _ = couplings.nearest(name, draw(WISHES[name]), values)
    return ConsumerSettings(**values)


# What is known


def test_each_knob_is_known_to_the_bundled_library_with_its_default() -> None:
    library = options._librdkafka()
    assert library is not None
    defaults = dumped(library, "rd_kafka_topic_conf") | dumped(library, "rd_kafka_conf")
    for knob in KNOBS.values():
        bundled = defaults.get(knob.librdkafka.name, "")
        expected = {"True": "true", "False": "false", "latest": "largest"}.get(str(knob.default), str(knob.default))
        assert bundled == expected, knob.name


def dumped(library: ctypes.CDLL, kind: str) -> dict[str, str]:
    conf = ctypes.c_void_p(getattr(library, f"{kind}_new")())
    count = ctypes.c_size_t()
    dump = getattr(library, f"{kind}_dump")(conf, ctypes.byref(count))
    texts = [dump[index].decode() for index in range(count.value)]
    library.rd_kafka_conf_dump_free(dump, count)
    getattr(library, f"{kind}_destroy")(conf)
    return dict(zip(texts[::2], texts[1::2], strict=True))


# The range of fetch.min.bytes is narrower for consumers than the library says, fetch.max.bytes follows another option.
@pytest.mark.parametrize("name", [name for name in NUMBERS if name not in {"fetch_min_bytes", "fetch_max_bytes"}])
def test_bounds_are_those_of_the_bundled_library(name: str) -> None:
    knob = KNOBS[name]
    code, message = options._try(knob.librdkafka.name, str(2**31 - 1 if knob.maximum != 2**31 - 1 else -2))
    assert code
    assert f"{knob.minimum}..{knob.maximum}" in message


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"fetch.min.bytes": 0}, "1..100000000"),
        ({"fetch.min.bytes": 100_000_001}, "1..100000000"),
        ({"fetch.max.bytes": 999_999}, "message.max.bytes"),
        ({"fetch.max.bytes": 2**31 - 512}, f"0..{2**31 - 513}"),
        ({"fetch.max.bytes": 50 << 20, "receive.message.max.bytes": 50 << 20}, "fetch.max.bytes` \\+ 512"),
        ({"session.timeout.ms": 300_001}, "max.poll.interval.ms`must be >="),
        ({"partition.assignment.strategy": "range,cooperative-sticky"}, "same protocol type"),
        ({"partition.assignment.strategy": "sticky"}, "Unsupported"),
    ],
)
def test_what_the_library_refuses_is_refused_here(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(KafkaException, match=said):
        Consumer({"group.id": "g"} | wrong)
    if "message.max.bytes" not in said:  # that one is settled by what goes with it
        with pytest.raises(ConfigError):
            ConsumerSettings.from_librdkafka(wrong)


@settings(max_examples=25)
@given(valid_settings())
def test_the_library_takes_what_is_allowed_here(made: ConsumerSettings) -> None:
    Consumer({"group.id": "g", "log_level": 0, **made.to_librdkafka()}).close()


def test_the_table_is_whole() -> None:
    frame = ConsumerSettings.knobs()
    assert frame.index.tolist() == list(KNOBS)
    assert (frame["effect"].str.len() > 20).all()
    assert frame["librdkafka"].is_unique
    for name, knob in KNOBS.items():
        assert set(knob.interacts) <= set(KNOBS) - {name}
        assert knob.name == name
    assert [each.name for each in dataclasses.fields(ConsumerSettings)] == [*KNOBS, "elsewhere", "notes", "given"]


@pytest.mark.parametrize(
    "name",
    ["fetch_min_bytes", "fetch.min.bytes", "Consumer.Fetch.Min", "consumer.fetch.min", "config.Consumer.Fetch.Min"],
)
def test_a_setting_is_explained_by_any_name(name: str) -> None:
    assert repr(ConsumerSettings.explain(name)).startswith("fetch_min_bytes\n  The broker waits")


def test_what_only_sarama_has_is_explained_too() -> None:
    assert "only in sarama, where it is '100ms'" in repr(ConsumerSettings.explain("Consumer.MaxProcessingTime"))
    with pytest.raises(ConfigError, match="did you mean 'fetch_min_bytes'"):
        ConsumerSettings.explain("fetch_min_byte")


# Checks


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"fetch_min_bytes": 0},
            "fetch_min_bytes cannot be 0 B: librdkafka takes 1 to 100,000,000, in bytes; the nearest is 1",
        ),
        ({"fetch_max_wait_ms": 10**6}, "the nearest is 300000"),
        ({"fetch_min_bytes": True}, "has to be a whole number, in bytes"),
        ({"fetch_min_bytes": 1.5}, "has to be a whole number"),
        ({"fetch_min_bytes": "1024"}, "has to be a whole number"),
        ({"check_crcs": 1}, "has to be True or False"),
        ({"isolation_level": "read_comitted"}, "the nearest is 'read_committed'"),
        ({"allow_auto_create_topics": True}, "always false here: asking for a mistyped name would create the topic"),
        ({"client_rack": "a\0b"}, "printable"),
        ({"partition_assignment_strategy": "range,cooperative-sticky"}, "the nearest is 'range'"),
        ({"elsewhere": {"Consumer.Fetch.Maxx": 1}}, "did you mean 'Consumer.Fetch.Max'"),
        ({"elsewhere": {"Consumer.Fetch.Max": "1"}}, "a whole number from 0"),
        ({"elsewhere": {"Consumer.Fetch.Max": -1}}, "a whole number from 0"),
        ({"max_partition_fetch_bytes": 64 << 20}, "at most 52428800 or fetch_max_bytes at least 67108864"),
        ({"fetch_max_bytes": 100_000_000}, "at most 99999488 or receive_message_max_bytes at least 100000512"),
        ({"session_timeout_ms": 400_000}, "at most 300000 or max_poll_interval_ms at least 400000"),
        ({"retry_backoff_ms": 2000}, "at most 1000 or retry_backoff_max_ms at least 2000"),
    ],
)
def test_a_refusal_says_what_why_and_the_nearest(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        ConsumerSettings(**values)


def test_whole_numbers_of_numpy_are_numbers() -> None:
    made = ConsumerSettings(fetch_min_bytes=np.int64(5))  # type: ignore[arg-type] # a sweep over an array brings them
    assert type(made.fetch_min_bytes) is int


@given(st.data(), valid_settings())
def test_the_nearest_is_allowed_and_is_the_value_itself_if_that_is(data: st.DataObject, made: ConsumerSettings) -> None:
    name = data.draw(st.sampled_from(NUMBERS))
    wish = data.draw(WISHES[name])
    near, reason = made.nearest(name, wish)
    made.replace(**{name: near})
    if reason is None:
        assert near == wish
    else:
        with pytest.raises(ConfigError):
            made.replace(**{name: wish})
        with pytest.raises(ConfigError):  # one step closer is not allowed
            made.replace(**{name: near + (1 if wish > near else -1)})


@pytest.mark.parametrize("each", COUPLINGS, ids=lambda each: f"{each.low}-{each.high}")
def test_a_value_snaps_to_what_the_other_allows(each: Any) -> None:
    made = ConsumerSettings()
    high, why = made.nearest(each.high, 1)
    low, why_low = made.nearest(each.low, KNOBS[each.low].maximum or 0)
    assert each.holds(made.values() | {each.low: low})
    assert each.holds(made.values() | {each.high: high})
    assert each.why in f"{why}{why_low}"


def test_what_is_advised_against_is_said_where_it_was_chosen() -> None:
    assert ConsumerSettings().cautions == ()
    (said,) = ConsumerSettings(queued_max_messages_kbytes=16_384, fetch_max_bytes=16 << 20).cautions
    assert said.startswith(
        "fetch_max_bytes is 16 MiB, and queued_max_messages_kbytes is 16 MiB: a queue that holds less"
    )
    assert "waits fetch_max_wait_ms" in ConsumerSettings(fetch_min_bytes=2 << 20).cautions[0]


# librdkafka


@given(valid_settings())
def test_librdkafka_gives_back_what_it_was_given(made: ConsumerSettings) -> None:
    assert ConsumerSettings.from_librdkafka(made.to_librdkafka()) == made


def test_librdkafkas_own_defaults_follow_one_another() -> None:
    made = ConsumerSettings.from_librdkafka({"queued.max.messages.kbytes": 1024, "retry.backoff.ms": 700})
    assert made.fetch_max_bytes == 1 << 20
    assert made.topic_metadata_refresh_fast_interval_ms == 700
    kept = made.replace(fetch_max_bytes=50 << 20)
    assert kept.to_librdkafka()["fetch.max.bytes"] == 50 << 20
    large = ConsumerSettings.from_librdkafka({"fetch.max.bytes": 200_000_000})
    assert large.receive_message_max_bytes == 200_000_512
    assert large.to_librdkafka() == {"fetch.max.bytes": 200_000_000}


def test_a_choice_that_is_the_default_is_a_choice() -> None:
    made = ConsumerSettings(fetch_queue_backoff_ms=1000)
    assert made.given == {"fetch_queue_backoff_ms"}
    assert not made.changed
    assert made == ConsumerSettings()
    again = [
        made,
        made.replace(fetch_min_bytes=1),
        ConsumerSettings().replace(fetch_queue_backoff_ms=1000),
        ConsumerSettings.from_librdkafka({"fetch.queue.backoff.ms": "1000"}),
        ConsumerSettings.from_librdkafka(made.to_librdkafka()),
        dataclasses.replace(made),
        pickle.loads(pickle.dumps(made)),  # noqa: S301 - pickled here
        eval(repr(made)),  # noqa: S307 - a repr made here
    ]
    assert [each.to_librdkafka()["fetch.queue.backoff.ms"] for each in again] == [1000] * len(again)
    assert "fetch.queue.backoff.ms" not in ConsumerSettings().to_librdkafka()


@pytest.mark.parametrize(
    ("made", "given_there"),
    [
        (
            ConsumerSettings.from_java({"fetch.min.bytes": "1", "check.crcs": "false"}),
            {"fetch_min_bytes", "check_crcs"},
        ),
        (ConsumerSettings.from_sarama("config.Consumer.MaxWaitTime = 500 * time.Millisecond"), {"fetch_max_wait_ms"}),
        (ConsumerSettings.preset("small-memory"), set(PRESETS["small-memory"].changes)),
        (ConsumerSettings.preset("default"), set()),
    ],
    ids=("Java", "sarama", "a preset", "none"),
)
def test_what_is_given_in_other_names_is_a_choice_too(made: ConsumerSettings, given_there: set[str]) -> None:
    assert made.given == given_there
    assert {KNOBS[name].librdkafka.name for name in given_there} <= made.to_librdkafka().keys()


def test_what_librdkafka_takes_for_another_value_is_that_value() -> None:
    made = ConsumerSettings.from_librdkafka({"retry.backoff.ms": 2000, "max.partition.fetch.bytes": 60 << 20})
    assert (made.retry_backoff_ms, made.retry_backoff_max_ms) == (1000, 1000)
    assert (made.max_partition_fetch_bytes, made.fetch_max_bytes) == (50 << 20, 50 << 20)
    adjusted = {note.name for note in made.notes if note.kind == "adjusted"}
    looking_again = "topic_metadata_refresh_fast_interval_ms"
    assert adjusted == {"max_partition_fetch_bytes", "retry_backoff_ms", looking_again}
    assert ConsumerSettings.from_sarama({"Metadata.Retry.Backoff": "2s"}).retry_backoff_max_ms == 2000
    assert ConsumerSettings.from_librdkafka({"queued.max.messages.kbytes": 512}).fetch_max_bytes == 1_000_000


def test_small_answers_lower_what_librdkafka_holds_against_them() -> None:
    made = ConsumerSettings(max_partition_fetch_bytes=1000, fetch_max_bytes=1000).to_librdkafka()
    assert made == {"fetch.message.max.bytes": 1000, "fetch.max.bytes": 1000, "message.max.bytes": 1000}
    assert ConsumerSettings.from_librdkafka(made).fetch_max_bytes == 1000
    Consumer({"group.id": "g", **made}).close()


@pytest.mark.parametrize("name", ["bootstrap.servers", "sasl.password", "client.id", "group.id", "stats_cb", "debug"])
def test_what_is_no_setting_belongs_to_the_connection(name: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"{name} belongs in connect(config=...)")) as caught:
        ConsumerSettings.from_librdkafka({name: "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_an_unknown_option_names_the_closest() -> None:
    with pytest.raises(ConfigError, match=r"no option 'fetch.min.byte'; did you mean fetch.min.bytes"):
        ConsumerSettings.from_librdkafka({"fetch.min.byte": 1})


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"fetch.min.bytes": "many"}, "fetch.min.bytes: 'many' is no whole number"),
        ({"check.crcs": "maybe"}, "check.crcs: 'maybe' is neither true nor false"),
        ({"fetch.min.bytes": 0}, "fetch.min.bytes cannot be 0 B"),
        ({"auto.offset.reset": "earlyest"}, "the nearest is 'earliest'"),
        ({"isolation.level": 1}, "1 is no text"),
    ],
)
def test_a_bad_value_names_the_option(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        ConsumerSettings.from_librdkafka(config)


def test_texts_and_second_names_are_taken() -> None:
    config = {"max.partition.fetch.bytes": " 2048 ", "auto.offset.reset": "smallest", "enable.auto.commit": "false"}
    made = ConsumerSettings.from_librdkafka(config)
    assert made.changed == {
        "max_partition_fetch_bytes": 2048,
        "auto_offset_reset": "earliest",
        "enable_auto_commit": False,
    }
    assert made.to_librdkafka().text == (
        "{\n    'fetch.message.max.bytes': 2048,\n    'auto.offset.reset': 'earliest',\n"
        "    'enable.auto.commit': False,\n}\n"
    )


# Java


def named(client: str, made: ConsumerSettings, *but: str) -> dict[str, object]:
    names = {name for name, knob in KNOBS.items() if getattr(knob, client).name}
    return {name: value for name, value in made.values().items() if name in names - set(but)}


@given(valid_settings())
def test_java_gives_back_what_it_was_given(made: ConsumerSettings) -> None:
    made = made.replace(topic_metadata_refresh_interval_ms=max(1, made.topic_metadata_refresh_interval_ms))
    assert named("java", ConsumerSettings.from_java(made.to_java())) == named("java", made)


@given(valid_settings())
def test_a_properties_file_gives_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, made: ConsumerSettings
) -> None:
    made = made.replace(topic_metadata_refresh_interval_ms=max(1, made.topic_metadata_refresh_interval_ms))
    path = tmp_path_factory.mktemp("java") / "consumer.properties"
    path.write_text(made.to_java().text, "latin-1")
    assert named("java", ConsumerSettings.from_java(path)) == named("java", made)


def test_a_file_of_a_java_consumer_gives_its_settings_and_leaves_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "consumer.properties"
    path.write_text(
        "bootstrap.servers=broker:9092\ngroup.id=g\nkey.deserializer=org.example.Text\n"
        'sasl.jaas.config=org.example.PlainLoginModule required username="a" password="hunter2";\n'
        "fetch.min.bytes=65536\nfetch.max.wait.ms=0\nmax.poll.records=2000\nauto.offset.reset=none\n"
        "partition.assignment.strategy=org.apache.kafka.clients.consumer.CooperativeStickyAssignor\n"
    )
    made = ConsumerSettings.from_java(path)
    assert (made.fetch_min_bytes, made.fetch_max_wait_ms, made.auto_offset_reset) == (65_536, 0, "error")
    assert made.partition_assignment_strategy == "cooperative-sticky"
    assert made.elsewhere == (("max.poll.records", 2000),)
    left = {note.name for note in made.notes if note.kind == "left out"}
    assert left == {"bootstrap.servers", "group.id", "key.deserializer", "sasl.jaas.config"}
    assert "hunter2" not in f"{made!r}{made.notes}{made._repr_html_()}{pickle.dumps(made)!r}"
    assert made.to_java()["max.poll.records"] == 2000
    assert [note.name for note in made.to_sarama().notes if note.kind == "no equivalent"].count("max.poll.records") == 1


def test_a_bad_line_of_a_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "consumer.properties"
    path.write_text("\nfetch.min.bytes=lots\n")
    with pytest.raises(ConfigError, match=r"consumer.properties, line 2: fetch.min.bytes: 'lots' is no whole number"):
        ConsumerSettings.from_java(str(path))
    path.write_text("fetch.min.byte=1\n")
    with pytest.raises(
        ConfigError, match=r"line 1: Java has no setting 'fetch.min.byte': did you mean 'fetch.min.bytes'"
    ):
        ConsumerSettings.from_java(path)


def test_no_client_wants_three_heartbeats_a_session() -> None:
    made = ConsumerSettings.from_java({"session.timeout.ms": 10_000, "heartbeat.interval.ms": 4000})
    assert (made.session_timeout_ms, made.heartbeat_interval_ms) == (10_000, 4000)
    (said,) = made.cautions
    assert said.startswith("heartbeat_interval_ms is 4 s, and session_timeout_ms is 10 s: a session of less than three")
    taken = {"session.timeout.ms": 10_000, "heartbeat.interval.ms": 4000}
    assert ConsumerSettings.from_librdkafka(taken).to_librdkafka() == taken


@pytest.mark.parametrize(
    "name",
    [
        "config.providers",
        "config.providers.file.class",
        "share.acquire.mode",
        "ssl.engine.factory.class",
        "sasl.login.class",
        *(
            f"sasl.oauthbearer.{name}"
            for name in (
                "expected.audience",
                "expected.issuer",
                "assertion.template.file",
                "jwks.endpoint.url",
                "jwks.endpoint.refresh.ms",
                "jwks.endpoint.retry.backoff.ms",
                "jwks.endpoint.retry.backoff.max.ms",
                "jwt.retriever.class",
                "jwt.validator.class",
                "clock.skew.seconds",
                "header.urlencode",
                "scope.claim.name",
            )
        ),
    ],
)
def test_every_name_of_a_java_consumer_is_known(name: str) -> None:
    made = ConsumerSettings.from_java({name: "hunter2"})
    assert [note.name for note in made.notes if note.kind == "left out"] == [name]
    assert "hunter2" not in f"{made!r}{made.notes}"


def test_javas_defaults_are_taken_and_told() -> None:
    made = ConsumerSettings.from_java({})
    assert made.isolation_level == "read_uncommitted"
    assert made.check_crcs
    assert (made.socket_timeout_ms, made.socket_receive_buffer_bytes) == (30_000, 65_536)
    told = {note.name: note.text for note in made.notes}
    assert told["isolation_level"] == "Java takes 'read_uncommitted', librdkafka 'read_committed'"
    assert told["allow_auto_create_topics"] == "Java takes true, librdkafka false"
    assert made.to_java() == {"allow.auto.create.topics": False}


@pytest.mark.parametrize(
    ("config", "name", "value", "said"),
    [
        ({"fetch.min.bytes": 0}, "fetch_min_bytes", 1, "0 B there, 1 B here"),
        ({"auto.offset.reset": "by_duration:PT1H"}, "auto_offset_reset", "latest", "give the start where you read"),
        (
            {"session.timeout.ms": 4_000_000, "max.poll.interval.ms": 5_000_000},
            "session_timeout_ms",
            3_600_000,
            "there",
        ),
        ({"session.timeout.ms": 400_000}, "max_poll_interval_ms", 400_000, "session_timeout_ms is 400 s"),
        ({"max.partition.fetch.bytes": 60 << 20}, "max_partition_fetch_bytes", 50 << 20, "of one partition"),
        ({"max.partition.fetch.bytes": 60 << 20, "fetch.max.bytes": 1 << 20}, "fetch_max_bytes", 1 << 20, "partition"),
        ({"retry.backoff.ms": 2000}, "retry_backoff_ms", 1000, "never longer"),
        ({"retry.backoff.ms": 2000}, "retry_backoff_max_ms", 1000, "never longer"),
        ({"max.poll.interval.ms": 30_000}, "session_timeout_ms", 30_000, "taken for dead"),
        ({"fetch.max.bytes": 2**31 - 513}, "receive_message_max_bytes", 2**31 - 1, "must be let in"),
        (
            {"retry.backoff.max.ms": 50, "retry.backoff.ms": 50},
            "topic_metadata_refresh_fast_interval_ms",
            50,
            "longest",
        ),
    ],
)
def test_what_goes_in_java_alone_moves_aside_and_says_so(
    config: dict[str, Any], name: str, value: object, said: str
) -> None:
    made = ConsumerSettings.from_java(config)
    assert getattr(made, name) == value
    assert said in " ".join(note.text for note in made.notes if note.kind == "adjusted")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"fetch.min.bytes": -1}, "fetch.min.bytes cannot be -1 B"),
        ({"queued.min.messages": 5}, "is librdkafka's name, and Java does not know it"),
        ({"partition.assignment.strategy": "MyAssignor"}, "is none of range"),
        ({"partition.assignment.strategy": []}, "no strategy"),
    ],
)
def test_what_is_wrong_in_java_is_an_error(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ConsumerSettings.from_java(config)


# sarama

SARAMA_ROWS: list[tuple[str, Any, str, Any]] = [
    ("Consumer.MaxWaitTime", "250ms", "fetch_max_wait_ms", 250),
    ("Consumer.Fetch.Default", 2 << 20, "max_partition_fetch_bytes", 2 << 20),
    ("Consumer.Fetch.Min", "128 * 1024", "fetch_min_bytes", 131_072),
    ("Consumer.Fetch.MaxBytes", "10 << 20", "fetch_max_bytes", 10 << 20),
    ("sarama.MaxResponseSize", 200 << 20, "receive_message_max_bytes", 200 << 20),
    ("Consumer.Group.Session.Timeout", "30s", "session_timeout_ms", 30_000),
    ("Consumer.Group.Heartbeat.Interval", "1.5s", "heartbeat_interval_ms", 1500),
    ("Consumer.Group.Rebalance.GroupStrategies", ["roundrobin"], "partition_assignment_strategy", "roundrobin"),
    ("Consumer.Group.Rebalance.Strategy", "sticky", "partition_assignment_strategy", "cooperative-sticky"),
    ("Consumer.Group.Rebalance.Timeout", "2m", "max_poll_interval_ms", 120_000),
    ("Consumer.Offsets.Initial", -2, "auto_offset_reset", "earliest"),
    ("Consumer.Offsets.Initial", "sarama.OffsetOldest", "auto_offset_reset", "earliest"),
    ("Consumer.Offsets.Initial", "newest", "auto_offset_reset", "latest"),
    ("Consumer.Offsets.AutoCommit.Enable", False, "enable_auto_commit", False),
    ("Consumer.Offsets.AutoCommit.Interval", "500 * time.Millisecond", "auto_commit_interval_ms", 500),
    ("Consumer.Retry.Backoff", 3 * 10**9, "fetch_error_backoff_ms", 3000),
    ("Consumer.IsolationLevel", 1, "isolation_level", "read_committed"),
    ("Consumer.IsolationLevel", "ReadCommitted", "isolation_level", "read_committed"),
    ("RackID", "eu-1", "client_rack", "eu-1"),
    ("Metadata.Full", True, "topic_metadata_refresh_sparse", False),
    ("Metadata.Full", False, "topic_metadata_refresh_sparse", True),
    ("Metadata.Retry.Backoff", dt.timedelta(seconds=1), "topic_metadata_refresh_fast_interval_ms", 1000),
    ("Metadata.RefreshFrequency", "5m", "topic_metadata_refresh_interval_ms", 300_000),
    ("Metadata.RefreshFrequency", 0, "topic_metadata_refresh_interval_ms", -1),
    ("Metadata.AllowAutoTopicCreation", True, "allow_auto_create_topics", False),
    ("Net.MaxOpenRequests", 1, "max_in_flight", 1),
    ("Net.DialTimeout", "1m30s", "socket_connection_setup_timeout_ms", 90_000),
    ("Net.ReadTimeout", "time.Minute", "socket_timeout_ms", 60_000),
    ("Net.KeepAlive", -1, "socket_keepalive_enable", False),
    ("Net.KeepAlive", "-1s", "socket_keepalive_enable", False),
    ("Net.KeepAlive", 0, "socket_keepalive_enable", True),
    ("Net.KeepAlive", "15s", "socket_keepalive_enable", True),
]
ONLY_SARAMAS: list[tuple[str, Any, Any]] = [
    ("Consumer.Return.Errors", True, True),
    ("Consumer.Fetch.Max", 10 << 20, 10 << 20),
    ("Consumer.MaxProcessingTime", "250ms", 250),
    ("ChannelBufferSize", 1024, 1024),
    ("Consumer.Group.Rebalance.Retry.Max", 2, 2),
    ("Consumer.Group.Rebalance.Retry.Backoff", "1s", 1000),
    ("Consumer.Group.ResetInvalidOffsets", False, False),
    ("Consumer.Offsets.Retry.Max", 5, 5),
    ("Consumer.Offsets.Retention", "24h", 86_400_000),
    ("Metadata.Retry.Max", 7, 7),
    ("Net.WriteTimeout", "5s", 5000),
    ("Version", "V3_6_0_0", "V3_6_0_0"),
    ("ApiVersionsRequest", False, False),
]
NOT_TUNED = [
    "ClientID",
    "Consumer.Group.InstanceId",
    "Net.TLS.Enable",
    "Net.TLS.Config",
    "Net.SASL.Mechanism",
    "Net.SASL.Password",
    "Net.SASL.Version",
    "Net.SASL.Handshake",
    "Net.SASL.TokenProvider",
    "Net.Proxy.Enable",
    "Net.LocalAddr",
    "Producer.Return.Errors",
]


@pytest.mark.parametrize(("name", "value", "knob", "expected"), SARAMA_ROWS)
def test_a_row_of_sarama_is_a_setting_here(name: str, value: object, knob: str, expected: object) -> None:
    made = ConsumerSettings.from_sarama({name: value})
    assert getattr(made, knob) == expected
    again = ConsumerSettings.from_sarama(made.to_sarama())
    assert getattr(again, knob) == expected


@pytest.mark.parametrize(("name", "value", "expected"), ONLY_SARAMAS)
def test_a_row_that_only_sarama_has_is_kept_and_told(name: str, value: object, expected: object) -> None:
    made = ConsumerSettings.from_sarama({name: value})
    assert made.elsewhere == ((name, expected),)
    assert [note.name for note in made.notes if note.kind == "no equivalent"] == [name]
    for other in (made.to_librdkafka(), made.to_java()):
        assert name in [note.name for note in other.notes if note.kind == "no equivalent"]
    assert ConsumerSettings.from_sarama(made.to_sarama()) == made


@pytest.mark.parametrize("name", NOT_TUNED)
def test_a_row_about_getting_in_is_left_out_and_told(name: str) -> None:
    made = ConsumerSettings.from_sarama({name: "hunter2"})
    assert made == ConsumerSettings.from_sarama({})
    assert [note.name for note in made.notes if note.kind == "left out"] == [name]
    assert "hunter2" not in f"{made!r}{made.notes}"


def test_each_name_of_sarama_is_tried_above() -> None:
    tried = {row[0].removeprefix("sarama.") for row in (*SARAMA_ROWS, *ONLY_SARAMAS)}
    names = {knob.sarama.name for knob in KNOBS.values()} | {
        n for n, each in FOREIGN.items() if each.client == "sarama"
    }
    assert names - tried - {""} == {"Consumer.Retry.Max", "Metadata.Timeout", "Metadata.SingleFlight"}


def test_saramas_defaults_are_taken_and_told() -> None:
    made = ConsumerSettings.from_sarama({})
    assert (made.session_timeout_ms, made.auto_commit_interval_ms, made.max_poll_interval_ms) == (10_000, 1000, 60_000)
    assert made.isolation_level == "read_uncommitted"
    differing = {note.name for note in made.notes if note.kind == "default differs"}
    assert {"isolation_level", "session_timeout_ms", "auto_commit_interval_ms", "max_poll_interval_ms"} <= differing
    assert "session_timeout_ms" not in {
        note.name for note in ConsumerSettings.from_sarama({"Consumer.Group.Session.Timeout": "10s"}).notes
    }
    assert made.to_sarama() == {"Metadata.AllowAutoTopicCreation": False}


def test_what_means_something_else_is_told() -> None:
    made = ConsumerSettings.from_sarama({"Metadata": {"Full": False}, "Consumer.Group.Rebalance.Timeout": "60s"})
    told = {note.name: note.text for note in made.notes if note.kind == "changes meaning"}
    assert told["Metadata.Full"].startswith("the other way round")
    assert "only how long a rebalance waits" in told["Consumer.Group.Rebalance.Timeout"]


@given(valid_settings())
def test_sarama_gives_back_what_it_was_given_as_a_dict_and_as_go(made: ConsumerSettings) -> None:
    if made.topic_metadata_refresh_interval_ms == 0:  # off as well
        made = made.replace(topic_metadata_refresh_interval_ms=-1)
    but = ["fetch_max_wait_ms"] * (made.fetch_max_wait_ms == 0)
    but += ["auto_commit_interval_ms"] * (made.auto_commit_interval_ms == 0)
    but += ["auto_offset_reset"] * (made.auto_offset_reset == "error")
    written = made.to_sarama()
    assert named("sarama", ConsumerSettings.from_sarama(written), *but) == named("sarama", made, *but)
    assert ConsumerSettings.from_sarama(written.text) == ConsumerSettings.from_sarama(written)


def test_lines_of_go_are_read_as_they_stand() -> None:
    made = ConsumerSettings.from_sarama("""
        config := sarama.NewConfig()
        // fetch more at a time
        config.Consumer.Fetch.Min = 128 * 1024  // bytes
        config.Consumer.MaxWaitTime = time.Second
        cfg.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{sarama.NewBalanceStrategyRoundRobin()}
        config.Consumer.Offsets.Initial = sarama.OffsetOldest
        sarama.MaxResponseSize = 200 << 20
    """)
    assert (made.fetch_min_bytes, made.fetch_max_wait_ms, made.auto_offset_reset) == (131_072, 1000, "earliest")
    assert made.partition_assignment_strategy == "roundrobin"
    assert made.receive_message_max_bytes == 200 << 20
    with pytest.raises(ConfigError, match="line 2 is no assignment") as caught:
        ConsumerSettings.from_sarama('config.Net.SASL.Password = "x"\npassword := "hunter2"')
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"Consumer.MaxWaitTime": 250}, "250 is nanoseconds in Go, less than 1 ms: write '250ms'"),
        ({"Consumer.MaxWaitTime": "soon"}, "'soon' is no duration of Go"),
        ({"Consumer.MaxWaitTime": "-1s"}, "cannot be -1 s"),
        ({"Consumer.MaxWaitTime": "5 * time.Fortnight"}, "no duration"),
        ({"Consumer.Fetch.Minn": 1}, "did you mean 'Consumer.Fetch.Min'"),
        ({"Consumer": {"Fetch": 1}}, "sarama has no setting 'Consumer.Fetch'"),
        ({"Consumer.Offsets.Initial": 5}, "neither OffsetNewest"),
        ({"Consumer.IsolationLevel": 2}, "neither ReadUncommitted"),
        ({"Consumer.Fetch.Max": -1}, "a whole number from 0"),
        ({"Consumer.Fetch.Min": "128 * KiB"}, "no whole number"),
        ({"Prefetch": 500}, "sarama has no setting 'Prefetch'"),
    ],
)
def test_what_is_wrong_in_go_is_an_error(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        ConsumerSettings.from_sarama(config)


def test_less_than_a_millisecond_is_cut_off_and_told() -> None:
    made = ConsumerSettings.from_sarama({"Consumer.MaxWaitTime": "250.7ms"})
    assert made.fetch_max_wait_ms == 250
    assert "whole milliseconds" in next(note.text for note in made.notes if note.kind == "adjusted")


def test_what_sarama_cannot_say_is_told_on_the_way_there() -> None:
    made = ConsumerSettings(fetch_max_wait_ms=0, auto_commit_interval_ms=0, auto_offset_reset="error", check_crcs=False)
    written = made.to_sarama()
    assert written["Consumer.MaxWaitTime"] == "1ms"
    assert not {"Consumer.Offsets.AutoCommit.Interval", "Consumer.Offsets.Initial"} & written.keys()
    told = {note.name for note in written.notes if note.kind == "no equivalent"}
    assert told == {"check_crcs", "Consumer.Offsets.AutoCommit.Interval", "Consumer.Offsets.Initial"}


ANYTHING: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text(), max_size=2)
) | st.sampled_from(["1s", "1 << 20", "-1", "time.Second", "2 * time.", "range", "latest", "ReadCommitted", "1h2m"])


@given(
    st.dictionaries(st.sampled_from([row[0] for row in (*SARAMA_ROWS, *ONLY_SARAMAS)]), ANYTHING, max_size=3),
    st.dictionaries(st.sampled_from([k.java.name for k in KNOBS.values() if k.java.name]), ANYTHING, max_size=3),
    st.dictionaries(st.sampled_from([k.librdkafka.name for k in KNOBS.values()]), ANYTHING, max_size=3),
    st.text('configCnsumer.FtMi=1 <*:/\n"') | st.text(),
)
def test_anything_is_settings_or_one_kind_of_error(
    go: dict[str, Any], java: dict[str, Any], librdkafka: dict[str, Any], code: str
) -> None:
    ways: list[tuple[Any, Any]] = [
        (ConsumerSettings.from_sarama, go),
        (ConsumerSettings.from_sarama, code),
        (ConsumerSettings.from_java, java),
        (ConsumerSettings.from_librdkafka, librdkafka),
    ]
    for way, given_there in ways:
        with contextlib.suppress(ConfigError):
            made = way(given_there)
            assert ConsumerSettings.from_librdkafka(made.to_librdkafka()).values() == made.values()
            assert made.to_java().text.isascii()
            ConsumerSettings.from_sarama(made.to_sarama().text)


# Presets, and how they show


def test_the_article_is_saramas_configuration() -> None:
    article = ConsumerSettings.preset("article")
    assert article == ConsumerSettings.from_sarama(ARTICLE)
    assert named("sarama", article) | dict(article.elsewhere) == named("sarama", ConsumerSettings.from_sarama({})) | {
        "fetch_max_wait_ms": 1000,
        "max_partition_fetch_bytes": 1 << 20,
        "fetch_min_bytes": 128 << 10,
        "session_timeout_ms": 30_000,
        "heartbeat_interval_ms": 10_000,
        "partition_assignment_strategy": "roundrobin",
        "max_poll_interval_ms": 30_000,
        "topic_metadata_refresh_sparse": True,
        "Consumer.Fetch.Max": 10 << 20,
        "Consumer.MaxProcessingTime": 250,
        "Consumer.Group.Rebalance.Retry.Max": 2,
        "Consumer.Return.Errors": True,
    }
    # These two are sarama's defaults, and told of all the same.
    told = {note.name for note in article.notes if note.kind == "no equivalent"}
    assert {"ChannelBufferSize", "Metadata.Retry.Max", "prefetch"} <= told
    assert ConsumerSettings.from_sarama(article.to_sarama().text) == article
    assert "config.Consumer.MaxProcessingTime = 250 * time.Millisecond\n" in article.to_sarama().text


@pytest.mark.parametrize("name", ConsumerSettings.presets())
def test_a_preset_is_allowed_explained_and_not_cautioned(name: str) -> None:
    made = ConsumerSettings.preset(name)
    assert made.cautions == ()
    assert ConsumerSettings.presets()[name]
    Consumer({"group.id": "g", **made.to_librdkafka()}).close()


def test_an_unknown_preset_names_the_others() -> None:
    assert ConsumerSettings.preset("default") == ConsumerSettings()
    with pytest.raises(ArgumentError, match="did you mean 'latency'"):
        ConsumerSettings.preset("latenzy")
    with pytest.raises(ConfigError, match="did you mean 'check_crcs'"):
        ConsumerSettings().replace(check_crc=True)
    with pytest.raises(ConfigError, match="did you mean 'check_crcs'"):
        ConsumerSettings().nearest("check_crc", value=True)


@given(valid_settings())
def test_a_repr_makes_the_same_again(made: ConsumerSettings) -> None:
    assert eval(repr(made)) == made  # noqa: S307 - a repr made here
    assert pickle.loads(pickle.dumps(made)) == made  # noqa: S301 - pickled here
    assert hash(made) == hash(made.replace())


def test_only_what_differs_is_shown_and_hostile_text_is_text() -> None:
    assert repr(ConsumerSettings()) == "ConsumerSettings()"
    assert "defaults" in ConsumerSettings()._repr_html_()
    shown = ConsumerSettings(client_rack="<script>", fetch_min_bytes=131_072)._repr_html_()
    assert "<script>" not in shown
    assert "128 KiB" in shown
    assert "fetch_max_bytes" not in shown


def test_a_translation_is_a_dict_that_can_be_sent() -> None:
    written = ConsumerSettings.preset("article").to_librdkafka()
    sent = pickle.loads(pickle.dumps(written))  # noqa: S301 - pickled here
    assert (sent, sent.notes, sent.text) == (dict(written), written.notes, written.text)


def test_the_table_in_the_docs_is_the_table_of_the_code() -> None:
    page = DOCS.read_text("utf-8")
    expected = docs_table()
    assert expected in page, f"docs/settings.md should have this table:\n{expected}"


def docs_table() -> str:
    lines = [
        "| setting | default | bounds | librdkafka | Java (default) | sarama (default) | effect |",
        "|---" * 7 + "|",
    ]
    for name, knob in KNOBS.items():
        limits = "" if knob.minimum is None else f"{knob.minimum:,} to {knob.maximum:,}"
        limits = limits or " ".join(f"`{choice}`" for choice in knob.choices if knob.choices != (False, True))
        cells = (f"`{name}`", knob.shown(knob.default), limits, f"`{knob.librdkafka.name}`", knob.described("java"))
        lines.append(f"| {' | '.join((*cells, knob.described('sarama'), knob.effect))} |")
    lines += ["", "| only in | setting | why there is nothing for it here |", "|---|---|---|"]
    lines += [f"| {TITLES[each.client]} | `{each.name}` | {each.why} |" for each in FOREIGN.values()]
    return "\n".join(lines) + "\n"
