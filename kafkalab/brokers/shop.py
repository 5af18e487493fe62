"""What the sample topics hold: a small web shop's last days, made up from a seed."""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    Rng: TypeAlias = np.random.Generator

Headers: TypeAlias = "dict[str, str | bytes | None]"

_DAYS = 7
_DAY_MS = 86_400_000
_MINUTES_A_DAY = 1440
_BUSIEST_MINUTE = 19 * 60
_CUSTOMERS = 3000
_TRANSACTIONS, _TRANSACTION_RECORDS = 20, 100
_ROOMS = ("bakery", "cellar", "office", "store")
_PRICES = {"bread": 3.2, "coffee": 8.9, "honey": 6.5, "kettle": 49.0, "mug": 12.0, "tea": 5.4}
_COUNTRIES = {"AT": 0.1, "CH": 0.12, "DE": 0.46, "FR": 0.2, "NL": 0.12}
_COUPON_SHARE, _KNOWN_SHARE = 0.08, 0.4


class Record(NamedTuple):
    """A record to write; its key chooses the partition, where it has one."""

    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers | None = None
    partition: int = -1


def records(rng: Rng, now_ms: int, order_count: int) -> dict[str, Iterable[Record]]:
    """Return what each topic gets outside of transactions, in the order of its timestamps."""
    return {
        "orders": orders(rng, now_ms, order_count),
        "clicks": clicks(rng, now_ms, order_count // 2),
        "sensors": sensors(rng, now_ms),
        "customers": customers(rng, now_ms),
    }


def orders(rng: Rng, now_ms: int, count: int, first: int = 1) -> Iterator[Record]:
    """Return orders as JSON, by customer, with a header; some customers buy more, and few have a coupon."""
    products = rng.integers(len(_PRICES), size=count)
    quantities = 1 + rng.poisson(0.8, count)
    frame = pd.DataFrame(
        {
            "order_id": np.arange(first, first + count),
            "customer": _customers(rng, count),
            "country": rng.choice(list(_COUNTRIES), count, p=list(_COUNTRIES.values())),
            "product": np.array(list(_PRICES))[products],
            "quantity": quantities,
            "amount": np.array(list(_PRICES.values()))[products] * quantities,
            "coupon": pd.Series("SPRING", range(count)).where(rng.random(count) < _COUPON_SHARE),
        }
    )
    headers: Iterable[Headers] = ({"source": source} for source in rng.choice(["app", "web"], count).tolist())
    return _as_json(_times(rng, now_ms, count), "customer", frame, headers)


def clicks(rng: Rng, now_ms: int, count: int) -> Iterator[Record]:
    """Return page views as JSON with an object in it; a visitor who has not logged in has no customer."""
    visitors = _customers(rng, count)
    paths = rng.choice(["/", "/cart", *(f"/product/{name}" for name in _PRICES)], count).tolist()
    load_ms = rng.lognormal(4.5, 0.6, count).tolist()
    frame = pd.DataFrame(
        {
            "visitor": visitors,
            "customer": pd.Series(visitors).where(rng.random(count) < _KNOWN_SHARE),
            "page": [{"path": path, "load_ms": ms} for path, ms in zip(paths, load_ms, strict=True)],
        }
    )
    return _as_json(_times(rng, now_ms, count), "visitor", frame)


def sensors(rng: Rng, now_ms: int) -> Iterator[Record]:
    """Yield temperatures as text, one a room every five minutes; the cellar's sensor was off for a while."""
    count = _DAYS * _MINUTES_A_DAY // 5
    first = now_ms - _DAYS * _DAY_MS
    degrees = 21 + np.cumsum(rng.normal(0, 0.05, (count, len(_ROOMS))), axis=0)
    for step, row in enumerate(degrees.tolist()):
        for number, (room, degree) in enumerate(zip(_ROOMS, row, strict=True)):
            if room != "cellar" or not count // 2 < step < count // 2 + 100:
                yield Record(first + step * 300_000, room.encode(), f"{degree:.2f}".encode(), partition=number % 2)


def customers(rng: Rng, now_ms: int) -> Iterator[Record]:
    """Yield each customer's entry, some changes, and a null for those who left: a topic that is compacted."""
    numbers = np.arange(_CUSTOMERS)
    frame = pd.DataFrame({"customer": [f"c{n:04}" for n in numbers], "tier": "basic", "newsletter": numbers % 3 == 0})
    first = now_ms - _DAYS * _DAY_MS
    yield from _as_json(range(first, first + _CUSTOMERS), "customer", frame)
    changed = frame.iloc[rng.choice(_CUSTOMERS, _CUSTOMERS // 5, replace=False)].assign(tier="gold")
    for number, record in enumerate(_as_json(_times(rng, now_ms, len(changed)), "customer", changed)):
        yield record if number % 4 else record._replace(value=None)


def payments(rng: Rng, now_ms: int) -> Iterator[list[Record]]:
    """Yield payments as JSON, a list for each transaction, of the last hours."""
    count = _TRANSACTIONS * _TRANSACTION_RECORDS
    numbers = np.arange(count)
    frame = pd.DataFrame(
        {
            "payment_id": [f"p{n:05}" for n in numbers],
            "amount": rng.gamma(2, 15, count),
            "method": np.where(numbers % 3, "card", "bank"),
        }
    )
    paid = list(_as_json(range(now_ms - 5000 * count, now_ms, 5000), "payment_id", frame))
    for first in range(0, count, _TRANSACTION_RECORDS):
        yield paid[first : first + _TRANSACTION_RECORDS]


def _times(rng: Rng, now_ms: int, count: int) -> list[int]:
    """Return rising times of the last days: few by night, most in the evening."""
    minutes = now_ms // 60_000 - np.arange(_DAYS * _MINUTES_A_DAY, 0, -1)
    weights = 1.1 + np.cos(2 * np.pi * (minutes - _BUSIEST_MINUTE) / _MINUTES_A_DAY)
    drawn: NDArray[np.int64] = rng.choice(minutes, count, p=weights / weights.sum()) * 60_000
    return [int(ms) for ms in np.sort(drawn + rng.integers(60_000, size=count))]


def _customers(rng: Rng, count: int) -> list[str]:
    return [f"c{number:04}" for number in (rng.random(count) ** 2 * _CUSTOMERS).astype(int).tolist()]


def _as_json(
    times: Iterable[int], key: str, frame: pd.DataFrame, headers: Iterable[Headers | None] = repeat(None)
) -> Iterator[Record]:
    """Yield each row as a record with a JSON value: pandas writes many far faster than json writes each."""
    lines = frame.to_json(orient="records", lines=True, double_precision=2).replace("\\/", "/").encode().splitlines()
    keys = [name.encode() for name in frame[key].tolist()]
    for timestamp, name, line, its_headers in zip(times, keys, lines, headers, strict=False):
        yield Record(timestamp, name, line, its_headers)
