"""What runs while the cluster breaks: one process each, until its standard input ends or it is killed.

``python -m tests.chaos.workloads KIND BOOTSTRAP TOPIC HISTORY FOLDER``
"""

import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

import kafkalab as kl
from tests.chaos.history import History

PAUSE_S = 0.2
TIMEOUT_S = 15.0


class Workload:
    """One process: its lab, its topic, its history, and whether it is to end."""

    def __init__(self, bootstrap: str, topic: str, history: Path, folder: Path, *, interrupted: bool) -> None:
        self.topic = topic
        self.history = History(history)
        self.folder = folder
        self.over = threading.Event()
        self._bootstrap = bootstrap
        self._interrupted = interrupted
        threading.Thread(target=self._watch_input, daemon=True).start()

    def _watch_input(self) -> None:
        sys.stdin.read()
        self.over.set()
        if self._interrupted:
            os.kill(os.getpid(), signal.SIGINT)

    def connected(self) -> kl.Lab:
        """Connect, however long that takes."""
        while True:
            try:
                return kl.connect(self._bootstrap, timeout=TIMEOUT_S)
            except kl.KafkalabError as error:
                self.failed("connect", error, 0.0)
                self.over.wait(PAUSE_S)

    def repeat(self, verb: str, call: Callable[[], Any]) -> None:
        """Call once; note the rows, or the error."""
        began = time.monotonic()
        try:
            found = call()
        except Exception as error:  # noqa: BLE001 - the checker tells declared errors from others
            self.failed(verb, error, time.monotonic() - began)
        else:
            if found is not None:
                self.history.note("rows", verb=verb, topic=self.topic, seconds=time.monotonic() - began, **found)

    def failed(self, verb: str, error: Exception, seconds: float) -> None:
        """Note an error."""
        self.history.note(
            "failed",
            verb=verb,
            topic=self.topic,
            error=type(error).__name__,
            declared=isinstance(error, kl.KafkalabError),
            text=str(error)[:500],
            seconds=seconds,
        )


def rows_of(frame: pd.DataFrame) -> list[list[Any]]:
    """Return place and value of each row."""
    values = [value.decode() if isinstance(value, bytes) else value for value in frame["value"]]
    return [list(row) for row in zip(frame["partition"].tolist(), frame["offset"].tolist(), values, strict=True)]


def answer(frame: pd.DataFrame, *, exact: bool) -> dict[str, Any]:
    """Return the rows of a frame; with the ranges that it claims to hold, where it holds all of their records."""
    parts = kl.receipt(frame).partitions
    return {
        "rows": rows_of(frame),
        "ranges": [[part.partition, part.start, part.next_offset] for part in parts] if exact else [],
    }


def read(work: Workload) -> None:
    """Call each verb that looks at a range, again and again."""
    lab = work.connected()
    topic = work.topic

    def back(count: int) -> int | str:
        """Count back from the end, in the topic that always has so many records."""
        return -count if topic == "steady" else "earliest"

    verbs: dict[str, Callable[[], dict[str, Any] | None]] = {
        "read": lambda: answer(lab.read(topic, start=back(random.randrange(1, 500)), progress=False), exact=True),
        "head": lambda: answer(lab.head(topic, 20, value="text"), exact=False),
        "last": lambda: answer(lab.last(topic, 20, value="text"), exact=False),
        "sample": lambda: answer(lab.sample(topic, 50, value="text"), exact=False),
        "find": lambda: answer(lab.find(topic, b"0", start=back(200), value="text"), exact=False),
        "compacted": lambda: answer(lab.compacted(topic, value="text"), exact=False),
        "scan": lambda: _scanned(lab.scan(topic, start=back(300))),
        "map": lambda: _nothing(lab.map_partitions(topic, len, start=back(300), progress=False)),
        "topics": lambda: _nothing(lab.topics()),
        "describe": lambda: _nothing(lab.describe(topic)),
        "group_offsets": lambda: _nothing(lab.group_offsets(f"of-{topic}")),
        "seek_group": lambda: _nothing(lab.seek_group(f"idle-{topic}", topic, "earliest")),
    }
    while not work.over.is_set():
        for verb, call in verbs.items():
            work.repeat(verb, call)
            if work.over.wait(PAUSE_S):
                break
    lab.close()


def _scanned(scan: kl.Scan) -> dict[str, Any]:
    table = scan.to_table()
    assert scan.receipt is not None
    ranges = [[part.partition, part.start, part.next_offset] for part in scan.receipt.partitions]
    values = [value.decode() for value in table["value"].to_pylist()]
    rows = zip(table["partition"].to_pylist(), table["offset"].to_pylist(), values, strict=True)
    return {"rows": [list(row) for row in rows], "ranges": ranges}


