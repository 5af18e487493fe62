"""Protobuf's messages, found in the files that describe them."""

from __future__ import annotations

import base64
import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from kafkalab.decode.framing import ID_BYTES
from kafkalab.decode.unfit import Unfit
from kafkalab.errors import ArgumentError, UnsupportedError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from google.protobuf.descriptor import Descriptor, FileDescriptor
    from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, FileDescriptorSet
    from google.protobuf.descriptor_pool import DescriptorPool

    from kafkalab.decode.registry import RegisteredSchema


class _HasName(Protocol):
    @property
    def name(self) -> str: ...


File = TypeVar("File", bound=_HasName)

_SHIPPED = ("google/", "confluent/")
_MAIN = "kafkalab/main.proto"


@dataclass(frozen=True, slots=True)
class Files:
    """A message's full name, and a serialized ``FileDescriptorSet`` that has it and all it needs."""

    message: str
    serialized: bytes

    @classmethod
    def of(cls, message: type | str, descriptors: bytes | None) -> Files:
        """Return the files of a generated class, or of a name among descriptors.

        Raises
        ------
        ArgumentError
            It is neither.
        """
        descriptor = getattr(message, "DESCRIPTOR", None)
        if descriptor is not None:
            return cls(descriptor.full_name, _with_imports(descriptor.file).SerializeToString())
        if not isinstance(message, str) or not isinstance(descriptors, bytes):
            raise ArgumentError(
                "kl.Protobuf takes a generated class, or the full name of a message and descriptors=, the bytes of a "
                f"FileDescriptorSet, not {message!r}"
            )
        return cls(message, descriptors)

    def descriptor(self) -> Descriptor:
        """Return the message's descriptor.

        Raises
        ------
        Unfit
            The files do not have it, or are not whole.
        """
        pb = _descriptor_pb2()
        given = pb.FileDescriptorSet()
        try:
            given.ParseFromString(self.serialized)
        except _broken() as error:
            raise Unfit("descriptors are no FileDescriptorSet") from error
        files = {file.name: file for file in given.file}
        pool = _pool()
        _add(pool, list(given.file), files)
        try:
            return pool.FindMessageTypeByName(self.message)
        except KeyError:
            names = [name for file in given.file for name in _names(file)]
            raise Unfit(f"there is no message {self.message!r}: {did_you_mean(self.message, names)}") from None


def indexed(schema: RegisteredSchema, front: bytes) -> Descriptor:
    """Return the message of a registered file that the indexes before a value lead to.

    Raises
    ------
    Unfit
        The file is not whole, or has no such message.
    """
    files = {name: _file(text, name) for name, text in schema.references}
    main = _file(schema.text, _MAIN)
    pool = _pool()
    _add(pool, [main], files)
    indexes = _indexes(front[ID_BYTES:])
    messages, path = main.message_type, [main.package] if main.package else []
    for index in indexes:
        if index >= len(messages):
            raise Unfit(f"there is no message at the indexes {indexes}")
        path.append(messages[index].name)
        messages = messages[index].nested_type
    return pool.FindMessageTypeByName(".".join(path))


def _indexes(front: bytes) -> list[int]:
    """Return the numbers behind a schema id: how many there are, and these; none stands for the first message."""
    numbers, value, shift = [], 0, 0
    for byte in front:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:  # noqa: PLR2004 - the last byte of a number
            numbers.append(value >> 1)
            value = shift = 0
    return numbers[1:] or [0]


def _file(text: str, name: str) -> FileDescriptorProto:
    """Return a file, given as base64 of its descriptor."""
    file: FileDescriptorProto = _descriptor_pb2().FileDescriptorProto()
    try:
        file.ParseFromString(base64.b64decode(text, validate=True))
    except (ValueError, _broken()):
        # Registries give descriptors when they are asked for these, as the clients of Confluent do.
        raise Unfit(
            "the registry has it only as text, which is not compiled here: give the message by "
            "kl.Protobuf(message, framed=True)"
        ) from None
    file.name = name
    return file


def _with_imports(file: FileDescriptor) -> FileDescriptorSet:
    """Return a file and all that it imports, each behind those that it needs."""
    found: FileDescriptorSet = _descriptor_pb2().FileDescriptorSet()
    for part in _each_behind_its_own([file], lambda part: part.dependencies):
        part.CopyToProto(found.file.add())
    return found


def _add(pool: DescriptorPool, given: Sequence[FileDescriptorProto], files: Mapping[str, FileDescriptorProto]) -> None:
    """Add files to a pool, each after those that it imports."""

    def imported(file: FileDescriptorProto) -> Iterator[FileDescriptorProto]:
        return (files[name] if name in files else _shipped(name) for name in dict.fromkeys(file.dependency))

    for file in _each_behind_its_own(given, imported):
        try:
            pool.Add(file)
        except TypeError as error:
            raise Unfit(f"the file {file.name} cannot be used: {error}") from error


def _each_behind_its_own(given: Iterable[File], imported: Callable[[File], Iterable[File]]) -> Iterator[File]:
    """Yield files by name, each once, and each behind those that it imports."""
    seen = set[str]()
    for first in given:
        if first.name in seen:
            continue
        seen.add(first.name)
        open_files = [(first, iter(imported(first)))]
        while open_files:
            file, rest = open_files[-1]
            other = next((part for part in rest if part.name not in seen), None)
            if other is None:
                yield file
                open_files.pop()
            else:
                seen.add(other.name)
                open_files.append((other, iter(imported(other))))


def _shipped(name: str) -> FileDescriptorProto:
    """Return a file that comes with Protobuf or with confluent-kafka."""
    pb = _descriptor_pb2()
    module = name.removesuffix(".proto").replace("/", ".") + "_pb2"
    if name.startswith("confluent/"):
        module = f"confluent_kafka.schema_registry.{module}"
    if not name.startswith(_SHIPPED):
        raise Unfit(f"the file {name} is imported and not there")
    try:
        shipped = importlib.import_module(module).DESCRIPTOR
    except ImportError as error:
        raise Unfit(f"the file {name} is imported and not there") from error
    file: FileDescriptorProto = pb.FileDescriptorProto()
    shipped.CopyToProto(file)
    return file


def _names(file: FileDescriptorProto) -> list[str]:
    def within(message: DescriptorProto, path: str) -> list[str]:
        own = f"{path}.{message.name}".lstrip(".")
        return [own, *(name for inner in message.nested_type for name in within(inner, own))]

    return [name for message in file.message_type for name in within(message, file.package)]


def _descriptor_pb2() -> Any:
    try:
        from google.protobuf import descriptor_pb2
    except ImportError as error:
        message = 'Protobuf needs the package protobuf, which is not installed: pip install "kafkalab[registry]"'
        raise UnsupportedError(message) from error
    return descriptor_pb2


def _pool() -> DescriptorPool:
    from google.protobuf.descriptor_pool import DescriptorPool

    return DescriptorPool()


def _broken() -> type[Exception]:
    from google.protobuf.message import DecodeError

    return DecodeError
