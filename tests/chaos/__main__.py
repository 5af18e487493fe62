"""``python -m tests.chaos``: break a cluster at least 200 times under readers, tails, exports and groups."""

import argparse
import logging
import sys
import time

from tests.chaos.faults import restart_in_turn
from tests.chaos.trial import Outcome, Trial


def table(outcome: Outcome) -> str:
    """Return what a trial came to as Markdown."""
    faults = [f"| {name.replace('_', ' ')} | {count} |" for name, count in outcome.faults.most_common()]
    calls: dict[str, int] = {}
    for (verb, _), count in outcome.calls.items():
        calls[verb] = calls.get(verb, 0) + count
    verbs = sorted(calls.keys() | {verb for verb, _ in outcome.errors})
    lines = []
    for verb in verbs:
        errors = {error: count for (of, error), count in sorted(outcome.errors.items()) if of == verb}
        text = ", ".join(f"{count} {error}" for error, count in errors.items()) or "none"
        lines.append(f"| {verb} | {calls.get(verb, 0):,} | {text} |")
    return "\n".join(
        [
            "| fault | times |",
            "|---|---|",
            *faults,
            f"| all | {outcome.faults.total()} |",
            "",
            "| verb | answers | errors |",
            "|---|---|---|",
            *lines,
            "",
            f"Rows compared: {outcome.rows:,}. Violations: {len(outcome.violations)}.",
        ]
    )


def main() -> int:
    """Run a trial, print its table, and fail if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=200, help="how many faults at least (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the draws (default: the time)")
    parser.add_argument(
        "--rolling", type=float, metavar="MINUTES", help="only restart the brokers in turn, for so long"
    )
    given = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    logging.getLogger("chaos.client").setLevel(logging.CRITICAL)
    began = time.monotonic()
    if given.rolling:
        trial = Trial(0, given.seed, seconds=given.rolling * 60, choice=[(1, restart_in_turn)])
    else:
        trial = Trial(given.faults, given.seed)
    outcome = trial.run()
    sys.stdout.write(f"{table(outcome)}\nSeed {given.seed}, {(time.monotonic() - began) / 60:.0f} minutes.\n")
    for violation in outcome.violations[:50]:
        sys.stdout.write(f"VIOLATION {violation}\n")
    return bool(outcome.violations)


if __name__ == "__main__":
    sys.exit(main())
