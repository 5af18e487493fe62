import base64
import json
import pickle
import ssl
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
import trustme
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import descriptor_pb2
from google.type.interval_pb2 import Interval
from google.type.money_pb2 import Money

import kafkalab as kl
from kafkalab.brokers.registry import SchemaRegistry, basic
from kafkalab.connection import ConnectionConfig
from kafkalab.decode.framing import Framed
from kafkalab.net.coverage import unsupported_option

ORDER = json.dumps(
    {
        "type": "record",
        "name": "Order",
        "fields": [{"name": "id", "type": "long"}, {"name": "city", "type": "string"}],
    }
)
LATER = json.dumps(
    {
        "type": "record",
        "name": "Order",
        "fields": [{"name": "id", "type": "long"}, {"name": "amount", "type": "double"}],
    }
)
IN_HEADERS = "(ids in headers, such as __value_schema_id or apicurio.value.globalId, are not supported)"
NO_FRONT = f"no schema id: the value begins with the byte 0x01, not with 0 and four bytes {IN_HEADERS}"
BERN = b"\x02\x08Bern"


def framed(schema_id: int, value: bytes) -> bytes:
    return struct.pack(">BI", 0, schema_id) + value


@pytest.fixture
def registry() -> Iterator[SchemaRegistry]:
    with SchemaRegistry() as registry:
        registry.register("orders-value", ORDER)
        registry.register("orders-value", LATER)
        yield registry


def lab_of(*values: bytes | None, registry: str | None) -> kl.Lab:
    cluster = kl.MemoryCluster({"orders": 1})
    cluster.append("orders", *values)
    return kl.Lab(cluster, cluster, registry=None if registry is None else kl.Registry(registry))


def test_mixed_ids_make_the_columns_of_all(registry: SchemaRegistry) -> None:
    values = [framed(1, BERN), None, framed(2, b"\x04" + struct.pack("<d", 1.5)), framed(1, b"\x06\x00")]
    frame = lab_of(*values, registry=registry.url).read("orders", value="avro", columns=["id", "city", "amount"])
    assert frame.astype(object).where(frame.notna(), None).to_numpy().tolist() == [
        [1, "Bern", None],
        [None, None, None],
        [2, None, 1.5],
        [3, "", None],
    ]
    assert registry.asked == ["GET /schemas/ids/1", "GET /schemas/ids/2"]


def test_what_has_no_schema_is_an_error_of_its_row(registry: SchemaRegistry) -> None:
    protobuf = registry.register("other", "syntax = 'proto3';", "PROTOBUF")
    broken = registry.register("broken", '{"type": "nonsense"}')
    values = [framed(1, BERN), framed(99, b""), b"\x01abcd", b"", b"\0\0\0", framed(protobuf, b""), framed(broken, b"")]
    values += [framed(99, b"")] * 3
    frame = lab_of(*values, registry=registry.url).read("orders", value="avro", errors="column")
    assert frame["_error"].tolist()[1:7] == [
        f"value: schema id 99 is not in the registry at {registry.url}",
        f"value: {NO_FRONT}",
        "value: no schema id: the value is empty",
        f"value: no schema id: the value ends before it {IN_HEADERS}",
        f"value: schema id {protobuf} is none of Avro, but of PROTOBUF",
        f"value: schema id {broken}: no Avro schema: the type 'nonsense' is not known",
    ]
    assert frame["id"].tolist()[0] == 1
    assert frame["_raw"].tolist()[2] == b"\x01abcd"
    assert registry.asked.count("GET /schemas/ids/99") == 1


def test_a_topic_of_unknown_ids_only_has_no_fields(registry: SchemaRegistry) -> None:
    frame = lab_of(framed(9, b""), registry=registry.url).read("orders", value="avro", errors="skip")
    assert len(frame) == 0
    assert "skipped 1 rows that are not in their format" in kl.receipt(frame).notes


