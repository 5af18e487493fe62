"""Run one command, and end it when the process that asked for it is gone.

A script, started as ``python watchdog.py FOLDER COMMAND...``. Its standard input is a pipe whose only write end its
owner holds. A byte ``t`` on it asks the command to end, ``k`` kills it, ``p`` makes it pause and ``c`` go on. The end
of the pipe is the owner's end, however it came: the command is killed and the folder removed. It leaves with the
command's exit code.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading

_PR_SET_PDEATHSIG = 1
SIGNALS = {b"t": signal.SIGTERM, b"k": signal.SIGKILL, b"p": signal.SIGSTOP, b"c": signal.SIGCONT}


def main(folder: str, command: list[str]) -> int:
    """Run the command until it ends, or the owner does."""
    # An interrupt is the owner's to handle, also where each process below it is sent one, as VS Code does.
    # The command inherits this.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=_end_with_parent)  # noqa: S603, PLW1509 - the owner's own command line; there is no other thread yet
    # Without this, a signal meant to end everything here would leave the child behind.
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    orphaned = threading.Event()

    def obey() -> None:
        while order := os.read(sys.stdin.fileno(), 1):
            child.send_signal(SIGNALS[order])
        orphaned.set()
        child.kill()

    threading.Thread(target=obey, daemon=True).start()
    code = child.wait()
    if orphaned.is_set():
        shutil.rmtree(folder, ignore_errors=True)
    return code


def _end_with_parent() -> None:
    """Have Linux kill the command where this process is killed itself, and cannot do it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
