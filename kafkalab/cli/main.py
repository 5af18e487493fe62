"""The command line: what is asked, and how it ends."""

from __future__ import annotations

import io
import os
import re
import sys
import traceback
import warnings
from typing import TYPE_CHECKING

import kafkalab as kl
from kafkalab.cli import commands
from kafkalab.cli.arguments import parser
from kafkalab.errors import ArgumentError, ConfigError, KafkalabError, PositionError
from kafkalab.text import safe

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

FAILED, USAGE, INCOMPLETE, INTERRUPTED = 1, 2, 3, 130

_BACKWARDS = re.compile(r"-\d")
_PLACES = ("--start", "--end")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command ``kafkalab``.

    Parameters
    ----------
    arguments : sequence of str, optional
        The command line's by default.

    Returns
    -------
    int
        The exit code: 0; 1 after an error of the cluster, its data or the disk; 2 after a mistake in what was asked;
        3 where what was printed is only a part of the range; 130 after Ctrl-C. Each error is one line. A pipe that
        nobody reads any more is no error.
    """
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: PTH123, SIM115 - it was closed, and print needs one
    given = parser().parse_args(list(_joined(sys.argv[1:] if arguments is None else arguments)))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    with warnings.catch_warnings():
        warnings.simplefilter("always", kl.KafkalabWarning)
        warnings.showwarning = told = _Warnings()
        try:
            _run(given)
            sys.stdout.flush()
        except KeyboardInterrupt:
            return INTERRUPTED
        except BrokenPipeError:
            _leave_output()
            return 0
        except KafkalabError as error:
            return _failed(error, debug=given.debug)
        except OSError as error:
            _leave_output()
            return _failed(_unwritten(error), debug=given.debug)
    return INCOMPLETE if told.incomplete else 0


def _run(given: argparse.Namespace) -> None:
    if sys.stdout is None:
        raise KafkalabError("standard output is closed: there is nowhere to print to")
    if given.command in ("demo", "lab"):
        getattr(commands, given.command)(given)
        return
    with kl.connect(
        given.bootstrap,
        config=given.config,
        config_file=given.config_file,
        profile=given.profile,
        engine=given.engine,
    ) as lab:
        getattr(commands, given.command)(lab, given)


def _failed(error: KafkalabError, *, debug: bool) -> int:
    if debug:
        for line in "".join(traceback.format_exception(error)).split("\n"):
            print(safe(line), file=sys.stderr)
    print(f"kafkalab: {safe(str(error))}", file=sys.stderr)
    return USAGE if isinstance(error, ArgumentError | ConfigError | PositionError) else FAILED


class _Warnings:
    """Prints warnings, and knows whether one of them was that there should be more."""

    def __init__(self) -> None:
        self.incomplete = False

    def __call__(self, message: Warning | str, *_: object, **__: object) -> None:
        self.incomplete = self.incomplete or isinstance(message, kl.IncompleteWarning)
        print(f"kafkalab: warning: {safe(str(message))}", file=sys.stderr)


def _leave_output() -> None:
    """Write nothing more: what is still in the buffer has nowhere to go, and Python would say so at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _unwritten(error: OSError) -> KafkalabError:
    text = f"{error.filename or 'standard output'} cannot be written: {error.strerror or error}"
    failed = KafkalabError(text)
    failed.__cause__ = error
    return failed


def _joined(arguments: Sequence[str]) -> Iterator[str]:
    """Yield arguments with places such as -15m joined to their option, or they would be taken for one."""
    left = iter(arguments)
    for argument in left:
        value = next(left, None) if argument in _PLACES else None
        if value is None:
            yield argument
        elif _BACKWARDS.match(value):
            yield f"{argument}={value}"
        else:
            yield from (argument, value)


if __name__ == "__main__":
    sys.exit(main())