def test_columns_of_an_earlier_step_stay(registry: SchemaRegistry) -> None:
    decode = kl.Avro(registry=registry.url).decoder()
    first = decode(pa.array([framed(1, BERN)]))
    second = decode(pa.array([framed(2, b"\x04" + struct.pack("<d", 1.5))]))
    third = decode(pa.array([framed(7, b""), None]))
    assert [name for name, _, _ in first] == ["id", "city"]
    for decoded in (second, third):
        assert [name for name, _, _ in decoded] == ["id", "city", "amount"]
    assert [array.to_pylist() for _, _, array in second] == [[2], [None], [1.5]]
    assert [array.to_pylist() for _, _, array in third] == [[None, None]] * 3


def test_only_so_many_schemas_are_looked_up() -> None:
    asked = []

    def choose(schema_id: int, _: bytes) -> str:
        asked.append(schema_id)
        return "unknown"

    decoded = Framed(choose)(pa.array([framed(number, b"") for number in range(1500)]))
    assert len(decoded.errors) == 1500
    assert len(asked) == 1000


def test_references_are_followed(registry: SchemaRegistry) -> None:
    def reference(name: str, subject: str) -> dict[str, Any]:
        return {"name": name, "subject": subject, "version": 1}

    code = {"type": "enum", "name": "Code", "symbols": ["CH", "DE"]}
    city = {"type": "record", "name": "City", "fields": [{"name": "name", "type": "string"}, _field("code", "Code")]}
    both = {"type": "record", "name": "Both", "fields": [_field("from", "City"), _field("to", "Code")]}
    registry.register("code", json.dumps(code))
    registry.register("city", json.dumps(city), references=[reference("Code", "code")])
    references = [reference("City", "city"), reference("Code", "code")]
    number = registry.register("both", json.dumps(both), references=references)
    frame = lab_of(framed(number, b"\x08Bern\0\x02"), registry=registry.url).read("orders", value="avro")
    assert frame[["from", "to"]].to_numpy().tolist() == [[{"name": "Bern", "code": "CH"}, "DE"]]


def test_a_field_that_holds_its_own_record_is_passed_over_where_it_is_not_asked_for(registry: SchemaRegistry) -> None:
    fields = [_field("n", "int"), {"name": "more", "type": ["null", "Tree"]}, _field("s", "string")]
    number = registry.register("tree", json.dumps(["null", {"type": "record", "name": "Tree", "fields": fields}]))
    lab = lab_of(framed(number, b"\x02\x02\x02\x04\x00\x02a\x02b"), framed(number, b"\0"), registry=registry.url)
    frame = lab.read("orders", value="avro", columns=["n", "s"], where=kl.field("n") > 0)
    assert frame.to_numpy().tolist() == [[1, "b"]]
    with pytest.raises(kl.DecodeError, match="the type Tree holds itself, and columns cannot"):
        lab.read("orders", value="avro")


def _field(name: str, kind: str) -> dict[str, str]:
    return {"name": name, "type": kind}


def test_a_registry_that_is_down_is_named_without_its_password() -> None:
    with SchemaRegistry() as registry:
        url = registry.url
    lab = lab_of(framed(1, BERN), registry=None)
    config = {"basic.auth.user.info": "ann:hunter2", "max.retries": 0}
    with pytest.raises(
        kl.RegistryError, match=f"the schema registry at {url} cannot be asked: ConnectionRefusedError"
    ) as caught:
        lab.read("orders", value=kl.Avro(registry=kl.Registry(url, config=config)))
    frames = [entry.frame for entry in caught.traceback if "kafkalab" in str(entry.path)]
    assert len(frames) > 3
    assert "hunter2" not in str(caught.value) + "".join(
        repr(value) for frame in frames for value in frame.f_locals.values()
    )


def test_another_server_is_told_from_a_registry_without_a_schema(registry: SchemaRegistry) -> None:
    lab = lab_of(framed(1, BERN), registry=f"{registry.url}/wrong")
    with pytest.raises(kl.RegistryError, match="answers with an error: HTTP 404 Not Found"):
        lab.read("orders", value="avro")


