"""What a notebook shows of an object that works without it; only here ipywidgets is imported."""

from kafkalab.widgets.panel import Panel

__all__ = ["Panel"]
