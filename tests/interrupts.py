"""Ctrl-C at each place where it can come."""

import dis
import gc
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SECONDS = 10.0
# Where CPython looks for signals: as a function begins, as a loop goes on, and when a call of a built-in has returned.
_BEFORE = {dis.opmap[name] for name in ("RESUME", "JUMP_BACKWARD") if name in dis.opmap}
_BEHIND = {dis.opmap[name] for name in ("CALL", "CALL_KW", "CALL_FUNCTION_EX") if name in dis.opmap}


def ends(call: Callable[[], object]) -> bool:
    """Make a call in a thread of its own; tell whether it comes to an end."""
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(SECONDS)
    return not thread.is_alive()


def interrupted(at: int, call: Callable[..., object], *arguments: object) -> bool:
    """Make a call with Ctrl-C at its place of that number; tell whether it has so many. It has one at the least."""
    count, before = 0, dict[FrameType, int]()

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        if event == "opcode":
            code = frame.f_code.co_code[frame.f_lasti]
            if code in _BEFORE or before.get(frame) in _BEHIND:
                count += 1
                if count == at:
                    raise KeyboardInterrupt
            before[frame] = code
        return trace

    with _traced(trace):
        try:
            call(*arguments)
        except KeyboardInterrupt:
            return True
        finally:
            at = 0  # nothing that is called from here on is interrupted
    assert count > 0, "this Python tells of no opcodes, so nothing was interrupted"
    return False


@contextmanager
def _traced(trace: Callable[[FrameType, str, Any], Any]) -> Iterator[None]:
    """Trace what is called in this thread; not what Python does when it collects garbage, which may be anything."""
    tracer, collects = sys.gettrace(), gc.isenabled()
    gc.disable()
    _tell_of_opcodes()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(tracer)
        if collects:
            gc.enable()


def _tell_of_opcodes() -> None:
    """Make Python 3.12 tell of opcodes: it does so from the next `settrace` on after a frame has asked for it."""
    sys._getframe().f_trace_opcodes = True
