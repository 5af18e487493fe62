"""One export at a time into the files of a topic: a lock that says who has it, and that no dead holder keeps."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
import uuid
import weakref
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

from kafkalab.errors import ExportError
from kafkalab.text import safe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kafkalab.export.folder import Folder

Keep: TypeAlias = "Callable[[], None]"

_STALE_S = 600.0
_KEEP_S = 60.0
_SHOWN = 300


@contextmanager
def locked(folder: Folder, name: str) -> Iterator[Keep]:
    """Hold a folder's lock of that name, and give what has to be called again and again meanwhile.

    Raises
    ------
    ExportError
        Somebody else has it.
    """
    held = _flocked(folder, name) if folder.is_local else None
    if held is not None:
        try:
            yield lambda: None
        finally:
            folder.delete(name)
            held.close()
        return
    claim = _Claim(folder, name)
    claim.make()
    try:
        yield claim.keep
    finally:
        folder.delete(claim.file)


def _flocked(folder: Folder, name: str) -> BinaryIO | None:
    """Return the lock's file, which the system unlocks when this process ends, however; None where it has no locks."""
    path = f"{folder.path}/{name}"
    with folder.changing(name):
        while True:
            file = open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666), "r+b", 0)  # noqa: PTH123, SIM115 - closed by the caller
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                with file:
                    raise _taken(folder, name, file.read(_SHOWN), "") from None
            except OSError:
                file.close()
                folder.delete(name)
                return None
            if _is_still(path, file):
                break
            file.close()  # whoever had it has deleted it since
        file.truncate()
        file.write(_myself())
    _close_in_forked_children(file)
    return file


def _is_still(path: str, file: BinaryIO) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.lstat(path))
    except FileNotFoundError:
        return False


def _close_in_forked_children(file: BinaryIO) -> None:
    # A forked child, as multiprocessing may make one, would otherwise hold the lock when this process is gone.
    lock = weakref.ref(file)

    def close() -> None:
        if (held := lock()) is not None:
            held.close()

    os.register_at_fork(after_in_child=close)


@dataclass(slots=True)
class _Claim:
    """A file that says who exports, where no system keeps locks: of two that come at once, one at least sees the other.

    It is written again once a minute, so that one which is old has nobody any more.
    """

    folder: Folder
    name: str
    kept: float = field(default_factory=lambda: time.monotonic())  # noqa: PLW0108 - a test has a clock of its own
    file: str = ""

    def make(self) -> None:
        """Say that this process exports; take it back where another one does."""
        self.file = f"{self.name}.{uuid.uuid4().hex}"
        self._write()
        try:
            for other in self.folder.files():
                if other.startswith(f"{self.name}.") and other != self.file:
                    self._heed(other)
        except BaseException:
            self.folder.delete(self.file)
            raise

    def keep(self) -> None:
        """Say so again, from time to time."""
        if time.monotonic() < self.kept + _KEEP_S:
            return
        if self.folder.size(self.file) is None:
            message = f"{self.folder.to(self.file)} is gone: another export takes this one, which stood still, for dead"
            raise ExportError(message)
        self._write()
        self.kept = time.monotonic()

    def _write(self) -> None:
        with self.folder.writing(self.file) as file:
            file.write(_myself())

    def _heed(self, other: str) -> None:
        mine, theirs = self.folder.changed_ns(self.file), self.folder.changed_ns(other)
        if theirs is None:
            return
        text = self.folder.read(other).to_pybytes()
        if _is_dead(text) or (mine is not None and mine - theirs > _STALE_S * 1e9):
            self.folder.delete(other)
            return
        hint = f"; should that be gone, it holds for {_STALE_S / 60:.0f} minutes more, or until {other} is deleted"
        raise _taken(self.folder, other, text, hint)


def _myself() -> bytes:
    since = datetime.now(UTC).isoformat(" ", "seconds")
    return json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "since": since}).encode()


def _is_dead(text: bytes) -> bool:
    """Whether a holder was a process of this machine that has ended."""
    try:
        holder = json.loads(text)
        host, pid = holder["host"], int(holder["pid"])
        if host != socket.gethostname() or pid <= 0:
            return False
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except Exception:  # noqa: BLE001 - a lock of somebody else, or one that is being written
        return False
    return False


def _taken(folder: Folder, name: str, text: bytes, hint: str) -> ExportError:
    try:
        holder = json.loads(text)
        who = f"process {holder['pid']} on {holder['host']}, since {holder['since']}"
    except Exception:  # noqa: BLE001 - it is being written, or is a stranger's
        who = f"whoever has {name}"
    return ExportError(
        f"{folder.name} is being exported to by {safe(who)[:_SHOWN]}: wait for it, or take another folder{hint}"
    )
