"""The other verbs on a real broker, each against what was written."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
from confluent_kafka import TopicCollection

import kafkalab as kl
from kafkalab.brokers import ApacheKafka
from tests.apache.test_read import HOSTILE
from tests.apache.truth import (
    LEVELS,
    SECONDS,
    Log,
    Place,
    Record,
    Row,
    append_times,
    gaps,
    new_topic,
    numbered,
    rows,
    zoo,
)

T0 = 1_700_000_000_000


@pytest.fixture(scope="module", params=["arrow", "librdkafka"])
def lab(kafka: ApacheKafka, request: pytest.FixtureRequest) -> Iterator[kl.Lab]:
    with kl.connect(kafka.bootstrap_servers, engine=request.param) as lab:
        yield lab


@pytest.fixture(scope="module")
def rising(kafka: ApacheKafka) -> Log:
    """Give a topic whose times rise on every partition, and are spread over all of these."""
    log = new_topic(kafka.bootstrap_servers, 4)
    for number in range(60):
        log.write(number * number % 3, Record(b"%d" % number, b'{"n": %d}' % number, T0 + number // 2))
    return log


BYTES: dict[str, Any] = {"key": "bytes", "value": "bytes", "headers": True}


def by_time(row: Row) -> tuple[int, int, int]:
    return (-1 if row.timestamp is None else row.timestamp, row.partition, row.offset)


class TestHeadAndLast:
    @pytest.mark.parametrize("n", [0, 1, 5, 59, 60, 100])
    def test_are_the_first_and_the_last_of_the_topic_by_time(self, lab: kl.Lab, rising: Log, n: int) -> None:
        truth = sorted(rising.visible("read_committed"), key=by_time)
        assert rows(lab.head(rising.topic, n, **BYTES)) == truth[:n]
        assert rows(lab.last(rising.topic, n, **BYTES)) == truth[len(truth) - min(n, len(truth)) :]

    @pytest.mark.parametrize("level", LEVELS)
    @pytest.mark.parametrize("n", [1, 4])
    def test_skip_what_is_not_there(self, lab: kl.Lab, kafka: ApacheKafka, level: str, n: int) -> None:
        for log in (gaps(kafka), append_times(kafka.bootstrap_servers)):
            truth = sorted(log.visible(level), key=by_time)
            assert rows(lab.last(log.topic, n, isolation_level=level, **BYTES)) == truth[-n:]
            assert rows(lab.head(log.topic, n, isolation_level=level, **BYTES)) == truth[:n]

    def test_of_a_log_of_markers_are_empty(self, lab: kl.Lab, kafka: ApacheKafka) -> None:
        log = zoo(kafka.bootstrap_servers)
        for place in (Place.ONLY_MARKERS, Place.EMPTY, Place.ALL_DELETED):
            for verb in (lab.head, lab.last):
                assert len(verb(log.topic, partitions=int(place))) == 0

    def test_show_readable_columns_and_name_the_read_that_gives_the_same(self, lab: kl.Lab, rising: Log) -> None:
        frame = lab.head(rising.topic, 3)
        truth = [row.key.decode() for row in sorted(rising.visible("read_committed"), key=by_time) if row.key][:3]
        assert frame["key"].tolist() == truth
        assert frame["n"].tolist() == [int(key) for key in truth]
        (note,) = [note for note in kl.receipt(frame).notes if "read(" in note]
        assert f"read('{rising.topic}', " in note
        assert "key='text'" in note
        assert "value='json'" in note
        same = lab.read(rising.topic, key="text", value="json")
        assert set(same.columns) == set(frame.columns)

    def test_from_a_start(self, lab: kl.Lab, rising: Log) -> None:
        truth = sorted(rising.visible("read_committed"), key=by_time)
        frame = lab.head(rising.topic, 4, start=f"@{T0 + 10}", **BYTES)
        assert rows(frame) == [row for row in truth if row.timestamp is not None and row.timestamp >= T0 + 10][:4]


class TestWhatIsThere:
    def test_topics(self, lab: kl.Lab, kafka: ApacheKafka) -> None:
        log = zoo(kafka.bootstrap_servers)
        found = lab.topics().set_index("topic")
        described = log.admin.describe_topics(TopicCollection([log.topic]), request_timeout=SECONDS)[log.topic]
        assert found.loc[log.topic, "partitions"] == len(Place)
        assert found.loc[log.topic, "replicas"] == 1
        kafkas = str(described.result(SECONDS).topic_id).replace("+", "-").replace("/", "_")
        assert found.loc[log.topic, "topic_id"] == kafkas
        assert "__transaction_state" not in found.index
        assert lab.topics(internal=True).set_index("topic").loc["__transaction_state", "is_internal"]

    @pytest.mark.filterwarnings("ignore:.*outside the years 1 to 9999:kafkalab.KafkalabWarning")
    def test_the_offsets_of_partitions(self, lab: kl.Lab, kafka: ApacheKafka) -> None:
        log = zoo(kafka.bootstrap_servers)
        frame = lab.describe(log.topic)
        assert frame["log_start_offset"].to_dict() == log.starts()
        assert frame["last_stable_offset"].to_dict() == log.ends("read_committed")
        assert frame["high_watermark"].to_dict() == log.ends("read_uncommitted")
        assert (frame["span"] == frame["high_watermark"] - frame["log_start_offset"]).all()
        assert frame["leader"].tolist() == [1] * len(Place)
        assert frame["in_sync_replicas"].tolist() == [[1]] * len(Place)

    def test_the_times_of_partitions(self, lab: kl.Lab, rising: Log) -> None:
        frame = lab.describe(rising.topic)
        truth = [
            [row.timestamp for row in rising.visible("read_committed", partition)] or [None] for partition in range(4)
        ]
        for name, end in (("first_timestamp", 0), ("last_timestamp", -1)):
            assert pa.array(frame[name]).cast(pa.int64()).to_pylist() == [times[end] for times in truth]
        assert truth[3] == [None]

    def test_a_topic_of_impossible_times_can_be_shown(self, lab: kl.Lab, kafka: ApacheKafka) -> None:
        with pytest.warns(kl.KafkalabWarning, match="1 times outside the years 1 to 9999"):
            frame = lab.describe(zoo(kafka.bootstrap_servers).topic)
        assert "NaT" in repr(frame[["last_timestamp"]])
        shown: Any = frame
        assert "<table" in shown._repr_html_()


class TestMapPartitions:
    @pytest.mark.parametrize("executor", ["thread", "sync"])
    @pytest.mark.parametrize("level", LEVELS)
    @pytest.mark.filterwarnings("ignore:.*outside the years 1 to 9999:kafkalab.KafkalabWarning")
    def test_each_partition_is_read_whole(self, lab: kl.Lab, kafka: ApacheKafka, executor: Any, level: str) -> None:
        log = zoo(kafka.bootstrap_servers)
        counts = lab.map_partitions(log.topic, len, executor=executor, isolation_level=level)
        assert counts["result"].to_dict() == {place: len(log.visible(level, place)) for place in Place}

    def test_frames_are_joined_with_their_receipts(self, lab: kl.Lab, rising: Log) -> None:
        frame = lab.map_partitions(rising.topic, lambda part: part, workers=2, headers=True)
        assert sorted(rows(frame)) == rising.visible("read_committed")
        assert kl.receipt(frame).rows == 60

    def test_a_failure_keeps_what_the_others_gave(self, lab: kl.Lab, rising: Log) -> None:
        def fail_on_1(part: pd.DataFrame) -> int:
            if (part["partition"] == 1).any():
                raise ValueError("not this one")
            return len(part)

        with pytest.raises(kl.MapError, match=rf"{rising.topic}\[1\].*not this one") as failed:
            lab.map_partitions(rising.topic, fail_on_1, workers=4)  # all have begun when it fails
        assert failed.value.results == [20, 0, 0]


class TestExport:
    @pytest.fixture(scope="class")
    @staticmethod
    def hostile(kafka: ApacheKafka) -> Log:
        log = new_topic(kafka.bootstrap_servers, 2)
        headers = [(name, text.encode()) for name, text in zip("abcdefghi", HOSTILE, strict=True)]
        log.write(0, *(Record(text.encode(), text.encode(), T0, headers) for text in HOSTILE))
        log.write(0, Record(None, None, T0))
        return log

    @pytest.mark.parametrize("file_format", ["parquet", "feather"])
    def test_files_of_bytes_hold_everything(self, lab: kl.Lab, hostile: Log, tmp_path: Path, file_format: Any) -> None:
        (written,) = lab.export(hostile.topic, tmp_path, format=file_format, headers=True).to_dict("records")
        read = {"parquet": pyarrow.parquet.read_table, "feather": pyarrow.feather.read_table}[file_format]
        assert rows(read(written["path"])) == hostile.visible("read_committed")
        assert [path.name for path in tmp_path.glob("[!_]*")] == [f"part-{hostile.topic}+0+0-10.{file_format}"]
        told = tuple(written[name] for name in ("partition", "start", "end", "rows", "bytes"))
        assert told == (0, 0, 10, 10, Path(written["path"]).stat().st_size)

    def test_csv_keeps_the_text(self, lab: kl.Lab, hostile: Log, tmp_path: Path) -> None:
        path = lab.export(hostile.topic, tmp_path, format="csv", headers=True)["path"][0]
        text = Path(path).read_bytes().decode()
        found = list(csv.DictReader(io.StringIO(text, newline="")))
        assert [row["value"] for row in found] == [*HOSTILE, ""]
        assert [row["key"] for row in found] == [*HOSTILE, ""]
        assert [h["value"] for h in json.loads(found[0]["headers"])] == list(HOSTILE)
        again = pd.read_csv(path, keep_default_na=False, lineterminator=None)
        assert again["offset"].tolist() == list(range(10))

    def test_json_lines_keep_the_text(self, lab: kl.Lab, hostile: Log, tmp_path: Path) -> None:
        path = lab.export(hostile.topic, tmp_path, format="jsonl", headers=True)["path"][0]
        lines = Path(path).read_bytes().split(b"\n")
        found = [json.loads(line) for line in lines[:-1]]
        assert lines[-1] == b""
        assert [row["value"] for row in found] == [*HOSTILE, None]
        assert [h["value"] for h in found[0]["headers"]] == list(HOSTILE)

    def test_bytes_that_are_no_text_are_refused_and_leave_no_file(
        self, lab: kl.Lab, kafka: ApacheKafka, tmp_path: Path
    ) -> None:
        log = new_topic(kafka.bootstrap_servers, 2)
        log.write(0, Record(None, b"fine"))
        log.write(1, Record(None, b"fine"), Record(None, b"\xff"))
        with pytest.raises(kl.DecodeError, match=rf"{log.topic}\[1\]@1: .*parquet"):
            lab.export(log.topic, tmp_path, format="csv")
        assert [path.name for path in tmp_path.glob("[!_]*")] == [f"part-{log.topic}+0+0-1.csv"]

    @pytest.mark.parametrize("level", LEVELS)
    def test_every_kind_of_log(self, lab: kl.Lab, kafka: ApacheKafka, tmp_path: Path, level: str) -> None:
        for log in (zoo(kafka.bootstrap_servers), gaps(kafka)):
            written = lab.export(log.topic, tmp_path, headers=True, isolation_level=level)
            found = [row for path in written["path"] for row in rows(pyarrow.parquet.read_table(path))]
            assert found == log.visible(level)
            assert written["rows"].sum() == len(found)


class TestOtherReaders:
    def test_the_one_liner(self, kafka: ApacheKafka, rising: Log) -> None:
        frame = kl.read_kafka(rising.topic, bootstrap_servers=kafka.bootstrap_servers, headers=True)
        assert rows(frame) == rising.visible("read_committed")

    def test_arrow_and_polars_take_a_scan_as_it_is(self, lab: kl.Lab, rising: Log) -> None:
        scan = lab.scan(rising.topic, value="json", columns=["partition", "offset", "n"])
        truth = [
            (row.partition, row.offset, json.loads(row.value or b"")["n"]) for row in rising.visible("read_committed")
        ]
        assert sorted(tuple(row.values()) for row in pa.table(scan).to_pylist()) == truth
        assert sorted(pl.DataFrame(scan).iter_rows()) == truth

    def test_a_filter_reads_everything_and_keeps_what_passes(self, lab: kl.Lab, rising: Log) -> None:
        frame = lab.read(rising.topic, value="json", where=kl.field("n") >= 50, columns=["n"])
        assert sorted(frame["n"]) == list(range(50, 60))
        receipt = kl.receipt(frame)
        assert (receipt.rows, receipt.records, receipt.complete) == (10, 60, True)

    def test_numbers_of_bytes_are_those_of_keys_and_values(self, lab: kl.Lab, kafka: ApacheKafka) -> None:
        log = new_topic(kafka.bootstrap_servers)
        log.write(0, *numbered(100))
        truth = log.visible("read_committed")
        size = sum(len(row.key or b"") + len(row.value or b"") for row in truth)
        told = kl.receipt(lab.read(log.topic)).bytes
        assert size <= told <= size + 1000  # Arrow's offsets count too
