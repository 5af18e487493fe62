"""A schema registry that is hostile, broken or only strange: bounded in time and memory, and told plainly."""

import base64
import itertools
import logging
import sys
import time
import traceback
import tracemalloc
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

import kafkalab as kl
from kafkalab.brokers.registry import basic
from kafkalab.decode.http import MOST_BYTES
from tests.hostile.scripted_registry import content, http, schema, scripted

LONG = '"long"'
PASSWORD = "hun/t@er2,:x"
ENDLESS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def registry_at(url: str, **config: Any) -> kl.Registry:
    options = {"timeout": 3, "max.retries": 0, **{name.replace("_", "."): value for name, value in config.items()}}
    return kl.Registry(url, config=options)


def refused(script: Callable[[str], bytes | Iterable[bytes]], **config: Any) -> str:
    with scripted(script) as server, pytest.raises(kl.RegistryError) as caught:
        registry_at(server.url, **config).schema(1)
    assert caught.value.__context__ is sys.exc_info()[1]  # what whoever runs the tests is handling, if anything
    return str(caught.value)


def endless(_: str) -> Iterator[bytes]:
    yield ENDLESS
    piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    yield from itertools.repeat(piece)


def bomb() -> bytes:
    packer = zlib.compressobj(wbits=31)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(64)) + packer.flush()


BOMB = bomb()


@pytest.mark.parametrize(
    "script",
    [
        endless,
        lambda _: http(200, BOMB, Content_Encoding="gzip"),
        lambda _: http(200, bytes(MOST_BYTES + 1)),
        lambda _: b"HTTP/1.1 200 OK\r\n\r\n" + bytes(5 << 20),
    ],
    ids=["endless chunks", "gzip bomb", "too long", "no length"],
)
def test_an_answer_is_bounded_in_memory(script: Callable[[str], bytes | Iterable[bytes]]) -> None:
    tracemalloc.start()
    try:
        assert "larger than 4 MiB" in refused(script)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"


@pytest.mark.parametrize(
    "sent", [b"", b"HTTP/1.1 200 OK\r\nX-A: ", HEAD, ENDLESS], ids=["nothing", "headers", "body", "chunks"]
)
def test_an_answer_is_bounded_in_time(sent: bytes) -> None:
    def drip(_: str) -> Iterator[bytes]:
        yield sent
        while server.pause(0.05):
            yield b"1"

    with scripted(drip) as server:
        begun = time.monotonic()
        with pytest.raises(kl.RegistryError, match=r"no whole answer came within 0\.\d+ s"):
            registry_at(server.url, timeout=0.4).schema(1)
        assert time.monotonic() - begun < 4


WRONG: tuple[Any, ...] = (1, [1], [{}], [{"name": 1, "subject": "s"}])
DEEP = b'{"schema": ' + b"[" * 100_000


@pytest.mark.parametrize(
    "answer",
    [
        *map(content, (None, [], 1, "x", {}, {"schema": None}, {"schema": LONG, "schemaType": 1})),
        *(content({"schema": LONG, "references": wrong}) for wrong in WRONG),
        content({"schema": LONG, "references": [{"name": "a", "subject": "s", "version": "x"}]}),
        http(200, b"<html>"),
        http(200, b"\xff"),
        http(200, DEEP),
    ],
)
def test_what_is_not_a_schema_is_an_error(answer: bytes) -> None:
    assert "answers something else than a schema" in refused(lambda _: answer)


@pytest.mark.parametrize("answer", [b"", b"\xff\xff", b"HTTP/1.1 abc\r\n\r\n", HEAD + b"x", ENDLESS + b"zz\r\n"])
def test_what_is_not_http_is_an_error(answer: bytes) -> None:
    assert "cannot be asked: " in refused(lambda _: answer)


def test_an_error_s_text_is_cut_and_escaped() -> None:
    for answer in (content({"message": "\x1b[31m\u202e" + "x" * 5_000_00}, 500), http(400, b"\x1b[31m" + b"x" * 9000)):
        text = refused(lambda _, answer=answer: answer)  # type: ignore[misc] # mypy takes no default here
        assert text.isprintable()
        assert "\\x1b[31m" in text
        assert len(text) < 500


@pytest.mark.parametrize("value", ["ann:hunter2", "ann:x", "a b:€\x07é"])
def test_what_a_registry_repeats_of_a_login_is_not_shown(value: str) -> None:
    user, _, password = value.partition(":")
    secret = basic(user, password).removeprefix("Basic ")

    def script(_: str) -> bytes:
        sent = next(line for line in server.headers[-1].splitlines() if line.startswith("Authorization"))
        assert sent == f"Authorization: Basic {secret}"
        return content({"message": f"{sent} {password} {'.' * 280} {password}"}, 401)

    with scripted(script) as server, pytest.raises(kl.RegistryError, match="refuses these credentials") as caught:
        registry_at(server.url, basic_auth_user_info=value).schema(1)
    assert secret not in str(caught.value)
    assert f" {password}" not in str(caught.value)


