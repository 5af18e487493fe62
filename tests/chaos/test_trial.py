"""The short form of ``make chaos``: a few faults of each kind that is quick."""

import pytest

from tests.chaos.faults import cut_connections, kill_leader, pass_retention, recreate, silence
from tests.chaos.trial import Trial

QUICK = [(1, kill_leader), (2, cut_connections), (1, silence), (1, pass_retention), (1, recreate)]


@pytest.mark.timeout(400)  # four nodes and a dozen readers start, and all of them end
def test_nothing_is_missed_invented_or_committed_too_far() -> None:
    outcome = Trial(faults=12, seed=7, choice=QUICK).run()
    assert outcome.violations == []
    assert outcome.faults.total() >= 12
    assert outcome.rows > 10_000
    assert {verb for verb, _ in outcome.calls} >= {"read", "scan", "tail", "sample", "export", "map"}
