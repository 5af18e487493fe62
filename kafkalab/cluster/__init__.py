"""What a cluster holds: topics, partitions, leaders, watermarks, offsets for times, group commits."""

from kafkalab.cluster.cluster import Cluster
from kafkalab.cluster.metadata import Metadata

__all__ = ["Cluster", "Metadata"]
