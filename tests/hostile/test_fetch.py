"""Fetches from a broker that says what it should not: right rows or a clear error, and never for ever."""

import os
import signal
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

import kafkalab as kl
from kafkalab.fetch import patience
from kafkalab.fetch.base import Stop
from tests.hostile.scripted_broker import (
    FETCH,
    LIST_OFFSETS,
    METADATA,
    NOT_LEADER,
    OUT_OF_RANGE,
    UNKNOWN_TOPIC,
    Answer,
    Fetch,
    Log,
    Part,
    Raw,
    Script,
    Scripted,
    ScriptedBroker,
    plain,
    until,
)

PATIENCE_S = 0.5
# What must be over at once takes no longer on a machine under load.
SOON_S = 4.0
# A hot loop makes 20,000 requests a second.
FEW_REQUESTS = 100

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a fetch's patience half a second, not a minute."""
    monkeypatch.setattr(patience, "_STALLED_S", PATIENCE_S)
    monkeypatch.setattr(patience, "_GRACE_S", PATIENCE_S / 2)


def log(count: int = 40, each: int = 10) -> Log:
    return Log([plain(base, each) for base in range(0, count, each)])


def connect(broker: ScriptedBroker, engine: Any = "arrow", **config: Any) -> kl.Lab:
    return kl.connect(config={"bootstrap.servers": broker.bootstrap, **config}, engine=engine, timeout=2)


def values(lab: kl.Lab, **reading: Any) -> list[str]:
    found: list[str] = lab.read("t", value="text", progress=False, **reading)["value"].tolist()
    return found


def numbers(count: int, start: int = 0) -> list[str]:
    return [str(number) for number in range(start, count)]


def damaged(part: Part) -> None:
    part.records = part.records[:-1] + bytes([part.records[-1] ^ 1])


# An error of one connection of several


def one_is_corrupt(_: Fetch, answer: Answer) -> Answer:
    for part in answer.parts:
        if part.partition == 1 and part.records:
            damaged(part)
    return answer


def tailed(lab: kl.Lab) -> None:
    with lab.tail("t", start="earliest") as tail:
        assert until(lambda: not tail.running)
        raise tail.error or AssertionError("it has ended without an error")


ENDS_EARLY: dict[str, Callable[[kl.Lab], object]] = {
    "read": lambda lab: lab.read("t"),
    "scan": lambda lab: list(lab.scan("t")),
    "stream": lambda lab: pa.table(lab.scan("t")),
    "reader": lambda lab: lab.scan("t").reader().read_all(),
    "head": lambda lab: lab.head("t", 40),
    "last": lambda lab: lab.last("t", 40),
    "find": lambda lab: lab.find("t", "nobody"),
    "compacted": lambda lab: lab.compacted("t"),
    "sample": lambda lab: lab.sample("t", 70),
    "map": lambda lab: lab.map_partitions("t", len, executor="thread"),
    "tail": tailed,
}


BEHIND: dict[str, Callable[[kl.Lab], object]] = {
    "read": lambda lab: lab.read("t"),
    "sample": lambda lab: lab.sample("t", 5, seed=1, start=100),
    "tail": tailed,
}


@pytest.mark.parametrize("verb", ENDS_EARLY)
def test_an_error_of_one_of_two_connections_is_raised(verb: str) -> None:
    with ScriptedBroker({"t": [log(), log()]}, one_is_corrupt) as broker, connect(broker) as lab:
        for _ in range(5):
            with pytest.raises((kl.CorruptDataError, kl.MapError, pa.ArrowException, OSError)) as caught:
                ENDS_EARLY[verb](lab)
            assert "checksum" in "".join(map(str, (caught.value, caught.value.__cause__)))


# Answers that bring nothing


def empty(part: Part) -> None:
    part.records = b""


def below(part: Part) -> None:
    part.records = plain(0, 1).data


def announced_larger(part: Part) -> None:
    part.records = part.records[:8] + struct.pack(">i", 1000) + part.records[12:]


def five_bytes(part: Part) -> None:
    part.records = b"12345"


def unknown_error(part: Part) -> None:
    part.error, part.records = -1, b""


def each_part(change: Callable[[Part], None]) -> Script:
    def script(fetch: Fetch, answer: Answer) -> Answer:
        for part, (_, _, offset, _) in zip(answer.parts, fetch.asked, strict=True):
            if offset >= 10:
                change(part)
        return answer

    return script


def no_partitions(_: Fetch, answer: Answer) -> Answer:
    answer.parts = []
    return answer


