"""SCRAM as a client speaks it (RFC 5802), with passwords as Kafka takes them: UTF-8, unchanged."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kafkalab.secret import Secret

ALGORITHMS = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}
_ITERATIONS = range(4096, 1_000_001)  # fewer are refused by Java's client, more by librdkafka, which would take seconds
_CHANNEL = "c=biws"  # no channel binding
_FIRST = re.compile(r"r=([\x21-\x2b\x2d-\x7e]+),s=([A-Za-z0-9+/=]+),i=(\d{1,9})(?:,.*)?", re.ASCII | re.DOTALL)


class ScramError(Exception):
    """The server's message is not what RFC 5802 says."""


class ScramClient:
    """One login.

    Parameters
    ----------
    mechanism : str
        ``"SCRAM-SHA-256"`` or ``"SCRAM-SHA-512"``.
    user : str
        The name.
    password : Secret
        What proves it.
    nonce : str, optional
        Random text without commas; for tests.

    Examples
    --------
    >>> from kafkalab.secret import Secret
    >>> ScramClient("SCRAM-SHA-256", "a,b", Secret("x"), "abc").first
    b'n,,n=a=2Cb,r=abc'
    """

    def __init__(self, mechanism: str, user: str, password: Secret, nonce: str | None = None) -> None:
        self._algorithm = ALGORITHMS[mechanism]
        self._password = password
        self._nonce = nonce or secrets.token_urlsafe(24)
        self._bare = f"n={user.replace('=', '=3D').replace(',', '=2C')},r={self._nonce}"
        self._expected = b""

    @property
    def first(self) -> bytes:
        """The first message."""
        return f"n,,{self._bare}".encode()

    def final(self, challenge: bytes) -> bytes:
        """Return the second message, given the server's first one.

        Raises
        ------
        ScramError
            The server does not answer this login, or asks for a computation that is too short or too long.
        """
        text = _text(challenge)
        found = _FIRST.fullmatch(text)
        if found is None or not found[1].startswith(self._nonce) or found[1] == self._nonce:
            raise ScramError("the server's first message does not answer the client's")
        if int(found[3]) not in _ITERATIONS:
            bounds = f"{_ITERATIONS.start:,} to {_ITERATIONS.stop - 1:,}"
            raise ScramError(f"the server asks for {int(found[3]):,} iterations, and {bounds} are supported")
        unproven = f"{_CHANNEL},r={found[1]}"
        return self._proven(unproven, f"{self._bare},{text},{unproven}".encode(), _bytes(found[2]), int(found[3]))

    def check(self, outcome: bytes) -> None:
        """Check the server's second message: only a server that knows the password can sign the exchange.

        Raises
        ------
        ScramError
            It has signed something else, or refuses the login.
        """
        fields = dict(part.partition("=")[::2] for part in _text(outcome).split(","))
        if "e" in fields:
            raise ScramError(fields["e"])
        if not self._expected or not hmac.compare_digest(_bytes(fields.get("v", "")), self._expected):
            raise ScramError("the server's signature is wrong: it does not know the password")

    def _proven(self, unproven: str, exchange: bytes, salt: bytes, iterations: int) -> bytes:
        salted = hashlib.pbkdf2_hmac(self._algorithm, self._password.reveal().encode(), salt, iterations)
        key = hmac.digest(salted, b"Client Key", self._algorithm)
        signature = hmac.digest(hashlib.new(self._algorithm, key).digest(), exchange, self._algorithm)
        self._expected = hmac.digest(hmac.digest(salted, b"Server Key", self._algorithm), exchange, self._algorithm)
        proof = bytes(a ^ b for a, b in zip(key, signature, strict=True))
        return f"{unproven},p={base64.b64encode(proof).decode()}".encode()


def _text(message: bytes) -> str:
    try:
        return message.decode()
    except UnicodeDecodeError:
        pass
    raise ScramError("the server's message is not UTF-8")


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        pass
    raise ScramError("the server's message holds what is not base64")
