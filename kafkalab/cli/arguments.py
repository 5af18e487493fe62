"""What can be asked on the command line."""

from __future__ import annotations

import argparse
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kafkalab.positions import Committed

if TYPE_CHECKING:
    from kafkalab.positions import PlainPosition

_EXAMPLES = """
examples:
  kafkalab topics --bootstrap localhost:9092
  kafkalab head orders -n 3 --profile prod
  kafkalab tail orders --start -15m
  kafkalab read orders --start -1h --json | jq .value
  kafkalab find orders u42
  kafkalab export orders out --value json --resume

The cluster is named by --bootstrap, --config-file or --profile, or by KAFKALAB_BOOTSTRAP_SERVERS and the like in
the environment. Exit codes: 0, 1 after an error, 2 after a mistake in what was asked, 3 where what was printed is only
a part of the range (--timeout, an open transaction), 130 after Ctrl-C.
"""
_PLACE = "earliest, latest, an offset, -1000 (from the end), -15m, a time, or committed:GROUP"


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="kafkalab",
        description="Look into Kafka topics. Reading never changes the cluster.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"kafkalab {version('kafkalab')}")
    adding = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    every, reading = _connecting(), _reading()

    def add(name: str, told: str, example: str, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
        return adding.add_parser(
            name,
            help=told,
            description=f"{told[0].upper()}{told[1:]}.",
            epilog=f"example: kafkalab {example}",
            parents=[every, *parents],
        )

    topics = add("topics", "list the topics", "topics --bootstrap localhost:9092")
    topics.add_argument("--internal", action="store_true", help="Kafka's own too")

    describe = add(
        "describe", "show a topic's partitions, offsets and times", "describe orders --group billing", _topic()
    )
    describe.add_argument("--group", metavar="ID", help="show this consumer group's commits and lag")

    for name, told in (("head", "show the first records by time"), ("last", "show the last records by time")):
        few = add(name, told, f"{name} orders -n 3", _topic(), reading)
        few.add_argument("-n", type=int, default=5, help="how many (5)")
        _start(few, "earliest")

    sample = add("sample", "show a uniform sample, without reading the topic", "sample orders -n 20", _topic(), reading)
    sample.add_argument("-n", type=int, default=10, help="how many (10)")
    sample.add_argument("--seed", type=int, help="makes the draw repeatable")
    _range(sample)

    tail = add("tail", "print records as they are written, until Ctrl-C", "tail orders --start -10", _topic(), reading)
    _start(tail, "latest")
    tail.add_argument("--limit", type=int, metavar="N", help="stop after so many")

    read = add("read", "print the records of a range, one a line", "read orders --start -1h --json", _topic(), reading)
    _range(read)
    read.add_argument("--limit", type=int, metavar="N", help="stop after so many")

    find = add("find", "show the records of a key", "find orders u42", _topic(), _reading(key=False))
    find.add_argument("text", metavar="KEY", help="as it is stored, in UTF-8; a number with --key-format")
    find.add_argument("--key-format", choices=("int8", "int16", "int32", "int64"), help="for keys that are integers")
    find.add_argument(
        "--partitioner",
        choices=("auto", "murmur2", "consistent", "fnv1a", "none"),
        default="auto",
        help="Java's, librdkafka's or sarama's, to read one partition only; none reads all (auto: looks at some keys)",
    )
    _range(find)

    export = add("export", "write a range to files", "export orders out --value json --resume", _topic(), reading)
    export.add_argument("folder", metavar="FOLDER", help="a path, or a URL such as s3://bucket/out")
    export.add_argument("--format", choices=("parquet", "csv", "jsonl", "feather"), default="parquet")
    export.add_argument("--resume", action="store_true", help="go on with an export that was cut off")
    export.add_argument("--overwrite", action="store_true", help="replace files of the same offsets")
    export.add_argument("--escape-formulas", action="store_true", help="for CSV that spreadsheets open")
    _range(export)

    demo = adding.add_parser("demo", parents=[_debug()], help="start a broker with sample topics, until Ctrl-C")
    demo.add_argument("--broker", choices=("auto", "apache", "mock"), default="auto", help="which (auto)")

    lab = add("lab", "open JupyterLab, connected to the cluster that is named", "lab --profile prod")
    lab.add_argument("folder", nargs="?", type=Path, metavar="FOLDER", help="with notebooks (those of kafkalab)")
    return top


def _debug() -> argparse.ArgumentParser:
    group = argparse.ArgumentParser(add_help=False)
    group.add_argument("--debug", action="store_true", help="show where in the program an error came from")
    return group


def _connecting() -> argparse.ArgumentParser:
    parent = argparse.ArgumentParser(add_help=False, parents=[_debug()])
    group = parent.add_argument_group("connection")
    group.add_argument("-b", "--bootstrap", metavar="HOST:PORT", help="the cluster")
    group.add_argument("--config-file", metavar="FILE", help="a client.properties")
    group.add_argument("--profile", metavar="NAME", help="a table of profiles.toml")
    group.add_argument(
        "-X",
        dest="config",
        action=_Settings,
        default={},
        metavar="NAME=VALUE",
        help="an option, as librdkafka names it",
    )
    group.add_argument("--engine", choices=("auto", "arrow", "librdkafka"), default="auto", help="what reads (auto)")
    parent.add_argument("--json", action="store_true", help="print JSON, one row a line")
    return parent


def _topic() -> argparse.ArgumentParser:
    parent = argparse.ArgumentParser(add_help=False)
    parent.add_argument("topic", metavar="TOPIC")
    return parent


def _reading(*, key: bool = True) -> argparse.ArgumentParser:
    parent = argparse.ArgumentParser(add_help=False)
    group = parent.add_argument_group("reading")
    group.add_argument("--partitions", type=_numbers, metavar="N,N", help="which to read (all)")
    if key:
        group.add_argument("--key", metavar="FORMAT", help="bytes, text, json, avro, auto and so on")
    group.add_argument("--value", metavar="FORMAT", help="bytes, text, json, avro, auto and so on")
    group.add_argument("--headers", action="store_true", default=None, help="show headers")
    group.add_argument("--columns", type=lambda text: text.split(","), metavar="A,B", help="those to keep")
    group.add_argument("--errors", choices=("raise", "column", "skip"), help="records that are not in their format")
    group.add_argument("--isolation-level", choices=("read_committed", "read_uncommitted"), help="(read_committed)")
    group.add_argument("--timeout", type=float, metavar="SECONDS", help="stop after so long")
    return parent


def _start(command: argparse.ArgumentParser, default: str) -> None:
    command.add_argument("--start", type=_place, default=default, metavar="PLACE", help=f"{_PLACE} ({default})")


def _range(command: argparse.ArgumentParser) -> None:
    _start(command, "earliest")
    command.add_argument("--end", type=_place, default="latest", metavar="PLACE", help="the same (latest)")


def _place(text: str) -> PlainPosition:
    """Return a place as `Lab.read` takes it."""
    kind, is_group, group = text.partition(":")
    if is_group and kind == "committed":
        return Committed(group)
    try:
        return int(text)
    except ValueError:
        return text


def _numbers(text: str) -> list[int]:
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        message = f"{text!r} are no numbers of partitions, such as 0,3"
        raise argparse.ArgumentTypeError(message) from None


class _Settings(argparse.Action):
    """Collects NAME=VALUE pairs."""

    def __call__(self, parser: argparse.ArgumentParser, given: argparse.Namespace, value: Any, _: Any = None) -> None:
        name, is_pair, setting = value.partition("=")
        if not is_pair:
            parser.error("-X takes NAME=VALUE")
        given.config = {**given.config, name: setting}
