"""``python -m kafkalab.tour``: what a user does with kafkalab, done once on a broker of its own."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

import kafkalab as kl
from kafkalab.errors import KafkalabError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_WIDTH = 100
_INTERRUPTED = 130

# What is shown, and the code that a user would type for it: each line runs as it stands here, after SINCE is filled in.
_TOPIC = (
    "One of them: offsets, times, and how far a consumer group is",
    "lab.describe('orders', group_id='billing')[['high_watermark', 'span', 'last_timestamp', 'committed_lag']]",
)
_MOCK_TOPIC = (
    "One of them: its partitions and their offsets",
    "lab.describe('orders')[['leader', 'log_start_offset', 'high_watermark', 'span']]",
)
_READING = (
    (
        "A uniform sample, without reading the topic; formats are found by looking",
        "lab.sample('orders', 5, seed=7, columns=['partition', 'offset', 'key', 'product', 'quantity', 'amount'])",
    ),
    (
        "A range as a DataFrame, each field of the JSON a column",
        "df = lab.read('orders', SINCE, value='json', columns=['timestamp', 'customer', 'country', 'amount'])",
    ),
    ("What was read, and why it stopped there", "kl.receipt(df)"),
    ("It is pandas from here on", "df.groupby('country')['amount'].agg(['count', 'sum', 'mean']).round(2)"),
    ("Records over time, as a picture", "kl.plot.timeline(df, by='country').savefig(out / 'orders.png')"),
    (
        "Files of it, one for each partition, in bounded memory",
        "lab.export('orders', out / 'orders', SINCE, value='json')[['path', 'rows', 'bytes']]",
    ),
    (
        "A function over the partitions, several at a time",
        "lab.map_partitions('orders', lambda part: part['amount'].describe().round(2), SINCE, value='json')",
    ),
)
_TRANSACTIONS = (
    ("Records of aborted transactions are not shown ...", "len(lab.read('payments'))"),
    ("... unless they are asked for", "len(lab.read('payments', isolation_level='read_uncommitted'))"),
)
_LEFT_OUT = """
This is librdkafka's mock cluster, so this tour leaves out what only Apache Kafka has: times as positions
(start='-1d'), first and last times and consumer groups in describe(), and transactions."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tour.

    Parameters
    ----------
    arguments : sequence of str, optional
        The command line's by default.

    Returns
    -------
    int
        The exit code: 0, 1 after an error that is told in a sentence, 130 after Ctrl-C.
    """
    options = _parser().parse_args(arguments)
    try:
        _run(options.broker, _made(options.out))
    except KeyboardInterrupt:
        print("\nInterrupted; the broker is stopped.", file=sys.stderr)
        return _INTERRUPTED
    except KafkalabError as error:
        print(f"\nThe tour failed: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"\nThe tour failed: cannot write {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m kafkalab.tour", description="Show what kafkalab does.")
    parser.add_argument(
        "--broker",
        choices=("auto", "apache", "mock"),
        default="auto",
        help="Apache Kafka, librdkafka's mock of it, or the first of them that can be had (default)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="where to put files (default: a new temporary folder)"
    )
    return parser


def _run(broker: Literal["auto", "apache", "mock"], out: Path) -> None:
    began = time.monotonic()
    print("Starting a broker, and writing a web shop's last days to it ...", flush=True)
    with kl.demo(broker) as lab:
        print(f">>> lab = kl.demo({broker!r})\n{lab!r}")
        is_mock = "payments" not in set(lab.topics()["topic"])
        names = {"kl": kl, "lab": lab, "out": out}
        with pd.option_context("display.width", _WIDTH, "display.max_columns", None, "display.max_colwidth", _WIDTH):
            for title, line in _steps(is_mock=is_mock):
                _show(title, line, names)
    if is_mock:
        print(_LEFT_OUT)
    print(f"\nDone in {time.monotonic() - began:.1f} s. The picture and the files are in {out}")
    print("Next: make lab, and in it the notebook 01_explore.ipynb.")


def _steps(*, is_mock: bool) -> Iterator[tuple[str, str]]:
    yield "The topics of this cluster", "lab.topics()"
    yield _MOCK_TOPIC if is_mock else _TOPIC
    since = "'earliest'" if is_mock else "'-1d'"
    yield from ((title, line.replace("SINCE", since)) for title, line in _READING)
    if not is_mock:
        yield from _TRANSACTIONS


def _made(folder: Path | None) -> Path:
    if folder is None:
        return Path(tempfile.mkdtemp(prefix="kafkalab-tour-"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _show(title: str, line: str, names: dict[str, Any]) -> None:
    print(f"\n# {title}\n>>> {line}", flush=True)
    name, is_assignment, expression = line.partition(" = ")
    if not is_assignment:
        expression = line
    # Compiled first: after Ctrl-C in a string that eval() compiles, CPython exits by SIGINT whoever handles it.
    value = eval(compile(expression, "<tour>", "eval"), names)  # noqa: S307 - lines of this module: what is shown runs
    if is_assignment:
        names[name] = value
        print(f">>> {name}")
    if value is not None:
        print(value)


if __name__ == "__main__":
    sys.exit(main())
