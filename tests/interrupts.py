"""Ctrl-C at each place where it can come."""

import dis
import sys
import threading
from collections.abc import Callable
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
    """Make a call with Ctrl-C at its place of that number; tell whether it has so many."""
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

    tracer = sys.gettrace()
    sys.settrace(trace)
    try:
        call(*arguments)
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(tracer)
    return False
