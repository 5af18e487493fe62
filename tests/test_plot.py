import io
import sys
from datetime import timedelta
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

import kafkalab as kl
from kafkalab import plot
from kafkalab.errors import ArgumentError

PNG = b"\x89PNG\r\n"
HOUR_MS = 3_600_000


def frame(times_ms: list[int | None], **columns: Any) -> pd.DataFrame:
    times = pd.array(np.array(times_ms, dtype="datetime64[ms]"), dtype="datetime64[ms, UTC]")
    return pd.DataFrame({"topic": "orders", "timestamp": times, "partition": 0, **columns})


def labels(picture: plot.Picture) -> list[str]:
    legend = picture.axes[0].get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]


def counts(picture: plot.Picture) -> list[list[int]]:
    return [[int(count) for count in np.asarray(line.get_ydata())] for line in picture.axes[0].lines]


def test_counts_each_group_over_time() -> None:
    times: list[int | None] = [0, 1, HOUR_MS, 3 * HOUR_MS]
    picture = plot.timeline(frame(times, partition=[0, 1, 1, 1]), step="1h")
    assert labels(picture) == ["0", "1"]
    assert counts(picture) == [[1, 0, 0, 0], [1, 1, 0, 1]]


def test_counts_all_in_one_line_without_a_legend() -> None:
    picture = plot.timeline(frame([0, 1, HOUR_MS]), by=None, step=timedelta(hours=1))
    assert counts(picture) == [[2, 1]]
    assert picture.axes[0].get_legend() is None


def test_chooses_intervals_that_can_be_seen() -> None:
    picture = plot.timeline(frame([minute * 60_000 for minute in range(7 * 24 * 60)]))
    assert picture.axes[0].get_ylabel() == "records per hour"
    assert counts(picture) == [[60] * 7 * 24]


def test_a_cell_shows_it_without_pyplot() -> None:
    before = "matplotlib.pyplot" in sys.modules
    picture = plot.timeline(frame([0, HOUR_MS]))
    assert picture._repr_png_().startswith(PNG)
    assert ("matplotlib.pyplot" in sys.modules) == before


def test_can_be_saved() -> None:
    file = io.BytesIO()
    plot.timeline(frame([0, HOUR_MS])).savefig(file, format="svg")
    assert b"</svg>" in file.getvalue()


def test_text_from_records_is_text() -> None:
    hostile = r"$\bad{$"
    wild = frame([0, HOUR_MS], country=[hostile, "_hidden\nline"]).assign(topic=hostile)
    picture = plot.timeline(wild.rename(columns={"country": hostile}), by=hostile)
    assert sorted(labels(picture)) == [hostile, "_hidden line"]
    assert picture.axes[0].get_title() == f"{hostile}: 2 records"
    assert picture._repr_png_().startswith(PNG)


def test_long_labels_are_cut() -> None:
    (label,) = labels(plot.timeline(frame([0], country=["x" * 500]), by="country"))
    assert len(label) == 30
    assert label.endswith("…")


def test_the_smallest_of_many_groups_share_a_line() -> None:
    sizes = {f"c{number}": number for number in range(1, 13)}
    countries = [country for country, size in sizes.items() for _ in range(size)]
    picture = plot.timeline(frame([0] * len(countries), country=countries), by="country")
    assert labels(picture) == ["c10", "c11", "c12", "c6", "c7", "c8", "c9", "all others"]
    assert counts(picture)[-1] == [1 + 2 + 3 + 4 + 5]


def test_no_two_lines_look_alike() -> None:
    picture = plot.timeline(frame([0] * 8, partition=range(8)))
    assert len({(line.get_color(), line.get_linestyle()) for line in picture.axes[0].lines}) == 8


def test_partitions_are_in_the_order_of_their_numbers() -> None:
    assert labels(plot.timeline(frame([0, 1, 2], partition=[10, 9, 1]))) == ["1", "9", "10"]


