# ruff: noqa: SLF001 # librdkafka's own error codes begin with an underscore
"""Why a client does not get in: what the failures of its connections mean, and what to do about them."""

from __future__ import annotations

import re
import socket
import ssl
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError

from kafkalab import errors

if TYPE_CHECKING:
    from collections.abc import Collection

    from kafkalab.connection import ConnectionConfig

_LINE = re.compile(
    r"(?:\[thrd:.*?\]: )?(?:\w+://)?(?P<address>\S+)/(?P<broker>bootstrap|\d+): (?P<text>.*?)"
    r"(?: \(after \d+ms in state (?P<state>\w+).*\))?",
    re.DOTALL,
)
_TLS_ALERT = b"\x15\x03"
_PROBE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Report:
    """One failure of one connection, as librdkafka logs it."""

    address: str
    broker: str
    text: str
    state: str

    @property
    def name(self) -> str:
        """The broker's name in librdkafka: its address, and its id once that is known."""
        return f"{self.address}/{self.broker}"

    @property
    def is_login(self) -> bool:
        """Whether a login was refused; no other attempt would end otherwise."""
        return self.text.startswith("SASL ") or not self.address


class Reports:
    """Collects the failures of a client's connections, as its ``logger`` and its ``error_cb``.

    A failure is certain when it has come twice: by then every address of the host was tried.
    """

    def __init__(self) -> None:
        self._lines: Counter[Report] = Counter()
        self._events: Counter[Report] = Counter()

    def clear(self) -> None:
        """Forget what went wrong before."""
        self._lines.clear()
        self._events.clear()

    def log(self, _level: int, _template: str, *args: object) -> None:
        """Take a log line."""
        if args[0] == "FAIL":
            _count(self._lines, str(args[-1]))

    def error(self, error: KafkaError) -> None:
        """Take an error event; librdkafka suppresses repeated lines, but not these."""
        if not _count(self._events, error.str()) and error.code() == KafkaError._AUTHENTICATION:
            self._events[Report("", "bootstrap", error.str(), "")] += 1

    def certain(self, *groups: Collection[str]) -> Report | None:
        """Return what keeps the client out for good, once that is known: of all the brokers of one group."""
        seen = [*self._lines, *self._events]
        if login := next((report for report in seen if report.is_login), None):
            return login
        settled = {report.name for counts in (self._lines, self._events) for report, n in counts.items() if n > 1}
        return self.last() if any(group and settled.issuperset(group) for group in groups) else None

    def last(self) -> Report | None:
        """Return the failure that tells most: one that got further than to connect."""
        seen = [*self._lines, *self._events]
        return max(seen, key=lambda report: (report.is_login, report.state != "CONNECT"), default=None)


def _count(counts: Counter[Report], line: str) -> bool:
    if match := _LINE.fullmatch(line):
        counts[Report(match["address"], match["broker"], match["text"], match["state"] or "")] += 1
    return match is not None


def explain(report: Report, config: ConnectionConfig, *, was_in: bool = False) -> errors.KafkalabError:
    """Return the error that says why a client of ``config`` does not get in, and what to do.

    A client that was in has given all that a broker wants: if that one lets go of it, it goes down, or starts again.
    """
    kind, message = _cause(report, config, was_in=was_in)
    if report.broker != "bootstrap" and report.address not in config.bootstrap_servers:
        message += f". {report.address} is the address that broker {report.broker} advertises (advertised.listeners)"
    return kind(config.scrub(message))


def _cause(report: Report, config: ConnectionConfig, *, was_in: bool) -> tuple[type[errors.KafkalabError], str]:
    if report.is_login:
        return errors.AuthenticationError, _login_cause(report, config)
    if report.text.startswith("Disconnected") and report.state != "SSL_HANDSHAKE":
        return _disconnect_cause(report, config.security_protocol, was_in=was_in)
    if size := re.search(r"Invalid response size (-?\d+)", report.text):
        return _stranger_cause(report.address, int(size[1]).to_bytes(4, "big", signed=int(size[1]) < 0))
    if report.state == "SSL_HANDSHAKE" or "SSL" in report.text:
        return errors.TlsError, _tls_cause(report, config)
    return errors.BrokerUnreachableError, _network_cause(report)


