"""Brokers to try things on: librdkafka's mock in this process, real Apache Kafka beside it, a schema registry."""

from kafkalab.brokers.apache import ApacheKafka
from kafkalab.brokers.mock import MockBroker
from kafkalab.brokers.registry import SchemaRegistry

__all__ = ["ApacheKafka", "MockBroker", "SchemaRegistry"]
