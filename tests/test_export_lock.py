"""Two exports into one folder: one has it, and the other says which."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import kafkalab as kl
from kafkalab.errors import ExportError
from kafkalab.export.folder import Folder
from kafkalab.export.lock import locked
from kafkalab.fetch.memory import MemoryCluster
from tests import exporter
from tests.oracle import TOPIC

NAME = f".{TOPIC}+parquet.lock"
KINDS = pytest.mark.parametrize("kind", ["local", "elsewhere"])


def folder_at(kind: str, path: Path) -> Folder:
    return Folder.at(*exporter.filesystem(kind, path))


@KINDS
def test_a_second_export_says_who_has_the_folder(kind: str, tmp_path: Path) -> None:
    where, store = exporter.filesystem(kind, tmp_path)
    cluster = exporter.cluster()
    refused: list[str] = []

    def other(*_: Any) -> None:
        cluster.before_step = None
        with pytest.raises(ExportError) as caught:
            kl.Lab(cluster, cluster).export(TOPIC, where, filesystem=store, overwrite=True, progress=False)
        refused.append(str(caught.value))

    cluster.before_step = other
    kl.Lab(cluster, cluster).export(TOPIC, where, filesystem=store, value="json", progress=False)
    assert f"is being exported to by process {os.getpid()} on {socket.gethostname()}, since 20" in refused[0]
    assert len(kl.load(where, filesystem=store)) == 8
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]
    kl.Lab(cluster, cluster).export(TOPIC, where, filesystem=store, value="json", overwrite=True, progress=False)


def test_other_topics_and_formats_are_exported_meanwhile(tmp_path: Path) -> None:
    cluster = MemoryCluster({"a": 1, "b": 1})
    cluster.append("a", b"1")
    cluster.append("b", b"2")
    lab = kl.Lab(cluster, cluster)

    def other(*_: Any) -> None:
        cluster.before_step = None
        lab.export("b", tmp_path, value="text", progress=False)
        lab.export("a", tmp_path, value="text", progress=False, format="csv")

    cluster.before_step = other
    lab.export("a", tmp_path, value="text", progress=False)
    assert len(list(tmp_path.glob("part-*"))) == 3


@KINDS
@pytest.mark.parametrize("text", [b"", b"\xff{", b"[]", b'{"pid": "\\u001b[31m", "host": "h", "since": 1}'])
def test_a_holder_that_says_nothing_sensible_is_one_too(kind: str, text: bytes, tmp_path: Path) -> None:
    folder = folder_at(kind, tmp_path)
    with locked(folder, NAME):
        (held,) = tmp_path.iterdir()
        held.write_bytes(text)
        with pytest.raises(ExportError, match="is being exported to by") as caught, locked(folder, NAME):
            pass
        assert "\x1b" not in str(caught.value)


HOLDER = """
import os, sys
sys.path.insert(0, "")
from kafkalab.export.lock import locked
from tests.test_export_lock import NAME, folder_at
from pathlib import Path
with locked(folder_at(sys.argv[1], Path(sys.argv[2])), NAME):
    child = int(sys.argv[3]) and os.fork()
    print(os.getpid(), flush=True)
    sys.stdin.read()
"""


@KINDS
@pytest.mark.timeout(60)  # a process that imports all of it first
@pytest.mark.parametrize("child", [False, True])
def test_a_killed_holder_does_not_keep_the_lock(kind: str, child: bool, tmp_path: Path) -> None:  # noqa: FBT001 - a parameter of a test
    """Nor do children of its that live on."""
    command = [sys.executable, "-W", "ignore", "-c", HOLDER, kind, str(tmp_path), str(int(child))]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, cwd=Path(__file__).parents[1]) as holder:
        assert holder.stdout is not None
        for _ in range(1 + child):
            holder.stdout.readline()
        folder = folder_at(kind, tmp_path)
        with pytest.raises(ExportError, match=f"by process {holder.pid} on"), locked(folder, NAME):
            pass
        holder.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)
        holder.poll()
        with locked(folder, NAME):
            pass
        assert list(tmp_path.iterdir()) == []


def claim(path: Path, **holder: Any) -> Path:
    file = path / f"{NAME}.0123"
    file.write_text(json.dumps({"host": "far.example", "pid": 1, "since": "then", **holder}))
    return file


def test_a_claim_from_another_machine_holds_for_some_minutes(tmp_path: Path) -> None:
    folder, other = folder_at("elsewhere", tmp_path), claim(tmp_path)
    for age_s in (-5, 0, 590):
        now = time.time_ns()
        os.utime(other, ns=(now, now - age_s * 10**9))
        with (
            pytest.raises(ExportError, match=r"process 1 on far.example, since then: .* for 10 minutes more, or until"),
            locked(folder, NAME),
        ):
            pass
        claim(tmp_path)
    then = time.time_ns() - 700 * 10**9
    os.utime(other, ns=(then, then))
    with locked(folder, NAME):
        assert not other.exists()
    assert list(tmp_path.iterdir()) == []


def test_of_two_claims_at_once_one_at_least_sees_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second comes after the first has written, and before it has looked."""
    folder, files = folder_at("elsewhere", tmp_path), Folder.files

    def looking(of: Folder) -> list[str]:
        monkeypatch.setattr(Folder, "files", files)
        with pytest.raises(ExportError, match="is being exported to"), locked(folder, NAME):
            pass
        return files(of)

    monkeypatch.setattr(Folder, "files", looking)
    with locked(folder, NAME):
        assert len(list(tmp_path.iterdir())) == 1


def test_a_claim_is_made_again_while_the_export_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 30.0, 61.0, 61.0, 200.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with locked(folder_at("elsewhere", tmp_path), NAME) as keep:
        (file,) = tmp_path.iterdir()
        file.write_text("old")
        keep()
        assert file.read_text() == "old"
        keep()
        assert json.loads(file.read_text())["pid"] == os.getpid()
        file.unlink()
        with pytest.raises(ExportError, match="is gone: another export takes this one, which stood still, for dead"):
            keep()


def test_a_lock_that_is_deleted_and_made_anew_meanwhile_is_had_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its holder ends between our open and our lock: what we have then is a file that has no name."""
    folder, flock = folder_at("local", tmp_path), fcntl.flock

    def ended(*arguments: Any) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        (tmp_path / NAME).unlink()
        flock(*arguments)

    monkeypatch.setattr(fcntl, "flock", ended)
    with locked(folder, NAME), pytest.raises(ExportError, match="is being exported to"), locked(folder, NAME):
        pass


def test_a_filesystem_without_locks_has_claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(95, "not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    folder = folder_at("local", tmp_path)
    with locked(folder, NAME), pytest.raises(ExportError, match="is being exported to"), locked(folder, NAME):
        pass
    assert [path.name for path in tmp_path.iterdir()] == []
