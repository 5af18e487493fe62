"""The tuning panel without a notebook: what its parts show and do, on a real session whose counters are made here."""

from __future__ import annotations

import html
import math
import threading
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.events import EventManager, available_events

import kafkalab as kl
from kafkalab.cells import kernel_shell, when_run_again
from kafkalab.plot.live import Live
from kafkalab.settings.table import KNOBS
from kafkalab.tuning.compare import Comparison, order
from kafkalab.tuning.measure import Bench
from kafkalab.tuning.measurement import Setup
from kafkalab.tuning.meter import Counts, PartitionCounts, Sample
from kafkalab.tuning.recent import Mark, recent
from kafkalab.widgets import words
from kafkalab.widgets.knobs import _COLUMNS as DIALS
from kafkalab.widgets.panel import Panel
from kafkalab.widgets.pulse import Pulse
from tests.test_widgets import check_plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kafkalab.widgets.ladder import Dial

WAIT_S = 5.0
HOSTILE = '<img src=x onerror="alert(1)"> $\\bad{$ \x1b[31m'
SETTINGS = [dial for dials in DIALS.values() for dial in dials if dial.name in KNOBS]


def new_session(topic: str = "orders", process: str = "enrich", workers: int = 4) -> kl.TuningSession:
    cluster = kl.MemoryCluster({"orders": 4})
    setup = Setup(
        topic=topic, partitions=4, settings=kl.ConsumerSettings(), workers=workers, process=process, replay=False
    )
    return kl.TuningSession(Bench(cluster, setup, {0: 0}, kl.simulate()))


@pytest.fixture
def panel() -> Iterator[Panel]:
    made = Panel(new_session())
    yield made
    made.close()


def fed(session: kl.TuningSession, seconds: float, rate: float = 1000.0, **counted: Any) -> None:
    """Have a session see a consumer for so long, as its process would tell."""
    session._begin("start", restarted=True)
    began = session._phases[-1].began
    for number in range(int(seconds * 2) + 1):
        at = began + number / 2
        parts = {0: PartitionCounts(0, 90_000, 0, 10**6)}
        counts = Counts(at=at, first_at=began, handled=int(rate * number / 2), partitions=parts, **counted)
        session._note(counts)


def everything_said(panel: Panel) -> str:
    texts = (panel.header, panel.message, panel.verdict, panel.history, panel.copied)
    return "".join(each.value for each in texts)


def test_a_panel_is_made_of_plain_widgets(panel: Panel) -> None:
    check_plain(panel.widget)


class TestDials:
    @pytest.mark.parametrize("dial", SETTINGS, ids=lambda dial: dial.name)
    def test_have_the_settings_own_bounds_and_names(self, dial: Dial) -> None:
        knob = KNOBS[dial.name]
        assert (dial.stops[0], dial.stops[-1]) == (knob.minimum, knob.maximum)
        assert list(dial.stops) == sorted(set(dial.stops))
        assert knob.librdkafka.name in dial.tooltip
        assert dial.nearest(int(knob.default)) in dial.stops

    @given(st.sampled_from(SETTINGS), st.data())
    def test_read_what_they_show(self, dial: Dial, data: st.DataObject) -> None:
        value = data.draw(st.integers(dial.minimum, dial.maximum))
        assert dial.read(dial.shown(value)) == value


