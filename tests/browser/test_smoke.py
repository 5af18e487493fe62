from collections.abc import Callable

from playwright.sync_api import expect

from tests.browser.jupyter import Jupyter, Notebook

CELLS = [
    """\
import kafkalab as kl
cluster = kl.MemoryCluster({"orders": 1})
cluster.append("orders", b'{"amount": 5}', b'{"amount": 7}')
lab = kl.Lab(cluster, cluster)
lab.read("orders", value="json", columns=["offset", "amount"])""",
    "1 / 0",
]


def test_a_notebook_is_run_and_shows_a_frame(jupyter: Jupyter, open_notebook: Callable[[str], Notebook]) -> None:
    notebook = open_notebook(jupyter.write("smoke.ipynb", CELLS))
    notebook.run_all()
    expect(notebook.output(0).locator("table.dataframe tbody tr")).to_have_count(2)
    assert notebook.output(0).locator("tbody td").all_inner_texts() == ["0", "5", "1", "7"]
    expect(notebook.complaints).to_have_count(1)
    expect(notebook.complaints).to_contain_text("ZeroDivisionError")
    assert notebook.screenshot("smoke").stat().st_size > 0
