"""Formatted storage of a KRaft node."""

import base64
import hashlib
import os
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from kafkalab.brokers.java import KafkaJava
from kafkalab.brokers.node import failure
from kafkalab.brokers.properties import text

CHECKPOINT = "bootstrap.checkpoint"

_DIGESTS = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}
_ITERATIONS = 4096
_FAST_START = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")


def random_id() -> str:
    """Make an identifier as Kafka writes them: 16 random bytes in 22 characters of URL-safe Base64."""
    # No dash: at the beginning, Kafka's tools would take it for an option.
    return base64.b64encode(uuid.uuid4().bytes, altchars=b"__").decode().rstrip("=")


def format_storage(folder: Path, node_id: int, cluster_id: str, checkpoint: bytes) -> None:
    """Make a folder the storage of a node.

    Parameters
    ----------
    folder : Path
        The folder to make; the node's ``log.dirs``.
    node_id : int
        The node's ``node.id``.
    cluster_id : str
        The cluster's identifier, the same on every node.
    checkpoint : bytes
        What `bootstrap_checkpoint` gave.
    """
    folder.mkdir(parents=True)
    meta = {"version": "1", "cluster.id": cluster_id, "node.id": str(node_id), "directory.id": random_id()}
    (folder / "meta.properties").write_text(text(meta), "ascii")
    (folder / CHECKPOINT).write_bytes(checkpoint)


def bootstrap_checkpoint(kafka: KafkaJava, users: Mapping[str, str]) -> bytes:
    """Let Kafka write the records that a new cluster starts with: its feature levels, and its SCRAM users.

    Parameters
    ----------
    kafka : KafkaJava
        The runtime and the jars.
    users : mapping of str to str
        Passwords by user name. Without users the answer is always the same, and kept beside the jars.

    Returns
    -------
    bytes
        The content of ``bootstrap.checkpoint``.
    """
    kept = kafka.jars / CHECKPOINT
    if users or not kept.is_file():
        with tempfile.TemporaryDirectory(dir=kafka.jars, prefix="format-") as staging:
            made = _run_storage_tool(kafka, Path(staging), list(_scram_options(users)))
            if users:
                return made.read_bytes()
            made.replace(kept)
    return kept.read_bytes()


def _run_storage_tool(kafka: KafkaJava, staging: Path, options: list[str]) -> Path:
    properties = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": "1@127.0.0.1:9093",
        "controller.listener.names": "CONTROLLER",
        "listeners": "PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093",
        "log.dirs": str(staging / "data"),
    }
    config = staging / "server.properties"
    config.write_text(text(properties), "ascii")
    arguments = ("format", "--cluster-id", random_id(), "--config", str(config), *options)
    command = kafka.command("kafka.tools.StorageTool", *arguments, jvm_options=_FAST_START)
    # A salted password logs in as the password does, and a command line is everyone's to read; this folder is not.
    told = staging / "arguments"
    told.write_text("\n".join(map(_quoted, command[1:])), "utf-8")
    command = [command[0], f"@{told}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - Kafka's own tool
    if done.returncode:
        raise failure("Kafka's StorageTool could not format the storage", done.stderr or done.stdout)
    return staging / "data" / CHECKPOINT


def _quoted(argument: str) -> str:
    """Write an argument as Java reads it from a file."""
    escaped = argument.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _scram_options(users: Mapping[str, str]) -> Iterator[str]:
    for user, password in users.items():
        for mechanism, digest in _DIGESTS.items():
            salt = os.urandom(16)
            salted = hashlib.pbkdf2_hmac(digest, password.encode(), salt, _ITERATIONS)
            parts = (
                f"name={user}",
                f'salt="{base64.b64encode(salt).decode()}"',
                f'saltedpassword="{base64.b64encode(salted).decode()}"',
                f"iterations={_ITERATIONS}",
            )
            yield from ("--add-scram", f"{mechanism}=[{','.join(parts)}]")
