"""Bytes of answers that no broker sends: refused with their place, within bounds of time and memory, or read right."""

import json
import pickle
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

import kafkalab as kl
from kafkalab.fetch import parsing
from kafkalab.parts import PartReader
from tests.hostile.scripted_broker import (
    FETCH,
    FIND_COORDINATOR,
    Answer,
    Fetch,
    Log,
    Part,
    Raw,
    Scripted,
    ScriptedBroker,
    batch,
    marker,
    old_message,
    plain,
    record,
)

MIB = 1 << 20

pytestmark = pytest.mark.timeout(60)


def connect(broker: ScriptedBroker, engine: Any = "arrow", **config: Any) -> kl.Lab:
    return kl.connect(config={"bootstrap.servers": broker.bootstrap, **config}, engine=engine, timeout=2)


def read(lab: kl.Lab, **options: Any) -> list[tuple[int, int, bytes]]:
    table = lab.read("t", progress=False, dtype_backend="pyarrow", **options)
    return list(zip(table["partition"].tolist(), table["offset"].tolist(), table["value"].tolist(), strict=True))


def rows(*ends: int) -> list[tuple[int, int, bytes]]:
    return [(partition, offset, b"%d" % offset) for partition, end in enumerate(ends) for offset in range(end)]


def first_only(change: Callable[[Answer], Scripted], start: int | None = None) -> Callable[[Fetch, Answer], Scripted]:
    """Change the first answer, or the first from an offset: what an earlier read had asked for may still come."""
    done: list[Fetch] = []

    def script(fetch: Fetch, answer: Answer) -> Scripted:
        if done or start not in {None, fetch.asked[0][2]}:
            return answer
        done.append(fetch)
        return change(answer)

    return script


# Offsets and lengths stand outside of a batch's checksum


