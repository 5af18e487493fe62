"""SASL on a connection that is open: which versions, which messages, and no password in what an error brings."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kafkalab.errors import AuthenticationError, UnsupportedError
from kafkalab.net.requests import SASL_AUTHENTICATE, SASL_HANDSHAKE, sized, string
from kafkalab.net.scram import ScramClient, ScramError
from kafkalab.secret import Secret, scrub

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from kafkalab.connection import ConnectionConfig

_VERSIONS = (0, 1)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A broker's answer to one message of a login; it may repeat what was sent, so that its repr shows none of it."""

    code: int
    reason: str = field(repr=False)
    message: bytes = field(repr=False)
    lifetime_ms: int

    @classmethod
    def of(cls, answer: bytes, version: int) -> Outcome:
        """Read an answer of SaslAuthenticate version 0 or 1."""
        code, length = struct.unpack_from(">hh", answer)
        place = 4 + max(length, 0)
        (size,) = struct.unpack_from(">i", answer, place)
        end = place + 4 + max(size, 0)
        (lifetime_ms,) = struct.unpack_from(">q", answer, end) if version else (0,)
        return cls(code, answer[4:place].decode(errors="replace"), answer[place + 4 : end], lifetime_ms)


@dataclass(frozen=True, slots=True)
class Login:
    """A login on a connection that is open.

    Parameters
    ----------
    config : ConnectionConfig
        The mechanism, and the user and password or the callback for tokens.
    address : str
        Where the broker is, for errors.
    versions : mapping of int to (int, int)
        The least and the greatest version of each request that the broker takes.
    ask : callable
        Take a request's key, version and body, and return the answer's body.
    ask_raw : callable
        Take a frame without a header, and return such a frame.
    """

    config: ConnectionConfig
    address: str
    versions: Mapping[int, tuple[int, int]]
    ask: Callable[[int, int, bytes], bytes]
    ask_raw: Callable[[bytes], bytes]

    def run(self) -> int:
        """Log in, and return for how many milliseconds that holds, or 0 for ever.

        Raises
        ------
        AuthenticationError
            The broker refuses the login, or answers it with something else.
        UnsupportedError
            The broker takes no login of this form.
        """
        mechanism = str(self.config.get("sasl.mechanism"))
        version = self._version(SASL_HANDSHAKE)
        answer = self.ask(SASL_HANDSHAKE, version, string(mechanism.encode()))
        if len(answer) < 2 or struct.unpack_from(">h", answer)[0]:  # noqa: PLR2004 - a code of 16 bits
            raise AuthenticationError(f"{self.address} does not take sasl.mechanism={mechanism}")
        send = self._authenticate if version else self._authenticate_raw
        if mechanism == "OAUTHBEARER":
            return self._with_token(send)
        if mechanism == "PLAIN":
            user, password = self._user, self._password
            return send(Secret(f"\0{user}\0{password.reveal()}")).lifetime_ms
        return self._with_scram(mechanism, send)

    @property
    def _user(self) -> str:
        return str(self.config.get("sasl.username", ""))

    @property
    def _password(self) -> Secret:
        return Secret(str(self.config.get("sasl.password", "")))

    def _version(self, key: int) -> int:
        least, most = self.versions.get(key, (0, -1))
        common = [version for version in _VERSIONS if least <= version <= most]
        if not common:
            raise UnsupportedError(f"{self.address} takes no login that this engine knows (request {key})")
        return common[-1]

    def _with_token(self, send: Callable[[Secret], Outcome]) -> int:
        token, extensions = self._token()
        pairs = "".join(f"{name}={value}\x01" for name, value in extensions.items())
        outcome = send(Secret(f"n,,\x01auth=Bearer {token.reveal()}\x01{pairs}\x01"))
        if outcome.message:
            # A refused token comes back without an error code, as a challenge that holds the reason (RFC 7628).
            why = scrub(outcome.message.decode(errors="replace"), (token.reveal(), *self._secrets()))
            raise AuthenticationError(f"{self.address} refused the token: {why}")
        return outcome.lifetime_ms

    def _token(self) -> tuple[Secret, Mapping[str, str]]:
        callback = self.config.options["oauth_cb"]
        try:
            token = _token_of(callback(self.config.get("sasl.oauthbearer.config", "")))
        except Exception as error:
            raise AuthenticationError(f"oauth_cb failed: {type(error).__name__}: {error}") from error
        if token is None:
            raise AuthenticationError("oauth_cb must return a token as text, and when it ends, in seconds since 1970")
        return token

    def _with_scram(self, mechanism: str, send: Callable[[Secret], Outcome]) -> int:
        client = ScramClient(mechanism, self._user, self._password)
        try:
            challenge = send(Secret(client.first.decode())).message
            outcome = send(Secret(client.final(challenge).decode()))
            client.check(outcome.message)
        except ScramError as error:
            why = scrub(str(error), self._secrets())
            raise AuthenticationError(f"{self.address}: {mechanism} failed: {why}") from None
        return outcome.lifetime_ms

    def _authenticate(self, message: Secret) -> Outcome:
        answer = self._asked(message)
        if answer.code:
            why = scrub(answer.reason or f"error {answer.code}", (*_parts(message), *self._secrets()))
            raise AuthenticationError(f"{self.address} refused the login: {why}")
        return answer

    def _asked(self, message: Secret) -> Outcome:
        version = self._version(SASL_AUTHENTICATE)
        failed: BaseException | None = None
        try:
            return Outcome.of(self.ask(SASL_AUTHENTICATE, version, sized(message.reveal().encode())), version)
        except struct.error:
            pass
        except BaseException as error:  # noqa: BLE001 - raised again, without the frames that hold the message
            failed = _bare(error)
        if failed is not None:
            raise failed
        raise AuthenticationError(f"{self.address} answers the login with something else: is it a Kafka broker?")

    def _authenticate_raw(self, message: Secret) -> Outcome:
        """Send a message as brokers before 1.0 take it: they close the connection where they refuse it."""
        failed: BaseException
        try:
            return Outcome(0, "", self.ask_raw(message.reveal().encode()), 0)
        except ConnectionResetError:
            failed = AuthenticationError(f"{self.address} refused the login, without a reason: it is older than 1.0")
        except BaseException as error:  # noqa: BLE001 - as above
            failed = _bare(error)
        raise failed

    def _secrets(self) -> Iterator[str]:
        return (value.reveal() for value in self.config.options.values() if isinstance(value, Secret))


def _bare(error: BaseException) -> BaseException:
    """Return an error without the frames that it came through, and without what it was raised from."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _parts(message: Secret) -> Iterator[str]:
    """Yield what of a message a broker might repeat: the password or token, and the whole."""
    yield message.reveal()
    yield message.reveal().rpartition("\0")[2]
    yield message.reveal().partition("auth=Bearer ")[2].partition("\x01")[0]


def _token_of(given: object) -> tuple[Secret, Mapping[str, str]] | None:
    if not isinstance(given, tuple) or not given or not isinstance(given[0], str):
        return None
    extensions = given[3] if len(given) > 3 else {}  # noqa: PLR2004 - as confluent-kafka takes it
    return Secret(given[0]), extensions if isinstance(extensions, dict) else {}
