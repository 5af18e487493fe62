"""What each command does, given its arguments: on a `Lab`, but for those that need none."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kafkalab as kl
from kafkalab.cli.show import json_line, plain_line, rows_of, show
from kafkalab.errors import ArgumentError, KafkalabError
from kafkalab.frame import warn_if_short
from kafkalab.model import StopReason
from kafkalab.rows import ERROR_COLUMNS
from kafkalab.temporal import python_rows

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping

    from kafkalab.scan import Scan

_READING = ("partitions", "value", "key", "headers", "columns", "isolation_level", "errors", "timeout")


def topics(lab: kl.Lab, given: argparse.Namespace) -> None:
    """List the topics."""
    show(rows_of(lab.topics(internal=given.internal)), as_lines=given.json)


def describe(lab: kl.Lab, given: argparse.Namespace) -> None:
    """Show a topic's partitions."""
    show(rows_of(lab.describe(given.topic, group_id=given.group)), as_lines=given.json)


def head(lab: kl.Lab, given: argparse.Namespace) -> None:
    """Show the first records."""
    show(rows_of(lab.head(given.topic, given.n, start=given.start, **_reading(given))), as_lines=given.json)


def last(lab: kl.Lab, given: argparse.Namespace) -> None:
    """Show the last records."""
    show(rows_of(lab.last(given.topic, given.n, start=given.start, **_reading(given))), as_lines=given.json)


def sample(lab: kl.Lab, given: argparse.Namespace) -> None:
    """Show a sample."""
    reading = _reading(given)
    frame = lab.sample(given.topic, given.n, seed=given.seed, start=given.start, end=given.end, **reading)
    show(rows_of(frame), as_lines=given.json)


def find(lab: kl.Lab, given: argparse.Namespace) -> None:
    """Show the records of a key."""
    key: str | int = given.text
    if given.key_format is not None:
        try:
            key = int(given.text)
        except ValueError as error:
            message = f"the key {given.text!r} is no whole number, so it is not stored as {given.key_format}"
            raise ArgumentError(message) from error
    partitioner = None if given.partitioner == "none" else given.partitioner
    options = {"key_format": given.key_format, "partitioner": partitioner, **_reading(given)}
    show(rows_of(lab.find(given.topic, key, given.start, given.end, **options)), as_lines=given.json)


def read(lab: kl.Lab, given: argparse.Namespace) -> None:
    """Print records as they are read; warn where these are not all, but for a limit that was asked for."""
    scan = lab.scan(given.topic, given.start, given.end, limit=given.limit, **_plain(given))
    _print(scan, given)
    if scan.receipt is not None and StopReason.LIMIT not in scan.receipt.stop_reasons:
        warn_if_short(scan.receipt, "")


def tail(lab: kl.Lab, given: argparse.Namespace) -> None:
    """Print records as they are written."""
    _print(lab.scan(given.topic, given.start, limit=given.limit, follow=True, **_plain(given)), given)


def _print(scan: Scan, given: argparse.Namespace) -> None:
    line: Callable[[Mapping[str, Any]], str] = json_line if given.json else plain_line
    for rows in scan:
        if given.errors is None and "_error" in rows.schema.names and rows["_error"].null_count == rows.num_rows:
            rows = rows.drop_columns([name for name in ERROR_COLUMNS if name in rows.schema.names])  # noqa: PLW2901 - the rows as they are shown
        sys.stdout.writelines(f"{line(row)}\n" for row in python_rows(rows))
        sys.stdout.flush()


def export(lab: kl.Lab, given: argparse.Namespace) -> None:
    """Write files."""
    options = _reading(given)
    frame = lab.export(
        given.topic,
        given.folder,
        given.start,
        given.end,
        format=given.format,
        resume=given.resume,
        overwrite=given.overwrite,
        escape_formulas=given.escape_formulas,
        progress=sys.stderr.isatty(),
        **options,
    )
    show(rows_of(frame), as_lines=given.json)
    if frame.empty:
        why = f"{given.folder} has all of it" if given.resume else "there are no records in that range"
        print(f"No file was written: {why}.", file=sys.stderr)


def _reading(given: argparse.Namespace) -> dict[str, Any]:
    """Return the options that every reading verb takes, those that were given."""
    return {name: getattr(given, name) for name in _READING if getattr(given, name, None) is not None}


def _plain(given: argparse.Namespace) -> dict[str, Any]:
    """Return them for lines: text unless asked otherwise, and bytes where a record is none."""
    errors = "column" if given.columns is None else "raise"
    return {"key": "text", "value": "text", "errors": errors, **_reading(given)}


def demo(given: argparse.Namespace) -> None:
    """Start a broker with sample topics, and keep it until interrupted."""
    print("Starting a broker, and writing a web shop's last days to it ...", file=sys.stderr, flush=True)
    with kl.demo(given.broker) as lab:
        address = lab.metadata.config.options["bootstrap.servers"]  # type: ignore[attr-defined]  # a real cluster has one
        print(address, flush=True)
        print(f"Try: kafkalab topics --bootstrap {address}\nCtrl-C stops it.", file=sys.stderr, flush=True)
        threading.Event().wait()


def lab(given: argparse.Namespace) -> None:
    """Open JupyterLab, in which `kafkalab.connect` finds the cluster that was named here."""
    if find_spec("jupyterlab") is None:
        message = "JupyterLab is not installed: pip install 'kafkalab[lab]'"
        raise KafkalabError(message)
    notebooks = Path(kl.__file__).parents[1] / "notebooks"
    folder = given.folder or (notebooks if notebooks.is_dir() else Path.cwd())
    command = [sys.executable, "-m", "jupyterlab", "--notebook-dir", str(folder)]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")
    named = {"BOOTSTRAP_SERVERS": given.bootstrap, "CONFIG_FILE": given.config_file, "PROFILE": given.profile}
    named |= {name.upper().replace(".", "_"): value for name, value in given.config.items()}
    environment = os.environ | {f"KAFKALAB_{name}": str(value) for name, value in named.items() if value is not None}
    with subprocess.Popen(command, env=environment) as process:  # noqa: S603 - this Python, and a folder that was named
        while process.poll() is None:
            try:
                process.wait()
            except KeyboardInterrupt:
                continue  # it asks whether to stop, and is waited for
    if process.returncode:
        message = f"JupyterLab ended with {process.returncode}, see above"
        raise KafkalabError(message)