@pytest.mark.parametrize("number", [0, 1, 3])
@pytest.mark.parametrize("width", [64, 32])
def test_a_flipped_bit_of_a_base_offset_or_a_length_gives_right_rows_or_an_error(number: int, width: int) -> None:
    batches = [plain(base, 10) for base in range(0, 40, 10)]
    at = sum(len(each.data) for each in batches[:number]) + (0 if width == 64 else 8)

    def flip(bit: int) -> Callable[[Answer], Answer]:
        def change(answer: Answer) -> Answer:
            data = bytearray(answer.parts[0].records)
            data[at + bit // 8] ^= 0x80 >> bit % 8
            answer.parts[0].records = bytes(data)
            return answer

        return change

    ended: Counter[str] = Counter()
    with ScriptedBroker({"t": [Log(batches)]}) as broker, connect(broker) as lab:
        for bit in range(width):
            broker.script = first_only(flip(bit), 0)
            try:
                assert read(lab) == rows(40), bit
                ended["right"] += 1
            except (kl.CorruptDataError, kl.UnsupportedError) as error:
                ended["refused" if (error.topic, error.partition) == ("t", 0) else "without a place"] += 1
    assert ended["right"] + ended["refused"] == width
    assert width == 32 or ended["refused"] > width / 2


def reordered(answer: Answer) -> Answer:
    answer.parts[0].records = plain(10, 10).data + plain(0, 10).data
    return answer


def overlapping(answer: Answer) -> Answer:
    answer.parts[0].records = plain(0, 10).data + plain(5, 10).data
    return answer


def behind_the_end(answer: Answer) -> Answer:
    answer.parts[0].records = plain(0, 10).data + plain(30, 10).data
    return answer


def behind_a_forged_end(answer: Answer) -> Answer:
    answer.parts[0].high_watermark = answer.parts[0].last_stable = 100
    return behind_the_end(answer)


@pytest.mark.parametrize("change", [reordered, overlapping, behind_the_end, behind_a_forged_end])
def test_batches_out_of_their_order_are_corrupt(change: Callable[[Answer], Answer]) -> None:
    script = first_only(change)
    with ScriptedBroker({"t": [Log([plain(0, 10), plain(10, 10)])]}, script) as broker, connect(broker) as lab:
        with pytest.raises(kl.CorruptDataError, match="offsets") as caught:
            read(lab)
        assert (caught.value.topic, caught.value.partition) == ("t", 0)
        assert caught.value.offset is not None


def test_a_log_that_grows_while_it_is_read_has_records_behind_its_high_watermark() -> None:
    def grows(_: Fetch, answer: Answer) -> Answer:
        held.batches.append(plain(held.end, 10))
        answer.parts[0].records += held.batches[-1].data
        return answer

    held = Log([plain(0, 10), plain(10, 10)])
    with ScriptedBroker({"t": [held]}, grows) as broker, connect(broker) as lab:
        assert read(lab, end=15) == rows(15)
        assert read(lab) == rows(30)


# What was not asked for


def another_partition(answer: Answer) -> Answer:
    answer.parts.append(Part("t", 7, 0, 20, 20, 0, [], plain(0, 10).data))
    return answer


def another_topic(answer: Answer) -> Answer:
    answer.parts[0].topic = "u"
    return answer


def twice(answer: Answer) -> Answer:
    answer.parts *= 2
    return answer


def two_gigabytes(answer: Answer) -> Answer:
    answer.parts[0].records = struct.pack(">qi", 0, 2**31 - 1) + bytes(100)
    return answer


def cut(answer: Answer) -> Raw:
    return Raw(answer.encode()[:-1])


def left_over(answer: Answer) -> Raw:
    return Raw(answer.encode() + b"?")


@pytest.mark.parametrize("change", [another_partition, another_topic, twice, two_gigabytes, cut, left_over])
@pytest.mark.parametrize("verb", ["read", "sample"])
def test_an_answer_that_was_not_asked_for_is_an_error_with_its_place(
    change: Callable[[Answer], Scripted], verb: str
) -> None:
    with ScriptedBroker({"t": [Log([plain(0, 10), plain(10, 1000)])]}) as broker, connect(broker) as lab:
        broker.script = first_only(change)
        with pytest.raises((kl.CorruptDataError, kl.UnsupportedError)) as caught:
            read(lab) if verb == "read" else lab.sample("t", 3)
        assert caught.value.topic == "t"
        assert caught.value.partition is not None


def test_a_list_of_aborted_transactions_that_the_log_contradicts_is_corrupt() -> None:
    batches = [
        plain(0, 5, producer=7),
        marker(5, 7, commits=False),
        plain(6, 5, producer=7),
        marker(11, 7, commits=True),
    ]
    whole = Log(batches, aborted=[(7, 0)])
    with ScriptedBroker({"t": [whole]}) as broker, connect(broker) as lab:
        assert read(lab) == [(0, offset, b"%d" % offset) for offset in range(6, 11)]
        for wrong in ([], [(8, 0)], [(7, 6)], [(7, 0), (7, 6)]):
            whole.aborted = wrong
            with pytest.raises(kl.CorruptDataError, match="aborted transactions"):
                read(lab)


# Old formats, and what is too large here


@pytest.mark.parametrize("magic", [0, 1])
def test_messages_of_an_old_format_are_read_by_librdkafka_with_a_warning(magic: int) -> None:
    old = [old_message(offset, b"%d" % offset, magic) for offset in range(10, 15)]
    logs = [Log([plain(0, 10), *old, plain(15, 5)]), Log([plain(0, 30)])]
    with ScriptedBroker({"t": logs}) as broker:
        with connect(broker, "auto") as lab:
            with pytest.warns(kl.KafkalabWarning, match="format v0 or v1"):
                assert read(lab) == rows(20, 30)
            with pytest.warns(kl.KafkalabWarning, match="format v0 or v1"):
                assert len(lab.sample("t", 20, seed=1)) == 20
            with pytest.warns(kl.KafkalabWarning, match="format v0 or v1"):
                assert sorted(lab.head("t", 12, partitions=[0])["offset"]) == list(range(12))
            reader = pickle.loads(pickle.dumps(PartReader(lab.scan("t"))))  # noqa: S301 - made here
            with pytest.warns(kl.KafkalabWarning, match="format v0 or v1"):
                assert reader.read(kl.OffsetRange("t", 0, 0, 20)).table.num_rows == 20
        with connect(broker) as lab:
            with pytest.raises(kl.UnsupportedError, match="engine='librdkafka'") as caught:
                read(lab)
            assert (caught.value.partition, caught.value.offset) == (0, 10)


def test_a_batch_that_holds_too_much_names_the_engine_that_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsing, "LARGEST_BATCH_BYTES", MIB)
    held = Log([plain(0, 10), batch(10, [record(0, bytes(2 * MIB))], codec=1)])
    with ScriptedBroker({"t": [held]}) as broker, connect(broker) as lab:
        with pytest.raises(kl.UnsupportedError, match="engine='librdkafka'") as caught:
            read(lab)
        assert (caught.value.partition, caught.value.offset) == (0, 10)


def test_a_batch_larger_than_what_is_asked_for_is_read() -> None:
    large = [batch(number, [record(0, bytes(MIB))]) for number in range(8)]

    def cut_at_what_was_asked(fetch: Fetch, answer: Answer) -> Answer:
        for part, (_, _, _, most) in zip(answer.parts, fetch.asked, strict=True):
            part.records = part.records[:most]
        return answer

    script = cut_at_what_was_asked
    with ScriptedBroker({"t": [Log(large), Log(large)]}, script, most_bytes=1) as broker, connect(broker) as lab:
        assert len(read(lab)) == 16
        assert len(lab.sample("t", 4)) == 4
        assert broker.counts[FETCH] < 100


# Brokers that are old, or say no to what is not needed


def test_a_broker_before_2_0_has_waited_for_its_quota_itself() -> None:
    def throttled(_: Fetch, answer: Answer) -> Answer:
        answer.throttle_ms = 60_000
        return answer

    held = Log([plain(0, 10), plain(10, 10)])
    with ScriptedBroker({"t": [held]}, throttled, {FETCH: (4, 7)}, most_bytes=1) as broker, connect(broker) as lab:
        began = time.monotonic()
        assert read(lab) == rows(20)
        assert time.monotonic() - began < 30


