"""What is told of a node of Kafka that has not come up."""

import pytest

from kafkalab.brokers.node import failure

LOG = """[2026-11-29 13:36:54,530] INFO starting (kafka.Kafka$)
[2026-11-29 13:36:54,530] ERROR Exiting Kafka due to fatal exception (kafka.Kafka$)
org.apache.kafka.common.config.ConfigException: Invalid value a lot for configuration log.segment.bytes
\tat org.apache.kafka.common.config.ConfigDef.parseType(ConfigDef.java:787)
"""


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        (LOG, "org.apache.kafka.common.config.ConfigException: Invalid value a lot for configuration"),
        ("Error: Could not find or load main class kafka.Kafka\n", "Error: Could not find or load main class"),
        ("one line\nthe last line\n", "the last line"),
        ("", "it said nothing"),
    ],
)
def test_the_error_is_what_went_wrong_and_the_log_a_note(log: str, reason: str) -> None:
    error = failure("the Kafka node 1 ended while starting", log)
    assert str(error).startswith(f"the Kafka node 1 ended while starting: {reason}")
    (note,) = error.__notes__
    assert note.count("\n") == log.count("\n")


def test_a_log_is_text() -> None:
    (note,) = failure("the node ended", "\x1b[2J\n").__notes__
    assert note == "the end of its log:\n\\x1b[2J"
