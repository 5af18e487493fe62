"""Joins an object to its widget, which is made when a notebook first shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafkalab.cells import kernel_shell

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kafkalab.tuning.session import TuningSession
    from kafkalab.widgets.panel import Panel


class ShownSession:
    """What a notebook shows of a session; in a terminal, nothing.

    Parameters
    ----------
    session : TuningSession
        It.
    """

    def __init__(self, session: TuningSession) -> None:
        self._session = session
        self._panel: Panel | None = None

    def __call__(self) -> Mapping[str, Any]:
        """Return the panel, as a cell takes it."""
        if kernel_shell() is None:
            return {}
        if self._panel is None:
            from kafkalab.widgets.panel import Panel

            self._panel = Panel(self._session)
        return self._panel.bundle()

    def close(self) -> None:
        """End the session, and take its panel away."""
        self._session.stop()
        if self._panel is not None:
            self._panel.close()
