"""Answers with bytes changed by chance: a read gives the right rows or a declared error, and ends in time."""

import itertools
import random
import threading
import time
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

import kafkalab as kl
from tests.hostile.scripted_broker import (
    Answer,
    Fetch,
    Log,
    Raw,
    Scripted,
    ScriptedBroker,
    marker,
    plain,
)

TIMEOUT_S = 5.0
# A wait looks up ten times a second; the rest is for a machine under load.
SPARE_S = 5.0
# Each waits for most of its time.
THREADS = 6


def logs() -> list[Log]:
    """Return two logs with plain, compressed, committed and aborted batches."""
    first = [
        plain(0, 10),
        plain(10, 10, codec=1),
        plain(20, 5, producer=7),
        marker(25, 7, commits=True),
        plain(26, 4, producer=7),
        marker(30, 7, commits=False),
        plain(31, 9),
    ]
    return [Log(first, aborted=[(7, 26)]), Log([plain(0, 20), plain(20, 20, codec=1)])]


RIGHT = [
    [(0, offset) for offset in range(40) if offset not in {25, 26, 27, 28, 29, 30}],
    [(1, offset) for offset in range(40)],
]


def mutant(frame: bytes, rng: random.Random) -> bytes:
    """Change one to four bytes, or bits, and now and then cut the end off."""
    data = bytearray(frame)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data))
        data[at] = rng.randrange(256) if rng.random() < 0.5 else data[at] ^ 1 << rng.randrange(8)
    return bytes(data[: rng.randrange(len(data))]) if rng.random() < 0.02 else bytes(data)


class Trial:
    """A broker of its own, whose first or second answer to each read is a mutant."""

    def __init__(self, partitions: int, seed: int) -> None:
        self._rng = random.Random(seed)
        self._broker = ScriptedBroker({"t": logs()[:partitions]}, self._script)
        self._right = sorted(itertools.chain(*RIGHT[:partitions]))
        self._left = 0
        self._changed: list[tuple[int, int, int]] = []
        """Where the last mutant differs, from what and to what."""
        self._lock = threading.Lock()

    def _script(self, _: Fetch, answer: Answer) -> Scripted:
        with self._lock:
            self._left -= 1
            return answer if self._left else Raw(answer.encode(), damage=self._damage)

    def _damage(self, frame: bytes) -> bytes:
        made = mutant(frame, self._rng)
        self._changed = [(at, old, new) for at, (old, new) in enumerate(zip(frame, made, strict=False)) if old != new]
        return made

    def run(self, count: int) -> Counter[str]:
        """Read so many times; return how the reads ended."""
        ended: Counter[str] = Counter()
        with self._broker as broker, kl.connect(broker.bootstrap, engine="arrow") as lab:
            for _ in range(count):
                with self._lock:
                    self._left = self._rng.randint(1, 2)
                began = time.monotonic()
                ended[self._read(lab)] += 1
                seconds = time.monotonic() - began
                assert seconds < TIMEOUT_S + SPARE_S, seconds
        return ended

    def _read(self, lab: kl.Lab) -> str:
        try:
            frame = lab.read("t", timeout=TIMEOUT_S, progress=False)
        except kl.KafkalabError as error:
            return type(error).__name__
        found = sorted(zip(frame["partition"].tolist(), frame["offset"].tolist(), strict=True))
        texts = [value == b"%d" % offset for value, offset in zip(frame["value"], frame["offset"], strict=True)]
        assert all(texts)
        if not kl.receipt(frame).complete:
            assert set(found) <= set(self._right)
            return "in part"
        assert found == self._right, self._changed
        return "right"


def run(count: int, seed: int) -> Counter[str]:
    """Share the trials out among threads, half of them with one partition and half with two."""
    each = -(-count // THREADS)
    trials = [Trial(1 + number % 2, seed + number) for number in range(THREADS)]
    with warnings.catch_warnings(), ThreadPoolExecutor(THREADS) as executor:
        warnings.simplefilter("ignore", kl.KafkalabWarning)
        return sum(executor.map(lambda trial: trial.run(each), trials), Counter())


@pytest.mark.timeout(120)
def test_a_few_hundred_mutants() -> None:
    ended = run(300, seed=1)
    assert ended["right"] > 10
    assert ended["CorruptDataError"] > 50


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_twenty_thousand_mutants() -> None:
    ended = run(20_000, seed=2)
    assert sum(ended.values()) >= 20_000
