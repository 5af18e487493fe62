"""The live table of a tail, as a person sees and uses it."""

import re
from collections.abc import Callable
from typing import TypeAlias

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.jupyter import Jupyter, Notebook

pytestmark = pytest.mark.timeout(300)

Open: TypeAlias = Callable[[str], Notebook]

SEEN = re.compile(r"shown ([\d,]+) of ([\d,]+)")
HOSTILE = """\
import threading
import kafkalab as kl
texts = [
    "<script>window.hacked = 1</script>", "<img src=x onerror='window.hacked = 1'>",
    "\\"></td></tr></table><h1>big</h1>", r"$\\bad{$ and \\(x^2\\)", "\\x1b[31mred", "\\u202eright to left",
    "nul\\0", "=1+1", "&lt;b&gt;", "y" * 1_000_000,
]
cluster = kl.MemoryCluster({"orders": 1})
cluster.append("orders", *(kl.MemoryRecord(text.encode(), key=text.encode()) for text in texts))
lab = kl.Lab(cluster, cluster)
tail = lab.tail("orders", start="earliest", value="text", key="text")
tail"""
THREADS = """\
sorted(t.name for t in threading.enumerate() if t.name.startswith("kafkalab"))"""


def table(notebook: Notebook) -> Locator:
    return notebook.page.locator(".kafkalab-rows")


def status(notebook: Notebook) -> Locator:
    return notebook.page.locator(".kafkalab-status")


def press(notebook: Notebook, name: str) -> None:
    notebook.page.get_by_role("button", name=name, exact=True).click()


def seen(notebook: Notebook) -> int:
    found = SEEN.search(status(notebook).inner_text())
    assert found is not None
    return int(found[2].replace(",", ""))


def fits(notebook: Notebook) -> bool:
    """Whether the table is as wide as it may be; asked in one go, since a live one is drawn anew all the time."""
    script = """() => {
        const part = document.querySelector(".kafkalab-rows"), place = part.getBoundingClientRect();
        return part.scrollWidth <= part.clientWidth && place.left >= 0 && place.right <= window.innerWidth;
    }"""
    return bool(notebook.page.evaluate(script))


def test_a_topic_is_watched_paused_filtered_and_left(open_notebook: Open) -> None:
    notebook = open_notebook("04_tail.ipynb")
    for number in (2, 4):
        notebook.run(number)
    rows, field = table(notebook).locator("tbody tr"), notebook.page.get_by_role("textbox", name="Filter")
    expect(status(notebook)).to_contain_text(re.compile(r"[1-9]\d* records/s · lag \d+ · shown 1,000 of"))
    expect(rows).to_have_count(101)
    first = seen(notebook)
    expect(status(notebook)).not_to_contain_text(f"of {first:,} ")
    assert seen(notebook) > first
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d\d\d", rows.first.locator("td").first.inner_text())
    assert fits(notebook)
    notebook.screenshot("tail-running", notebook.cells.nth(4))

    press(notebook, "Pause")
    expect(status(notebook)).to_contain_text(re.compile(r"paused, [1-9][\d,]* behind"))
    expect(rows).to_have_count(1000)
    top = rows.first.inner_text()
    field.fill("amuont > 40")
    expect(notebook.page.get_by_role("alert")).to_have_text("no row here has a column 'amuont': did you mean 'amount'?")
    assert rows.first.inner_text() == top
    field.fill("amount > 40 and country == 'DE'")
    expect(notebook.page.get_by_role("alert")).to_have_count(0)
    expect(status(notebook)).to_contain_text("filtered out")
    country = table(notebook).locator("th").all_inner_texts().index("country") + 1
    assert set(rows.locator(f"td:nth-child({country})").all_inner_texts()) == {"DE"}
    press(notebook, "Resume")
    expect(status(notebook)).not_to_contain_text("paused")
    press(notebook, "to DataFrame")
    expect(notebook.page.locator(".kafkalab-note")).to_contain_text("orders_rows is a DataFrame of these ")
    notebook.theme("JupyterLab Dark")
    notebook.screenshot("tail-filtered-dark", notebook.cells.nth(4))

    press(notebook, "Stop")
    expect(status(notebook)).to_contain_text("stopped")
    expect(notebook.complaints).to_have_count(0)


@pytest.fixture
def hostile(jupyter: Jupyter, open_notebook: Open) -> Notebook:
    notebook = open_notebook(jupyter.write("hostile.ipynb", [HOSTILE, THREADS, "tail.close()", "lab.close()"]))
    notebook.run(0)
    return notebook


def test_hostile_text_is_seen_as_text(hostile: Notebook) -> None:
    rows = table(hostile).locator("tbody tr")
    expect(rows).to_have_count(10)
    texts = rows.locator("td:nth-child(5)").all_inner_texts()
    assert texts[0] == "y" * 159 + "…"
    assert texts[1:] == [
        "&lt;b&gt;",
        "=1+1",
        r"nul\x00",
        r"\u202eright to left",
        r"\x1b[31mred",
        r"$\bad{$ and \(x^2\)",
        '"></td></tr></table><h1>big</h1>',
        "<img src=x onerror='window.hacked = 1'>",
        "<script>window.hacked = 1</script>",
    ]
    assert table(hostile).locator("script, img, h1, mjx-container").count() == 0
    assert hostile.page.evaluate("window.hacked") is None
    assert fits(hostile)
    hostile.screenshot("tail-hostile", table(hostile))


def test_a_cell_that_is_run_again_or_closed_leaves_nothing_behind(hostile: Notebook) -> None:
    for _ in range(2):
        hostile.run(0)
        expect(table(hostile)).to_have_count(1)
        hostile.run(1)
        expect(hostile.output(1)).to_contain_text("['kafkalab-")
        assert hostile.output(1).inner_text().count("'kafkalab-tail'") == 1
    hostile.run(2)
    expect(table(hostile)).to_have_count(0)
    hostile.run(1)
    expect(hostile.output(1)).to_contain_text("[]")