@pytest.mark.parametrize(
    ("wanted", "config"),
    [
        (basic("ann", "hunter:2"), {"basic.auth.user.info": "ann:hunter:2"}),
        ("Bearer abc", {"bearer.auth.token": "abc"}),
    ],
)
def test_it_logs_in(wanted: str, config: dict[str, str]) -> None:
    with SchemaRegistry(wanted) as registry:
        registry.register("orders-value", ORDER)
        lab = lab_of(framed(1, BERN), registry=None)
        frame = lab.read("orders", value=kl.Avro(registry=kl.Registry(registry.url, config=config)))
        assert frame["city"].tolist() == ["Bern"]
        with pytest.raises(kl.RegistryError, match="refuses these credentials"):
            lab.read("orders", value=kl.Avro(registry=registry.url))


def test_it_speaks_tls(tmp_path: Path) -> None:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with SchemaRegistry(tls=context) as registry:
        registry.register("orders-value", ORDER)
        lab = lab_of(framed(1, BERN), registry=None)
        trusting = kl.Registry(registry.url, config={"ssl.ca.location": str(tmp_path / "ca.pem")})
        assert lab.read("orders", value=kl.Avro(registry=trusting))["city"].tolist() == ["Bern"]
        with pytest.raises(kl.RegistryError, match="CERTIFICATE_VERIFY_FAILED"):
            lab.read("orders", value=kl.Avro(registry=kl.Registry(registry.url, config={"max.retries": 0})))


def test_auto_asks_the_registry(registry: SchemaRegistry) -> None:
    frame = lab_of(framed(1, BERN), registry=registry.url).head("orders")
    assert frame["city"].tolist() == ["Bern"]
    assert "formats found: read('orders', value='avro') gives the same columns" in kl.receipt(frame).notes
    numbers = lab_of(struct.pack(">q", 7), registry=registry.url).head("orders")
    assert "city" not in numbers


def test_json_with_a_schema_id_in_front_is_json(registry: SchemaRegistry) -> None:
    number = registry.register("json", '{"type": "object"}', "JSON")
    values = [framed(number, b'{"id": 1}'), None, b'{"id": 2}', framed(number, b"{"), framed(number, b'{"id": 3}')]
    frame = lab_of(*values, registry=registry.url).read("orders", value="json-schema", errors="column")
    assert frame["id"].astype(object).where(frame["id"].notna(), None).tolist() == [1, None, None, None, 3]
    assert [str(error)[:22] for error in frame["_error"][[2, 3]]] == [
        "value: no schema id: t",
        "value: no JSON: EOF wh",
    ]
    found = lab_of(*values[:2], registry=registry.url).head("orders")
    assert "formats found: read('orders', value='json-schema') gives the same columns" in kl.receipt(found).notes


def test_protobuf_is_read_by_what_confluents_serializer_writes(registry: SchemaRegistry) -> None:
    client, interval = SchemaRegistryClient({"url": registry.url}), Interval()
    interval.start_time.FromSeconds(1)
    values: list[bytes | None] = []
    for message in (Money(currency_code="CHF", units=5), interval, Money(units=7)):
        serialize = ProtobufSerializer(type(message), client, {"use.deprecated.format": False})
        values.append(serialize(message, SerializationContext("orders", MessageField.VALUE)))
    client.close()
    lab = lab_of(*values, registry=registry.url)
    frame = lab.read("orders", value="protobuf", columns=["offset", "currency_code", "units", "start_time"])
    assert frame.astype(object).where(frame.notna(), None).to_numpy().tolist() == [
        [0, "CHF", 5, None],
        [1, None, None, pd.Timestamp(1, unit="s", tz="UTC")],
        [2, "", 7, None],
    ]
    assert "value='protobuf'" in kl.receipt(lab.head("orders")).notes[0]