def _login_cause(report: Report, config: ConnectionConfig) -> str:
    mechanism, user = config.options.get("sasl.mechanism"), config.options.get("sasl.username")
    if not report.address:
        return f"{report.text}: check the options that begin with sasl.oauthbearer."
    if offered := re.search(r"Unsupported SASL mechanism: broker's supported mechanisms: (\S+)", report.text):
        return f"{report.address} does not take sasl.mechanism={mechanism}: set it to one of {offered[1]}"
    if "current SASL state" in report.text:
        protocol = config.security_protocol.removeprefix("SASL_")
        return f"{report.address} takes no login: set security.protocol={protocol}, or give the port that does"
    reason = report.text.removeprefix("SASL authentication error: ")
    who, check = (f" of {user!r}", "sasl.username and sasl.password") if user else ("", "the token")
    return f"{report.address} refused the login{who} with {mechanism}: {reason}. Check {check}"


def _disconnect_cause(report: Report, protocol: str, *, was_in: bool) -> tuple[type[errors.KafkalabError], str]:
    where = f"{report.address} closed the connection"
    if was_in:
        return errors.BrokerUnreachableError, f"{where}: it went down, or starts again. Try again in a while"
    if report.state == "UP" and not protocol.startswith("SASL"):
        return errors.AuthenticationError, (
            f"{where} after the first request: it wants a login. "
            f"Set security.protocol=SASL_{protocol}, sasl.mechanism, sasl.username and sasl.password"
        )
    if report.state.startswith("APIVERSION") and not protocol.endswith("SSL"):
        secured = protocol.removesuffix("PLAINTEXT") + "SSL"
        return errors.TlsError, (
            f"{where} at the first word in plain text: it most likely speaks TLS. Set security.protocol={secured}"
        )
    return errors.BrokerUnreachableError, f"{where} ({report.text}, in state {report.state}): see the broker's log"


def _stranger_cause(address: str, answer: bytes) -> tuple[type[errors.KafkalabError], str]:
    if answer.startswith(_TLS_ALERT):
        return errors.TlsError, f"{address} speaks TLS: set security.protocol=SSL or SASL_SSL"
    spoken = f"in {answer.decode().rstrip('-')}" if answer in {b"HTTP", b"SSH-"} else f"with {answer!r}"
    return errors.BrokerUnreachableError, f"{address} answers {spoken}: it is no Kafka broker. Check host and port"


def _network_cause(report: Report) -> str:
    address = report.address
    if "Failed to resolve" in report.text:
        return f"the host name in {address} cannot be resolved: check its spelling, or the network (VPN) that knows it"
    if "Connection refused" in report.text:
        return f"nothing listens at {address} (connection refused): check host and port, and that the broker runs"
    if "timed out" in report.text and report.state in {"CONNECT", "TRY_CONNECT"}:
        return f"{address} does not answer: check host and port, and whether a firewall or VPN is in between"
    if "timed out" in report.text:
        return f"{address} takes the connection but does not answer as a Kafka broker: check host and port"
    return f"{address}: {report.text}"


def _tls_cause(report: Report, config: ConnectionConfig) -> str:
    address, text = report.address, report.text
    if any(words in text for words in ("closed by peer", "wrong version number", "timed out")):
        plain = config.security_protocol.removesuffix("SSL") + "PLAINTEXT"
        return f"{address} does not speak TLS: set security.protocol={plain}, or give the port that does"
    if "certificate verify failed" in text:
        return _certificate_cause(address, config)
    if "alert" in text and "certificate" in text:
        return f"{address} wants a client's certificate: give ssl.certificate.location and ssl.key.location ({text})"
    return f"TLS with {address} failed: {text}"


def _certificate_cause(address: str, config: ConnectionConfig) -> str:
    reason = _verify(address, config)
    if "mismatch" in reason:
        return (
            f"the certificate of {address} is for another host: {reason}. Connect by a name that it has, "
            "or set ssl.endpoint.identification.algorithm=none to accept any name"
        )
    if "expired" in reason or "not yet valid" in reason:
        return f"the certificate of {address} is out of date: {reason}. Check the clock here, or have it renewed"
    return (
        f"the certificate of {address} is from no authority that is trusted here: {reason}. "
        "Give ssl.ca.location, a PEM file with the authority's certificate"
    )


def _verify(address: str, config: ConnectionConfig) -> str:
    """Ask OpenSSL again, in person: librdkafka says only that verifying failed."""
    host, _, port = address.rpartition(":")
    location = config.get("ssl.ca.location")
    try:
        context = ssl.create_default_context(
            cafile=location if location and Path(location).is_file() else None,
            capath=location if location and Path(location).is_dir() else None,
            cadata=config.get("ssl.ca.pem"),
        )
        with socket.create_connection((host.strip("[]"), int(port)), _PROBE_SECONDS) as connection:
            context.wrap_socket(connection, server_hostname=host.strip("[]")).close()
    except ssl.SSLCertVerificationError as error:
        return error.verify_message.rstrip(".")
    except (OSError, ValueError):
        pass  # it is librdkafka's word that counts
    return "certificate verify failed"
