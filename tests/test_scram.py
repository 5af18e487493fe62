import base64
import hashlib
import hmac
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafkalab.net.scram import ALGORITHMS, ScramClient, ScramError
from kafkalab.secret import Secret

NONCE = "rOprNGfwEbeRWgbNEkqO"
FIRST = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
PROOF = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
SIGNED = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def client_of(nonce: str | None = NONCE) -> ScramClient:
    return ScramClient("SCRAM-SHA-256", "user", Secret("pencil"), nonce)


def test_the_example_of_rfc_7677() -> None:
    client = client_of()
    assert client.first == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    assert client.final(FIRST) == PROOF
    client.check(SIGNED)


def signed(mechanism: str, password: str, salt: bytes, exchange: bytes) -> bytes:
    """Sign as a server does that has taken the password as it is."""
    algorithm = ALGORITHMS[mechanism]
    salted = hashlib.pbkdf2_hmac(algorithm, password.encode(), salt, 4096)
    key = hmac.digest(salted, b"Server Key", algorithm)
    return b"v=" + base64.b64encode(hmac.digest(key, exchange, algorithm))


@pytest.mark.parametrize("mechanism", ALGORITHMS)
@pytest.mark.parametrize("salt", [b"s", b"short", b"longer than twelve"])
@pytest.mark.parametrize("password", ["x", "pä\u00adss\u2168", "\u0627a1", "\x07", "a,b=c "])
def test_any_password_and_salt_will_do(mechanism: str, salt: bytes, password: str) -> None:
    client = ScramClient(mechanism, "a=,b", Secret(password))
    bare = client.first.removeprefix(b"n,,")
    assert bare.startswith(b"n=a=3D=2Cb,r=")
    challenge = bare.split(b"r=")[1] + b"more"
    first = b"r=%b,s=%b,i=4096" % (challenge, base64.b64encode(salt))
    unproven, _, _ = client.final(first).rpartition(b",p=")
    client.check(signed(mechanism, password, salt, b",".join((bare, first, unproven))))


def test_a_nonce_is_used_once() -> None:
    assert client_of(None).first != client_of(None).first


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (b"", "does not answer the client's"),
        (FIRST.replace(b"rOpr", b"xOpr"), "does not answer the client's"),
        (b"r=rOprNGfwEbeRWgbNEkqO,s=AAAA,i=4096", "does not answer the client's"),
        (b"m=x," + FIRST, "does not answer the client's"),
        (FIRST.replace(b"W22Z", b"===="), "not base64"),
        (FIRST.replace(b"i=4096", b"i=4095"), "asks for 4,095 iterations, and 4,096 to 1,000,000 are supported"),
        (FIRST.replace(b"i=4096", b"i=1000001"), "asks for 1,000,001 iterations"),
        (FIRST.replace(b"i=4096", b"i=" + b"9" * 5000), "does not answer the client's"),
        (FIRST.replace(b"i=4096", "i=٤٠٩٦".encode()), "does not answer the client's"),
        (b"\xff" + FIRST, "not UTF-8"),
    ],
)
def test_a_challenge_that_cannot_be(message: bytes, says: str) -> None:
    with pytest.raises(ScramError, match=says):
        client_of().final(message)


@pytest.mark.parametrize("message", [b"", b"v=", b"v=AAAA", SIGNED[:-2], b"v=\xff", b"e=other-error", b"e=x," + SIGNED])
def test_a_server_that_does_not_know_the_password_is_found_out(message: bytes) -> None:
    client = client_of()
    client.final(FIRST)
    with pytest.raises(ScramError):
        client.check(message)


def test_nothing_signs_an_exchange_that_was_not_had() -> None:
    with pytest.raises(ScramError):
        client_of().check(b"v=")


@given(st.one_of(st.binary(), st.text().map(str.encode)), st.sampled_from(["final", "check"]))
def test_any_bytes_are_an_answer_or_one_error(message: bytes, step: str) -> None:
    client = client_of()
    call: Any = getattr(client, step)
    with pytest.raises(ScramError):
        call(message)
