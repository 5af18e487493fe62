"""Kafka in a notebook: topics into DataFrames, exactly; functions over partitions; consumer settings, measured."""

import importlib
from typing import Any

from pyarrow.compute import field

from kafkalab.connect import connect, demo, read_kafka
from kafkalab.connection import ConnectionConfig, Secret
from kafkalab.decode.avro import Avro
from kafkalab.decode.json import Json
from kafkalab.decode.protobuf import Protobuf
from kafkalab.decode.registry import Registry
from kafkalab.errors import (
    ArgumentError,
    AuthenticationError,
    AuthorizationError,
    BrokerStartError,
    BrokerUnreachableError,
    ConfigError,
    CorruptDataError,
    DataLossError,
    DataLossWarning,
    DecodeError,
    ExportError,
    GroupError,
    HandlerError,
    IncompleteWarning,
    KafkalabError,
    KafkalabWarning,
    LimitWarning,
    MapError,
    OfflinePartitionError,
    PositionError,
    ReadTimeoutError,
    RegistryError,
    TlsError,
    UnknownPartitionError,
    UnknownTopicError,
    UnsupportedError,
)
from kafkalab.export.load import load
from kafkalab.fetch.memory import MemoryCluster, MemoryRecord
from kafkalab.frame import concat, receipt
from kafkalab.group.consumer_group import ConsumerGroup
from kafkalab.group.record import Record
from kafkalab.group.session import Session
from kafkalab.group.stats import GroupStats
from kafkalab.lab import Lab
from kafkalab.model import (
    IsolationLevel,
    LiveEstimate,
    OffsetRange,
    PartitionReceipt,
    Receipt,
    StopReason,
    TopicPartition,
    Watermarks,
)
from kafkalab.positions import Committed
from kafkalab.scan import Scan
from kafkalab.settings import ConsumerSettings
from kafkalab.tail import Tail
from kafkalab.tuning.advise import Advice
from kafkalab.tuning.compare import Comparison
from kafkalab.tuning.load import simulate
from kafkalab.tuning.measurement import Measurement
from kafkalab.tuning.session import TuningSession
from kafkalab.tuning.sweep import SweepResult

__all__ = [
    "Advice",
    "ArgumentError",
    "AuthenticationError",
    "AuthorizationError",
    "Avro",
    "BrokerStartError",
    "BrokerUnreachableError",
    "Committed",
    "Comparison",
    "ConfigError",
    "ConnectionConfig",
    "ConsumerGroup",
    "ConsumerSettings",
    "CorruptDataError",
    "DataLossError",
    "DataLossWarning",
    "DecodeError",
    "ExportError",
    "GroupError",
    "GroupStats",
    "HandlerError",
    "IncompleteWarning",
    "IsolationLevel",
    "Json",
    "KafkalabError",
    "KafkalabWarning",
    "Lab",
    "LimitWarning",
    "LiveEstimate",
    "MapError",
    "Measurement",
    "MemoryCluster",
    "MemoryRecord",
    "OfflinePartitionError",
    "OffsetRange",
    "PartitionReceipt",
    "PositionError",
    "Protobuf",
    "ReadTimeoutError",
    "Receipt",
    "Record",
    "Registry",
    "RegistryError",
    "Scan",
    "Secret",
    "Session",
    "StopReason",
    "SweepResult",
    "Tail",
    "TlsError",
    "TopicPartition",
    "TuningSession",
    "UnknownPartitionError",
    "UnknownTopicError",
    "UnsupportedError",
    "Watermarks",
    "concat",
    "connect",
    "demo",
    "field",
    "load",
    "read_kafka",
    "receipt",
    "simulate",
]


def __getattr__(name: str) -> Any:
    if name == "plot":  # it imports matplotlib
        return importlib.import_module("kafkalab.plot")
    if name != "__version__":
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from importlib.metadata import version

    return version("kafkalab")


def __dir__() -> list[str]:
    return [*globals(), "plot"]