@pytest.mark.parametrize("token", ["tok.en", "x"])
def test_a_token_that_is_repeated_is_not_shown(token: str) -> None:
    text = refused(lambda _: content({"message": f"no Bearer {token} here"}, 403), bearer_auth_token=token)
    assert "no Bearer *** here" in text


def test_a_redirect_names_where_to() -> None:
    for status in (301, 302, 307, 308):
        answer = http(status, Location=f"https://ann:{PASSWORD}@other:8081/schemas\x1b")
        text = refused(lambda _, answer=answer: answer)  # type: ignore[misc] # mypy takes no default here
        assert "to https://other:8081/schemas\\x1b: give that address instead" in text


def busy(times: int, wait: object, last: bytes) -> Callable[[str], bytes]:
    left = iter([content({"message": "slow down"}, 429, Retry_After=str(wait))] * times)
    return lambda _: next(left, last)


def test_a_busy_registry_is_given_the_time_that_it_asks_for() -> None:
    with scripted(busy(2, 0, schema(LONG))) as server:
        found = registry_at(server.url, max_retries=2, retries_wait_ms=1).schema(1)
    assert found is not None
    assert found.text == LONG
    with scripted(busy(1, 1, schema(LONG))) as server:
        begun = time.monotonic()
        assert registry_at(server.url, max_retries=2, retries_wait_ms=1).schema(1) == found
        assert time.monotonic() - begun >= 1
        assert len(server.asked) == 2


@pytest.mark.parametrize("wait", ["3600", "1e300", "Sun, 06 Nov 2044 08:49:37 GMT", "-5", "nan", "\x01"])
def test_a_wait_that_is_too_long_is_not_waited_for(wait: str) -> None:
    begun = time.monotonic()
    text = refused(busy(9, wait, b""), max_retries=1, retries_wait_ms=1)
    assert "slow down (HTTP 429)" in text
    assert time.monotonic() - begun < 3


def test_references_are_asked_once_each_and_come_before_what_refers_to_them() -> None:
    levels = 12

    def script(path: str) -> bytes:
        level = 0 if path.startswith("/schemas") else int(path.split("/")[2][1:])
        below = () if level == levels else [(f"{name}{level + 1}", f"s{level + 1}", 1) for name in "ab"]
        return schema(f'"{level}"', "AVRO", *below)

    with scripted(script) as server:
        found = registry_at(server.url).schema(1)
        assert len(server.asked) == 1 + 2 * levels
    assert found is not None
    names = [name for name, _ in found.references]
    assert len(names) == len(set(names)) == 2 * levels
    for level in range(1, levels):
        assert max(names.index(f"{name}{level + 1}") for name in "ab") < names.index(f"a{level}")
    assert names.index("a1") < names.index("b1")


def test_schemas_that_refer_to_one_another_or_to_ever_more_end() -> None:
    with scripted(lambda _: schema(LONG, "AVRO", ("a", "a", 1), ("b", "b", 1))) as server:
        found = registry_at(server.url).schema(1)
    assert found is not None
    assert sorted(name for name, _ in found.references) == ["a", "b"]
    numbers = itertools.count()
    wide = [(f"n{number}", "s", 1) for number in range(300)]
    text = refused(lambda _: schema("x" * 400_000, "AVRO", *wide, (f"m{next(numbers)}", "s", 1)))
    assert "refers to more than 1000 others, or 4 MiB" in text


MESSAGE = base64.b64encode(b"\n\x01a").decode()


@pytest.mark.parametrize(("status", "expected"), [(200, MESSAGE), (400, "syntax = 'x';"), (500, "syntax = 'x';")])
def test_a_descriptor_is_asked_for_where_there_is_text(status: int, expected: str) -> None:
    def script(path: str) -> bytes:
        if "format=serialized" not in path:
            return schema("syntax = 'x';", "PROTOBUF", ("b", "b", 1))
        return schema(MESSAGE, "PROTOBUF", ("b", "b", 1)) if status == 200 else content({"message": "no"}, status)

    with scripted(script) as server:
        found = registry_at(server.url).schema(1)
    assert found is not None
    assert (found.text, found.references) == (expected, (("b", expected),))
    assert server.asked[:2] == ["/schemas/ids/1", "/schemas/ids/1?format=serialized"]
    assert server.asked[3] == "/subjects/b/versions/1?deleted=true&format=serialized"