def refused(_: Fetch, answer: Answer) -> Answer:
    answer.error = 70
    return answer


def throttled(_: Fetch, answer: Answer) -> Answer:
    return Answer(answer.version, [], throttle_ms=2**31 - 1)


NOTHING: dict[str, tuple[Script, str]] = {
    "empty": (each_part(empty), "without the records"),
    "below the position": (each_part(below), "without the records"),
    "a batch cut for ever": (each_part(announced_larger), "without the records"),
    "five bytes": (each_part(five_bytes), "without the records"),
    "an error without a name": (each_part(unknown_error), "Unknown broker error"),
    "no partitions": (no_partitions, "without the records"),
    "an error of the whole": (refused, "session"),
    "a throttle of 24 days": (throttled, r"quota asks this client to wait for 2.147\d+e\+06 s"),
}


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("script", NOTHING)
@pytest.mark.parametrize("verb", BEHIND)
def test_answers_without_progress_end_with_an_error_that_has_its_place(script: str, verb: str) -> None:
    lies, why = NOTHING[script]
    with ScriptedBroker({"t": [log(1000)]}, lies, most_bytes=1) as broker, connect(broker) as lab:
        began = time.monotonic()
        with pytest.raises(kl.ReadTimeoutError, match=why) as caught:
            BEHIND[verb](lab)
        assert time.monotonic() - began < PATIENCE_S + SOON_S
        assert (caught.value.topic, caught.value.partition) == ("t", 0)
        assert caught.value.offset is not None
        assert broker.counts[FETCH] < FEW_REQUESTS


@pytest.mark.parametrize("script", NOTHING)
def test_a_timeout_and_a_stop_end_a_read_without_progress(script: str) -> None:
    with ScriptedBroker({"t": [log(1000)]}, NOTHING[script][0], most_bytes=1) as broker, connect(broker) as lab:
        began = time.monotonic()
        with pytest.warns(kl.LimitWarning, match="timeout"):
            frame = lab.read("t", value="text", timeout=0.3)
        assert frame["value"].tolist() == numbers(len(frame))
        assert not kl.receipt(frame).complete
        stop = Stop()
        timer = threading.Timer(0.3, stop.set)
        timer.start()
        assert sum(rows.num_rows for _, rows in lab.scan("t").steps(stop)) == len(frame)
        assert time.monotonic() - began < 0.6 + SOON_S


@pytest.mark.usefixtures("short")
def test_an_answer_that_never_ends_is_an_error() -> None:
    def script(fetch: Fetch, answer: Answer) -> Scripted:
        return Raw(answer.encode(), seconds_a_byte=0.05) if fetch.number else answer

    config = {"socket.timeout.ms": 1000}
    with ScriptedBroker({"t": [log(10_000, 1000)]}, script, most_bytes=1) as broker, connect(broker, **config) as lab:
        began = time.monotonic()
        with pytest.raises(kl.ReadTimeoutError, match="too slow") as caught:
            lab.read("t")
        assert time.monotonic() - began < 10
        assert caught.value.offset


def test_answers_that_come_to_nothing_now_and_then_are_asked_for_again() -> None:
    def script(fetch: Fetch, answer: Answer) -> Answer:
        if fetch.number % 2:
            for part in answer.parts:
                part.records = b""
        return answer

    with ScriptedBroker({"t": [log(), log(30)]}, script, most_bytes=1) as broker, connect(broker) as lab:
        assert values(lab) == numbers(40) + numbers(30)
        found = lab.sample("t", 5, seed=1)
        assert len(found) == 5


def test_a_sample_is_of_all_records_though_answers_come_empty() -> None:
    def script(fetch: Fetch, answer: Answer) -> Answer:
        for part, (_, _, offset, _) in zip(answer.parts, fetch.asked, strict=True):
            if offset % 2 and offset not in seen:
                seen.add(offset)
                part.records = b""
        return answer

    seen: set[int] = set()
    with ScriptedBroker({"t": [log(100, 1)]}, script, most_bytes=1) as broker, connect(broker) as lab:
        for seed in range(10):
            found = lab.sample("t", 30, seed=seed)
            assert len(found) == 30
            live = kl.receipt(found).live
            assert live is not None
            assert live.records == 100
    assert len(seen) > 10


# What the cluster says


def once(change: Callable[[Part], None], offset: int) -> Script:
    """Change the first answer to a fetch from an offset on."""
    done: list[int] = []

    def script(fetch: Fetch, answer: Answer) -> Answer:
        for part, (_, _, at, _) in zip(answer.parts, fetch.asked, strict=True):
            if at >= offset and not done:
                done.append(at)
                change(part)
        return answer

    return script


