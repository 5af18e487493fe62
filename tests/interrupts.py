"""Ctrl-C at each place where it can come."""

import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

SECONDS = 10.0


def ends(call: Callable[[], object]) -> bool:
    """Make a call in a thread of its own; tell whether it comes to an end."""
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(SECONDS)
    return not thread.is_alive()


def interrupted(at: int, call: Callable[..., object], *arguments: object) -> bool:
    """Make a call with Ctrl-C before its instruction of that number; tell whether it has so many."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        if event == "opcode":
            count += 1
            if count == at:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call(*arguments)
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False
