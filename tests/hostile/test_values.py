"""No value and no schema makes a reader grow without bound, end, or wait: it is an error of its row."""

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.hostile.bombs import BOMBS

MOST_BYTES, MOST_SECONDS = 256 << 20, 10
NO_ERRORS = {
    "objects_of_different_names",  # a list of them is text
    "wide_objects_after_empty_ones",
    "names_that_are_ever_new_inside",
    "nulls_of_a_wide_fixed",
    "imports_in_a_chain",
    "a_hundred_thousand_symbols",
}


@pytest.fixture(scope="module")
def costs() -> dict[str, Any]:
    """Let a child whose memory is bounded read every bomb."""
    command = [sys.executable, "-m", "tests.hostile.bombs"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    told = [json.loads(line) for line in done.stdout.splitlines()]
    return {each["bomb"]: each for each in told}


@pytest.mark.timeout(150)
@pytest.mark.parametrize("bomb", [bomb.__name__ for bomb in BOMBS])
def test_a_bomb_costs_little_and_is_an_error_of_its_row(bomb: str, costs: dict[str, Any]) -> None:
    cost = costs[bomb]
    assert cost["bytes"] < MOST_BYTES
    assert cost["seconds"] < MOST_SECONDS, "of the processor's time, that is"
    assert (cost["errors"] == 0) == (bomb in NO_ERRORS), cost
