"""The processes that use the cluster: started, killed, started again, and ended."""

import itertools
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
_END_S = 60


@dataclass(slots=True)
class Worker:
    """One kind of work on one topic: a process at a time, a history file for each."""

    kind: str
    topic: str
    bootstrap: str
    folder: Path
    histories: list[Path] = field(default_factory=list)
    _process: subprocess.Popen[bytes] | None = None
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def start(self) -> None:
        """Start a process, with a history of its own."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "work").mkdir(exist_ok=True)
        history = self.folder / f"history-{next(self._numbers):04d}.jsonl"
        self.histories.append(history)
        words = [self.kind, self.bootstrap, self.topic, str(history), str(self.folder / "work")]
        with (self.folder / "errors.txt").open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.workloads", *words],
                stdin=subprocess.PIPE,
                stdout=errors,
                stderr=errors,
                cwd=REPOSITORY,
                env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            )

    def kill(self) -> None:
        """End the process with -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stdin is not None:
                self._process.stdin.close()

    def halt(self) -> None:
        """Have the process stand still."""
        self._send(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it continue."""
        self._send(signal.SIGCONT)

    def _send(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    @property
    def ended(self) -> bool:
        """Whether the process has ended by itself."""
        return self._process is not None and self._process.poll() is not None

    def end(self) -> bool:
        """End the process; return whether it ended in time and without a failure."""
        process = self._process
        if process is None or process.stdin is None:
            return True
        if process.poll() is None:
            process.stdin.close()
        try:
            return process.wait(_END_S) == 0
        except subprocess.TimeoutExpired:
            self.kill()
            return False
