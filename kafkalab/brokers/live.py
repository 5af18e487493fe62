"""A shop that stays open: orders written to a broker as time goes by."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import numpy as np

from kafkalab.brokers.shop import orders

if TYPE_CHECKING:
    from collections.abc import Iterator

    from confluent_kafka import Producer

    from kafkalab.brokers.shop import Record

_TICK_S = 0.05
_AT_A_TIME = 10_000
_LAST_S = 5.0


class LiveOrders:
    """Writes orders, so many a second, in a thread, until stopped.

    Parameters
    ----------
    producer : Producer
        What they are written with.
    orders_per_s : float
        How many; what the broker does not take in time is left out.
    first : int
        The number of the first order.
    seed : int
        Which orders.
    """

    def __init__(self, producer: Producer, orders_per_s: float, *, first: int = 1, seed: int = 8) -> None:
        self._producer = producer
        self._rate = orders_per_s
        self._orders = _endless(np.random.default_rng(seed), first)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write, name="kafkalab-live-orders", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write no more; wait for what is on its way."""
        self._stop.set()
        self._thread.join()
        self._producer.flush(_LAST_S)

    def _write(self) -> None:
        began, written = time.monotonic(), 0
        while not self._stop.wait(_TICK_S):
            due = int((time.monotonic() - began) * self._rate)
            for _ in range(due - written):
                self._write_one(next(self._orders))
            written = due
            self._producer.poll(0)

    def _write_one(self, order: Record) -> None:
        try:
            self._producer.produce("orders", order.value, order.key, headers=order.headers)
        except BufferError:  # the broker is not there, or too slow
            self._producer.poll(_TICK_S)


def _endless(rng: np.random.Generator, first: int) -> Iterator[Record]:
    while True:
        yield from orders(rng, time.time_ns() // 1_000_000, _AT_A_TIME, first)
        first += _AT_A_TIME
