"""Damaged export folders put through `kafkalab.load`, in a process of its own that may crash.

``python -m tests.damage SEED COUNT``
"""

from __future__ import annotations

import base64
import json
import random
import resource
import sys
import tempfile
import traceback
import warnings
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa

import kafkalab as kl
from kafkalab.export.manifest import _checksum
from kafkalab.fetch.memory import MemoryCluster, MemoryRecord
from tests.oracle import NEW_YEAR_MS, TOPIC

FORMATS = ("parquet", "feather", "csv", "jsonl")
_MEMORY = 4 << 30
_HOSTILE: list[Any] = [
    None, True, False, -1, 0, 1, 2**31, 2**63, 2**64, 10**400, 1.5, float("nan"), float("inf"), "", "x", "\x00",
    "\ud800", "../../etc/passwd", "/etc/passwd", "a" * 300, [], {}, [[]], [None], {"": None}, "9" * 30, "parquet",
    "orders",
]  # fmt: skip


def folder_of(file_format: Any, folder: Path) -> None:
    """Export rows of many kinds, in several files."""
    cluster = MemoryCluster({TOPIC: 2})
    values = [
        b'{"i": 1, "f": 1.5, "b": true, "s": "x", "o": {"a": [1, null]}, "big": 9007199254740993}',
        b'{"i": -5, "f": 0.1, "b": false, "s": "", "o": {"a": []}, "late": [{"deep": "\xc3\xa9"}]}',
        b'{"s": "many words of text, to be cut", "i": null}',
        None,
    ]
    for number in range(200):
        record = MemoryRecord(values[number % 4], b"k%d" % number, NEW_YEAR_MS + number, headers=[("h", b"v")])
        cluster.append(TOPIC, record, partition=number % 2)
    lab = kl.Lab(cluster, cluster)
    lab.export(TOPIC, folder, format=file_format, key="text", value="json", headers=True, progress=False)


def bytes_damaged(draw: random.Random, data: bytes) -> bytes:
    """Return bytes of which some are others, are gone, or are there twice."""
    made = bytearray(data)
    at = draw.randrange(len(made))
    some = draw.choice((1, 2, 4, 8, 64, 1000))
    match draw.randrange(7):
        case 0:
            made[at] ^= 1 << draw.randrange(8)
        case 1:
            for _ in range(draw.randint(1, 8)):
                made[draw.randrange(len(made))] = draw.randrange(256)
        case 2:
            del made[at:]
        case 3:
            del made[at : at + some]
        case 4:
            made[at:at] = draw.randbytes(some)
        case 5:
            made[at : at + some] = bytes([draw.choice((0, 255))]) * some
        case 6:
            made[at:at] = made[at : at + some]
    return bytes(made)


def value_damaged(draw: random.Random, data: Any) -> Any:  # noqa: PLR0911 - a return a kind
    """Return JSON of which one value, name or item is another."""
    if isinstance(data, dict) and data and draw.random() < 0.95:
        name = draw.choice(list(data))
        what = draw.random()
        if what < 0.03:
            return {key: value for key, value in data.items() if key != name}
        if what < 0.05:
            return data | {"more": draw.choice(_HOSTILE)}
        return data | {name: value_damaged(draw, data[name])}
    if isinstance(data, list) and data and draw.random() < 0.9:
        at = draw.randrange(len(data))
        if draw.random() < 0.1:
            return [*data, data[at]]
        return [*data[:at], value_damaged(draw, data[at]), *data[at + 1 :]]
    if isinstance(data, str) and len(data) > 100:  # a schema
        return base64.b64encode(bytes_damaged(draw, base64.b64decode(data))).decode()
    if type(data) is int and draw.random() < 0.5:
        return data + draw.choice((-1, 1, 1000))
    return draw.choice(_HOSTILE)


def signed(manifest: Path, data: Any) -> None:
    """Write a manifest with a checksum that is right."""
    data.pop("crc32", None)
    manifest.write_text(json.dumps({**data, "crc32": _checksum(data)}))


def damage(draw: random.Random, folder: Path, manifest: Path) -> str:
    """Damage one of the files, by accident, or by somebody who makes the checksums right."""
    files = sorted(path for path in folder.iterdir() if path != manifest)
    data = json.loads(manifest.read_text())
    what = draw.choice(("file", "signed file", "signed file", "manifest", "signed manifest", "signed manifest"))
    path = draw.choice(files)
    if what.endswith("file"):
        path.write_bytes(bytes_damaged(draw, path.read_bytes()))
    if what == "signed file":
        for file in data["files"]:
            if file["name"] == path.name:
                file.update(bytes=path.stat().st_size, crc32=zlib.crc32(path.read_bytes()))
        signed(manifest, data)
    if what == "manifest":
        manifest.write_bytes(bytes_damaged(draw, manifest.read_bytes()))
    if what == "signed manifest":
        changed = value_damaged(draw, data)
        signed(manifest, changed if isinstance(changed, dict) else data)
    return what


def main(seed: int, count: int) -> int:
    """Load so many damaged folders; print what became of them, and return how many errors are none of kafkalab's."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    warnings.simplefilter("ignore")
    outcomes: Counter[str] = Counter()
    undeclared = 0
    with tempfile.TemporaryDirectory() as name:
        whole: dict[str, dict[str, bytes]] = {}
        frames: dict[str, Any] = {}
        for file_format in FORMATS:
            folder = Path(name, file_format)
            folder_of(file_format, folder)
            whole[file_format] = {path.name: path.read_bytes() for path in folder.iterdir()}
            frames[file_format] = kl.load(folder)
        for number in range(count):
            draw = random.Random(f"{seed} {number}")
            file_format = draw.choice(FORMATS)
            folder = Path(name, file_format)
            for path in folder.iterdir():
                path.unlink()
            for file, data in whole[file_format].items():
                (folder / file).write_bytes(data)
            what = damage(draw, folder, next(folder.glob("*+manifest.json")))
            try:
                frame = kl.load(folder)
                if what in {"file", "manifest"} and not frame.equals(frames[file_format]):
                    outcomes["WRONG"] += 1
                    undeclared += 1
                outcomes["a frame"] += 1
            except kl.KafkalabError as error:
                outcomes[type(error).__name__] += 1
            except Exception:  # noqa: BLE001 - that is what is looked for
                undeclared += 1
                print(f"seed {seed}, number {number}: {what}, {file_format}\n{traceback.format_exc()}", flush=True)  # noqa: T201 - its output
    print(dict(outcomes), "undeclared:", undeclared)  # noqa: T201 - its output
    return undeclared


if __name__ == "__main__":
    pa.set_cpu_count(1)
    sys.exit(min(100, main(int(sys.argv[1]), int(sys.argv[2]))))
