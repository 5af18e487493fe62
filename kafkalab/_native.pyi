"""The native half of kafkalab, written in Rust (``rust/``)."""

from collections.abc import Collection, Sequence
from typing import Any, Literal, Self, final

def version() -> str:
    """Tell the version of the native half, as Cargo spells it.

    Returns
    -------
    str
        A semantic version such as ``"0.1.0-dev.0"``, which Python spells ``0.1.0.dev0``.
    """

class NativeError(Exception):
    """The root of what the native half raises on purpose; network failures are `OSError` as everywhere."""

class MalformedResponseError(NativeError):
    """A response is not what its version says, answers another request, or has an impossible length."""

class CorruptBatchError(NativeError):
    """A record batch contradicts its checksum, its header or its format.

    Attributes
    ----------
    topic : str
    partition : int
    base_offset : int
        Where the batch begins. Everything before it has been given; of a batch that took several steps, also the
        records before the fault.
    """

    topic: str
    partition: int
    base_offset: int

class UnsupportedMagicError(NativeError):
    """A record batch has a message format that nobody knows; attributes as in `CorruptBatchError`."""

    topic: str
    partition: int
    base_offset: int

class BatchTooLargeError(NativeError):
    """A record batch holds more than ``max_batch_bytes``; attributes as in `CorruptBatchError`."""

    topic: str
    partition: int
    base_offset: int

class TlsError(NativeError):
    """The encrypted connection failed.

    Attributes
    ----------
    reason : str
        What kind of failure. After ``"bad_certificate"`` (X.509 v1, a name only in CN, a server certificate as its own
        authority), ``"configuration"`` and ``"other"`` OpenSSL may still succeed.
    """

    reason: Literal[
        "unknown_issuer",
        "name_mismatch",
        "expired",
        "bad_certificate",
        "client_certificate",
        "not_tls",
        "configuration",
        "other",
    ]

class StoppedError(NativeError):
    """The stop flag was set during a wait."""

@final
class StopFlag:
    """Ends the waits of other threads, within 100 ms."""

    def __new__(cls) -> StopFlag: ...
    def set(self) -> None:
        """Stop every wait that was given this flag, for good."""

    def is_set(self) -> bool:
        """Tell whether it was set."""

@final
class TlsOptions:
    """Whom to trust and who to be.

    Parameters
    ----------
    ca_pem : bytes, optional
        The authorities to trust; the system's by default.
    certificate_pem, key_pem : bytes, optional
        The client's certificate chain and its unencrypted key: both or neither.
    server_name : str, optional
        What the broker's certificate must be for; the host by default.
    verify : bool, default True
        Whether the broker's certificate is checked at all.
    """

    def __new__(
        cls,
        *,
        ca_pem: bytes | None = None,
        certificate_pem: bytes | None = None,
        key_pem: bytes | None = None,
        server_name: str | None = None,
        verify: bool = True,
    ) -> TlsOptions: ...