@pytest.mark.parametrize("kind", ["AVRO", "JSON", "PROTOBUF"])
def test_no_other_format_is_asked_for(kind: str) -> None:
    with scripted(lambda _: schema(MESSAGE, kind)) as server:
        assert registry_at(server.url).schema(1) == kl.decode.registry.RegisteredSchema(kind, MESSAGE)
        assert server.asked == ["/schemas/ids/1"]


def test_a_password_in_the_url_goes_to_the_registry_and_nowhere_else(caplog: pytest.LogCaptureFixture) -> None:
    with scripted(lambda _: schema(LONG)) as server, caplog.at_level(logging.DEBUG):
        registry = registry_at(server.url.replace("//", f"//ann:{PASSWORD}@"))
        registry.schema(1)
        assert f"Authorization: {basic('ann', PASSWORD)}" in server.headers[0]
        assert repr(registry) == f"<Registry {server.url}>"
    with pytest.raises(kl.RegistryError, match="cannot be asked") as caught:
        registry.schema(1)
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    for part in (PASSWORD, "er2,:x", "hun/t"):
        assert part not in shown + caplog.text


def test_another_server_is_asked_where_one_is_down() -> None:
    with scripted(lambda _: b"") as broken, scripted(lambda _: schema(LONG)) as server:
        assert registry_at(f"{broken.url}, {server.url}/,").schema(1) is not None
        assert server.asked == ["/schemas/ids/1"]


TOKENS = {
    "bearer.auth.credentials.source": "OAUTHBEARER",
    "bearer.auth.client.id": "me",
    "bearer.auth.client.secret": "hunter2",
    "bearer.auth.scope": "all of it",
    "bearer.auth.logical.cluster": "lsrc-1",
    "bearer.auth.identity.pool.id": "pool-1",
}


def test_a_token_is_had_once_and_shown_to_the_registry() -> None:
    def issue(_: str) -> bytes:
        return content({"access_token": "tok.en", "expires_in": 3600})

    with scripted(issue) as issuer, scripted(lambda _: schema(LONG)) as server:
        config = TOKENS | {"bearer.auth.issuer.endpoint.url": f"{issuer.url}/token"}
        registry = kl.Registry(server.url, config=config)
        assert registry.schema(1) == registry.schema(2)
        assert issuer.asked == ["/token"]
        assert f"Authorization: {basic('me', 'hunter2')}" in issuer.headers[0]
        for line in ("Authorization: Bearer tok.en", "target-sr-cluster: lsrc-1", "Confluent-Identity-Pool-Id: pool-1"):
            assert line in server.headers[1]


@pytest.mark.parametrize("answer", [content(None), content({"access_token": 1}), content({"message": "hunter2"}, 401)])
def test_a_token_that_does_not_come_is_told(answer: bytes) -> None:
    with scripted(lambda _: answer) as issuer, scripted(lambda _: schema(LONG)) as server:
        config = TOKENS | {"bearer.auth.issuer.endpoint.url": issuer.url, "max.retries": 0}
        with pytest.raises(kl.RegistryError, match="no token can be had") as caught:
            kl.Registry(server.url, config=config).schema(1)
        assert "hunter2" not in str(caught.value)


def test_a_proxy_is_asked_in_the_registry_s_place() -> None:
    with scripted(lambda _: schema(LONG)) as proxy:
        registry = registry_at("http://registry.invalid:8081", proxy=proxy.url.replace("//", "//p:roxy@"))
        assert registry.schema(1) is not None
        assert proxy.asked == ["http://registry.invalid:8081/schemas/ids/1"]
        assert f"Proxy-Authorization: {basic('p', 'roxy')}" in proxy.headers[0]
        secured = registry_at("https://registry.invalid:8081", proxy=proxy.url)
        with pytest.raises(kl.RegistryError, match="cannot be asked"):
            secured.schema(1)
        assert proxy.asked[1] == "registry.invalid:8081"
    with pytest.raises(kl.RegistryError, match="only http:// proxies are supported"):
        registry_at("http://registry.invalid", proxy="socks5://a:1").schema(1)


@pytest.mark.parametrize(
    "option",
    [
        {"timeout": "inf"},
        {"timeout": "nan"},
        {"max_retries": "-1"},
        {"retries_wait_ms": "soon"},
        {"basic_auth_user_info": "hunter2"},
        {"bearer_auth_token": "hun\nter2"},
        {"bearer_auth_credentials_source": "elsewhere"},
        {"bearer_auth_credentials_source": "OAUTHBEARER"},
    ],
)
def test_options_that_cannot_be_are_refused_at_once(option: dict[str, str]) -> None:
    with pytest.raises(kl.ConfigError, match=r"registry|bearer") as caught:
        registry_at("http://sr", **option)
    assert "ter2" not in str(caught.value)
