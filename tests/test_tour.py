import signal
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pandas as pd
import pytest

import kafkalab as kl
from kafkalab.errors import BrokerStartError
from kafkalab.tour import main


@pytest.mark.timeout(60)  # it does in a row what other tests do one by one
def test_shows_what_it_does_and_leaves_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--broker", "mock", "--out", str(tmp_path / "new")]) == 0
    text = capsys.readouterr().out
    assert ">>> lab.topics()\n" in text
    assert "<Receipt orders: 30,000 rows of 30,000 records, 4 partitions, reached>" in text
    assert "librdkafka's mock cluster, so this tour leaves out" in text
    assert f"files are in {tmp_path / 'new'}\n" in text
    assert max(len(line) for line in text.splitlines() if str(tmp_path) not in line) <= 110
    assert (tmp_path / "new" / "orders.png").read_bytes().startswith(b"\x89PNG")
    assert len(pd.read_parquet(tmp_path / "new" / "orders")) == 30_000


def test_a_broker_that_does_not_start_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def demo(broker: str) -> NoReturn:
        raise BrokerStartError(f"no {broker}: install Java")

    monkeypatch.setattr(kl, "demo", demo)
    assert main(["--broker", "apache"]) == 1
    assert capsys.readouterr().err == "\nThe tour failed: no apache: install Java\n"


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main(["--broker", "mock", "--out", str(tmp_path / "file" / "out")]) == 1
    folder = tmp_path / "file" / "out"
    assert capsys.readouterr().err == f"\nThe tour failed: cannot write {folder}: Not a directory\n"


def test_ctrl_c_ends_it_and_the_broker(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    closed: list[bool] = []

    class Interrupted(kl.Lab):
        def topics(self, *, internal: bool = False) -> NoReturn:  # noqa: ARG002 - Lab's signature
            raise KeyboardInterrupt

    def demo(_: str) -> kl.Lab:
        cluster = kl.MemoryCluster({"orders": 1})
        lab = Interrupted(cluster, cluster)
        lab.on_close(lambda: closed.append(True))
        return lab

    monkeypatch.setattr(kl, "demo", demo)
    assert main([]) == 130
    assert closed == [True]
    assert "Interrupted" in capsys.readouterr().err


@pytest.mark.timeout(60)  # a process of its own imports everything first
def test_ctrl_c_is_an_exit_code_and_no_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-um", "kafkalab.tour", "--broker", "mock", "--out", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert any(line.startswith(">>> lab.topics()") for line in process.stdout)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate()
    assert (process.returncode, error) == (130, "\nInterrupted; the broker is stopped.\n")


def test_a_wrong_broker_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--broker", "nats"])
    assert "invalid choice: 'nats'" in capsys.readouterr().err
