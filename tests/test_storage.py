"""What Kafka's own tool is told, and that nobody else reads it."""

import stat
from pathlib import Path

import pytest

from kafkalab.brokers import jars, storage
from kafkalab.brokers.java import KafkaJava

JAVA = """#!/bin/sh
echo "$@" > "$0.told"
cp "${1#@}" "$0.file"
ls -ld "$(dirname "${1#@}")" > "$0.folder"
mkdir "$(dirname "${1#@}")/data"
echo checkpoint > "$(dirname "${1#@}")/data/bootstrap.checkpoint"
"""


@pytest.fixture
def java(tmp_path: Path) -> Path:
    java = tmp_path / "java"
    java.write_text(JAVA)
    java.chmod(stat.S_IRWXU)
    return java


def test_no_secret_stands_on_a_command_line(java: Path, tmp_path: Path) -> None:
    users = {'al"i\\ce': "hunter2"}
    assert storage.bootstrap_checkpoint(KafkaJava(java, tmp_path), users) == b"checkpoint\n"
    told = java.with_suffix(".told").read_text()
    assert told.startswith("@")
    assert "saltedpassword" not in told
    assert "hunter2" not in told
    assert java.with_suffix(".folder").read_text().startswith("drwx------")
    lines = java.with_suffix(".file").read_text().splitlines()
    assert lines[-4:-2] == ['"--add-scram"', lines[-3]]
    assert lines[-3].startswith('"SCRAM-SHA-256=[name=al\\"i\\\\ce,salt=\\"')
    assert not list(tmp_path.glob("format-*"))


def test_every_jar_that_is_named_has_a_checksum() -> None:
    known = jars.checksums()
    named = {f"{name}-{version}.jar" for _, name, _, version, _ in (each.split(":") for each in jars.COORDINATES)}
    assert named <= known.keys()
    assert {len(digest) for digest in known.values()} == {64}
