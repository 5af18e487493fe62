"""What an export has to write, given what is there already."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING

from kafkalab.errors import ArgumentError, DataLossError, ExportError
from kafkalab.export.manifest import Manifest, Part
from kafkalab.plan import TimeWindow

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kafkalab.export.folder import Folder
    from kafkalab.scan import Scan


def begin(scan: Scan, folder: Folder, *, format_name: str, resume: bool, overwrite: bool) -> Manifest:
    """Return the manifest that an export begins with.

    Parameters
    ----------
    resume : bool
        Whether to go on with an export that was cut off, to the end that it was to reach; or after one that was not.
    overwrite : bool
        Whether to replace what is there of the same offsets.

    Raises
    ------
    ExportError
        The folder holds some of the offsets, and neither was asked for.
    ArgumentError
        The export to go on with made other rows of its records.
    DataLossError
        It was of an earlier topic of the same name.
    """
    topic, topic_id = scan.plan.topic, scan.info.topic_id
    planned = tuple(_parts(scan))
    new = Manifest(topic, topic_id, {"format": format_name, **_reading(scan)}, pending=planned)
    there = Manifest.load(folder, new.file_name)
    if there is None:
        return new
    there.settle(folder)
    if overwrite:
        return _overwriting(new, there, other_topic=topic_id != there.topic_id)
    if topic_id != there.topic_id:
        message = f"{folder.name} has files of an earlier topic of that name: take another folder, or overwrite=True"
        raise DataLossError(message, topic=topic)
    if resume:
        _check_same(new.reading, there.reading)
        return there if there.pending else _after(new, there)
    if there.pending and there.own:
        message = (
            f"{folder.name} has an export that was cut off: resume=True goes on with it, overwrite=True begins anew"
        )
        raise ExportError(message, topic=topic)
    _check_apart(new, there, folder)
    return replace(new, written=there.written, earlier=len(there.written))


def _parts(scan: Scan) -> Iterator[Part]:
    for part in scan.plan.ranges:
        if part.span:
            window = scan.plan.windows.get(part.partition, TimeWindow())
            yield Part(part.topic, part.partition, part.start, part.end, window)


def _reading(scan: Scan) -> dict[str, str]:
    """Return what makes rows of records, as text to compare."""
    options = {option.name: getattr(scan.row_options, option.name) for option in fields(scan.row_options)}
    del options["registry"]  # where schemas are had from does not change what they say
    options["isolation_level"] = scan.fetch_options.isolation_level
    return {name: str(getattr(value, "__qualname__", value)) for name, value in options.items()}


def _check_same(asked: dict[str, str], before: dict[str, str]) -> None:
    for name in asked | before:
        if asked.get(name) != before.get(name):
            message = (
                f"the export to go on with was made with {name}={before.get(name)}, not {asked.get(name)}: "
                "ask for the same, or take another folder"
            )
            raise ArgumentError(message)


def _check_apart(new: Manifest, there: Manifest, folder: Folder) -> None:
    for part in new.pending:
        for file in there.written:
            if part.overlaps(file.part):
                message = (
                    f"{folder.to(file.name)} already has offsets of {part.offset_range}: "
                    "resume=True writes only those that are missing, overwrite=True replaces it"
                )
                raise ExportError(message, topic=part.topic, partition=part.partition)


def _overwriting(new: Manifest, there: Manifest, *, other_topic: bool) -> Manifest:
    replaced = [file for file in there.written if other_topic or any(part.overlaps(file.part) for part in new.pending)]
    kept = tuple(file for file in there.written if file not in replaced)
    names = tuple(file.name for file in replaced)
    return replace(new, written=kept, earlier=len(kept), superseded=(*there.superseded, *names))


def _after(new: Manifest, there: Manifest) -> Manifest:
    """Return the part of an export that is not in the files that are there."""
    pending = tuple(left for part in new.pending for left in _missing(part, [file.part for file in there.written]))
    return replace(new, written=there.written, earlier=len(there.written), pending=pending)


def _missing(part: Part, there: Sequence[Part]) -> Iterator[Part]:
    covering = sorted((other.start, other.end) for other in there if part.overlaps(other))
    if covering and (part.window or any(other.window for other in there if part.overlaps(other))):
        message = (
            "the files that are there begin or end at a time, or this export is to, so which of their records are "
            "missing is not known: give offsets, or take another folder"
        )
        raise ExportError(message, topic=part.topic, partition=part.partition)
    start = part.start
    for low, high in covering:
        if start < low:
            yield replace(part, start=start, end=low)
        start = max(start, high)
    if start < part.end:
        yield replace(part, start=start)
