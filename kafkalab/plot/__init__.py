"""Figures: plain objects, kept nowhere, that a cell shows."""

from kafkalab.plot.live import throughput
from kafkalab.plot.picture import Picture
from kafkalab.plot.sweeps import sweep
from kafkalab.plot.timelines import timeline

__all__ = ["Picture", "sweep", "throughput", "timeline"]