def lagging(part: Part) -> None:
    part.records, part.high_watermark, part.last_stable = b"", 10, 10


def outside(part: Part) -> None:
    part.records, part.error = b"", OUT_OF_RANGE


def moved(part: Part) -> None:
    part.records, part.error = b"", NOT_LEADER


def unknown(part: Part) -> None:
    part.records, part.error = b"", UNKNOWN_TOPIC


@pytest.mark.parametrize("change", [lagging, outside, moved, unknown])
@pytest.mark.parametrize("verb", ["read", "sample"])
def test_a_broker_that_is_behind_for_a_moment_is_no_loss(change: Callable[[Part], None], verb: str) -> None:
    with ScriptedBroker({"t": [log(2000)]}, once(change, 10), most_bytes=1) as broker, connect(broker) as lab:
        if verb == "read":
            assert values(lab) == numbers(2000)
        else:
            assert len(lab.sample("t", 20, seed=1)) == 20
    assert broker.counts[FETCH] < FEW_REQUESTS + 2000 / 10


def test_one_broker_that_does_not_know_the_topic_yet_is_no_loss() -> None:
    def metadata(_: int, body: bytes) -> bytes:
        if armed and asked_of_t(body):
            armed.pop()
            return body.replace(struct.pack(">h", 0) + b"\0\1t", struct.pack(">h", UNKNOWN_TOPIC) + b"\0\1t")
        return body

    def asked_of_t(body: bytes) -> bool:
        return struct.pack(">h", 0) + b"\0\1t" in body

    armed: list[int] = []

    def script(fetch: Fetch, answer: Answer) -> Answer:
        if fetch.number == 1:
            armed.append(1)
            moved(answer.parts[0])
        return answer

    with ScriptedBroker({"t": [log(50_000, 1000)]}, script) as broker, connect(broker) as lab:
        broker.overrides[METADATA] = metadata
        assert values(lab) == numbers(50_000)
    assert broker.fetches[1:]


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize(("change", "says"), [(lagging, "made anew or cut"), (outside, "made anew or cut")])
def test_a_log_that_stays_shorter_is_a_loss(change: Callable[[Part], None], says: str) -> None:
    def list_offsets(_: int, body: bytes) -> bytes:
        return body.replace(struct.pack(">q", 40), struct.pack(">q", 5)) if broker.fetches else body

    with ScriptedBroker({"t": [log()]}, each_part(change)) as broker, connect(broker) as lab:
        broker.overrides[LIST_OFFSETS] = list_offsets
        broker.topics["t"][0].batches[1:] = [plain(10, 30)]
        broker.script = lambda fetch, answer: _cut(fetch, answer, change)
        with pytest.raises(kl.DataLossError, match=says) as caught:
            lab.read("t")
        assert (caught.value.topic, caught.value.partition, caught.value.offset) == ("t", 0, 10)


def _cut(fetch: Fetch, answer: Answer, change: Callable[[Part], None]) -> Answer:
    for part, (_, _, offset, _) in zip(answer.parts, fetch.asked, strict=True):
        if offset >= 10:
            change(part)
        else:
            part.records = plain(0, 10).data
    return answer


@pytest.mark.parametrize("engine", ["arrow", "librdkafka"])
def test_retention_that_passes_a_sample_is_an_error_or_told_of(engine: Any) -> None:
    def delete(fetch: Fetch, answer: Answer) -> Answer:
        held.batches, held.start = [each for each in held.batches if each.base >= 500], 500
        answer.parts = [broker._part(one, committed=False) for one in fetch.asked]
        return answer

    for on_data_loss in ("raise", "warn"):
        held = log(1000)
        with ScriptedBroker({"t": [held]}) as broker, connect(broker, engine) as lab:
            broker.script = delete
            if on_data_loss == "raise":
                with pytest.raises(kl.DataLossError, match="retention has passed"):
                    lab.sample("t", 100, seed=1)
            else:
                with pytest.warns(kl.DataLossWarning, match=r"t\[0\]@\d+-500"):
                    found = lab.sample("t", 100, seed=1, on_data_loss="warn")
                assert len(found) == 100
                assert found["offset"].min() >= 500
                assert any("lost to retention" in note for note in kl.receipt(found).notes)