@final
class Connection:
    """A connection to one broker, over which requests are answered in order.

    All waits release the GIL, look at the stop flag and at signals every 100 ms, and end with `TimeoutError` when
    nothing has come for ``timeout`` seconds. After any failure it is closed: what is left of an answer would be taken
    for the next one.
    """

    @staticmethod
    def open(
        host: str,
        port: int,
        *,
        connect_timeout: float,
        address_family: str = "any",
        tls: TlsOptions | None = None,
        stop: StopFlag | None = None,
        max_frame_bytes: int = ...,
    ) -> Connection:
        """Connect, and shake hands if TLS is asked for.

        Raises
        ------
        OSError
            `ConnectionRefusedError`, `TimeoutError`, or what else the network says.
        TlsError
            Where the certificates do not fit, or the listener speaks no TLS.

        Notes
        -----
        ``address_family`` is ``"any"``, ``"v4"`` or ``"v6"``: which of the host's addresses are tried. A frame above
        ``max_frame_bytes`` (1 GiB by default) is a `MalformedResponseError`.
        """

    def send(self, frame: bytes, *, timeout: float = 30.0, stop: StopFlag | None = None) -> None:
        """Write a request; its length is put before it."""

    def receive(self, timeout: float, *, stop: StopFlag | None = None, max_bytes: int = ...) -> bytes:
        """Return the next answer without its length; one of more than ``max_bytes``, 32 MiB by default, is malformed.

        Raises
        ------
        TlsError
            With reason ``"not_tls"`` where a plain connection meets a TLS listener.
        """

    def receive_fetch(
        self,
        timeout: float,
        *,
        version: int,
        correlation_id: int,
        partitions: int,
        max_bytes: int,
        stop: StopFlag | None = None,
    ) -> FetchResponse:
        """Receive the answer to a Fetch request of version 4 to 11, into memory that is used again.

        At most two spare buffers are kept: drop a response when it has been read.

        Parameters
        ----------
        timeout : float
            How long to wait for its next byte. The whole has so long, and a second more for each 16 KiB.
        version, correlation_id
            Those of the request.
        partitions, max_bytes : int
            The most partitions, and bytes, that it may have.

        Raises
        ------
        MalformedResponseError
            It is no answer to the request, or has more than it may.
        """

    def is_quiet(self) -> bool:
        """Tell whether it is open, and nothing has come that nobody asked for."""

    def close(self) -> None:
        """Close it; a wait of another thread ends with `ConnectionError`."""

@final
class DecodedValues:
    """The columns of decoded values, as a struct by `__arrow_c_array__`.

    Attributes
    ----------
    has_whole : bool
        Whether the last column stands for the values as a whole: those that are no objects.
    errors : list of (int, str)
        The rows that could not be read, in order, and why.
    left_out : list of str
        Fields that were seen, and not built.
    widened : list of (str or None)
        Fields, or the whole, in which integers became floats, since other values are floats.
    """

    has_whole: bool
    errors: list[tuple[int, str]]
    left_out: list[str]
    widened: list[str | None]
    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[Any, Any]: ...

def decode_json(
    values: Any,
    schema: Any,
    *,
    wanted: Collection[str] | None = None,
    flatten: bool = False,
    closed: bool = False,
    skip: int = 0,
) -> DecodedValues:
    """Read a binary array as JSON, without the GIL.

    Parameters
    ----------
    values : pyarrow.BinaryArray
        Null is no error.
    schema : pyarrow.Schema
        Types to begin with, of null, bool, int64, double, string, and lists and structs of these. With the metadata
        ``{"kafkalab": "json"}`` a column is JSON text, with ``{"kafkalab": "given"}`` its type stays.
    wanted : set of str, optional
        The fields to build, beside those of the schema.
    flatten : bool
        Whether fields are named by their path through objects.
    closed : bool
        Whether only the schema's fields are built.
    skip : int
        How many bytes in front of each value are passed over.
    """

@final
class AvroPlan:
    """How the values of a schema are read, and the columns that they make."""

    def __new__(cls, root: tuple[Any, ...], named: Sequence[tuple[Any, ...]], schema: Any) -> Self:
        """Take a plan, as tuples that begin with the name of what they are, and the columns' schema."""

def decode_avro(values: Any, plan: AvroPlan, front: bytes) -> DecodedValues:
    """Read a binary array as Avro, without the GIL; what has not these bytes in front is null."""

@final
class ProtobufPlan:
    """How messages are read, and the columns that they make."""

    def __new__(cls, fields: Sequence[tuple[Any, ...]], schema: Any) -> Self:
        """Take the fields, as tuples of number, name, column, kind, whether repeated, what is absent, and rivals."""

def decode_protobuf(values: Any, plan: ProtobufPlan, front: bytes) -> DecodedValues:
    """Read a binary array as Protobuf, without the GIL; what has not these bytes in front is null."""

def split_framing(values: Any, *, indexes: bool) -> tuple[list[bytes], DecodedValues]:
    """Return the different fronts of values: a zero, a schema id, Protobuf's indexes; and the number of each row's."""

