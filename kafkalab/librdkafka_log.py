"""Where librdkafka's log lines go: to `logging`, without the secrets."""

import logging
from collections.abc import Callable
from typing import Any

from kafkalab.text import safe

# A library's lines go nowhere until the program that uses it asks for them.
logging.getLogger("kafkalab").addHandler(logging.NullHandler())


class LibrdkafkaLog:
    """Send librdkafka's log lines to ``logging.getLogger("kafkalab.librdkafka")``, escaped and without the secrets.

    Parameters
    ----------
    scrub : callable
        Blots out of a text what no line may show.
    others : tuple
        More loggers to tell.
    """

    def __init__(self, scrub: Callable[[str], str], others: tuple[Any, ...] = ()) -> None:
        self._scrub = scrub
        self._loggers = (logging.getLogger("kafkalab.librdkafka"), *others)

    def log(self, level: int, template: str, *args: object) -> None:
        """Log one line, as `logging.Logger.log` does."""
        clean = tuple(safe(self._scrub(arg)) if isinstance(arg, str) else arg for arg in args)
        # librdkafka warns of every consumer option that an admin client, a producer to it, is given.
        if clean[:1] == ("CONFWARN",) and "will be ignored" in str(clean):
            level = logging.DEBUG
        for logger in self._loggers:
            logger.log(level, template, *clean)
