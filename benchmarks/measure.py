"""One measurement, in a process of its own: start it, wait until it is connected, give the word, hear what it took."""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from benchmarks.topics import Content

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a read took, and what it gave.

    Attributes
    ----------
    content : Content
        Sums of what was read.
    seconds, cpu_seconds : float
        Of the read alone; CPU of all threads of the process, user and system.
    broker_cpu_seconds : float
        CPU of the broker meanwhile.
    start_seconds : float
        From the start of the process, through imports, until it was connected, and warm where it warms up.
    peak_bytes : float
        Most memory that the process has had; NaN where it does not tell.
    working_bytes : float
        How much of that is neither the process as it was before the read, nor the result.
    places : list of (int, int)
        Partition and offset of each record, of a small result.
    """

    content: Content
    seconds: float
    cpu_seconds: float
    broker_cpu_seconds: float
    start_seconds: float
    peak_bytes: float = float("nan")
    working_bytes: float = float("nan")
    places: list[tuple[int, int]] | None = None

    @property
    def row(self) -> dict[str, Any]:
        """What it took, by name."""
        names = ("seconds", "cpu_seconds", "broker_cpu_seconds", "start_seconds", "peak_bytes", "working_bytes")
        return {name: getattr(self, name) for name in names}


def measure(command: Sequence[str]) -> Measurement:
    """Run a program that says a line when it is connected, reads when it gets one, and then tells what it took.

    Raises
    ------
    RuntimeError
        The program failed; what it said stands on standard error.
    """
    began = time.perf_counter()
    with subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        connected = child.stdout.readline()
        start_seconds = time.perf_counter() - began
        broker = [other for other in psutil.Process().children(recursive=True) if other.pid != child.pid]
        before = _cpu_seconds(broker)
        answer, _ = child.communicate("go\n" if connected else None)
        broker_cpu_seconds = _cpu_seconds(broker) - before
    if child.returncode:
        raise RuntimeError(f"a measurement ended with {child.returncode}, see above: {' '.join(command)}")
    told: dict[str, Any] = json.loads(answer)
    places = [(partition, offset) for partition, offset in told.pop("places", [])]
    return Measurement(
        Content(**told.pop("content")),
        broker_cpu_seconds=broker_cpu_seconds,
        start_seconds=start_seconds,
        places=places,
        **told,
    )


def _cpu_seconds(processes: Iterable[psutil.Process]) -> float:
    times = [process.cpu_times() for process in processes]
    return sum(each.user + each.system for each in times)