def test_protobuf_that_cannot_be_read_is_an_error_of_its_row(registry: SchemaRegistry) -> None:
    file = descriptor_pb2.FileDescriptorProto(name="a", package="p", dependency=["other.proto"])
    file.message_type.add(name="M")
    missing = registry.register("missing", base64.b64encode(file.SerializeToString()).decode(), "PROTOBUF")
    del file.dependency[:]
    whole = registry.register("whole", base64.b64encode(file.SerializeToString()).decode(), "PROTOBUF")
    text = registry.register("text", "syntax = 'proto3'; message M {}", "PROTOBUF")
    values = [framed(number, b"\0") for number in (missing, text, 99, 1)] + [framed(whole, b"\x02\x08\0")]
    frame = lab_of(*values, registry=registry.url).read("orders", value="protobuf", errors="column")
    assert frame["_error"].tolist() == [
        f"value: schema id {missing}: the file other.proto is imported and not there",
        (
            f"value: schema id {text}: the registry has it only as text, which is not compiled here: give the message "
            "by kl.Protobuf(message, framed=True)"
        ),
        f"value: schema id 99 is not in the registry at {registry.url}",
        "value: schema id 1 is none of Protobuf, but of AVRO",
        f"value: schema id {whole}: there is no message at the indexes [4]",
    ]


def test_without_a_registry_the_way_to_one_is_told() -> None:
    with pytest.raises(kl.ArgumentError, match=r"needs a schema registry: .*'schema.registry.url'"):
        lab_of(registry=None).read("orders", value="avro")


def test_a_connection_names_the_registry_as_confluent_does(tmp_path: Path) -> None:
    path = tmp_path / "client.properties"
    path.touch(0o600)
    path.write_text(
        "bootstrap.servers=a\nschema.registry.url=https://sr:8081\nbasic.auth.credentials.source=USER_INFO\n"
        "basic.auth.user.info=ann:hunter2\n"
    )
    path.chmod(0o600)
    config = ConnectionConfig.load(config_file=path, environ={})
    assert kl.Registry.of(config.options) == kl.Registry(
        "https://sr:8081", config={"basic.auth.user.info": "ann:hunter2"}
    )
    assert "hunter2" not in repr(config.options)
    assert config.scrub("hunter2 ann:hunter2") == "hunter2 ***"
    assert not [name for name in config.client_options() if "registry" in name or "basic" in name]
    assert unsupported_option(config) is None


def test_what_only_serializers_need_is_no_option_and_files_have_to_be_there(tmp_path: Path) -> None:
    path = tmp_path / "client.properties"
    path.touch(0o600)
    path.write_text("bootstrap.servers=a\nauto.register.schemas=false\nspecific.avro.reader=true\n")
    assert not kl.Registry.of(ConnectionConfig.load(config_file=path, environ={}).options)
    environ = {"KAFKALAB_SCHEMA_REGISTRY_URL": "http://sr", "KAFKALAB_SCHEMA_REGISTRY_SSL_CA_LOCATION": "/no/ca.pem"}
    with pytest.raises(kl.ConfigError, match=r"_SSL_CA_LOCATION: .* names a file that is not there: /no/ca.pem"):
        ConnectionConfig.load("a", environ=environ)


def test_a_registry_may_take_over_the_brokers_login() -> None:
    options = {
        "sasl.username": "ann",
        "sasl.password": kl.Secret("pw"),
        "schema.registry.url": "http://sr",
        "schema.registry.basic.auth.credentials.source": "SASL_INHERIT",
    }
    assert kl.Registry.of(options) == kl.Registry("http://sr", config={"basic.auth.user.info": "ann:pw"})
    assert kl.Registry.of({"bootstrap.servers": "a"}) is None


@pytest.mark.parametrize(
    ("url", "config", "message"),
    [
        ("localhost:8081", {}, "schema.registry.url is not of the form https://host:8081: 'localhost:8081'"),
        ("http://sr", {"basic.auth.user": "x"}, "no option 'basic.auth.user': did you mean basic.auth.user.info"),
    ],
)
def test_what_cannot_work_is_refused(url: str, config: dict[str, str], message: str) -> None:
    with pytest.raises(kl.ConfigError, match=message):
        kl.Registry(url, config=config)


def test_it_can_be_sent_to_another_process() -> None:
    registry = kl.Registry("http://ann:hunter2@sr", config={"timeout": 3})
    avro = kl.Avro(registry=registry, reader_schema=ORDER)
    again = pickle.loads(pickle.dumps(avro))  # noqa: S301 - just pickled
    assert again == avro
    assert repr(again.registry) == "<Registry http://sr>"
    assert hash(again.registry) == hash(registry)