@pytest.mark.parametrize("code", [14, 15, 16, 30])
def test_a_group_that_is_not_needed_is_no_reason_to_fail(code: int) -> None:
    def refuse(version: int, _: bytes) -> bytes:
        return struct.pack(">ihhihi", 0, code, -1, -1, 0, -1) if version else struct.pack(">hihi", code, -1, 0, -1)

    def late(_: Fetch, answer: Answer) -> Answer:
        refused.wait(5)
        return answer

    def note(version: int, body: bytes) -> bytes:
        made = refuse(version, body)
        if broker.counts[FIND_COORDINATOR] > 1:
            refused.set()
        return made

    refused = threading.Event()
    with ScriptedBroker({"t": [Log([plain(0, 10)])]}, late) as broker:
        broker.overrides[FIND_COORDINATOR] = note
        with connect(broker, "librdkafka") as lab:
            assert read(lab) == rows(10)
        assert broker.counts[FIND_COORDINATOR]


# Memory

CHILD = """
import json, resource, sys, time
sys.path.insert(0, sys.argv[3])
import kafkalab as kl
lab = kl.connect(sys.argv[1], engine="arrow", timeout=5)
lab.head("small", 1)
def grown():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before, began = grown(), time.monotonic()
address_space = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (address_space + int(sys.argv[2]),) * 2)
try:
    ended = str(len(lab.read("t", headers=True)))
except (kl.KafkalabError, MemoryError) as error:
    ended = type(error).__name__
print(json.dumps({"ended": ended, "grown": grown() - before, "seconds": time.monotonic() - began}))
lab.close()
"""


def in_a_child(broker: ScriptedBroker, most: int) -> dict[str, Any]:
    command = [sys.executable, "-c", CHILD, broker.bootstrap, str(most), str(kl.__path__[0] + "/..")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def gigabyte(_: Answer) -> Raw:
    return Raw(bytes(8 * MIB), announced=1 << 30)


def many_partitions(answer: Answer) -> Raw:
    name = b"n" * 32_000
    head = struct.pack(">ihi", 0, 0, 0) + struct.pack(">ih", 1, len(name)) + name + struct.pack(">i", 500_000)
    part = Part("", 0).encode(answer.version)
    return Raw(head + part * 500_000)


def many_topics(_: Answer) -> Raw:
    return Raw(
        struct.pack(">ihi", 0, 0, 0)
        + struct.pack(">i", 2_000_000)
        + (struct.pack(">h", 1) + b"t" + bytes(4)) * 2_000_000
    )


def many_aborted(answer: Answer) -> Raw:
    answer.parts[0].aborted = []
    body = answer.encode()
    count = 2_000_000
    at = len(body) - len(answer.parts[0].records) - 12
    listed = b"".join(struct.pack(">qq", number, 0) for number in range(1000)) * (count // 1000)
    return Raw(body[:at] + struct.pack(">i", count) + listed + body[at + 4 :])


@pytest.mark.parametrize(
    ("change", "ends", "most"),
    [
        (gigabyte, "CorruptDataError", 64 * MIB),
        (many_partitions, "CorruptDataError", 64 * MIB),
        (many_topics, "CorruptDataError", 64 * MIB),
        (many_aborted, "10", 120 * MIB),
    ],
)
def test_an_answer_takes_no_more_memory_than_was_asked_for(
    change: Callable[[Answer], Scripted], ends: str, most: int
) -> None:
    def script(fetch: Fetch, answer: Answer) -> Scripted:
        return change(answer) if fetch.asked[0][0] == "t" else answer

    logs = {"t": [Log([plain(0, 10)])], "small": [Log([plain(0, 1)])]}
    with ScriptedBroker(logs, script) as broker:
        told = in_a_child(broker, 512 * MIB)
    assert told["ended"] == ends
    assert told["grown"] < most
    assert told["seconds"] < 20


def test_a_long_header_name_that_is_no_text_is_read_in_bounded_time() -> None:
    held = {"t": [Log([batch(0, [record(0, b"v", names=[b"\xff" * (4 * MIB)])])])], "small": [Log([plain(0, 1)])]}
    with ScriptedBroker(held) as broker:
        told = in_a_child(broker, 1 << 30)
    assert told["ended"] == "1"
    assert told["grown"] < 200 * MIB
    assert told["seconds"] < 20


def test_a_transaction_that_ends_in_another_answer_is_checked_too() -> None:
    batches = [plain(0, 5, producer=7), plain(5, 5), marker(10, 7, commits=False), plain(11, 5)]
    whole = Log(batches, aborted=[(7, 0)])
    with ScriptedBroker({"t": [whole]}, most_bytes=1) as broker, connect(broker) as lab:
        assert [offset for _, offset, _ in read(lab)] == [*range(5, 10), *range(11, 16)]
        whole.aborted = [(8, 0)]
        with pytest.raises(kl.CorruptDataError, match="aborted transactions"):
            read(lab)
        assert [offset for _, offset, _ in read(lab, start=7)] == [*range(7, 10), *range(11, 16)]
