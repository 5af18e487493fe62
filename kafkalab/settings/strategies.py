"""How a group's partitions are handed out, in everyone's names."""

from __future__ import annotations

import re

from kafkalab.settings.forms import Approximate, Form

NAMES = {"range": "Range", "roundrobin": "RoundRobin", "sticky": "Sticky", "cooperative-sticky": "CooperativeSticky"}
_PACKAGE = "org.apache.kafka.clients.consumer."
_NOT_HERE = "librdkafka has no eager sticky strategy; cooperative-sticky needs all members of a group to change over"
_NOT_TOGETHER = "librdkafka cannot offer cooperative-sticky beside others"


def _read(raw: object) -> str | Approximate:
    given = raw if isinstance(raw, list | tuple) else re.findall(r"[\w.$-]+", str(raw).partition("{")[2] or str(raw))
    names = [_name(str(part)) for part in given]
    if not names:
        raise ValueError("there is no strategy in it")
    eager = [name for name in names if name in {"range", "roundrobin"}]
    here = ",".join(eager or ["cooperative-sticky"])
    if here == ",".join(names):
        return here
    return Approximate(here, _NOT_HERE if "sticky" in names else _NOT_TOGETHER)


def _name(text: str) -> str:
    bare = re.sub(r"^.*\.|^New|BalanceStrategy|\(\)|Assignor$|[-_]", "", text.strip())
    plain = bare.removeprefix("New").removeprefix("BalanceStrategy").lower()
    if (found := {known.replace("-", ""): known for known in NAMES}.get(plain)) is None:
        raise ValueError(f"{text!r} is none of {', '.join(NAMES)}")
    return found


JAVA = Form(_read, lambda value: ",".join(f"{_PACKAGE}{NAMES[name]}Assignor" for name in value.split(",")))
GO = Form(_read, lambda value: value.split(","))
