from collections.abc import Iterator
from pathlib import Path

import pytest

import kafkalab as kl
from kafkalab import tour
from kafkalab.brokers import samples


@pytest.fixture(scope="module")
def lab() -> Iterator[kl.Lab]:
    with kl.demo("apache") as lab:
        yield lab


def test_every_topic_is_there(lab: kl.Lab) -> None:
    topics = lab.topics()
    assert dict(zip(topics["topic"], topics["partitions"], strict=True)) == samples.TOPICS


def test_records_of_a_week_stay(lab: kl.Lab) -> None:
    orders = lab.describe("orders")
    assert orders["span"].sum() == 100_000
    assert (orders["last_timestamp"] - orders["first_timestamp"] > "6 days").all()


def test_a_fifth_of_the_payments_is_taken_back(lab: kl.Lab) -> None:
    assert len(lab.read("payments")) == 1600
    assert len(lab.read("payments", isolation_level="read_uncommitted")) == 2000


def test_the_last_payments_are_committed_ones_with_the_columns_of_all(lab: kl.Lab) -> None:
    # The newest hundred were taken back, so the windows that are looked at first hold no visible record.
    last = lab.last("payments", 3)
    assert len(last) == 3
    assert list(last.columns) == list(lab.head("payments").columns)


def test_the_group_lags(lab: kl.Lab) -> None:
    assert lab.describe("orders", group_id=samples.GROUP_ID)["committed_lag"].tolist() == [100, 200, 300, 400]


def test_the_tour_goes_through(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tour.main(["--broker", "apache", "--out", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "len(lab.read('payments'))\n1600" in text
    assert "mock" not in text
    assert (tmp_path / "orders.png").exists()
    assert len(list((tmp_path / "orders").glob("*.parquet"))) == 4
