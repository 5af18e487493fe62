from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import kafkalab as kl
from kafkalab import keyed
from kafkalab.errors import ArgumentError
from kafkalab.fetch.memory import MemoryCluster, MemoryRecord
from kafkalab.keyed import as_stored
from kafkalab.partitioner import partition_of

TOPIC = "users"
COUNT = 6


def placed_by(name: str, keys: int = 300) -> MemoryCluster:
    """Return a cluster with two records of each key, where a partitioner puts them."""
    cluster = MemoryCluster({TOPIC: COUNT})
    for turn in range(2):
        for number in range(keys):
            key = b"u%d" % number
            record = MemoryRecord(b"%d.%d" % (number, turn), key, timestamp_ms=turn)
            cluster.append(TOPIC, record, partition=partition_of(key, COUNT, name) or 0)
    return cluster


class Watched:
    """An engine that remembers which partitions it was asked to fetch."""

    def __init__(self, cluster: MemoryCluster) -> None:
        self.cluster = cluster
        self.partitions: set[int] = set()

    def fetch(self, ranges: Any, *rest: Any) -> Any:
        self.partitions = {part.partition for part in ranges}
        return self.cluster.fetch(ranges, *rest)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.cluster, name)


class TestFind:
    @pytest.mark.parametrize("name", ["murmur2", "consistent", "fnv1a"])
    @pytest.mark.parametrize("given", ["auto", "by name"])
    def test_reads_only_the_partition_that_the_key_is_in(self, name: str, given: str) -> None:
        cluster = placed_by(name)
        engine: Any = Watched(cluster)
        home = partition_of(b"u42", COUNT, name)
        lab = kl.Lab(cluster, engine)
        frame = lab.find(TOPIC, "u42", partitioner="auto" if given == "auto" else name)  # type: ignore[arg-type]  # a table of names
        assert frame["value"].tolist() == ["42.0", "42.1"]
        assert engine.partitions == {home}
        assert f"read partition {home} only, where partitioner={name!r} puts the key" in kl.receipt(frame).notes[-1]
        assert [part.partition for part in kl.receipt(frame).partitions] == [home]

    def test_reads_all_where_no_partitioner_fits(self) -> None:
        cluster = MemoryCluster({TOPIC: 3})
        for number in range(300):
            cluster.append(TOPIC, MemoryRecord(b"v", b"k%d" % (number % 50)), partition=number % 3)
        frame = kl.Lab(cluster, cluster).find(TOPIC, "k7")
        assert sorted(frame["partition"]) == [0, 0, 1, 1, 2, 2]
        assert "no partitioner known here" in kl.receipt(frame).notes[-1]

    def test_warns_when_nothing_was_found_where_it_looked(self) -> None:
        cluster = placed_by("murmur2")
        home = partition_of(b"u42", COUNT, "fnv1a")
        lab = kl.Lab(cluster, cluster)
        with pytest.warns(kl.KafkalabWarning, match=rf"has the key 'u42': read partition {home} only.*None reads all"):
            assert lab.find(TOPIC, "u42", partitioner="fnv1a").empty
        found = lab.find(TOPIC, "u42", partitioner=None)
        assert (len(found), kl.receipt(found).records) == (2, 600)

    def test_null_keys_are_anywhere_and_are_not_empty_ones(self) -> None:
        cluster = placed_by("murmur2")
        cluster.append(TOPIC, MemoryRecord(b"none"), MemoryRecord(b"empty", key=b""), partition=5)
        lab = kl.Lab(cluster, cluster)
        assert lab.find(TOPIC, None)["value"].tolist() == ["none"]
        assert lab.find(TOPIC, "", partitioner=None)["value"].tolist() == ["empty"]

    def test_options_are_those_of_a_read(self) -> None:
        cluster = MemoryCluster({TOPIC: 1})
        for number in range(4):
            cluster.append(TOPIC, MemoryRecord(b'{"n": %d}' % number, b"k", headers=[("h", b"1")]))
        cluster.append(TOPIC, MemoryRecord(b'{"n": 9}', b"other"), MemoryRecord(b"{", b"k"))
        lab = kl.Lab(cluster, cluster)
        frame = lab.find(TOPIC, b"k", 1, value="json", where=kl.field("n") != 2, columns=["n", "offset", "headers"])
        assert frame["n"].dropna().tolist() == [1, 3]
        assert frame.columns.tolist() == ["n", "offset", "headers"]
        with pytest.raises(kl.DecodeError, match=r"users\[0\]@5"):
            lab.find(TOPIC, b"k", value="json", errors="raise")
        assert kl.receipt(lab.find(TOPIC, b"k", errors="column")).rows == 5

    def test_only_what_has_the_key_is_decoded(self) -> None:
        cluster = MemoryCluster({TOPIC: 1})
        cluster.append(TOPIC, MemoryRecord(b"no json", b"other"), MemoryRecord(b'{"n": 1}', b"k"))
        assert kl.Lab(cluster, cluster).find(TOPIC, "k", value="json", errors="raise")["n"].tolist() == [1]

    def test_an_integer_key_is_found_as_java_stores_it(self) -> None:
        cluster = MemoryCluster({TOPIC: 1})
        cluster.append(TOPIC, MemoryRecord(b"int", b"\0\0\0\x2a"), MemoryRecord(b"long", b"\xff" * 8))
        lab = kl.Lab(cluster, cluster)
        assert lab.find(TOPIC, 42, key_format="int32")["value"].tolist() == ["int"]
        assert lab.find(TOPIC, -1, key_format="int64")["value"].tolist() == ["long"]

    def test_a_mistyped_option_is_named(self) -> None:
        lab = kl.Lab(placed_by("murmur2"), MemoryCluster({}))
        with pytest.raises(ArgumentError, match="'murmer2' is no partitioner: did you mean 'murmur2'"):
            lab.find(TOPIC, "u", partitioner="murmer2")  # type: ignore[arg-type]  # what is tested


