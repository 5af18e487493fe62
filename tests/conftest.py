"""What holds for every test: how long it may take, and how many examples a property is tried on."""

from pathlib import Path

import pytest
from hypothesis import settings

# No deadline an example: wall time on a shared machine says nothing about the code.
settings.register_profile("dev", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, database=None)
settings.register_profile("soak", deadline=None, max_examples=5_000)
settings.load_profile("dev")

# Seconds for a test that waits for a real broker, kernel or browser.
_TIMEOUTS = {"apache": 120, "notebooks": 300, "browser": 120}
# What is looked at as a person would, and has to come as soon.
_ALONE = {"browser"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        folder = _test_folder(item.path)
        if folder in _TIMEOUTS and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(_TIMEOUTS[folder]))
        if folder in _ALONE:
            item.add_marker(pytest.mark.alone)


def _test_folder(path: Path) -> str | None:
    here = Path(__file__).parent
    return path.relative_to(here).parts[0] if path.is_relative_to(here) else None
