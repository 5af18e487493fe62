"""What the watchdog of a broker ends, and how, without a broker."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kafkalab.brokers import watchdog

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def gone(pid: int) -> bool:
    """Tell whether a process runs no more; one that nobody has waited for is gone too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def wait_until(holds: Callable[[], bool]) -> None:
    for _ in range(500):
        if holds():
            return
        threading.Event().wait(0.01)
    pytest.fail("this never came true")


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    folder = tmp_path / "folder"
    folder.mkdir()
    command = [sys.executable, "-I", "-S", watchdog.__file__, str(folder), "sleep", "600"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        wait_until(lambda: b"sleep" in b"".join(map(command_of, children.read_text().split())))
        (child,) = map(int, children.read_text().split())
        yield process, child
        process.kill()
        if not gone(child):
            os.kill(child, signal.SIGKILL)


def command_of(pid: str) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]


def test_its_own_end_is_the_commands(watched: tuple["subprocess.Popen[bytes]", int]) -> None:
    process, child = watched
    process.kill()
    wait_until(lambda: gone(child))


def test_the_owners_end_is_the_commands_and_the_folders(
    watched: tuple["subprocess.Popen[bytes]", int], tmp_path: Path
) -> None:
    process, child = watched
    assert process.stdin
    process.stdin.close()
    process.wait()
    assert gone(child)
    assert list(tmp_path.iterdir()) == []
