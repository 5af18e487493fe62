import gc
import json
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest

import kafkalab as kl
from kafkalab.brokers import MockBroker, samples, shop
from kafkalab.errors import BrokerStartError

NOW_MS = 1_790_000_000_000
WEEK_MS = 7 * 86_400_000
HOUR_MS = 3_600_000
ORDERS = 5000


def made(topic: str, seed: int = 7) -> list[shop.Record]:
    return list(shop.records(np.random.default_rng(seed), NOW_MS, ORDERS)[topic])


@pytest.fixture(scope="module")
def lab() -> Iterator[kl.Lab]:
    with MockBroker(samples.SMALL_TOPICS) as broker:
        samples.fill(broker.bootstrap_servers, small=True, now_ms=NOW_MS)
        with kl.connect(broker.bootstrap_servers) as lab:
            yield lab


@pytest.mark.parametrize("topic", samples.SMALL_TOPICS)
def test_a_seed_makes_the_same_records_again(topic: str) -> None:
    assert made(topic) == made(topic)
    assert made(topic) != made(topic, seed=8)


@pytest.mark.parametrize("topic", samples.SMALL_TOPICS)
def test_times_rise_through_the_last_week(topic: str) -> None:
    times = [record.timestamp for record in made(topic)]
    assert all(earlier <= later for earlier, later in pairwise(times))
    assert NOW_MS - WEEK_MS - 60_000 <= times[0] < NOW_MS - WEEK_MS + HOUR_MS
    assert NOW_MS - HOUR_MS < times[-1] <= NOW_MS


def test_evenings_are_busier_than_nights() -> None:
    hours = Counter(record.timestamp // HOUR_MS % 24 for record in made("orders"))
    assert hours[19] > 5 * hours[7] > 0


def test_orders_are_json_with_a_header_by_customer() -> None:
    records = made("orders")
    orders = [json.loads(record.value or b"") for record in records]
    assert [order["order_id"] for order in orders] == list(range(1, ORDERS + 1))
    assert [record.key for record in records] == [order["customer"].encode() for order in orders]
    assert {order["coupon"] for order in orders} == {"SPRING", None}
    assert {order["country"] for order in orders} == {"AT", "CH", "DE", "FR", "NL"}
    assert {tuple((record.headers or {}).items()) for record in records} == {(("source", "app"),), (("source", "web"),)}


def test_clicks_have_an_object_in_them_and_strangers() -> None:
    clicks = [json.loads(record.value or b"") for record in made("clicks")]
    assert {click["page"]["path"] for click in clicks} >= {"/", "/cart", "/product/tea"}
    assert 0 < sum(click["customer"] is None for click in clicks) < len(clicks)


def test_customers_change_and_leave() -> None:
    records = made("customers")
    last = {record.key: record.value for record in records}
    left = sum(value is None for value in last.values())
    changed = sum(json.loads(value)["tier"] == "gold" for value in last.values() if value)
    assert len(last) < len(records)
    assert (left, changed) == (150, 450)


def test_a_sensor_was_off_for_a_while() -> None:
    readings = Counter(record.key for record in made("sensors"))
    assert readings[b"office"] - readings[b"cellar"] == 99


def test_payments_come_in_whole_transactions() -> None:
    transactions = list(shop.payments(np.random.default_rng(7), NOW_MS))
    assert [len(records) for records in transactions] == [100] * 20
    assert len({record.key for records in transactions for record in records}) == 2000


def test_fill_writes_all_of_them(lab: kl.Lab) -> None:
    spans = {topic: int(lab.describe(topic)["span"].sum()) for topic in samples.SMALL_TOPICS}
    assert spans == {"clicks": 15_000, "customers": 3600, "orders": 30_000, "sensors": 7965}
    assert (lab.describe("orders")["span"] > 0).all()


def test_a_customer_has_one_partition(lab: kl.Lab) -> None:
    orders = lab.read("orders", value="json", columns=["partition", "customer"])
    assert (orders.groupby("customer")["partition"].nunique() == 1).all()
    assert orders["partition"].nunique() == 4


def test_fill_says_that_it_could_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "_TIMEOUT_S", 0.1)
    with MockBroker({"orders": 4}) as broker, pytest.raises(BrokerStartError, match=r"not taken within 0\.1 s"):
        samples.fill(broker.bootstrap_servers, small=True, now_ms=NOW_MS)


def test_a_shop_that_stays_open_goes_on_with_orders() -> None:
    with MockBroker(samples.SMALL_TOPICS) as broker, kl.connect(broker.bootstrap_servers) as lab:
        with lab.tail("orders") as tail:
            shop_open = samples.go_on(broker.bootstrap_servers, orders_per_s=2_000)
            assert tail.wait_for(500, timeout=8)
            shop_open.stop()
            written = sum(lab.describe("orders")["span"])
            assert tail.wait_for(written, timeout=5)
            assert not tail.wait_for(written + 1, timeout=0.2)
        numbers = sorted(lab.read("orders", value="json")["order_id"])
    assert numbers == list(range(100_001, 100_001 + written))


class TestDemo:
    @pytest.fixture
    def brokers(self, monkeypatch: pytest.MonkeyPatch) -> list[MockBroker]:
        started: list[MockBroker] = []
        start = MockBroker.start

        def noted(broker: MockBroker) -> MockBroker:
            started.append(broker)
            return start(broker)

        monkeypatch.setattr(MockBroker, "start", noted)
        return started

    @pytest.mark.parametrize("what", [KeyboardInterrupt, BrokerStartError("full")])
    @pytest.mark.parametrize("where", ["kafkalab.brokers.samples.fill", "kafkalab.connect.connect"])
    def test_one_that_fails_or_is_interrupted_leaves_no_broker(
        self, what: BaseException, where: str, brokers: list[MockBroker], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fails(*_: object, **__: object) -> None:
            raise what

        monkeypatch.setattr(sys.modules[where.rpartition(".")[0]], where.rpartition(".")[2], fails)
        with pytest.raises((KeyboardInterrupt, BrokerStartError)):
            kl.demo("mock", orders_per_s=10)
        assert [repr(broker).split(",")[0] for broker in brokers] == ["<MockBroker stopped"]

    def test_one_that_nobody_has_any_more_is_ended(
        self, brokers: list[MockBroker], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(samples, "fill", lambda *_, **__: None)
        lab = kl.demo("mock", orders_per_s=10)
        assert any(thread.name == "kafkalab-live-orders" for thread in threading.enumerate())
        del lab
        gc.collect()
        assert repr(brokers[0]).startswith("<MockBroker stopped")
        assert not any(thread.name == "kafkalab-live-orders" for thread in threading.enumerate())
