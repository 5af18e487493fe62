"""How Java writes what it writes in its own way."""

from __future__ import annotations

from kafkalab.settings.forms import OFFSET_RESET, Approximate, Form, Value, read_int, read_text


def _read_offset_reset(raw: object) -> Value | Approximate:
    text = read_text(raw).lower()
    if text.startswith("by_duration:"):
        return Approximate("latest", f"librdkafka has no {text}; give the start where you read, such as '-1h'")
    return "error" if text == "none" else OFFSET_RESET.read(text)


def _read_buffer(raw: object) -> int:
    return 0 if (size := read_int(raw)) == -1 else size


def _read_refresh(raw: object) -> int | Approximate:
    return read_int(raw) or Approximate(1, "0 is never in librdkafka")


def _write_refresh(value: int) -> int | Approximate:
    return value if value > 0 else Approximate(None, "Java cannot switch it off")


OFFSETS = Form(_read_offset_reset, lambda value: "none" if value == "error" else value)
BUFFER = Form(_read_buffer, lambda value: value or -1)
REFRESH = Form(_read_refresh, _write_refresh)