@final
class PartitionHead:
    """What a response says about one partition.

    Attributes
    ----------
    topic : str
    partition : int
    error_code : int
    high_watermark : int
    last_stable_offset : int
    log_start_offset : int
        -1 before version 5.
    preferred_read_replica : int
        -1 for none.
    base_offset : int or None
        Of the first batch that came whole.
    after_gap : int or None
        After the last batch that does not begin where the one before it ends.
    next_offset : int or None
        After the last batch that came whole; None if none did. What to fetch next, before anything is parsed.
    cut_batch_bytes : int or None
        The size of the batch that was cut at the end, if enough of it came to tell: where nothing came whole, the
        least ``partition_max_bytes`` that brings it.
    old_format : bool
        Whether messages of format v0 or v1 follow on the whole batches.
    misplaced : int or None
        The first offset of a batch that begins before the last has ended.
    record_bytes : int
        The size of the batches on the wire.
    """

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def error_code(self) -> int: ...
    @property
    def high_watermark(self) -> int: ...
    @property
    def last_stable_offset(self) -> int: ...
    @property
    def log_start_offset(self) -> int: ...
    @property
    def preferred_read_replica(self) -> int: ...
    @property
    def base_offset(self) -> int | None: ...
    @property
    def next_offset(self) -> int | None: ...
    @property
    def after_gap(self) -> int | None: ...
    @property
    def cut_batch_bytes(self) -> int | None: ...
    @property
    def old_format(self) -> bool: ...
    @property
    def misplaced(self) -> int | None: ...
    @property
    def record_bytes(self) -> int: ...

@final
class Transactions:
    """Which transactions of one partition are under way where its reader is; one for all answers to a reader."""

    def __new__(cls) -> Self: ...

@final
class FetchResponse:
    """A Fetch response, which is parsed step by step."""

    @staticmethod
    def from_bytes(frame: bytes, version: int) -> FetchResponse:
        """Read a response that is in memory; it begins with the correlation id."""

    @property
    def throttle_ms(self) -> int:
        """How long the broker's quota keeps this connection waiting."""

    @property
    def error_code(self) -> int:
        """The error of the whole response; 0 before version 7."""

    @property
    def wire_bytes(self) -> int:
        """The size of the frame."""

    @property
    def partitions(self) -> list[PartitionHead]:
        """The partitions in the order of the response; each call makes the list anew."""

    def next_step(
        self,
        wanted: dict[tuple[str, int], tuple[int, int, Transactions]],
        *,
        read_committed: bool,
        headers: bool = False,
        check_crcs: bool = True,
        max_step_bytes: int = 4_194_304,
        max_batch_bytes: int = ...,
    ) -> Step | None:
        """Parse on, without the GIL; partition by partition, each in offset order.

        Parameters
        ----------
        wanted : dict
            ``(topic, partition)`` to the offsets ``(start, end)`` to give, which count when a partition begins, and the
            transactions that are under way there. Others, and those with an error code, are passed over.
        read_committed : bool
            Whether the records of aborted transactions are left out.
        headers : bool, default False
            Whether the ``headers`` column is built.
        check_crcs : bool, default True
            Whether each batch's CRC-32C is checked.
        max_step_bytes : int, default 4 MiB
            Decompressed bytes after which a step ends, between batches where it can, else between records.
        max_batch_bytes : int, default 256 MiB
            The most that one batch may hold decompressed.

        Returns
        -------
        Step or None
            None at the end of the response. A partition with a whole batch gives at least one step, though it may have
            no records.

        Raises
        ------
        CorruptBatchError, UnsupportedMagicError, BatchTooLargeError
            Once all that stands before the batch has been given.
        """

@final
class Step:
    """Records of one partition, as an Arrow record batch: ``pyarrow.record_batch(step)`` takes it over uncopied."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def next_offset(self) -> int:
        """Everything wanted below this offset has been given; at or above ``end``, the range is done."""

    @property
    def records(self) -> int:
        """How many records there are."""

    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]:
        """Export for any library that speaks Arrow's PyCapsule interface."""

# Requests and answers but those of fetches. A head is the request's version, its number and the client's name.

def api_versions_request(head: tuple[int, int, str]) -> bytes:
    """Ask which requests a broker takes, in which versions."""

