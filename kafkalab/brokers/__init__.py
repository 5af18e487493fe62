"""Brokers to try things on: librdkafka's mock in this process, and real Apache Kafka beside it."""

from kafkalab.brokers.apache import ApacheKafka
from kafkalab.brokers.mock import MockBroker

__all__ = ["ApacheKafka", "MockBroker"]
