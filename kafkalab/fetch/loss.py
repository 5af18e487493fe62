"""What to make of a position that the log does not hold any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kafkalab.errors import DataLossError

if TYPE_CHECKING:
    from kafkalab.cluster import Metadata
    from kafkalab.plan import OnDataLoss


def after_loss(metadata: Metadata, topic: str, partition: int, position: int, on_data_loss: OnDataLoss) -> int:
    """Return the offset at which a read goes on whose position the broker calls out of range.

    Raises
    ------
    DataLossError
        The log was cut or made anew; or retention has passed the read, and that is to be an error.
    """
    marks = metadata.watermarks(topic, [partition])[partition]
    start = marks.log_start_offset
    if start <= position:
        raise made_anew(topic, partition, position, start, marks.high_watermark)
    if on_data_loss == "raise":
        message = (
            f"retention has passed this read: {_log(start, marks.high_watermark)}; "
            "on_data_loss='warn' goes on from there"
        )
        raise DataLossError(message, topic=topic, partition=partition, offset=position)
    return start


def made_anew(topic: str, partition: int, position: int, start: int, high_watermark: int) -> DataLossError:
    """Return the error for a log that does not reach as far as it did when the read was planned."""
    message = f"the topic was made anew or cut during the read: {_log(start, high_watermark)}; read it again"
    return DataLossError(message, topic=topic, partition=partition, offset=position)


def _log(start: int, high_watermark: int) -> str:
    return f"the log holds offsets {start} to {high_watermark} by now"


def deleted(topic: str, partition: int | None = None, position: int | None = None) -> DataLossError:
    """Return the error for a topic that is there no more."""
    return DataLossError("the topic was deleted during the read", topic=topic, partition=partition, offset=position)