@pytest.mark.parametrize(
    ("key", "key_format", "says"),
    [
        (42, None, "say which: key_format='int32' or 'int64', or give '42'"),
        (42, "int24", "'int24' is none of them"),
        (2**31, "int32", "does not fit in int32"),
        (4.5, None, "a key is a str, bytes, an int or None, not 4.5"),
        (True, "int32", "not True"),
    ],
)
def test_a_key_that_cannot_be_stored_is_refused(key: object, key_format: str | None, says: str) -> None:
    with pytest.raises(ArgumentError, match=says):
        as_stored(key, key_format)


PAIRS = st.lists(st.tuples(st.sampled_from([None, b"", b"a", b"b", b"c"]), st.sampled_from([None, b"", b"1", b"2"])))


class TestCompacted:
    @given(PAIRS, st.sampled_from(["apply", "keep"]), st.integers(1, 4))
    def test_gives_the_newest_of_each_key(self, pairs: list[Any], tombstones: Any, size: int) -> None:
        cluster = MemoryCluster({TOPIC: 1})
        for start in range(0, len(pairs), size):
            cluster.append(TOPIC, *(MemoryRecord(value, key) for key, value in pairs[start : start + size]))
        newest = {key: (offset, value) for offset, (key, value) in enumerate(pairs) if key is not None}
        truth = sorted(
            (offset, key, value) for key, (offset, value) in newest.items() if value is not None or tombstones == "keep"
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(keyed, "_MERGED_AT", 2)
            frame = kl.Lab(cluster, cluster).compacted(TOPIC, tombstones=tombstones, key="bytes", value="bytes")
        table = frame[["offset", "key", "value"]].astype({"key": object, "value": object})
        found = [
            (row[0], row[1], row[2] if isinstance(row[2], bytes) else None) for row in table.itertuples(index=False)
        ]
        assert found == truth
        nulls = sum(key is None for key, _ in pairs)
        assert kl.receipt(frame).notes == ((f"left out {nulls} records without a key",) if nulls else ())
        assert (kl.receipt(frame).rows, kl.receipt(frame).records) == (len(truth), len(pairs))

    def test_as_of_a_time_and_of_offsets(self) -> None:
        cluster = MemoryCluster({TOPIC: 1})
        records = [MemoryRecord(b"%d" % n, b"k%d" % (n % 2), timestamp_ms=1_767_225_600_000 + n) for n in range(6)]
        cluster.append(TOPIC, *records)
        lab = kl.Lab(cluster, cluster)
        assert lab.compacted(TOPIC, as_of="@1767225600003")["value"].tolist() == ["1", "2"]
        assert lab.compacted(TOPIC, as_of=4)["value"].tolist() == ["2", "3"]
        assert lab.compacted(TOPIC)["value"].tolist() == ["4", "5"]

    def test_a_filter_looks_at_the_newest_only(self) -> None:
        cluster = MemoryCluster({TOPIC: 1})
        cluster.append(TOPIC, *(MemoryRecord(b'{"n": %d}' % n, b"k") for n in range(3)))
        lab = kl.Lab(cluster, cluster)
        assert lab.compacted(TOPIC, value="json", where=kl.field("n") < 2, columns=["n"]).empty
        assert lab.compacted(TOPIC, value="json", where=kl.field("n") == 2, columns=["n"])["n"].tolist() == [2]

    def test_keys_of_several_partitions_are_told(self) -> None:
        cluster = MemoryCluster({TOPIC: 2})
        for partition in range(2):
            cluster.append(TOPIC, MemoryRecord(b"v", b"k"), partition=partition)
        frame = kl.Lab(cluster, cluster).compacted(TOPIC)
        assert frame["partition"].tolist() == [0, 1]
        assert kl.receipt(frame).notes[-1].startswith("1 rows have a key that another partition has too")

    def test_memory_holds_what_is_newest_and_as_many_rows_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(keyed, "_MERGED_AT", 10)
        most = 0
        add = keyed.NewestOfEach.add

        def watched(self: keyed.NewestOfEach, rows: Any) -> None:
            nonlocal most
            add(self, rows)
            most = max(most, sum(part.num_rows for part in (*self._kept, *self._waiting)))

        monkeypatch.setattr(keyed.NewestOfEach, "add", watched)
        cluster = MemoryCluster({TOPIC: 1})
        for number in range(500):
            cluster.append(TOPIC, *(MemoryRecord(b"v", b"k%d" % (number * 3 % 20 + n)) for n in range(3)))
        assert len(kl.Lab(cluster, cluster).compacted(TOPIC)) == 22
        assert most <= 2 * 22 + 3

    def test_an_interrupt_keeps_what_was_read(self) -> None:
        cluster = MemoryCluster({TOPIC: 1})
        for value in (b"1", b"2", b"3"):
            cluster.append(TOPIC, MemoryRecord(value, b"k"))

        def interrupt(_: Any, position: int) -> None:
            if position == 2:
                raise KeyboardInterrupt

        cluster.before_step = interrupt
        lab = kl.Lab(cluster, cluster)
        with pytest.raises(KeyboardInterrupt):
            lab.compacted(TOPIC)
        assert lab.partial["value"].tolist() == ["2"]

    def test_a_wrong_word_for_tombstones_is_refused(self) -> None:
        with pytest.raises(ArgumentError, match="tombstones='kep': did you mean 'keep'"):
            kl.Lab(placed_by("murmur2"), MemoryCluster({})).compacted(TOPIC, tombstones="kep")  # type: ignore[arg-type]  # what is tested


def test_text_of_a_framed_key_is_not_the_key() -> None:
    cluster = MemoryCluster({TOPIC: 1})
    for number in range(5):
        cluster.append(TOPIC, MemoryRecord(b"v", b"\0\0\0\0\7" + b"\x06ann%d" % number))
    lab = kl.Lab(cluster, cluster)
    with pytest.warns(kl.KafkalabWarning, match="has the key 'ann1': keys begin with the id of a schema here"):
        assert lab.find(TOPIC, "ann1", partitioner=None, errors="column", progress=False).empty
    cluster.append(TOPIC, MemoryRecord(b"v", b"plain"))
    assert lab.find(TOPIC, "ann1", partitioner=None, errors="column", progress=False).empty
