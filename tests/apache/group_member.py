"""A member in a process of its own, for tests that kill or halt it: writes each record that is done into a file."""

import json
import logging
import os
import random
import sys
import threading
from typing import Any

import kafkalab as kl


class Writer:
    """Handles a record after a random while, notes it, and marks it."""

    def __init__(self, path: str, slowest: float) -> None:
        self._slowest = slowest
        self._pause = threading.Event()
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(self, what: Any) -> None:
        os.write(self._file, (json.dumps(what) + "\n").encode())  # one write: nothing is left in a buffer

    def setup(self, session: kl.Session) -> None:
        self.note({"has": [place.partition for place in session.partitions]})

    def process(self, record: kl.Record, session: kl.Session) -> None:
        self._pause.wait(random.random() * self._slowest)
        self.note([record.partition, record.offset])
        session.mark(record)


def main(bootstrap: str, path: str, slowest: str, options: str) -> None:
    logging.basicConfig(level=logging.WARNING)
    writer = Writer(path, float(slowest))
    with kl.connect(bootstrap) as lab:
        lab.consumer_group(handler=writer, **json.loads(options)).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