# A broker that is away


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("verb", BEHIND)
def test_brokers_that_are_away_are_waited_for_and_then_an_error_with_its_place(verb: str) -> None:
    with ScriptedBroker({"t": [log(1000)]}) as broker, connect(broker) as lab:

        def leave(*_: object) -> None:
            threading.Thread(target=broker.stop, daemon=True).start()

        broker.script = leave
        with pytest.raises(kl.ReadTimeoutError, match=r"no progress.*127\.0\.0\.1") as caught:
            BEHIND[verb](lab)
        assert (caught.value.topic, caught.value.partition) == ("t", 0)
        assert caught.value.offset is not None


def test_a_broker_that_comes_back_after_the_clusters_timeout_is_read_on() -> None:
    with ScriptedBroker({"t": [log(100_000, 1000)]}) as broker, connect(broker) as lab:
        back = threading.Timer(2.0, broker.start)

        def restart() -> None:
            broker.stop()
            back.start()

        def leave(*_: object) -> None:
            broker.script = lambda _, answer: answer
            threading.Thread(target=restart, daemon=True).start()

        first: list[int] = []
        for rows in lab.scan("t", value="text"):
            first += rows["offset"].to_pylist()
            if not back.is_alive() and not back.finished.is_set():
                broker.script = leave
        assert first == list(range(100_000))


@pytest.mark.parametrize("how", ["stop", "timeout", "Ctrl-C"])
@pytest.mark.parametrize("engine", ["arrow", "librdkafka"])
def test_a_read_ends_at_once_while_the_brokers_are_away(how: str, engine: Any) -> None:
    def leave(fetch: Fetch, answer: Answer) -> Scripted:
        if fetch.asked[0][2] < 500:
            return answer
        if not gone.is_set():
            gone.set()
            threading.Thread(target=broker.stop, daemon=True).start()
            acting.start()
        return None

    stop, gone = Stop(), threading.Event()
    acts: dict[str, Callable[[], object]] = {"stop": stop.set, "Ctrl-C": interrupt, "timeout": int}
    acting = threading.Timer(1.0, acts[how])
    with ScriptedBroker({"t": [log(1000)]}, leave, most_bytes=1) as broker, connect(broker, engine) as lab:
        began = time.monotonic()
        if how == "stop":
            assert sum(rows.num_rows for _, rows in lab.scan("t").steps(stop)) == 500
        elif how == "timeout":
            with pytest.warns(kl.LimitWarning, match="timeout"):
                assert len(lab.read("t", timeout=1.5)) == 500
        else:
            with pytest.raises(KeyboardInterrupt):
                lab.read("t")
        assert time.monotonic() - began < 1.5 + SOON_S
        acting.join()


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.usefixtures("short")
def test_the_time_of_a_slow_reader_does_not_count() -> None:
    with ScriptedBroker({"t": [log(), log()]}, most_bytes=1) as broker, connect(broker) as lab:
        rested: list[int] = []
        found: list[int] = []
        scan = lab.scan("t", value="text")
        scan.read_ahead_bytes = 1
        for rows in scan:
            found += rows["offset"].to_pylist()
            if len(rested) < 3:
                rested.append(1)
                broker.hang_up()
                threading.Event().wait(2 * PATIENCE_S)  # what a reader does meanwhile
        assert sorted(found) == sorted([*range(40), *range(40)])


# A connection of several that ends before the others do


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("answered", [0, 3])
def test_a_tail_reads_on_where_one_of_two_connections_has_ended(answered: int, *, moved: bool) -> None:
    seen: list[int] = []

    def script(fetch: Fetch, answer: Answer) -> Scripted:
        if fetch.partitions == [0]:
            seen.append(0)
            if len(seen) == answered + 1:
                if not moved:
                    return None
                answer.parts = [Part("t", 0, NOT_LEADER)]
        return answer

    with ScriptedBroker({"t": [log(), log()]}, script, most_bytes=1) as broker, connect(broker) as lab:
        with lab.tail("t", start="earliest") as tail:
            assert until(lambda: len(tail.df) == 80), tail.df.groupby("partition").size()
            assert tail.running
        assert len(seen) > answered


def test_a_tail_reads_a_partition_that_had_no_leader_at_first() -> None:
    with ScriptedBroker({"t": [log(), log()]}) as broker, connect(broker) as lab:
        scan = lab.scan("t", follow=True)
        cluster: Any = lab.metadata
        known = cluster.leaders

        def leaders(topic: str, **options: Any) -> dict[int, tuple[str, int]]:
            found: dict[int, tuple[str, int]] = known(topic, **options)
            return found if len(broker.fetches) > 3 else {1: found[1]}

        cluster.leaders = leaders
        rows = 0
        for arrow_batch in scan:
            rows += arrow_batch.num_rows
            if rows == 80:
                break
        assert rows == 80
