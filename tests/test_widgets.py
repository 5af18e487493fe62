"""What the widgets draw, without a browser: `tests/browser` looks at it in one."""

import itertools
import re
import threading
import time
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any

import ipywidgets
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ipywidgets.embed import dependency_state

import kafkalab as kl
from kafkalab.widgets.rows import message_html, table_html
from kafkalab.widgets.tail_table import TailTable

HOSTILE = [
    "<script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 1'>",
    '"></td><h1>big</h1><td title="\'',
    "\x1b[31mred\x1b[0m",
    "\u202eright to left\u2066",
    "nul\0 and\x07 bell\x9b",
    "=cmd|' /C calc'!A0",
    r"$\bad{$ and \(x\)",
    "&lt;b&gt; &#60;",
    "a\nb\r\nc\td\u2028e\u0085f",
    "half \ud800 a pair",
]


class Reader(HTMLParser):
    """The tags, texts and titles of a piece of HTML, as a browser would take it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.names: set[str] = set()
        self.cells: list[str] = []
        self.titles: list[str | None] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.names |= {name for name, _ in attrs}
        if tag in ("td", "th"):
            self.cells.append("")
            self.titles.append(dict(attrs).get("title"))

    def handle_data(self, data: str) -> None:
        if self.cells:
            self.cells[-1] += data


def column(name: str, values: Any, kind: pa.DataType | None = None) -> Reader:
    return Reader(table_html(pa.table({name: pa.array(values, kind)})))


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_is_text(text: str) -> None:
    plain = text.encode("utf-8", "replace").decode()
    for reader in (
        column("value", [plain]),
        column("value", [plain.encode()]),
        column("value", [{"deep": [plain]}]),
        column(plain, [1]),
        Reader(message_html(text, wrong=True)),
    ):
        assert set(reader.tags) <= {"div", "table", "colgroup", "col", "thead", "tbody", "tr", "th", "td"}
        assert reader.names <= {"class", "style", "title", "role", "colspan"}
        shown = "".join(cell + (title or "") for cell, title in zip(reader.cells, reader.titles, strict=True))
        assert shown.isprintable()
    visible = column("value", [plain]).cells[1]
    if plain.isprintable():
        assert visible == plain
    else:
        assert "\\" in visible


@given(st.text())
def test_any_text_is_text(text: str) -> None:
    reader = Reader(message_html(text, wrong=False))
    assert reader.tags == ["div"]


def test_a_long_value_is_cut_and_whole_on_hover_up_to_a_bound() -> None:
    reader = column("value", ["x" * 1_000, "y" * 5_000_000, "short"])
    assert [len(cell) for cell in reader.cells[1:]] == [5, 160, 160]
    assert reader.titles[1:] == [
        None,
        "y" * 2_000 + "… 5,000,000 in all: tail.df has the rest",
        "x" * 1_000,
    ]
    assert column("raw", [b"z" * 9_999]).titles[1] == "z" * 2_000 + "… 9,999 in all: tail.df has the rest"


def test_the_newest_row_is_on_top_with_its_time_first() -> None:
    rows = pa.table(
        {
            "topic": ["t", "t"],
            "offset": [7, 8],
            "timestamp": pa.array([1_700_000_000_207, None], pa.timestamp("ms", "UTC")),
            "amount": [1.5, float("nan")],
        }
    )
    reader = Reader(table_html(rows, older=3))
    assert reader.cells == [
        *("time (UTC)", "offset", "amount"),
        *("null", "8", "nan"),
        *("22:13:20.207", "7", "1.5"),
        "3 older rows: pause to see them",
    ]
    assert reader.titles[6] == "2023-11-14 22:13:20.207 UTC"
    assert Reader(table_html(rows, all_columns=True)).cells[:4] == ["topic", "offset", "time (UTC)", "amount"]


@pytest.mark.parametrize("stamp", [-(2**62), -1, 0, 2**62])
def test_a_time_that_no_calendar_has_is_shown(stamp: int) -> None:
    (_, cell) = column("timestamp", [stamp], pa.timestamp("ms", "UTC")).cells
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d\d\d", cell)


def test_a_wide_topic_is_cut_with_the_names_of_the_rest() -> None:
    reader = Reader(table_html(pa.table({f"c{n}": [n] for n in range(500)})))
    assert reader.cells[14] == "486 more"
    assert (reader.titles[14] or "").startswith("c14, c15, ")
    assert len(reader.cells) == 15 + 14


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("kafkalab")] == []


@pytest.fixture
def cluster() -> kl.MemoryCluster:
    return kl.MemoryCluster({"orders": 1})


@pytest.fixture
def table(cluster: kl.MemoryCluster) -> Iterator[TailTable]:
    cluster.append("orders", *[b'{"amount": %d}' % amount for amount in range(120)])
    tail = kl.Lab(cluster, cluster).tail("orders", start="earliest")
    assert tail.wait_for(120, timeout=5)
    made = TailTable(tail)
    yield made
    made.close()


class Drawn:
    """Waits for what a table draws."""

    def __init__(self, table: TailTable) -> None:
        self.table = table
        self._changed = threading.Condition()
        for part in parts(table, ipywidgets.HTML):
            part.observe(self._tell, "value")

    def _tell(self, _: object) -> None:
        with self._changed:
            self._changed.notify_all()

    def until(self, holds: Callable[[str], bool]) -> str:
        with self._changed:
            assert self._changed.wait_for(lambda: holds(self.text), 5), self.text
        return self.text

    @property
    def text(self) -> str:
        return "\n".join(part.value for part in parts(self.table, ipywidgets.HTML))


def parts(widget: Any, kind: type) -> Iterator[Any]:
    if isinstance(widget, kind):
        yield widget
    for child in getattr(widget, "children", ()):
        yield from parts(child, kind)


def check_plain(widget: ipywidgets.Widget) -> None:
    """Check that every part, layouts and styles too, is one that each front end for notebooks has."""
    models = dependency_state(widget, drop_defaults=False).values()
    assert {"LayoutModel", "HTMLStyleModel", "ButtonModel"} <= {model["model_name"] for model in models}
    modules = {model["model_module"] for model in models} | {model["state"]["_view_module"] for model in models}
    assert modules <= {"@jupyter-widgets/base", "@jupyter-widgets/controls"}


def test_a_table_is_made_of_plain_widgets(table: TailTable) -> None:
    check_plain(table)


def press(table: TailTable, text: str) -> None:
    (button,) = (each for each in parts(table, ipywidgets.Button) if each.description == text)
    button.click()


def filter_by(table: TailTable, text: str) -> None:
    (field,) = parts(table, ipywidgets.Text)
    field.value = text


def test_a_table_shows_what_comes_and_how_much(table: TailTable, cluster: kl.MemoryCluster) -> None:
    drawn = Drawn(table)
    drawn.until(lambda text: "lag 0 · shown 120 of 120 · dropped 0" in text and text.count("<tr>") == 1 + 100 + 1)
    assert "20 older rows: pause to see them" in drawn.text
    cluster.append("orders", b'{"amount": 777}')
    drawn.until(lambda text: ">777<" in text and "shown 121 of 121" in text)


def test_a_paused_table_stays_and_counts_what_it_misses(table: TailTable, cluster: kl.MemoryCluster) -> None:
    drawn = Drawn(table)
    press(table, "Pause")
    drawn.until(lambda text: "paused, 0 behind" in text and text.count("<tr>") == 1 + 120)
    cluster.append("orders", b'{"amount": 777}', b'{"amount": 778}')
    assert ">777<" not in drawn.until(lambda text: "shown 120 of 120 · dropped 0 · paused, 2 behind" in text)
    press(table, "Resume")
    drawn.until(lambda text: ">778<" in text and "behind" not in text)


def test_a_filter_works_while_it_is_typed_and_says_what_is_wrong(table: TailTable) -> None:
    drawn = Drawn(table)
    filter_by(table, "amount >= 110")
    drawn.until(lambda text: "shown 10 of 120 · dropped 0 · filtered out 110" in text)
    filter_by(table, "amuont >= 110")
    text = drawn.until(lambda text: 'role="alert"' in text)
    assert "no row here has a column &#x27;amuont&#x27;: did you mean &#x27;amount&#x27;?" in text
    assert "shown 10 of 120" in text
    filter_by(table, "amount >")
    drawn.until(lambda text: "this is no condition" in text)
    filter_by(table, " ")
    drawn.until(lambda text: "shown 120 of 120" in text and 'role="alert"' not in text)


def test_a_stopped_table_still_pauses_filters_and_gives_its_rows(
    table: TailTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: dict[str, Any] = {"orders_rows": "taken"}
    shell = SimpleNamespace(user_ns=names)
    monkeypatch.setattr("kafkalab.widgets.tail_table.kernel_shell", lambda: shell)
    drawn = Drawn(table)
    press(table, "Stop")
    drawn.until(lambda text: "shown 120 of 120 · dropped 0 · stopped" in text)
    filter_by(table, "amount == 7")
    press(table, "to DataFrame")
    drawn.until(lambda text: "orders_rows_2 is a DataFrame of these 1 rows" in text)
    assert isinstance(names["orders_rows_2"], pd.DataFrame)
    assert (names["orders_rows_2"]["amount"].tolist(), names["orders_rows"]) == ([7], "taken")


def test_a_topics_name_is_text() -> None:
    cluster = kl.MemoryCluster({"\x1b[31m<b>": 1})
    table = TailTable(kl.Lab(cluster, cluster).tail("\x1b[31m<b>"))
    text = Drawn(table).text
    table.close()
    assert "\\x1b[31m&lt;b&gt;" in text
    assert "\x1b" not in text


def test_closing_a_table_stops_its_tail(table: TailTable) -> None:
    table.close()
    assert not table._tail.running
    assert not table._tail._listeners


def test_what_ends_a_tail_is_shown(cluster: kl.MemoryCluster) -> None:
    def fail(*_: object) -> None:
        message = "<b>the network is gone</b>"
        raise kl.KafkalabError(message, topic="orders", partition=0)

    table = TailTable(kl.Lab(cluster, cluster).tail("orders"))
    drawn = Drawn(table)
    cluster.before_step = fail
    text = drawn.until(lambda text: "failed" in text)
    assert "orders[0]: &lt;b&gt;the network is gone&lt;/b&gt;" in text
    table.close()


def test_what_cannot_be_drawn_does_not_end_the_table(
    table: TailTable, cluster: kl.MemoryCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OverflowError("<year> 10000")

    drawn = Drawn(table)
    with monkeypatch.context() as broken:
        broken.setattr(table._tail, "snapshot", fails)
        cluster.append("orders", b'{"amount": 777}')
        text = drawn.until(lambda text: 'role="alert"' in text and "shown 121 of 121" in text)
        assert "OverflowError: &lt;year&gt; 10000" in text
        broken.setattr(table._tail, "filter", fails)
        filter_by(table, "amount > 1e999")
        drawn.until(lambda text: "could not be shown" in text)
    filter_by(table, "amount > 700")
    drawn.until(lambda text: "shown 1 of 121" in text and 'role="alert"' not in text)
    cluster.append("orders", b'{"amount": 778}')
    drawn.until(lambda text: ">778<" in text)


@pytest.mark.parametrize("typed", ["amount > 99999999999999999999", "amount > -99999999999999999999 or amount > 1e999"])
def test_any_number_can_be_typed(table: TailTable, typed: str) -> None:
    drawn = Drawn(table)
    filter_by(table, typed)
    drawn.until(lambda text: 'role="alert"' in text or "shown 0 of 120" in text)
    filter_by(table, "amount >= 110")
    drawn.until(lambda text: "shown 10 of 120" in text)


def test_it_is_drawn_at_most_four_times_a_second(table: TailTable, cluster: kl.MemoryCluster) -> None:
    drawn: list[float] = []
    table._rows.observe(lambda _: drawn.append(time.monotonic()), "value")
    while len(drawn) < 4:
        cluster.append("orders", b'{"amount": 1}')
        table._tail.wait_for(table._tail.seen + 1, timeout=0.01)
    assert all(later - earlier >= 0.2 for earlier, later in itertools.pairwise(drawn))
