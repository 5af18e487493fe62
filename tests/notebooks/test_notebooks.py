from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
Execute = Callable[[str], Any]


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook: Any, kind: str) -> Iterator[Any]:
    """Go through what cells have displayed in a form, such as ``text/html``."""
    for cell in code_cells(notebook):
        for output in cell.outputs:
            if kind in output.get("data", {}):
                yield output.data[kind]


def shown(notebook: Any, source: str) -> str:
    """Return as text what the cell with that in its source displays last."""
    (cell,) = (cell for cell in code_cells(notebook) if source in cell.source)
    text: str = cell.outputs[-1].data["text/plain"]
    return text


def test_there_are_notebooks() -> None:
    assert [path.name for path in NOTEBOOKS][:1] == ["01_explore.ipynb"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_it_is_stored_without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert [cell.id for cell in code_cells(notebook) if cell.outputs or cell.execution_count is not None] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_every_cell_runs(path: Path, executed: Execute) -> None:
    notebook = executed(path.name)
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))


def test_explore_shows_frames_and_a_picture(executed: Execute) -> None:
    notebook = executed("01_explore.ipynb")
    frames = [html for html in outputs(notebook, "text/html") if 'class="dataframe"' in html]
    assert len(frames) >= 10
    assert len(list(outputs(notebook, "image/png"))) == 1


def test_explore_tells_the_truth(executed: Execute) -> None:
    notebook = executed("01_explore.ipynb")
    assert shown(notebook, "isolation_level=") == "(1600, 2000)"
    assert shown(notebook, 'lab.scan("clicks"') == "50000"
    assert "limit" in shown(notebook, "limit=30_000")
    assert "4 partitions, reached>" in shown(notebook, "kl.receipt(orders)")


def test_explore_warns_only_of_the_limit_it_sets(executed: Execute) -> None:
    notebook = executed("01_explore.ipynb")
    warned = [
        output.text
        for cell in code_cells(notebook)
        for output in cell.outputs
        if output.output_type == "stream" and output.name == "stderr" and "Warning" in output.text
    ]
    assert len(warned) == 1
    assert "LimitWarning: the read stopped at limit=30,000" in warned[0]


def test_parallel_shows_what_it_says(executed: Execute) -> None:
    notebook = executed("02_parallel.ipynb")
    assert len(list(outputs(notebook, "image/png"))) == 1
    assert "4 partitions, reached>" in shown(notebook, "kl.receipt(totals)")
    assert "OffsetRange(topic='orders', partition=2" in shown(notebook, "again = error.failed")
    assert "uses 'lab', a Lab, which stays in this one" in printed(notebook, "except kl.ArgumentError")
    assert "orders[2]@0: the function failed on offsets 0 to " in printed(notebook, "except kl.MapError")
    dask_sum, rows = shown(notebook, 'orders["amount"].sum()').strip("()").split(", ")
    assert float(dask_sum.removeprefix("np.float64(").removesuffix(")")) > int(rows) > 0


def printed(notebook: Any, source: str) -> str:
    """Return what the cell with that in its source prints."""
    (cell,) = (cell for cell in code_cells(notebook) if source in cell.source)
    return "".join(output.text for output in cell.outputs if output.get("name") == "stdout")


def test_consumer_group_shows_what_each_setting_changes(executed: Execute) -> None:
    notebook = executed("03_consumer_group.ipynb")
    assert len(list(outputs(notebook, "image/png"))) == 4
    times = dict(line.rsplit(maxsplit=1) for line in shown(notebook, "last / last").splitlines()[:-1])
    assert float(times["10 by key"]) > float(times["10 by partition"]) > 1
    shares = shown(notebook, '" and ".join')
    assert "first" in shares
    assert "second" in shares
    assert " and " not in shares


def test_tail_shows_a_table_and_what_passes_its_filter(executed: Execute) -> None:
    notebook = executed("04_tail.ipynb")
    assert len(list(outputs(notebook, "application/vnd.jupyter.widget-view+json"))) == 1
    assert shown(notebook, "tail.wait_for") == "True"
    assert "amount" in shown(notebook, 'tail.filter("amount > 40')
    assert "no row here has a column 'amuont': did you mean 'amount'?" in printed(notebook, "except kl.ArgumentError")
    assert printed(notebook, "tail.resume()").startswith("<Tail orders following: ")
    assert "customer" in shown(notebook, "rich.tail(3)")


def test_decode_shows_what_became_of_each_record(executed: Execute) -> None:
    notebook = executed("07_decode.ipynb")
    assert "value='avro') gives the same columns" in shown(notebook, "kl.receipt(orders).notes")
    assert 'orders[1]@49: value: no Avro as schema id 1 has it: field "city"' in printed(notebook, "kl.DecodeError")
    assert shown(notebook, "kl.receipt(good).notes") == "('skipped 10 rows that are not in their format',)"
    assert shown(notebook, "len(dear)").startswith("(")
    assert {"unknown", "594"} <= set(shown(notebook, "value_counts").split())
    assert shown(notebook, "kl.load(folder.name)") == "True"


def test_tune_shows_its_panel_and_tells_the_truth(executed: Execute) -> None:
    notebook = executed("05_tune.ipynb")
    assert len(list(outputs(notebook, "application/vnd.jupyter.widget-view+json"))) == 1
    assert len(list(outputs(notebook, "image/png"))) == 1
    assert shown(notebook, 'compare({"workers": 4}, {"workers": 8, "ordering": "key"}').startswith("B is ")
    assert "workers 1 -> 4" in shown(notebook, "session.history[")


def test_sweep_finds_what_is_best(executed: Execute) -> None:
    notebook = executed("06_sweep.ipynb")
    assert shown(notebook, "found.best") == "{'workers': 16, 'ordering': 'key'}"
    assert len(list(outputs(notebook, "image/png"))) == 1