def test_a_null_is_a_group_too() -> None:
    picture = plot.timeline(frame([0, 1, 2], coupon=["SPRING", None, None]), by="coupon")
    assert dict(zip(labels(picture), counts(picture), strict=True)) == {"SPRING": [1], "null": [2]}


def test_text_that_reads_as_null_or_as_the_rest_is_a_group_of_its_own() -> None:
    picture = plot.timeline(frame([0, 1, 2], coupon=["null", None, "all others"]), by="coupon")
    assert sorted(labels(picture)) == ["'all others'", "'null'", "null"]
    assert counts(picture) == [[1]] * 3
    many = ["all others", *(f"c{number}" for number in range(20))]
    assert labels(plot.timeline(frame([0] * 31, coupon=many + ["all others"] * 10), by="coupon"))[0] == "'all others'"


def test_values_that_read_alike_are_two_groups() -> None:
    picture = plot.timeline(frame([0, 1], coupon=pd.Series([1, "1"], dtype=object)), by="coupon")
    assert (labels(picture), counts(picture)) == (["1", "1"], [[1], [1]])


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/New_York"])
def test_the_time_is_utc_wherever_it_is_drawn(zone: str) -> None:
    with mpl.rc_context({"timezone": zone}):
        picture = plot.timeline(frame([hour * HOUR_MS for hour in range(24)]))
        picture.canvas.draw()
        texts = [label.get_text() for label in picture.axes[0].get_xticklabels()]
    assert texts[:2] == ["Jan-01", "03:00"]
    assert picture.axes[0].get_xlabel() == "time (UTC)"


def test_records_without_a_time_are_counted_in_the_title() -> None:
    picture = plot.timeline(frame([0, None, None]))
    assert picture.axes[0].get_title() == "orders: 3 records, 2 of them without a time"
    assert counts(picture) == [[1]]


@pytest.mark.parametrize(
    "times",
    [[], [None], [-62_135_596_800_000, 253_402_300_799_999], [253_402_300_799_999], [0], [1_790_000_000_000] * 3],
    ids=["empty", "no times", "all of time", "its last millisecond", "epoch", "one moment"],
)
def test_any_times_can_be_drawn(times: list[int | None]) -> None:
    assert plot.timeline(frame(times))._repr_png_().startswith(PNG)


@pytest.mark.parametrize("backend", [None, "numpy_nullable", "pyarrow"])
def test_takes_the_frames_of_every_backend(backend: Any) -> None:
    cluster = kl.MemoryCluster({"orders": 2})
    cluster.append("orders", b"a", b"b", partition=1)
    picture = plot.timeline(kl.Lab(cluster, cluster).read("orders", dtype_backend=backend))
    assert [sum(line) for line in counts(picture)] == [2]


def test_a_wrong_column_is_named() -> None:
    with pytest.raises(ArgumentError, match="did you mean 'partition'"):
        plot.timeline(frame([0]), by="partitions")
    with pytest.raises(ArgumentError, match="no column 'timestamp'"):
        plot.timeline(frame([0]).drop(columns="timestamp"))


def test_a_column_without_times_is_refused() -> None:
    with pytest.raises(ArgumentError, match="'timestamp' has no times"):
        plot.timeline(frame([0]).assign(timestamp="noon"))


def test_values_that_cannot_be_told_apart_are_refused() -> None:
    with pytest.raises(ArgumentError, match="'headers' cannot be told apart"):
        plot.timeline(frame([0], headers=[[{"key": "a", "value": b"b"}]]), by="headers")


@pytest.mark.parametrize("step", ["often", "0s", "1us", "-1h", "nat", "1ms"])
def test_a_step_that_counts_nothing_is_refused(step: str) -> None:
    with pytest.raises(ArgumentError, match="step"):
        plot.timeline(frame([0, 1000 * HOUR_MS]), step=step)


def test_it_is_imported_when_it_is_used() -> None:
    assert "plot" in dir(kl)
    assert kl.plot is plot