def _nothing(_: object) -> dict[str, Any]:
    return {"rows": [], "ranges": []}


def follow(work: Workload) -> None:
    """Follow the topic from its first record as a stream, which is to come through everything."""
    lab = work.connected()
    stop = threading.Event()
    tail = lab.tail(work.topic, rows=2_000, start="earliest", value="text")
    watcher = threading.Thread(target=_look_at_tail, args=(work, tail, stop), daemon=True)
    watcher.start()
    try:
        for arrow_batch in lab.scan(work.topic, follow=True, value="text"):
            names = ("partition", "offset", "value")
            rows = zip(*(arrow_batch.column(name).to_pylist() for name in names), strict=True)
            work.history.note("step", rows=[list(row) for row in rows])
    except KeyboardInterrupt:
        pass  # as a person would end it
    except Exception as error:  # noqa: BLE001 - the checker tells declared errors from others
        work.failed("follow", error, 0.0)
    stop.set()
    watcher.join()
    tail.stop()
    lab.close()


def _look_at_tail(work: Workload, tail: kl.Tail, stop: threading.Event) -> None:
    while not stop.wait(1.0):
        try:
            rows = rows_of(tail.df)
        except Exception as error:  # noqa: BLE001 - the checker tells declared errors from others
            work.failed("tail", error, 0.0)
            return
        ends: dict[int, list[int]] = {}
        for partition, offset, _ in rows:
            ends.setdefault(partition, [offset, offset])[1] = offset + 1
        ranges = [[partition, *ends[partition]] for partition in ends]
        work.history.note("rows", verb="tail", topic=work.topic, seconds=0.0, rows=rows, ranges=ranges)


def export(work: Workload) -> None:
    """Export to a folder, resume where an earlier process was killed, load what is there, begin another folder."""
    lab = work.connected()
    folders = sorted(work.folder.iterdir())
    folder = folders[-1] if folders else work.folder / "000000"
    while not work.over.is_set():
        folder.mkdir(exist_ok=True)
        work.repeat("export", lambda folder=folder: _exported(lab, work.topic, folder))  # type: ignore[misc]  # bound at once
        if (folder / "done").exists():
            folder = work.folder / f"{int(folder.name) + 1:06d}"
        work.over.wait(PAUSE_S)
    lab.close()


def _exported(lab: kl.Lab, topic: str, folder: Path) -> dict[str, Any]:
    start = random.randrange(-1000, -200) if topic == "steady" else "earliest"
    try:
        lab.export(topic, folder / "out", start=start, resume=True, max_file_bytes=20_000, progress=False)
    except kl.DataLossError:
        (folder / "done").touch()  # what it was to hold is gone
        raise
    found = answer(kl.load(folder / "out"), exact=True)
    (folder / "done").touch()
    return found


class Ledger:
    """Handles a record after a random while, notes it, then marks it."""

    def __init__(self, work: Workload) -> None:
        self._work = work
        self._pause = threading.Event()

    def setup(self, session: kl.Session) -> None:
        self._work.history.note("assigned", partitions=[place.partition for place in session.partitions])

    def process(self, record: kl.Record, session: kl.Session) -> None:
        self._pause.wait(random.random() * 0.004)
        value = (record.value or b"").decode()
        self._work.history.note("handled", partition=record.partition, offset=record.offset, value=value)
        session.mark(record)


def group(work: Workload) -> None:
    """Be a member of the topic's group; start again when that fails."""
    lab = work.connected()
    while not work.over.is_set():
        member = lab.consumer_group(f"of-{work.topic}", work.topic, Ledger(work), commit_interval=0.3)
        try:
            with member:
                while member.running and not work.over.wait(PAUSE_S):
                    pass
        except Exception as error:  # noqa: BLE001 - the checker tells declared errors from others
            work.failed("group", error, 0.0)
            work.over.wait(1.0)
    lab.close()


KINDS: dict[str, Callable[[Workload], None]] = {"read": read, "follow": follow, "export": export, "group": group}


def main(kind: str, bootstrap: str, topic: str, history: str, folder: str) -> None:
    """Run one kind of work until standard input ends."""
    KINDS[kind](Workload(bootstrap, topic, Path(history), Path(folder), interrupted=kind == "follow"))


if __name__ == "__main__":
    main(*sys.argv[1:])
