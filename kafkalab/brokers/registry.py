"""A schema registry for demos and tests, in this process: it speaks what clients need of the real one's HTTP."""

from __future__ import annotations

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar, Self
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    import ssl
    from types import TracebackType

_MOST_BYTES = 1 << 20


class SchemaRegistry:
    """Schemas by subject and id, on a loopback port.

    Schemas are kept as they were sent: none is parsed, and every one is compatible. Whatever format is asked for, the
    one that was sent comes back.

    Parameters
    ----------
    authorization : str, optional
        What the header of that name has to say, as ``"Bearer token"``; a user and password are ``basic(...)``.
    tls : ssl.SSLContext, optional
        Of a server, with its certificate.

    Examples
    --------
    >>> with SchemaRegistry() as registry:
    ...     registry.register("orders-value", '"string"'), registry.register("orders-key", '"long"')
    (1, 2)
    """

    def __init__(self, authorization: str | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.authorization = authorization
        self.asked: list[str] = []
        self._schemas: list[dict[str, Any]] = []
        self._subjects: dict[str, list[int]] = {}
        self._tls = tls
        self._lock = threading.Lock()
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        """Where clients find it."""
        if self._server is None:
            raise RuntimeError("the registry does not run: call start(), or use it in a with statement")
        return f"{'http' if self._tls is None else 'https'}://127.0.0.1:{self._server.server_port}"

    def register(
        self, subject: str, schema: str, kind: str = "AVRO", references: list[dict[str, Any]] | None = None
    ) -> int:
        """Add a schema to a subject, and return its id: the one that it has, if it is there."""
        entry = {"schema": schema, "schemaType": kind, "references": references or []}
        with self._lock:
            if entry not in self._schemas:
                self._schemas.append(entry)
            schema_id = self._schemas.index(entry) + 1
            versions = self._subjects.setdefault(subject, [])
            if schema_id not in versions:
                versions.append(schema_id)
        return schema_id

    def start(self) -> Self:
        """Listen; does nothing when it does."""
        if self._server is None:
            handler = type("_Bound", (_Handler,), {"registry": self})
            self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
            if self._tls is not None:
                self._server.socket = self._tls.wrap_socket(self._server.socket, server_side=True)
            threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def stop(self) -> None:
        """Let go of the port; the schemas stay."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        """Return status and content for a request."""
        match [unquote(part) for part in urlsplit(path).path.strip("/").split("/")]:
            case ["schemas", "ids", number] if method == "GET":
                return self._entry(_number(number), 40403, "Schema not found")
            case ["subjects"] if method == "GET":
                return 200, list(self._subjects)
            case ["subjects", subject, "versions", version] if method == "GET":
                return self._version(subject, version)
            case ["subjects", subject, "versions"] if method == "POST":
                kind, references = body.get("schemaType") or "AVRO", body.get("references")
                return 200, {"id": self.register(subject, body["schema"], kind, references)}
        return 404, {"error_code": 404, "message": "HTTP 404 Not Found"}

    def _entry(self, schema_id: int, code: int, message: str) -> tuple[int, Any]:
        with self._lock:
            if 0 < schema_id <= len(self._schemas):
                return 200, {**self._schemas[schema_id - 1], "id": schema_id}
        return 404, {"error_code": code, "message": message}

    def _version(self, subject: str, version: str) -> tuple[int, Any]:
        versions = self._subjects.get(subject)
        if versions is None:
            return 404, {"error_code": 40401, "message": f"Subject '{subject}' not found."}
        number = len(versions) if version == "latest" else _number(version)
        if not 0 < number <= len(versions):
            return 404, {"error_code": 40402, "message": f"Version {version} not found."}
        status, entry = self._entry(versions[number - 1], 40403, "Schema not found")
        return status, {**entry, "subject": subject, "version": number}

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<SchemaRegistry {self.url if self._server else 'stopped'}, {len(self._schemas)} schemas>"


class _Handler(BaseHTTPRequestHandler):
    registry: ClassVar[SchemaRegistry]

    def _serve(self) -> None:
        length = min(int(self.headers.get("Content-Length") or 0), _MOST_BYTES)
        body = self.rfile.read(length)
        self.registry.asked.append(f"{self.command} {urlsplit(self.path).path}")
        wanted = self.registry.authorization
        if wanted is not None and self.headers.get("Authorization") != wanted:
            status, content = 401, {"error_code": 401, "message": "Unauthorized"}
        else:
            status, content = self.registry.answer(self.command, self.path, json.loads(body or b"null"))
        self._send(status, json.dumps(content).encode())

    def _send(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = _serve  # noqa: N815 - http.server calls them by these names

    def log_message(self, *_: object) -> None:
        """Keep silent."""


def basic(user: str, password: str) -> str:
    """Return the header that a user and a password make.

    Examples
    --------
    >>> basic("u", "p")
    'Basic dTpw'
    """
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0
