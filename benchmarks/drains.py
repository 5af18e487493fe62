"""The clients of other languages that only count what they read: librdkafka in C, and Java's."""

from __future__ import annotations

import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.readers import CONSUMER, TUNED
from kafkalab.brokers.jars import jar_folder

if TYPE_CHECKING:
    from benchmarks.readers import Source

_HERE = Path(__file__).parent
_PASSES = 15


def librdkafka() -> Path:
    """Find the library that confluent-kafka's wheel brings, so that both are of one version."""
    spec = find_spec("confluent_kafka")
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    for folder in (package.parent / "confluent_kafka.libs", package / ".dylibs"):
        for library in sorted(folder.glob("librdkafka*")):
            return library
    raise FileNotFoundError(f"no librdkafka beside {package}: this measures the one in confluent-kafka's wheel")


def c_drain(source: Source, folder: Path) -> list[str]:
    """Return the command line of the drain in C, which is built into a folder once."""
    program = folder / "drain"
    if not program.exists():
        library = librdkafka()
        linked = [str(library), f"-Wl,-rpath,{library.parent}"]
        subprocess.run(["cc", "-O2", "-Wall", "-o", str(program), str(_HERE / "drain.c"), *linked], check=True)
    options = {**source.config, **CONSUMER, **TUNED, "check.crcs": "true"}
    settings = [f"{name}={value}" for name, value in options.items()]
    return [str(program), source.topic, str(source.records), *settings]


def java_drain(source: Source) -> list[str]:
    """Return the command line of the drain in Java, which is compiled as it starts."""
    compiler = shutil.which("javac")
    if compiler is None:
        raise FileNotFoundError("no javac: a JDK runs benchmarks/Drain.java, Debian's is default-jdk-headless")
    java = Path(compiler).resolve().with_name("java")
    arguments = [source.config["bootstrap.servers"], source.topic, str(source.records), str(_PASSES)]
    return [str(java), "-cp", str(jar_folder() / "*"), str(_HERE / "Drain.java"), *arguments]
