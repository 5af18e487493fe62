import json
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

import kafkalab as kl
from kafkalab.brokers import MockBroker
from kafkalab.cli import commands
from kafkalab.cli.arguments import parser
from kafkalab.cli.main import main
from kafkalab.cli.show import plain_line
from kafkalab.fetch.memory import MemoryCluster, MemoryRecord
from kafkalab.text import safe
from tests.oracle import HOSTILE, NEW_YEAR_MS, TOPIC

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> MemoryCluster:
    """Give a cluster to which every command connects."""
    cluster = MemoryCluster({TOPIC: 2, "__internal": 1})
    for number in range(6):
        record = MemoryRecord(b'{"n": %d}' % number, b"u%d" % (number % 2), NEW_YEAR_MS + number)
        cluster.append(TOPIC, record, partition=number % 2)
    monkeypatch.setattr(kl, "connect", lambda *_, **__: kl.Lab(cluster, cluster))
    return cluster


def run(capsys: Capture, *arguments: str) -> tuple[int, str, str]:
    code = main(arguments)
    out, err = capsys.readouterr()
    return code, out, err


def lines(capsys: Capture, *arguments: str) -> list[Any]:
    """Run a command with --json, and return its rows."""
    code, out, err = run(capsys, *arguments, "--json")
    assert (code, err) == (0, "")
    return [json.loads(line) for line in out.splitlines()]


@pytest.mark.usefixtures("cluster")
class TestCommands:
    def test_topics(self, capsys: Capture) -> None:
        assert [row["topic"] for row in lines(capsys, "topics")] == ["__internal", TOPIC]
        code, out, _ = run(capsys, "topics")
        assert code == 0
        assert out.splitlines()[0].split("\t") == ["topic", "partitions", "replicas", "is_internal", "topic_id"]
        assert out.splitlines()[2].split("\t")[:2] == [TOPIC, "2"]

    def test_describe(self, capsys: Capture) -> None:
        rows = lines(capsys, "describe", TOPIC, "--group", "g")
        assert [(row["partition"], row["span"], row["committed_offset"]) for row in rows] == [
            (0, 3, None),
            (1, 3, None),
        ]

    def test_head_and_last(self, capsys: Capture) -> None:
        assert [row["n"] for row in lines(capsys, "head", TOPIC, "-n", "2")] == [0, 1]
        assert [row["n"] for row in lines(capsys, "last", TOPIC, "-n", "2")] == [4, 5]
        assert lines(capsys, "head", TOPIC, "-n", "1", "--value", "bytes", "--columns", "value") == [
            {"value": '{"n": 0}'}
        ]

    def test_sample(self, capsys: Capture) -> None:
        assert len(lines(capsys, "sample", TOPIC, "-n", "4", "--seed", "1")) == 4

    def test_read_is_one_record_a_line(self, capsys: Capture) -> None:
        code, out, _ = run(capsys, "read", TOPIC, "--partitions", "1")
        assert code == 0
        assert out.splitlines()[0] == 'orders[1]@0  2026-01-01 00:00:00.001000+00:00  u1  {"n": 1}'
        assert len(out.splitlines()) == 3
        rows = lines(capsys, "read", TOPIC, "--value", "json", "--start", "1", "--end", "-1")
        assert [(row["partition"], row["offset"], row["n"]) for row in rows] == [(0, 1, 2), (1, 1, 3)]
        assert len(lines(capsys, "read", TOPIC, "--limit", "4")) == 4

    @pytest.mark.parametrize("start", [["--start", "-1"], ["--start=-1"]])
    def test_a_place_may_begin_with_a_minus(self, start: list[str], capsys: Capture) -> None:
        assert [row["offset"] for row in lines(capsys, "read", TOPIC, *start)] == [2, 2]

    def test_a_time_ago(self, capsys: Capture) -> None:
        assert lines(capsys, "read", TOPIC, "--start", "-15m") == []

    def test_a_groups_place(self, cluster: MemoryCluster, capsys: Capture) -> None:
        cluster.commit("g", TOPIC, {0: 1, 1: 3})
        assert len(lines(capsys, "read", TOPIC, "--start", "committed:g")) == 2

    def test_tail_follows(self, cluster: MemoryCluster, capsys: Capture) -> None:
        later = [b"later", b"and later"]
        cluster.before_step = lambda *_: cluster.append(TOPIC, later.pop()) if later else None
        rows = lines(capsys, "tail", TOPIC, "--partitions", "0", "--start", "-1", "--limit", "3")
        assert [row["value"] for row in rows] == ['{"n": 4}', "and later", "later"]

    def test_find(self, capsys: Capture) -> None:
        assert [row["n"] for row in lines(capsys, "find", TOPIC, "u1", "--partitioner", "none")] == [1, 3, 5]

    def test_find_an_integer_key(self, cluster: MemoryCluster, capsys: Capture) -> None:
        cluster.append(TOPIC, MemoryRecord(b"v", b"\0\0\0\7"))
        rows = lines(capsys, "find", TOPIC, "7", "--key-format", "int32", "--partitioner", "none")
        assert [row["value"] for row in rows] == ["v"]
        code, _, err = run(capsys, "find", TOPIC, "u7", "--key-format", "int32")
        assert (code, err) == (2, "kafkalab: the key 'u7' is no whole number, so it is not stored as int32\n")

    def test_export(self, tmp_path: Path, capsys: Capture) -> None:
        rows = lines(capsys, "export", TOPIC, str(tmp_path), "--value", "json", "--format", "csv")
        assert [row["rows"] for row in rows] == [3, 3]
        assert sorted(kl.load(tmp_path)["n"]) == list(range(6))
        code, _, err = run(capsys, "export", TOPIC, str(tmp_path), "--value", "json", "--format", "csv")
        assert code == 1
        assert err.startswith(f"kafkalab: orders[0]: {tmp_path}/part-orders+0+0-3.csv already has offsets")
        code, out, err = run(capsys, "export", TOPIC, str(tmp_path), "--value", "json", "--format", "csv", "--resume")
        assert (code, out, err) == (0, "", f"No file was written: {tmp_path} has all of it.\n")

    def test_an_export_of_no_records_says_so(self, tmp_path: Path, capsys: Capture) -> None:
        code, out, err = run(capsys, "export", TOPIC, str(tmp_path), "--start", "latest")
        assert (code, out, err) == (0, "", "No file was written: there are no records in that range.\n")

    def test_an_empty_answer_is_no_error(self, capsys: Capture) -> None:
        assert run(capsys, "head", TOPIC, "-n", "0") == (0, "", "")


