"""The command as a process of its own, on a real broker."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet
import pytest

import kafkalab as kl
from kafkalab.brokers import ApacheKafka
from tests.apache.truth import SECONDS, Log, Record, new_topic, numbered

COMMAND = [sys.executable, "-W", "error", "-m", "kafkalab"]
COUNT = 20_000


@pytest.fixture(scope="module")
def log(kafka: ApacheKafka) -> Log:
    log = new_topic(kafka.bootstrap_servers, 2)
    for partition in range(2):
        log.write(partition, *numbered(COUNT // 2))
    return log


@pytest.fixture
def environment(kafka: ApacheKafka, tmp_path: Path) -> dict[str, str]:
    """Name the cluster as a profile does."""
    profiles = tmp_path / "profiles.toml"
    profiles.write_text(f'[here]\nbootstrap.servers = "{kafka.bootstrap_servers}"\n')
    return os.environ | {"KAFKALAB_PROFILES": str(profiles), "KAFKALAB_PROFILE": "here"}


def run(environment: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [*COMMAND, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)


def test_what_is_read_is_every_record_once(environment: dict[str, str], log: Log) -> None:
    done = run(environment, "read", log.topic, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    truth = [(row.partition, row.offset, (row.value or b"").decode()) for row in log.visible("read_committed")]
    assert sorted((row["partition"], row["offset"], row["value"]) for row in rows) == truth


@pytest.mark.parametrize("named", ["--profile", "--bootstrap", "--config-file", "-X"])
def test_every_way_to_name_the_cluster(named: str, environment: dict[str, str], kafka: ApacheKafka, log: Log) -> None:
    properties = Path(environment["KAFKALAB_PROFILES"]).with_name("client.properties")
    properties.write_text(f"bootstrap.servers={kafka.bootstrap_servers}\n")
    value = {
        "--profile": "here",
        "--bootstrap": kafka.bootstrap_servers,
        "--config-file": str(properties),
        "-X": f"bootstrap.servers={kafka.bootstrap_servers}",
    }[named]
    environment = {name: text for name, text in environment.items() if name != "KAFKALAB_PROFILE"}
    done = run(environment, "describe", log.topic, "--json", named, value)
    assert [json.loads(line)["high_watermark"] for line in done.stdout.splitlines()] == [COUNT // 2] * 2


@pytest.mark.parametrize("extra", [(), ("--json",)])
def test_a_pipe_that_nobody_reads_any_more_is_no_error(
    extra: tuple[str, ...], environment: dict[str, str], log: Log
) -> None:
    script = '"$@" | head -1; echo "${PIPESTATUS[0]}"'
    command = ["bash", "-c", script, "bash", *COMMAND, "read", log.topic, *extra]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=True)
    first, code = done.stdout.splitlines()
    assert log.topic in first
    assert (code, done.stderr) == ("0", "")


def test_a_tail_shows_what_is_written_until_ctrl_c(environment: dict[str, str], kafka: ApacheKafka) -> None:
    log = new_topic(kafka.bootstrap_servers)
    log.write(0, Record(b"k", b"before"))
    command = [*COMMAND, "tail", log.topic, "--start", "-1"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, text=True, **pipes) as tail:  # type: ignore[call-overload]  # two pipes
        assert tail.stdout.readline().endswith("k  before\n")
        log.write(0, Record(b"k", b"after\x1b[2J"))
        assert tail.stdout.readline().endswith("k  after\\x1b[2J\n")
        tail.send_signal(signal.SIGINT)
        out, err = tail.communicate(timeout=SECONDS)
    assert (tail.returncode, out, err) == (130, "", "")


def test_errors_are_exit_codes(environment: dict[str, str], log: Log) -> None:
    gone = run(environment, "head", "nobody-has-this")
    assert (gone.returncode, gone.stdout, gone.stderr.count("\n")) == (1, "", 1)
    assert "no such topic" in gone.stderr
    wrong = run(environment, "read", log.topic, "--start", "tomorrow")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert run(environment, "raed").returncode == 2
    unreachable = run(environment, "topics", "--bootstrap", "127.0.0.1:1")
    assert (unreachable.returncode, unreachable.stderr.count("\n")) == (1, 1)


def test_files(environment: dict[str, str], log: Log, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run(environment, "export", log.topic, str(out), "--value", "text")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(kl.load(out)) == COUNT
    assert pyarrow.parquet.read_metadata(next(out.glob("*.parquet"))).num_rows == COUNT // 2
    again = run(environment, "export", log.topic, str(out), "--value", "text")
    assert again.returncode == 1
    assert run(environment, "export", log.topic, str(out), "--value", "text", "--resume").returncode == 0


def test_a_key(environment: dict[str, str], log: Log) -> None:
    done = run(environment, "find", log.topic, "k77", "--json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["partition"], row["offset"], row["value"]) for row in rows] == [(p, 77, "value 77") for p in range(2)]
