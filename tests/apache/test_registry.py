"""What Confluent's serializers write to a real broker, read by every verb; the schemas are in a registry."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.type.money_pb2 import Money

import kafkalab as kl
from kafkalab.brokers import ApacheKafka, SchemaRegistry
from kafkalab.brokers.registry import basic
from kafkalab.cli.main import main

COUNT = 200
FIELDS = [{"name": "id", "type": "long"}, {"name": "name", "type": "string"}]
SCHEMAS = [
    json.dumps({"type": "record", "name": "Order", "fields": fields})
    for fields in (FIELDS, [*FIELDS, {"name": "amount", "type": ["null", "double"]}])
]
SUM = COUNT * (COUNT - 1) // 2


@pytest.fixture(scope="module")
def registry() -> Iterator[SchemaRegistry]:
    with SchemaRegistry(basic("ann", "secret")) as registry:
        yield registry


@pytest.fixture
def config(registry: SchemaRegistry) -> dict[str, str]:
    return {"schema.registry.url": registry.url, "basic.auth.user.info": "ann:secret"}


@pytest.fixture
def avro(kafka: ApacheKafka, registry: SchemaRegistry, topic: Callable[..., str]) -> str:
    """Give a topic of two schemas."""
    name, client = topic(2), SchemaRegistryClient({"url": registry.url, "basic.auth.user.info": "ann:secret"})
    serializers, producer = [AvroSerializer(client, schema) for schema in SCHEMAS], producer_of(kafka)
    for number in range(COUNT):
        row = {"id": number, "name": f"n{number}", "amount": number / 2}
        value = serializers[number % 2](row, SerializationContext(name, MessageField.VALUE))
        producer.produce(name, value, key=b"%d" % number, partition=number % 4 // 2)
    assert producer.flush(20) == 0
    client.close()
    return name


def producer_of(kafka: ApacheKafka) -> Producer:
    return Producer({"bootstrap.servers": kafka.bootstrap_servers})


@pytest.mark.parametrize("engine", ["arrow", "librdkafka"])
def test_every_verb_reads_values_by_their_schemas(
    kafka: ApacheKafka, config: dict[str, str], avro: str, engine: str, tmp_path: Path
) -> None:
    with kl.connect(kafka.bootstrap_servers, config=config, engine=engine) as lab:  # type: ignore[arg-type]  # one of them
        frame = lab.read(avro, value="avro", key="str")
        assert (len(frame), frame["id"].sum()) == (COUNT, SUM)
        assert frame["amount"].sum() == sum(range(1, COUNT, 2)) / 2
        assert frame["amount"].isna().sum() == COUNT // 2
        assert lab.scan(avro, value="avro", columns=["id"]).to_table().num_rows == COUNT
        assert lab.read(avro, value="avro", where=kl.field("amount") > 98)["id"].tolist() == [197, 199]
        assert "value='avro'" in kl.receipt(lab.head(avro)).notes[0]
        assert lab.find(avro, "7", value="avro")["name"].tolist() == ["n7"]
        assert lab.map_partitions(avro, lambda part: part["id"].sum(), value="avro")["result"].sum() == SUM
        with lab.tail(avro, start="earliest", value="avro") as tail:
            assert tail.wait_for(COUNT, 30)
            assert tail.df["id"].sum() == SUM
        lab.export(avro, tmp_path, value="avro")
    loaded = kl.load(tmp_path)
    assert loaded.sort_values("id")["name"].tolist() == [f"n{number}" for number in range(COUNT)]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_processes_and_dask_ask_the_registry_themselves(kafka: ApacheKafka, config: dict[str, str], avro: str) -> None:
    with kl.connect(kafka.bootstrap_servers, config=config) as lab:
        sums = lab.map_partitions(avro, sum_of_ids, executor="process", workers=2, value="avro")
        assert sums["result"].sum() == SUM
        dask_frame = lab.to_dask(avro, value="avro", columns=["id", "name"])
        assert dask_frame["id"].sum().compute(scheduler="synchronous") == SUM


def sum_of_ids(part: pd.DataFrame) -> int:
    return int(part["id"].sum())


def test_a_terminal_reads_it_too(
    kafka: ApacheKafka, registry: SchemaRegistry, avro: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "client.properties"
    path.touch(0o600)
    path.write_text(
        f"bootstrap.servers={kafka.bootstrap_servers}\nschema.registry.url={registry.url}\n"
        "basic.auth.credentials.source=USER_INFO\nbasic.auth.user.info=ann:secret\n"
    )
    assert main(["read", avro, "--value", "avro", "--json", "--config-file", str(path)]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sorted(row["id"] for row in rows) == list(range(COUNT))


def test_protobuf_is_read_by_the_registry(
    kafka: ApacheKafka, registry: SchemaRegistry, config: dict[str, str], topic: Callable[..., str]
) -> None:
    name, producer = topic(), producer_of(kafka)
    client = SchemaRegistryClient({"url": registry.url, "basic.auth.user.info": "ann:secret"})
    serialize = ProtobufSerializer(Money, client, {"use.deprecated.format": False})
    for units in range(COUNT):
        money = Money(currency_code="CHF", units=units)
        producer.produce(name, serialize(money, SerializationContext(name, MessageField.VALUE)))
    assert producer.flush(20) == 0
    client.close()
    with kl.connect(kafka.bootstrap_servers, config=config) as lab:
        frame = lab.read(name, value="protobuf")
        assert frame["units"].tolist() == list(range(COUNT))
        assert set(frame["currency_code"]) == {"CHF"}
        assert lab.read(name, value=kl.Protobuf(Money, framed=True), columns=["units"])["units"].sum() == SUM
