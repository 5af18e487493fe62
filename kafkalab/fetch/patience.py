"""How long a fetch waits: as a quota asks, ever longer while nothing comes, and not for ever."""

from __future__ import annotations

import time
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Protocol

from kafkalab.errors import BrokerUnreachableError, KafkalabError, ReadTimeoutError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from threading import Event

_STALLED_S = 60.0
_GRACE_S = 3.0  # a new leader's high watermark lags for a fetch of its follower; a new broker knows no topics at first
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.01, 0.5
_LOOK_S = 0.05
_ROUND_S = 0.5


def is_passing(error: KafkalabError) -> bool:
    """Tell whether another attempt may mend an error: nobody answered, or a broker's error has no kind of its own."""
    return isinstance(error, (BrokerUnreachableError, ReadTimeoutError)) or type(error) is KafkalabError


class Clock:
    """Counts the seconds of a fetch, without those that its reader takes for itself."""

    def __init__(self) -> None:
        self._rested = 0.0

    def now(self) -> float:
        """Return the time in seconds."""
        return time.monotonic() - self._rested

    def rested(self, seconds: float) -> None:
        """Leave out the time for which the reader had a step, and did not ask for the next."""
        self._rested += seconds


class Patience:
    """Waits for one partition: a minute from the first failure since the partition last got on."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since: float | None = None
        self._suspected: float | None = None
        self._error: BaseException | None = None

    def progress(self) -> None:
        """Note that the next offset has risen, or that the broker has confirmed the end."""
        self._since = self._suspected = self._error = None

    def failed(self, error: BaseException) -> None:
        """Note a failure that another attempt may mend."""
        if self._since is None:
            self._since = self._clock.now()
        self._suspected, self._error = None, error

    def suspect(self, error: KafkalabError) -> None:
        """Note what ends the read if the brokers say so for some seconds.

        Raises
        ------
        KafkalabError
            They have said so for long enough.
        """
        suspected, now = self._suspected, self._clock.now()
        if suspected is not None and now - suspected > _GRACE_S:
            raise error
        self.failed(error)
        self._suspected = now if suspected is None else suspected

    @property
    def is_strained(self) -> bool:
        """Whether something has failed since the last progress."""
        return self._since is not None

    @property
    def left(self) -> float:
        """How many seconds are left before `check` raises."""
        return _STALLED_S if self._since is None else self._since + _STALLED_S - self._clock.now()

    def check(self, topic: str, partition: int, position: int) -> None:
        """Give up after a minute without progress.

        Raises
        ------
        ReadTimeoutError
            It says what went wrong last.
        """
        if self.left <= 0:
            message = f"no progress for {_STALLED_S:g} s ({self._error}): look at the broker, or read the others"
            raise ReadTimeoutError(message, topic=topic, partition=partition, offset=position) from self._error


class Round:
    """One attempt to read all tracks from whoever leads them, over several connections.

    If a track cannot be read on, the whole round ends soon, so that its leader is asked for anew. Otherwise a tail
    would never ask, and a long read only after the other connections are done. These have some time in each round.
    """

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._is_cut = False

    def cut(self) -> None:
        """Note that a track cannot be read on in this round."""
        self._is_cut = True

    @property
    def is_over(self) -> bool:
        """Whether no connection is to ask for more."""
        return self._is_cut and time.monotonic() - self._began > _ROUND_S


class Track(Protocol):
    """What is read of one partition, over whatever connection."""

    @property
    def partition(self) -> int:
        """The partition."""
        ...

    @property
    def position(self) -> int:
        """The offset to ask for next."""
        ...

    @property
    def patience(self) -> Patience:
        """How long to wait for it."""
        ...

    @property
    def settled(self) -> bool:
        """Whether nothing of it is left to read."""
        ...

    @property
    def is_old(self) -> bool:
        """Whether the messages that follow have a format that only the other engine reads."""
        ...


class Pauses:
    """The pauses between attempts: each is twice the one before, until something comes."""

    def __init__(self) -> None:
        self._next = _FIRST_PAUSE_S

    def reset(self) -> None:
        """Begin again with the shortest."""
        self._next = _FIRST_PAUSE_S

    def next(self) -> float:
        """Return how many seconds to wait."""
        pause = self._next
        self._next = min(2 * pause, _LONGEST_PAUSE_S)
        return pause


def pause(seconds: float, stop: Event) -> None:
    """Wait, until a stop is set."""
    end = time.monotonic() + seconds
    # Not by `Event.wait`: Ctrl-C comes through where the reader fetches by itself, and would leave its lock locked.
    nothing: SimpleQueue[None] = SimpleQueue()
    while not stop.is_set() and (left := end - time.monotonic()) > 0:
        with suppress(Empty):
            nothing.get(timeout=min(left, _LOOK_S))


def rest(seconds: float, topic: str, tracks: Iterable[Track], stop: Event) -> None:
    """Wait, for no longer than there is patience.

    Raises
    ------
    ReadTimeoutError
        The patience for one of them is over.
    """
    held = tuple(tracks)
    pause(min([seconds, *(track.patience.left for track in held)]), stop)
    for track in held:
        if not stop.is_set():
            track.patience.check(topic, track.partition, track.position)
