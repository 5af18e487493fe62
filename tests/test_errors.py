import inspect
import pickle
import warnings

import pytest
from confluent_kafka import KafkaError, KafkaException
from tblib import pickling_support

from kafkalab import _native, errors
from kafkalab.errors import KafkalabError, KafkalabWarning, MapError, UnknownTopicError, did_you_mean

TREE = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, KafkalabError)]
NATIVE = [kind for _, kind in inspect.getmembers(_native, inspect.isclass) if issubclass(kind, Exception)]
BUILT_IN = {
    "ArgumentError": ValueError,
    "AuthenticationError": PermissionError,
    "AuthorizationError": PermissionError,
    "BrokerStartError": RuntimeError,
    "BrokerUnreachableError": ConnectionError,
    "OfflinePartitionError": ConnectionError,
    "ConfigError": ValueError,
    "CorruptDataError": ValueError,
    "DataLossError": LookupError,
    "DecodeError": ValueError,
    "ExportError": OSError,
    "KafkalabError": Exception,
    "GroupError": RuntimeError,
    "HandlerError": RuntimeError,
    "MapError": RuntimeError,
    "PositionError": ValueError,
    "ReadTimeoutError": TimeoutError,
    "RegistryError": ConnectionError,
    "TlsError": ConnectionError,
    "UnknownPartitionError": LookupError,
    "UnknownTopicError": LookupError,
    "UnsupportedError": NotImplementedError,
}


@pytest.mark.parametrize("kind", TREE)
def test_each_error_is_also_the_built_in_that_fits(kind: type[KafkalabError]) -> None:
    assert issubclass(kind, BUILT_IN[kind.__name__])


@pytest.mark.parametrize("kind", TREE)
def test_each_error_comes_home_from_a_worker_as_it_was(kind: type[KafkalabError]) -> None:
    error = kind("what was wrong", topic="orders", partition=3, offset=42)
    error.add_note("seen by a person")
    home = pickle.loads(pickle.dumps(error))  # noqa: S301 - made one line above
    assert type(home) is kind
    assert str(home) == str(error) == "orders[3]@42: what was wrong"
    assert (home.topic, home.partition, home.offset) == ("orders", 3, 42)
    assert home.__notes__ == ["seen by a person"]


@pytest.mark.parametrize(
    "cause",
    [KafkaException(KafkaError(KafkaError._TIMED_OUT, "too late")), *(kind("a bit") for kind in NATIVE)],
    ids=lambda cause: type(cause).__name__,
)
def test_an_error_comes_home_with_its_cause_from_where_that_is_taken_along(cause: Exception) -> None:
    error = KafkalabError("what was wrong", topic="orders")
    error.__cause__ = cause
    pickling_support.install(error, cause)  # as Dask does
    home = pickle.loads(pickle.dumps(error))  # noqa: S301 - made one line above
    assert (type(home), str(home)) == (KafkalabError, "orders: what was wrong")
    assert (type(home.__cause__), repr(home.__cause__)) == (type(cause), repr(cause))


def test_the_results_of_a_failed_map_come_home_too() -> None:
    error = MapError("a call failed")
    error.results, error.errors = [1, "two"], [ValueError("three")]
    home = pickle.loads(pickle.dumps(error))  # noqa: S301 - made one line above
    assert home.results == [1, "two"]
    assert repr(home.errors) == "[ValueError('three')]"


@pytest.mark.parametrize(
    ("where", "text"),
    [
        ({}, "wrong"),
        ({"topic": "t"}, "t: wrong"),
        ({"topic": "t", "partition": 0}, "t[0]: wrong"),
        ({"topic": "t", "partition": 0, "offset": 0}, "t[0]@0: wrong"),
        ({"partition": 1}, "[1]: wrong"),
    ],
    ids=str,
)
def test_the_place_stands_in_front(where: dict[str, object], text: str) -> None:
    assert str(KafkalabError("wrong", **where)) == text  # type: ignore[arg-type]  # a table of keywords


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("order", ["orders", "payments"], "did you mean 'orders'?"),
        ("paymens", ["payments", "payment"], "did you mean 'payments' or 'payment'?"),
        ("xyz", ["orders", "payments"], "there are 'orders', 'payments'"),
        ("xyz", [], "there are none"),
        ("xyz", [f"topic-{n:02}" for n in range(12)], "'topic-09' and 2 more"),
    ],
    ids=["one like it", "several like it", "none like it", "none at all", "many"],
)
def test_a_wrong_name_is_told_what_there_is(name: str, known: list[str], hint: str) -> None:
    assert did_you_mean(name, known).endswith(hint)


def test_an_unknown_topic_is_told_those_like_it() -> None:
    assert str(UnknownTopicError.among("order", ["orders"])) == (
        "order: there is no such topic: did you mean 'orders'?"
    )


def test_warnings_are_shown_by_default() -> None:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Warning)]
    assert len(kinds) > 1
    assert all(issubclass(kind, KafkalabWarning) and issubclass(kind, UserWarning) for kind in kinds)


HOSTILE = "\x1b]52;c;eA==\x07\u202e\u3164\n"


@pytest.mark.parametrize("kind", TREE)
def test_no_error_brings_hostile_text_to_a_terminal(kind: type[KafkalabError]) -> None:
    error = kind(f"the broker says {HOSTILE}", topic=HOSTILE)
    text = str(error).replace("\n", "") if kind is errors.BrokerStartError else str(error)
    assert text.isprintable()
    assert "\\x1b]52;c;eA==\\x07\\u202e\\u3164" in text
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301 - just pickled


def test_no_warning_does_either() -> None:
    with pytest.warns(KafkalabWarning) as caught:
        warnings.warn(HOSTILE, KafkalabWarning, stacklevel=1)
    assert str(caught[0].message).isprintable()