class TestHowItEnds:
    @pytest.mark.parametrize(
        ("arguments", "code", "says"),
        [
            (("head", "ordres"), 1, "kafkalab: ordres: "),
            (("read", TOPIC, "--start", "99"), 2, "kafkalab: orders[0]@99: "),
            (("read", TOPIC, "--value", "jsn"), 2, "kafkalab: 'jsn' is no format"),
            (("read", TOPIC, "--columns", "x"), 2, "kafkalab: there is no column 'x'"),
        ],
        ids=str,
    )
    @pytest.mark.usefixtures("cluster")
    def test_an_error_is_one_line(self, arguments: tuple[str, ...], code: int, says: str, capsys: Capture) -> None:
        found, out, err = run(capsys, *arguments)
        assert (found, out) == (code, "")
        assert err.startswith(says)
        assert err.count("\n") == 1

    @pytest.mark.usefixtures("cluster")
    def test_debug_shows_where_it_came_from(self, capsys: Capture) -> None:
        code, _, err = run(capsys, "head", "ordres", "--debug")
        assert code == 1
        assert "Traceback" in err
        assert err.splitlines()[-1].startswith("kafkalab: ordres: ")

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            ((), "required: COMMAND"),
            (("red",), "invalid choice: 'red'"),
            (("head",), "required: TOPIC"),
            (("head", "t", "-n", "x"), "invalid int value"),
            (("topics", "-X", "hunter2"), "-X takes NAME=VALUE\n"),
            (("read", "t", "--partitions", "a"), "'a' are no numbers of partitions"),
        ],
        ids=str,
    )
    def test_a_mistake_is_a_usage_error(self, arguments: tuple[str, ...], says: str, capsys: Capture) -> None:
        with pytest.raises(SystemExit, match="2"):
            main(arguments)
        err = capsys.readouterr().err
        assert says in err
        assert "hunter2" not in err

    def test_no_cluster_is_a_usage_error(self, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("BOOTSTRAP_SERVERS", "CONFIG_FILE", "PROFILE"):
            monkeypatch.delenv(f"KAFKALAB_{name}", raising=False)
        code, _, err = run(capsys, "topics")
        assert code == 2
        assert err.startswith("kafkalab: no cluster is named.")

    def test_an_interrupt_is_an_exit_code(self, cluster: MemoryCluster, capsys: Capture) -> None:
        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        cluster.before_step = interrupt
        assert run(capsys, "read", TOPIC) == (130, "", "")

    @pytest.mark.usefixtures("cluster")
    def test_a_warning_is_one_line(self, capsys: Capture) -> None:
        code, _, err = run(capsys, "find", TOPIC, "u9", "--partitioner", "murmur2")
        assert code == 0
        assert err.startswith("kafkalab: warning: no record of the range has the key 'u9': read partition")
        assert err.count("\n") == 1


class TestAPartOfTheRange:
    @pytest.mark.parametrize(
        "command", [("read", TOPIC), ("head", TOPIC), ("last", TOPIC), ("find", TOPIC, "u1", "--partitioner", "none")]
    )
    @pytest.mark.usefixtures("cluster")
    def test_a_read_that_its_time_ends_says_so(self, command: tuple[str, ...], capsys: Capture) -> None:
        code, _, err = run(capsys, *command, "--timeout", "0")
        assert code == 3
        assert err.startswith("kafkalab: warning: the read stopped at its timeout")
        assert "orders[0] at offset 0 of 3" in err
        assert err.count("\n") == 1

    def test_an_open_transaction_before_the_end_says_so(self, cluster: MemoryCluster, capsys: Capture) -> None:
        cluster.append(TOPIC, b"undecided", producer_id=1)
        code, out, err = run(capsys, "read", TOPIC, "--end", "4", "--partitions", "0", "--json")
        assert (code, len(out.splitlines())) == (3, 3)
        assert err == (
            "kafkalab: warning: an open transaction hides the rest of the range: orders[0] at offset 3 of 4\n"
        )

    @pytest.mark.usefixtures("cluster")
    def test_a_limit_that_was_asked_for_does_not(self, capsys: Capture) -> None:
        assert run(capsys, "read", TOPIC, "--limit", "1")[::2] == (0, "")
        assert run(capsys, "tail", TOPIC, "--start", "earliest", "--timeout", "0.1")[::2] == (0, "")

    @pytest.mark.usefixtures("cluster")
    def test_an_export_that_its_time_ends_is_an_error(self, capsys: Capture, tmp_path: Path) -> None:
        code, out, err = run(capsys, "export", TOPIC, str(tmp_path), "--value", "text", "--timeout", "0")
        assert (code, out) == (1, "")
        assert "the export is not finished" in err


class TestWhereItPrintsTo:
    @pytest.mark.parametrize("command", [("topics",), ("read", TOPIC), ("head", TOPIC), ("describe", TOPIC, "--json")])
    @pytest.mark.usefixtures("cluster")
    def test_a_place_that_takes_nothing_is_an_error_in_one_line(
        self, command: tuple[str, ...], capsys: Capture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with open("/dev/full", "w", encoding="utf-8") as full:  # noqa: PTH123 - a device
            monkeypatch.setattr(sys, "stdout", full)
            assert main(command) == 1
        assert capsys.readouterr().err == "kafkalab: standard output cannot be written: No space left on device\n"
        monkeypatch.setattr(sys, "stdout", None)
        assert main(command) == 1
        assert capsys.readouterr().err == "kafkalab: standard output is closed: there is nowhere to print to\n"

    @pytest.mark.timeout(60)
    @pytest.mark.parametrize("redirection", [">/dev/full", ">&-"])
    def test_and_python_has_nothing_to_add_at_its_end(self, redirection: str) -> None:
        with MockBroker({TOPIC: 1}) as broker:
            named = ["topics", "--bootstrap", broker.bootstrap_servers]
            script = ["bash", "-c", f'"$@" {redirection}', "bash", sys.executable, "-m", "kafkalab", *named]
            done = subprocess.run(script, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)

    @pytest.mark.timeout(60)
    def test_a_closed_standard_error_takes_nothing(self) -> None:
        script = ["bash", "-c", '"$@" 2>&-', "bash", sys.executable, "-m", "kafkalab", "read", "x", "-b", "127.0.0.1:1"]
        done = subprocess.run(script, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


class TestHostileText:
    @pytest.fixture
    def hostile(self, cluster: MemoryCluster) -> MemoryCluster:
        for text in (*HOSTILE, "[red]markup[/red] :smile:", "\x9b31m", "\u2028", "\x7f"):
            value = json.dumps({text: text}).encode()
            cluster.append(TOPIC, MemoryRecord(value, text.encode(), headers=[(text, text.encode())]))
            cluster.append(TOPIC, MemoryRecord(text.encode(), text.encode()))
        cluster.append(TOPIC, MemoryRecord(b"\xff\x1b[2J", b"\x1b]0;title\x07"))
        return cluster

    @pytest.mark.parametrize(
        "arguments",
        [
            ("head", TOPIC, "-n", "99"),
            ("read", TOPIC),
            ("read", TOPIC, "--value", "json", "--errors", "column", "--headers"),
            ("sample", TOPIC, "-n", "99", "--value", "bytes"),
            ("find", TOPIC, "\x1b[31mred\x1b[0m", "--partitioner", "none"),
            ("read", TOPIC, "--value", "json", "--columns", "\x1b[2J"),
            ("read", TOPIC, "--start", "\x1b[2J"),
            ("head", "\x1b[2J"),
        ],
        ids=repr,
    )
    @pytest.mark.parametrize("json_lines", [True, False])
    @pytest.mark.parametrize("terminal", [True, False])
    @pytest.mark.usefixtures("hostile")
    def test_never_reaches_the_terminal_as_it_is(
        self,
        arguments: tuple[str, ...],
        json_lines: bool,  # noqa: FBT001 - pytest gives it
        terminal: bool,  # noqa: FBT001 - pytest gives it
        capsys: Capture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
        monkeypatch.setenv("NO_COLOR", "1")
        monkeypatch.setenv("TERM", "dumb")
        _, out, err = run(capsys, *arguments, *(("--json",) if json_lines else ()))
        assert out or err
        allowed = "\n\t" if not terminal else "\n"
        assert [c for c in out + err if not c.isprintable() and c not in allowed and c != "\u200d"] == []

    def test_markup_is_text(self, cluster: MemoryCluster, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
        cluster.append(TOPIC, MemoryRecord(b"[red]x[/red] :smile:", b"[bold]"))
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        monkeypatch.setenv("COLUMNS", "200")
        _, out, _ = run(capsys, "head", TOPIC, "--value", "text", "--columns", "key,value", "-n", "99")
        assert "[red]x[/red] :smile:" in out
        assert "[bold]" in out

    @pytest.mark.parametrize("text", HOSTILE)
    def test_a_cell_stays_a_cell(self, text: str) -> None:
        assert not set(safe(text)) & set("\n\r\t\x1b\x00")
        row = {"topic": TOPIC, "partition": 0, "offset": 1, "key": text, "value": None}
        assert "\n" not in plain_line(row)
        assert not set(plain_line({**row, "topic": text})) & set("\n\r\t\x1b\x00")


class TestConnecting:
    def test_options_are_those_of_connect(self, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
        given: list[Any] = []

        def connect(*arguments: Any, **options: Any) -> kl.Lab:
            given.extend((arguments, options))
            cluster = MemoryCluster({})
            return kl.Lab(cluster, cluster)

        monkeypatch.setattr(kl, "connect", connect)
        named = ["--bootstrap", "b:9092", "--config-file", "c", "--profile", "p", "--engine", "librdkafka"]
        assert run(capsys, "topics", *named, "-X", "client.id=a=b", "-X", "debug=broker") == (0, "", "")
        assert given[0] == ("b:9092",)
        config = {"client.id": "a=b", "debug": "broker"}
        assert given[1] == {"config": config, "config_file": "c", "profile": "p", "engine": "librdkafka"}

    def test_a_broker(self, capsys: Capture) -> None:
        with MockBroker({TOPIC: 2}) as broker:
            rows = lines(capsys, "topics", "--bootstrap", broker.bootstrap_servers)
        assert [(row["topic"], row["partitions"]) for row in rows] == [(TOPIC, 2)]


class TestLab:
    def test_jupyterlab_is_told_where_the_cluster_is(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        started: list[Any] = []

        class Process:
            returncode = 0

            def __init__(self, command: list[str], env: dict[str, str]) -> None:
                started.extend((command, env))

            def __enter__(self) -> Self:
                return self

            def __exit__(self, *_: object) -> None: ...

            def poll(self) -> int:
                return 0

        monkeypatch.setattr(subprocess, "Popen", Process)
        assert main(["lab", str(tmp_path), "-b", "b:9092", "-X", "client.id=x"]) == 0
        assert started[0][:5] == [sys.executable, "-m", "jupyterlab", "--notebook-dir", str(tmp_path)]
        found = {name: value for name, value in started[1].items() if name.startswith("KAFKALAB_")}
        assert found["KAFKALAB_BOOTSTRAP_SERVERS"] == "b:9092"
        assert found["KAFKALAB_CLIENT_ID"] == "x"

    def test_without_jupyterlab_it_says_how_to_have_it(self, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
        monkeypatch.setattr(commands, "find_spec", lambda _: None)
        code, _, err = run(capsys, "lab")
        assert (code, err) == (1, "kafkalab: JupyterLab is not installed: pip install 'kafkalab[lab]'\n")


@pytest.fixture
def demo() -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "kafkalab", "demo", "--broker", "mock"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


@pytest.mark.timeout(60)  # a process of its own imports everything first
def test_a_demo_runs_until_ctrl_c(demo: "subprocess.Popen[str]", capsys: Capture) -> None:
    assert demo.stdout is not None
    address = demo.stdout.readline().strip()
    assert TOPIC in [row["topic"] for row in lines(capsys, "topics", "-b", address)]
    demo.send_signal(signal.SIGINT)
    _, err = demo.communicate()
    assert demo.returncode == 130
    assert "Traceback" not in err


def test_every_command_has_help_with_an_example(capsys: Capture) -> None:
    names = ["topics", "describe", "head", "last", "sample", "tail", "read", "find", "export", "lab"]
    for name in names:
        with pytest.raises(SystemExit, match="0"):
            main([name, "--help"])
        assert f"example: kafkalab {name}" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    out = capsys.readouterr().out
    assert "examples:" in out
    for line in out.partition("examples:\n")[2].splitlines():
        if line.startswith("  kafkalab"):
            parser().parse_args(
                [word.replace("-15m", "earliest").replace("-1h", "0") for word in line.split("|")[0].split()[1:]]
            )


def test_the_command_is_installed_under_its_name() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"kafkalab": "kafkalab.cli.main:main"}


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ({"key": None, "value": 5, "_error": "key: no", "_raw": None, "_raw_key": b"k2"}, "orders  k2  5"),
        ({"key": None, "value": None, "_error": "key: no; value: no", "_raw": b"{", "_raw_key": b"k"}, "orders  k  {"),
        ({"key": "k", "value": None, "_error": "value: no", "_raw": b"{", "_raw_key": None}, "orders  k  {"),
    ],
    ids=str,
)
def test_bytes_stand_for_what_is_not_in_its_format(row: dict[str, Any], line: str) -> None:
    assert plain_line({"topic": "orders", **row}) == line


@pytest.mark.parametrize("as_lines", [False, True])
def test_a_record_of_any_time_is_printed(cluster: MemoryCluster, capsys: Capture, *, as_lines: bool) -> None:
    cluster.append(TOPIC, MemoryRecord(b"{}", b"far", 1_705_000_000_000_000))
    code, out, err = run(capsys, "read", TOPIC, *(["--json"] if as_lines else []))
    assert (code, err) == (0, "")
    assert "+55999-04-20T07:06:40+00:00" in out
    assert len(out.splitlines()) == 7
