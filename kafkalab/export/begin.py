"""What an export has to write, given what is there already."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import fields, replace
from typing import TYPE_CHECKING

from kafkalab.errors import ArgumentError, DataLossError, ExportError
from kafkalab.export import names
from kafkalab.export.journal import Journal
from kafkalab.export.manifest import Manifest, Part
from kafkalab.plan import TimeWindow

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from kafkalab.export.folder import Folder
    from kafkalab.export.manifest import WrittenFile
    from kafkalab.scan import Scan


def begin(
    scan: Scan, folder: Folder, *, format_name: str, escape_formulas: bool, resume: bool, overwrite: bool
) -> Journal:
    """Return the manifest that an export begins with; what an earlier one left in the folder is tidied up.

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
    reading = {"format": format_name, "escape_formulas": str(escape_formulas), **_reading(scan)}
    new = Manifest(topic, topic_id, reading, pending=tuple(_parts(scan)))
    listed = folder.files()
    there = Manifest.load(folder, new.file_name, listed)
    begun = new if there is None else _begun(new, there, folder, resume=resume, overwrite=overwrite)
    journal = Journal(folder, begun, names.entries(new.file_name, listed))
    Journal(folder, there or new).settle()
    return journal


def _begun(new: Manifest, there: Manifest, folder: Folder, *, resume: bool, overwrite: bool) -> Manifest:
    other_topic = new.topic_id != there.topic_id
    if overwrite:
        return _overwriting(new, there.abandoned(), other_topic=other_topic)
    if other_topic:
        message = f"{folder.name} has files of an earlier topic of that name: take another folder, or overwrite=True"
        raise DataLossError(message, topic=new.topic)
    _check_same(new, there)
    if resume:
        return there if there.pending else _after(new, there.abandoned())
    if there.pending and there.own:
        message = (
            f"{folder.name} has an export that was cut off: resume=True goes on with it, overwrite=True begins anew"
        )
        raise ExportError(message, topic=new.topic)
    there = there.abandoned()
    _check_apart(new, there, folder)
    return replace(there, reading=new.reading, pending=new.pending)


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


def _check_same(new: Manifest, there: Manifest) -> None:
    """Refuse to put rows beside others that were made otherwise: a folder is read as one table."""
    asked, before = new.reading, there.reading
    for name in asked | before if there.written or there.superseded else ():
        if asked.get(name) != before.get(name):
            message = (
                f"the export in the folder was made with {name}={before.get(name)}, not {asked.get(name)}: "
                "ask for the same, or take another folder"
            )
            raise ArgumentError(message)


def _check_apart(new: Manifest, there: Manifest, folder: Folder) -> None:
    overlapping = _Overlaps(there.written)
    for part in new.pending:
        for file in overlapping.of(part):
            message = (
                f"{folder.to(file.name)} already has offsets of {part.offset_range}: "
                "resume=True writes only those that are missing, overwrite=True replaces it"
            )
            raise ExportError(message, topic=part.topic, partition=part.partition)


def _overwriting(new: Manifest, there: Manifest, *, other_topic: bool) -> Manifest:
    """Return the export of files that others make way for, once all of the new ones are there."""
    overlapping = _Overlaps(there.written)
    replaced = list(there.written) if other_topic else [f for part in new.pending for f in overlapping.of(part)]
    gone = {file.name for file in replaced}
    kept = tuple(file for file in there.written if file.name not in gone)
    begun = replace(
        there,
        topic_id=new.topic_id,
        reading=new.reading,
        written=kept,
        pending=new.pending,
        superseded=tuple(file for file in there.written if file.name in gone),
        earlier=len(kept),
        version=there.next_version,
    )
    if kept:
        _check_same(begun, there)
    return begun.settled()


def _after(new: Manifest, there: Manifest) -> Manifest:
    """Return the part of an export that is not in the files that are there."""
    overlapping = _Overlaps(there.written)
    pending = (left for part in new.pending for left in _missing(part, [f.part for f in overlapping.of(part)]))
    return replace(there, reading=new.reading, pending=tuple(pending))


class _Overlaps:
    """Files by partition: which of them have offsets of a range."""

    def __init__(self, files: Iterable[WrittenFile]) -> None:
        self._files: dict[int, list[WrittenFile]] = defaultdict(list)
        for file in files:
            self._files[file.part.partition].append(file)

    def of(self, part: Part) -> Iterator[WrittenFile]:
        return (file for file in self._files.get(part.partition, ()) if part.overlaps(file.part))


def _missing(part: Part, there: Sequence[Part]) -> Iterator[Part]:
    covering = sorted((other.start, other.end) for other in there)
    if covering and (part.window or any(other.window for other in there)):
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