class TestHands:
    def test_a_slider_sets_what_it_says(self, panel: Panel) -> None:
        row = panel.knobs.rows["fetch_min_bytes"]
        assert (row.slider.label, row.field.value) == ("1 B", "1 B")
        row.slider.value = 131_072
        panel.refresh()
        assert panel._session.settings.fetch_min_bytes == 131_072
        assert row.field.value == "128 KiB"
        assert not row.slider.continuous_update  # a drag is one change

    def test_what_is_typed_counts_exactly(self, panel: Panel) -> None:
        row = panel.knobs.rows["fetch_max_wait_ms"]
        row.field.value = "1.234 s"
        panel.refresh()
        assert panel._session.settings.fetch_max_wait_ms == 1234
        assert (row.slider.value, row.field.value) == (1000, "1,234 ms")

    def test_what_is_no_number_changes_nothing(self, panel: Panel) -> None:
        row = panel.knobs.rows["fetch_max_wait_ms"]
        row.field.value = "soon"
        panel.refresh()
        assert "&#x27;soon&#x27; is no number of" in panel.message.value
        assert panel._session.settings == kl.ConsumerSettings()
        assert row.field.value == "500 ms"

    def test_what_others_forbid_becomes_the_nearest_with_the_reason(self, panel: Panel) -> None:
        row = panel.knobs.rows["max_partition_fetch_bytes"]
        row.slider.value = 1 << 29
        panel.refresh()
        assert panel._session.settings.max_partition_fetch_bytes == 50 << 20
        assert row.field.value == "50 MiB"
        assert "fetch_max_bytes is 50 MiB" in panel.message.value

    def test_choices_presets_and_reset(self, panel: Panel) -> None:
        session = panel._session
        panel.knobs.choices["ordering"].value = "key"
        panel.knobs.rows["workers"].slider.value = 10
        panel.presets.value = "latency"
        panel.refresh()
        assert session.settings == kl.ConsumerSettings.preset("latency")
        assert (session.setup.ordering, session.setup.workers) == ("key", 10)
        panel.knobs.rows["fetch_queue_backoff_ms"].slider.value = 20
        panel.refresh()
        assert panel.presets.value == "custom"
        panel.presets.value = "latency"
        panel.presets.value = "custom"
        panel.refresh()
        assert panel.presets.value == "latency"
        panel.buttons["Reset"].click()
        panel.refresh()
        assert (session.setup, panel.presets.value) == (new_session().setup, "default")

    def test_follows_what_a_cell_sets(self, panel: Panel) -> None:
        panel._session.set(workers=7, queued_min_messages=5)
        panel.refresh()
        assert [panel.knobs.rows[name].field.value for name in ("workers", "queued_min_messages")] == ["7", "5"]

    def test_advice_is_applied_at_a_click(self, panel: Panel) -> None:
        fed(panel._session, 8, busy_s=0.0)
        panel.refresh()
        advice = panel._session.advice
        assert advice is not None
        assert advice.change is not None
        assert panel.apply.layout.display is None
        assert html.escape(str(advice.change)) in panel.verdict.value
        panel.apply.click()
        assert advice.change.after in (getattr(panel._session.setup, advice.change.name, None), "key", "process")

    def test_ab_needs_two_settings(self, panel: Panel) -> None:
        panel.buttons["A|B"].click()
        panel.refresh()
        assert "change something first" in panel.message.value

    def test_copies_settings_in_each_clients_names(self, panel: Panel) -> None:
        panel._session.set(fetch_min_bytes=5)
        names = {"librdkafka": "fetch.min.bytes", "Java": "fetch.min.bytes=5", "sarama": "Consumer.Fetch.Min = 5"}
        for button in panel.footer.children[1:4]:
            button.click()
            assert names[button.description] in panel.copied.value
        panel.footer.children[3].click()
        assert panel.copied.value == ""

    def test_exports_the_history(self, panel: Panel, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        fed(panel._session, 8)
        panel.footer.children[-1].click()
        panel.refresh()
        (path,) = tmp_path.iterdir()
        assert "records_rate" in path.read_text()
        assert path.name in panel.message.value


class TestWords:
    def test_numbers_come_once_they_mean_something(self) -> None:
        session = new_session()
        fed(session, 1)
        assert (session.state, words.state(session)) == ("warming up", "warming up (1 s)")
        assert "not yet" in words.history(session.history)
        assert session.advice is None
        assert "records/s" not in repr(session)
        fed(session, 8)
        assert words.state(session) == "running"
        row = words.history(session.history).rsplit("<tr>", 1)[1]
        assert "1 k (1 k-1 k)" in row
        assert "1 k (1 k-1 k) records/s" in repr(session)

    def test_every_state_is_seen(self, panel: Panel) -> None:
        for state in ("connecting", "running", "comparing", "caught up", "stopping", "idle"):
            panel._session._turn_to(state)
            panel.refresh()
            assert f">{state}</b>" in panel.header.value
            asks = state == "caught up"
            assert [each.layout.display is None for each in (panel.replay, panel.wait)] == [asks, asks]
            assert ("no more records" in panel.verdict.value) is asks
            assert ("take turns" in panel.verdict.value) is (state == "comparing")
        panel._session._turn_to("caught up")
        panel.wait.click()
        panel.refresh()
        assert panel.replay.layout.display == "none"
        panel.replay.click()
        assert panel._session.setup.replay

    def test_an_error_says_what_and_what_to_do(self, panel: Panel) -> None:
        panel._session.error = kl.HandlerError(HOSTILE, topic="orders", partition=1, offset=5)
        panel._session._turn_to("failed")
        panel.refresh()
        assert "HandlerError" in panel.verdict.value
        assert "then Start again" in panel.verdict.value
        assert "<img" not in everything_said(panel)

    def test_what_cannot_be_drawn_is_said_and_the_next_is_drawn(
        self, panel: Panel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as broken:
            broken.setattr(kl.TuningSession, "recent", lambda _: 1 / 0)
            panel.refresh()
            assert "could not be drawn: ZeroDivisionError" in panel.message.value
        panel.refresh()
        assert panel.message.value == ""

    def test_what_comes_from_elsewhere_is_text(self) -> None:
        session = new_session(HOSTILE.removesuffix("\x1b[31m"), HOSTILE)
        session.set(client_rack="<b>$x$</b>")
        fed(session, 8)
        session._phases[-1].change = HOSTILE
        panel = Panel(session)
        panel.footer.children[1].click()
        panel.refresh()
        said = everything_said(panel)
        panel.close()
        assert "&lt;img src=x onerror=&quot;alert(1)&quot;&gt;" in said
        assert "<img" not in said
        assert "<b>$x" not in said
        assert session.figure._repr_png_().startswith(b"\x89PNG")

    def test_the_newest_rows_and_the_first_are_shown(self) -> None:
        session = new_session()
        for _ in range(9):
            fed(session, 1)
        shown = words.history(session.history)
        numbers = [row.split("</td>")[0].removeprefix("<td>") for row in shown.split("<tr>")[2:]]
        assert numbers == ["1", "6", "7", "8", "9"]


class TestPulse:
    def test_many_pokes_are_few_beats_and_no_thread_stays(self) -> None:
        beats, first = [], threading.Event()
        go_on = threading.Event()

        def beat() -> None:
            beats.append(threading.current_thread())
            first.set()
            go_on.wait(WAIT_S)

        pulse = Pulse(beat, lambda: False, interval=0.0)
        pulse.poke()
        assert first.wait(WAIT_S)
        for _ in range(1000):
            pulse.poke()
        go_on.set()
        beats[0].join(WAIT_S)
        assert not beats[0].is_alive()
        assert len(beats) == 2
        pulse.poke()
        pulse.close()

    def test_closed_it_is_still(self) -> None:
        beats: list[int] = []
        pulse = Pulse(lambda: beats.append(1), lambda: True)
        pulse.close()
        pulse.poke()
        assert beats == []

    def test_a_closed_panel_leaves_no_thread(self) -> None:
        panel = Panel(new_session())
        for _ in range(20):
            panel._session.set(workers=3)
        panel.close()
        panel._session.set(workers=5)
        threads = [each for each in threading.enumerate() if each.name == "kafkalab-panel"]
        for each in threads:
            each.join(WAIT_S)
        assert not any(each.is_alive() for each in threads)


def sample(at: float, rate: float, seconds: float = 0.5) -> Sample:
    plain: dict[str, Any] = dict.fromkeys(Sample.__dataclass_fields__, 0)
    return Sample(**{**plain, "at": at, "seconds": seconds, "records_rate": rate, "lag": 5, "queued": 50_000})


class TestRecent:
    NOTHING = kl.ConsumerSettings()

    def test_a_band_goes_from_least_to_most_and_not_over_a_change(self) -> None:
        samples = [sample(n / 2, rate) for n, rate in enumerate([1, 9, 5, 5, 5, 100, 300])]
        found = recent(samples, [Mark(2.1, "2", "", restarted=False)], self.NOTHING, now=3.0, best=7.0)
        assert found.rate.tolist() == [1, 5, 5, 5, 5, 100, 200]
        assert found.low.tolist() == [1, 1, 1, 1, 1, 100, 100]
        assert found.high.tolist() == [1, 9, 9, 9, 9, 100, 300]
        assert (found.ago[0], found.ago[-1]) == (-3.0, 0.0)
        assert found.queue_share.tolist() == [0.5] * 7

    def test_where_nothing_ran_there_is_no_line(self) -> None:
        found = recent([sample(1, 5), sample(9, 5)], [], self.NOTHING, now=9.0, best=float("nan"))
        assert np.isnan(found.rate).tolist() == [False, True, True, False]

    def test_of_nothing(self) -> None:
        assert len(recent([], [], self.NOTHING, now=0.0, best=float("nan")).ago) == 0


class TestLive:
    @staticmethod
    def at(now: float, rate: float) -> Any:
        samples = [sample(n / 2, rate + n % 3) for n in range(int(now * 2))]
        marks = [Mark(n * 10.0, "$\\bad{$", "", restarted=n % 2 == 0) for n in range(7)]
        return recent(samples, marks, kl.ConsumerSettings(), now=now, best=rate)

    def test_axes_are_drawn_only_when_they_change(self) -> None:
        live = Live()
        pictures = {live.png(self.at(10 + n / 2, 1000)) for n in range(8)}
        assert all(each.startswith(b"\x89PNG") for each in pictures)
        assert (len(pictures), live.redraws) == (8, 1)
        live.png(self.at(15, 50_000))
        live.png(self.at(15, 49_000))
        assert live.redraws == 2

    def test_moving_parts_leave_no_trace(self) -> None:
        live, fresh = Live(), Live()
        for n in range(3):
            live.png(self.at(10 + n, 1000))
        assert live.png(self.at(61, 1000)) == fresh.png(self.at(61, 1000))


def test_what_a_handler_says_is_text() -> None:
    assert words.message("\x1b[2J<b>") == (
        '<span class="kafkalab-message" title="\\x1b[2J&lt;b&gt;">\\x1b[2J&lt;b&gt;</span>'
    )
    session = new_session()
    session.error = kl.HandlerError("\u202e<b>")
    assert "HandlerError: \\u202e&lt;b&gt;" in words.verdict(session, None)


class TestComparison:
    SETUP = new_session().setup

    def of(self, *pairs: tuple[float, float]) -> Comparison:
        return Comparison(self.SETUP, self.SETUP, pairs)

    def test_says_what_is_faster(self) -> None:
        found = self.of((100, 130), (100, 131), (100, 135))
        assert (found.differs, found.text) == (True, "B is 1.32x A (1.26-1.39)")
        assert self.of((100, 50), (100, 49)).text == "B is 0.495x A (0.435-0.563)"
        assert repr(found).endswith("(nothing)")

    def test_says_when_there_is_no_difference(self) -> None:
        assert self.of((100, 99), (100, 101)).text.startswith("no difference beyond noise")
        for nothing in ((), ((0, 0), (0, 0))):
            assert self.of(*nothing).text == "nothing to compare: no records came"

    def test_turns_that_stood_still_count(self) -> None:
        found = self.of((0, 100), (100, 100), (0, 100), (100, 100))
        assert (found.differs, found.ratio.median) == (False, 2.0)
        said = "no difference beyond noise: B is 2x A (0.163-3.84); A stood still in 2 of 4 turns"
        assert found.text == said
        only = self.of((0, 100), (0, 101), (0, 99))
        assert (only.differs, only.ratio.median) == (True, math.inf)
        assert only.text == "only B had records; A stood still in 3 of 3 turns"
        none = self.of((100, 0), (101, 0), (99, 0))
        assert (none.differs, none.ratio.median) == (True, 0.0)
        assert none.text == "only A had records; B stood still in 3 of 3 turns"
        once = self.of((100, 100), (101, 0), (99, 100), (100, 99), (100, 101))
        assert once.text.endswith("B stood still in 1 of 5 turns")
        assert not once.differs

    def test_finds_no_difference_where_there_is_none(self) -> None:
        draw = np.random.default_rng(7)
        found = [self.of(*map(tuple, draw.normal(1000, 50, (6, 2)))).differs for _ in range(400)]
        assert 4 <= sum(found) <= 40  # one in twenty, as its interval says

    def test_finds_five_percent_in_two_percent_of_noise(self) -> None:
        draw = np.random.default_rng(7)
        found = [self.of(*map(tuple, draw.normal((1000, 1050), 20, (6, 2)))).differs for _ in range(400)]
        assert sum(found) > 340

    def test_turns_favour_neither(self) -> None:
        assert "".join(order(4)) == "ABBAABBA"

    def test_what_cannot_be_compared(self) -> None:
        session = new_session()
        for wrong in ({"seconds": 0}, {"pairs": 1}, {"pairs": 2.5}):
            with pytest.raises(kl.ArgumentError):
                session.start_comparison({}, {"workers": 8}, **wrong)
        with pytest.raises(kl.ConfigError):
            session.start_comparison({}, {"fetch_min_bites": 8})
        assert not session.running

    def test_what_changed_is_told_in_units_or_by_the_presets_name(self) -> None:
        session = new_session()
        session.set(fetch_min_bytes=131_072, workers=8)
        latency = Comparison(self.SETUP, replace(self.SETUP, settings=kl.ConsumerSettings.preset("latency")), ())
        assert Comparison(self.SETUP, session.setup, ()).change == "fetch_min_bytes 1 B -> 128 KiB, workers 4 -> 8"
        assert latency.change == "preset latency"

    def test_previous_is_what_was_set_before(self) -> None:
        session = new_session()
        assert session.previous is None
        session.set(workers=8)
        assert session.previous == new_session().setup


class TestCells:
    @staticmethod
    def shell(number: str | None, code: str) -> Any:
        request = {"metadata": {"cellId": number} if number else {}, "content": {"code": code}}
        events = EventManager(None, available_events)  # type: ignore[arg-type]  # no shell is needed
        return SimpleNamespace(get_parent=lambda: request, events=events)

    @pytest.mark.parametrize(
        ("number", "others", "again"),
        [("a", [("b", "x"), ("a", "changed")], 1), (None, [(None, "y"), (None, "x")], 1), ("a", [("b", "x")], 0)],
    )
    def test_running_a_cell_again_ends_what_it_made_once(
        self, number: str | None, others: list[tuple[str | None, str]], again: int
    ) -> None:
        shell, ended = self.shell(number, "x"), []
        when_run_again(lambda: ended.append(1), shell)
        for cell_id, raw_cell in [*others, *others]:
            shell.events.trigger("pre_run_cell", SimpleNamespace(cell_id=cell_id, raw_cell=raw_cell))
        assert len(ended) == again

    def test_outside_of_a_notebook_nothing_is_waited_for(self) -> None:
        assert kernel_shell() is None
        when_run_again(lambda: pytest.fail("there is no cell"))
        session = new_session()
        assert set(session._repr_mimebundle_()) == {"text/plain"}


def test_closing_a_panel_leaves_the_others() -> None:
    one, other = Panel(new_session()), Panel(new_session())
    one.close()
    assert one.widget.comm is None
    assert one.image.comm is None
    assert other.widget.comm is not None
    other.close()
