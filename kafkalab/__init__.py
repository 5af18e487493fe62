"""Kafka in a notebook: topics into DataFrames, exactly; functions over partitions; consumer settings, measured."""

import importlib
from typing import Any

from pyarrow.compute import field

from kafkalab.connect import connect, demo, read_kafka
from kafkalab.connection import ConnectionConfig, Secret
from kafkalab.decode.json import Json
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
    KafkalabError,
    KafkalabWarning,
    LimitWarning,
    MapError,
    PositionError,
    ReadTimeoutError,
    TlsError,
    UnknownPartitionError,
    UnknownTopicError,
    UnsupportedError,
)
from kafkalab.fetch.memory import MemoryCluster, MemoryRecord
from kafkalab.frame import concat, receipt
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
from kafkalab.tail import Tail

__all__ = [
    "ArgumentError",
    "AuthenticationError",
    "AuthorizationError",
    "BrokerStartError",
    "BrokerUnreachableError",
    "Committed",
    "ConfigError",
    "ConnectionConfig",
    "CorruptDataError",
    "DataLossError",
    "DataLossWarning",
    "DecodeError",
    "ExportError",
    "IsolationLevel",
    "Json",
    "KafkalabError",
    "KafkalabWarning",
    "Lab",
    "LimitWarning",
    "LiveEstimate",
    "MapError",
    "MemoryCluster",
    "MemoryRecord",
    "OffsetRange",
    "PartitionReceipt",
    "PositionError",
    "ReadTimeoutError",
    "Receipt",
    "Scan",
    "Secret",
    "StopReason",
    "Tail",
    "TlsError",
    "TopicPartition",
    "UnknownPartitionError",
    "UnknownTopicError",
    "UnsupportedError",
    "Watermarks",
    "concat",
    "connect",
    "demo",
    "field",
    "read_kafka",
    "receipt",
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