def metadata_request(head: tuple[int, int, str], topics: Sequence[str] | None) -> bytes:
    """Ask about the brokers and some topics, or all; none is created by it."""

def list_offsets_request(
    head: tuple[int, int, str], topic: str, times: Sequence[tuple[int, int]], read_committed: bool
) -> bytes:
    """Ask for the offsets of times in partitions of one topic."""

def find_coordinator_request(head: tuple[int, int, str], group_id: str) -> bytes:
    """Ask for the broker that coordinates a group; a cluster without groups creates the topic of commits for it."""

def offset_fetch_request(
    head: tuple[int, int, str], group_id: str, places: Sequence[tuple[str, Sequence[int]]] | None
) -> bytes:
    """Ask for what a group has committed in some partitions, or in all where it has."""

def offset_commit_request(
    head: tuple[int, int, str], group_id: str, offsets: Sequence[tuple[str, Sequence[tuple[int, int]]]]
) -> bytes:
    """Set what a group without members has committed."""

def list_groups_request(head: tuple[int, int, str]) -> bytes:
    """Ask a broker which groups it coordinates."""

def describe_groups_request(head: tuple[int, int, str], group_id: str) -> bytes:
    """Ask for a group's state and members."""

def consumer_group_describe_request(head: tuple[int, int, str], group_id: str) -> bytes:
    """Ask for the state and members of a group of the protocol of KIP-848."""

def fetch_request(
    head: tuple[int, int, str],
    topic: str,
    partitions: Sequence[tuple[int, int, int]],
    *,
    read_committed: bool,
    max_wait_ms: int,
    max_bytes: int,
) -> bytes:
    """Ask for records of one topic, as a consumer without a session: partition, offset and most bytes of each."""

def api_versions_answer(frame: bytes, version: int, correlation_id: int) -> tuple[int, list[tuple[int, int, int]]]:
    """Return an error code, and by request its key and its least and most version.

    Each of these functions raises `MalformedResponseError` where the answer is cut, of another version or request,
    holds a name that is not UTF-8, or more than a million structures.
    """

def metadata_answer(
    frame: bytes, version: int, correlation_id: int
) -> tuple[
    list[tuple[int, str, int]],
    int,
    list[tuple[int, str | None, bytes, bool, list[tuple[int, int, int, list[int], list[int], list[int]]]]],
]:
    """Return brokers (number, host, port), the controller, and topics.

    A topic is an error code, its name, its id, whether it is internal, and its partitions: each an error code, its
    number, its leader, its replicas, those in sync, and those that are away.
    """

def list_offsets_answer(
    frame: bytes, version: int, correlation_id: int
) -> list[tuple[str, list[tuple[int, int, int, int]]]]:
    """Return by topic: partition, error code, timestamp and offset."""

def find_coordinator_answer(frame: bytes, version: int, correlation_id: int) -> tuple[int, tuple[int, str, int]]:
    """Return an error code, and the coordinator's number, host and port."""

def offset_fetch_answer(
    frame: bytes, version: int, correlation_id: int
) -> tuple[int, list[tuple[str, list[tuple[int, int, int]]]]]:
    """Return an error code, and by topic: partition, offset and error code."""

def offset_commit_answer(frame: bytes, version: int, correlation_id: int) -> list[tuple[str, list[tuple[int, int]]]]:
    """Return by topic: partition and error code."""

def list_groups_answer(frame: bytes, version: int, correlation_id: int) -> tuple[int, list[tuple[str, str]]]:
    """Return an error code, and of each group its id and the type of its protocol."""

def describe_groups_answer(
    frame: bytes, version: int, correlation_id: int
) -> list[tuple[int, str, list[tuple[str, str, str]]]]:
    """Return of each group an error code, its state, and of each member its client, its id and its host."""

def consumer_group_describe_answer(
    frame: bytes, version: int, correlation_id: int
) -> list[tuple[int, str, list[tuple[str, str, str]]]]:
    """Return of each group an error code, its state, and of each member its client, its id and its host."""
