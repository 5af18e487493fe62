"""One stay in the group between two rebalances, as a handler sees it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from kafkalab.group.record import Record
    from kafkalab.model import TopicPartition


@dataclass(frozen=True, slots=True)
class Session:
    """What a handler is given: the partitions it has, and how to say that a record is done.

    Attributes
    ----------
    group_id, member_id : str
        The group, and who this is in it.
    partitions : tuple of TopicPartition
        What this member has until the next rebalance.
    """

    group_id: str
    member_id: str
    partitions: tuple[TopicPartition, ...]
    _mark: Callable[[Record], None] = field(repr=False, compare=False)

    def mark(self, record: Record) -> None:
        """Say that a record is done.

        What is committed is the first record of a partition that is not marked. Marking twice, or a record of a
        partition that was given up since, or of a topic that was made anew since, does nothing.
        """
        self._mark(record)
