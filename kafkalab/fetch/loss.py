"""What to make of a position that the log does not hold any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kafkalab.errors import DataLossError

if TYPE_CHECKING:
    from kafkalab.model import Watermarks
    from kafkalab.plan import OnDataLoss


def after_retention(marks: Watermarks, topic: str, partition: int, position: int, on_data_loss: OnDataLoss) -> int:
    """Return where the log begins, for a read to continue there that retention has passed.

    Raises
    ------
    DataLossError
        That is to be an error.
    """
    if on_data_loss == "raise":
        message = f"retention has passed this read: {_log(marks)}; on_data_loss='warn' goes on from there"
        raise DataLossError(message, topic=topic, partition=partition, offset=position)
    return marks.log_start_offset


def made_anew(marks: Watermarks, topic: str, partition: int, position: int) -> DataLossError:
    """Return the error for a log that does not reach as far as it did when the read was planned."""
    message = f"the topic was made anew or cut during the read: {_log(marks)}; read it again"
    return DataLossError(message, topic=topic, partition=partition, offset=position)


def _log(marks: Watermarks) -> str:
    return f"the log holds offsets {marks.log_start_offset} to {marks.high_watermark} by now"


def deleted(topic: str, partition: int | None = None, position: int | None = None) -> DataLossError:
    """Return the error for a topic that is there no more."""
    return DataLossError("the topic was deleted during the read", topic=topic, partition=partition, offset=position)
