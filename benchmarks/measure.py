"""One measurement in a process of its own: connect, wait for the word, read into a frame, tell what it took."""

from __future__ import annotations

import faulthandler
import json
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.contenders import connect
from benchmarks.topics import Content

if TYPE_CHECKING:
    import pandas as pd

_ROOT = Path(__file__).parent.parent
_LONGEST_S = 300


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a read took, and what it gave.

    Attributes
    ----------
    seconds, cpu_seconds : float
        Of the read alone; CPU of all threads of the process, user and system.
    start_seconds, start_cpu_seconds : float
        From the start of the process, through imports, until it was connected.
    peak_bytes : int
        Most memory that the process has had.
    working_bytes : int
        How much of that is neither the process as it was before the read, nor the frame.
    """

    content: Content
    seconds: float
    cpu_seconds: float
    start_seconds: float
    start_cpu_seconds: float
    peak_bytes: int
    working_bytes: int


def measure(contender: str, bootstrap_servers: str, topic: str, records: int) -> Measurement:
    """Have a fresh process read a topic.

    Raises
    ------
    RuntimeError
        The process failed; what it said is in the message.
    """
    command = [sys.executable, "-m", "benchmarks.measure", contender, bootstrap_servers, topic, str(records)]
    began = time.perf_counter()
    with subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdout.readline()
        start_seconds = time.perf_counter() - began
        answer, _ = child.communicate("go\n")
    if child.returncode:
        raise RuntimeError(f"{contender} failed on {topic}: its process ended with {child.returncode}, see above")
    told: dict[str, Any] = json.loads(answer)
    return Measurement(Content(**told.pop("content")), start_seconds=start_seconds, **told)


def _child(contender: str, bootstrap_servers: str, topic: str, records: int) -> dict[str, Any]:
    read = connect(contender, bootstrap_servers, topic, records)
    start_cpu, before = _cpu_seconds(), _peak_bytes()
    print("connected", flush=True)
    if not sys.stdin.readline():
        sys.exit("nobody waits for this measurement")
    began = time.perf_counter()
    frame = read()
    seconds, cpu, peak = time.perf_counter() - began, _cpu_seconds(), _peak_bytes()
    return {
        "content": asdict(_content(frame)),
        "seconds": seconds,
        "cpu_seconds": cpu - start_cpu,
        "start_cpu_seconds": start_cpu,
        "peak_bytes": peak,
        "working_bytes": peak - before - int(frame.memory_usage(deep=True).sum()),
    }


def _content(frame: pd.DataFrame) -> Content:
    partitions, offsets = (frame[name].to_numpy("int64") for name in ("partition", "offset"))
    values = pa.Table.from_pandas(frame[["value"]], preserve_index=False)["value"]
    return Content.of(partitions, offsets, pc.binary_length(values).to_numpy().astype("int64"))


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _peak_bytes() -> int:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    # On Linux, a new process has inherited its parent's ru_maxrss.
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


if __name__ == "__main__":
    faulthandler.dump_traceback_later(_LONGEST_S, exit=True)
    _contender, _bootstrap_servers, _topic, _records = sys.argv[1:]
    print(json.dumps(_child(_contender, _bootstrap_servers, _topic, int(_records))))
