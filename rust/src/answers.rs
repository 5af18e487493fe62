//! What brokers answer to all but fetches. The decoders are the project's own: the generated crate allocates by the
//! counts that an answer announces, before it looks whether so much has come. The tests compare both.

use pyo3::prelude::*;

use crate::error::Error;
use crate::fault::Malformed;
use crate::reader::Reader;

/// Most structures in one answer: each takes some times more memory than bytes on the wire.
const MOST_STRUCTURES: usize = 1 << 20;
const CUT: Malformed = Malformed("it is cut, or of another version");
const UUID_BYTES: usize = 16;

type Parsed<T> = Result<T, Malformed>;

/// An answer that is being read, of a version with or without the flexible kind of fields.
struct Answer<'a> {
    reader: Reader<'a>,
    flexible: bool,
    structures_left: usize,
}

impl<'a> Answer<'a> {
    /// Read an answer: its header, and what `read` makes of its fields. Servers may put more behind these.
    fn whole<T>(
        frame: &'a [u8],
        correlation_id: i32,
        flexible: bool,
        read: impl FnOnce(&mut Self) -> Parsed<T>,
    ) -> PyResult<T> {
        let mut answer = Self {
            reader: Reader(frame),
            flexible,
            structures_left: MOST_STRUCTURES,
        };
        Ok(answer
            .header(correlation_id)
            .and_then(|()| answer.structure(read))
            .map_err(Error::from)?)
    }

    fn header(&mut self, correlation_id: i32) -> Parsed<()> {
        if self.i32()? != correlation_id {
            return Err(Malformed(
                "it answers another request: its correlation id is not the one sent",
            ));
        }
        self.tags()
    }

    fn i16(&mut self) -> Parsed<i16> {
        self.reader.i16().ok_or(CUT)
    }

    fn i32(&mut self) -> Parsed<i32> {
        self.reader.i32().ok_or(CUT)
    }

    fn i64(&mut self) -> Parsed<i64> {
        self.reader.i64().ok_or(CUT)
    }

    fn bool(&mut self) -> Parsed<bool> {
        self.take(1).map(|byte| byte[0] != 0)
    }

    fn take(&mut self, count: usize) -> Parsed<&'a [u8]> {
        self.reader.take(count).ok_or(CUT)
    }

    /// Read a field that only versions from `since` have.
    fn since<T>(
        &mut self,
        has: bool,
        absent: T,
        read: impl FnOnce(&mut Self) -> Parsed<T>,
    ) -> Parsed<T> {
        if has { read(self) } else { Ok(absent) }
    }

    fn unsigned_varint(&mut self) -> Parsed<usize> {
        let mut value = 0_u64;
        for shift in (0..35).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return usize::try_from(value).map_err(|_| CUT);
            }
        }
        Err(Malformed("a length takes more than five bytes"))
    }

    /// Read a length; `None` for what is null.
    fn length(&mut self, plain: impl FnOnce(&mut Self) -> Parsed<i64>) -> Parsed<Option<usize>> {
        if self.flexible {
            return Ok(self.unsigned_varint()?.checked_sub(1));
        }
        match plain(self)? {
            -1 => Ok(None),
            length => usize::try_from(length).map(Some).map_err(|_| CUT),
        }
    }

    /// Take the bytes of a string, which nobody reads, or null.
    fn raw_string(&mut self) -> Parsed<Option<&'a [u8]>> {
        let length = self.length(|answer| answer.i16().map(i64::from))?;
        length.map(|length| self.take(length)).transpose()
    }

    fn raw_bytes(&mut self) -> Parsed<Option<&'a [u8]>> {
        let length = self.length(|answer| answer.i32().map(i64::from))?;
        length.map(|length| self.take(length)).transpose()
    }

    fn nullable_string(&mut self) -> Parsed<Option<String>> {
        let raw = self.raw_string()?;
        let text = raw.map(std::str::from_utf8).transpose();
        Ok(text
            .map_err(|_| Malformed("a name in it is not UTF-8"))?
            .map(str::to_owned))
    }

    fn string(&mut self) -> Parsed<String> {
        self.nullable_string()?
            .ok_or(Malformed("a name in it is null"))
    }

    /// Read an array; memory grows with the elements that have come, whatever their number is said to be.
    fn array<T>(&mut self, mut read: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        let count = self.length(|answer| answer.i32().map(i64::from))?;
        let mut elements = Vec::new();
        for _ in 0..count.unwrap_or(0) {
            elements.push(read(self)?);
        }
        Ok(elements)
    }

    fn structures<T>(&mut self, mut read: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        self.array(|answer| answer.structure(&mut read))
    }

    fn structure<T>(&mut self, read: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        self.structures_left = self
            .structures_left
            .checked_sub(1)
            .ok_or(Malformed("it holds more than a million structures"))?;
        let found = read(self)?;
        self.tags().map(|()| found)
    }

    fn numbers(&mut self) -> Parsed<Vec<i32>> {
        self.array(Self::i32)
    }

    /// Pass over fields that this version's description does not know.
    fn tags(&mut self) -> Parsed<()> {
        if !self.flexible {
            return Ok(());
        }
        for _ in 0..self.unsigned_varint()? {
            self.unsigned_varint()?;
            let size = self.unsigned_varint()?;
            self.take(size)?;
        }
        Ok(())
    }
}

/// Error code, and by request its key and its least and most version.
type ApiVersions = (i16, Vec<(i16, i16, i16)>);

#[pyfunction]
pub fn api_versions_answer(
    frame: &[u8],
    version: i16,
    correlation_id: i32,
) -> PyResult<ApiVersions> {
    _ = version;
    Answer::whole(frame, correlation_id, false, |answer| {
        Ok((
            answer.i16()?,
            answer.structures(|api| Ok((api.i16()?, api.i16()?, api.i16()?)))?,
        ))
    })
}

/// Number, host and port.
type Broker = (i32, String, i32);
/// Error code, number, leader, replicas, those in sync, those that are away.
type Partition = (i16, i32, i32, Vec<i32>, Vec<i32>, Vec<i32>);
/// Error code, name, id, whether it is internal.
type Topic = (i16, Option<String>, [u8; UUID_BYTES], bool, Vec<Partition>);

#[pyfunction]
pub fn metadata_answer(
    frame: &[u8],
    version: i16,
    correlation_id: i32,
) -> PyResult<(Vec<Broker>, i32, Vec<Topic>)> {
    Answer::whole(frame, correlation_id, version >= 9, |answer| {
        answer.since(version >= 3, 0, Answer::i32)?; // throttled
        let brokers = answer.structures(|broker| {
            let found = (broker.i32()?, broker.string()?, broker.i32()?);
            broker.since(version >= 1, None, Answer::raw_string)?; // rack
            Ok(found)
        })?;
        answer.since(version >= 2, None, Answer::raw_string)?; // cluster id
        let controller = answer.since(version >= 1, -1, Answer::i32)?;
        let topics = answer.structures(|topic| metadata_topic(topic, version))?;
        answer.since((8..=10).contains(&version), 0, Answer::i32)?; // what one may do
        Ok((brokers, controller, topics))
    })
}

fn metadata_topic(topic: &mut Answer<'_>, version: i16) -> Parsed<Topic> {
    let error = topic.i16()?;
    let name = topic.nullable_string()?;
    let id = topic.since(version >= 10, [0; UUID_BYTES], |topic| {
        topic.take(UUID_BYTES)?.try_into().map_err(|_| CUT)
    })?;
    let is_internal = topic.since(version >= 1, false, Answer::bool)?;
    let partitions = topic.structures(|part| {
        let (error, number, leader) = (part.i16()?, part.i32()?, part.i32()?);
        part.since(version >= 7, 0, Answer::i32)?; // leader's epoch
        let (replicas, in_sync) = (part.numbers()?, part.numbers()?);
        let away = part.since(version >= 5, Vec::new(), Answer::numbers)?;
        Ok((error, number, leader, replicas, in_sync, away))
    })?;
    topic.since(version >= 8, 0, Answer::i32)?; // what one may do
    Ok((error, name, id, is_internal, partitions))
}

/// By topic: partition, error code, timestamp and offset.
type Offsets = Vec<(String, Vec<(i32, i16, i64, i64)>)>;

#[pyfunction]
pub fn list_offsets_answer(frame: &[u8], version: i16, correlation_id: i32) -> PyResult<Offsets> {
    Answer::whole(frame, correlation_id, version >= 6, |answer| {
        answer.since(version >= 2, 0, Answer::i32)?; // throttled
        answer.structures(|topic| {
            let name = topic.string()?;
            let partitions = topic.structures(|part| {
                let found = (part.i32()?, part.i16()?, part.i64()?, part.i64()?);
                part.since(version >= 4, 0, Answer::i32)?; // leader's epoch
                Ok(found)
            })?;
            Ok((name, partitions))
        })
    })
}

/// Error code, and the coordinator.
#[pyfunction]
pub fn find_coordinator_answer(
    frame: &[u8],
    version: i16,
    correlation_id: i32,
) -> PyResult<(i16, Broker)> {
    Answer::whole(frame, correlation_id, version >= 3, |answer| {
        answer.since(version >= 1, 0, Answer::i32)?; // throttled
        let error = answer.i16()?;
        answer.since(version >= 1, None, Answer::raw_string)?; // its text
        Ok((error, (answer.i32()?, answer.string()?, answer.i32()?)))
    })
}

/// By topic: partition, offset and error code.
type Commits = Vec<(String, Vec<(i32, i64, i16)>)>;

#[pyfunction]
pub fn offset_fetch_answer(
    frame: &[u8],
    version: i16,
    correlation_id: i32,
) -> PyResult<(i16, Commits)> {
    Answer::whole(frame, correlation_id, version >= 6, |answer| {
        answer.since(version >= 3, 0, Answer::i32)?; // throttled
        let topics = answer.structures(|topic| {
            let name = topic.string()?;
            let partitions = topic.structures(|part| {
                let (number, offset) = (part.i32()?, part.i64()?);
                part.since(version >= 5, 0, Answer::i32)?; // leader's epoch
                part.raw_string()?; // what the consumer noted beside it
                Ok((number, offset, part.i16()?))
            })?;
            Ok((name, partitions))
        })?;
        Ok((answer.since(version >= 2, 0, Answer::i16)?, topics))
    })
}

/// By topic: partition and error code.
type Committed = Vec<(String, Vec<(i32, i16)>)>;

#[pyfunction]
pub fn offset_commit_answer(
    frame: &[u8],
    version: i16,
    correlation_id: i32,
) -> PyResult<Committed> {
    Answer::whole(frame, correlation_id, version >= 8, |answer| {
        answer.since(version >= 3, 0, Answer::i32)?; // throttled
        answer.structures(|topic| {
            let name = topic.string()?;
            Ok((
                name,
                topic.structures(|part| Ok((part.i32()?, part.i16()?)))?,
            ))
        })
    })
}

/// Error code, and of each group its id and the type of its protocol.
#[pyfunction]
pub fn list_groups_answer(
    frame: &[u8],
    version: i16,
    correlation_id: i32,
) -> PyResult<(i16, Vec<(String, String)>)> {
    Answer::whole(frame, correlation_id, version >= 3, |answer| {
        answer.since(version >= 1, 0, Answer::i32)?; // throttled
        let error = answer.i16()?;
        let groups = answer.structures(|group| {
            let found = (group.string()?, group.string()?);
            group.since(version >= 4, None, Answer::raw_string)?; // state
            group.since(version >= 5, None, Answer::raw_string)?; // type
            Ok(found)
        })?;
        Ok((error, groups))
    })
}

/// Error code, state, and of each member its client, its id and its host.
type Group = (i16, String, Vec<(String, String, String)>);

#[pyfunction]
pub fn describe_groups_answer(
    frame: &[u8],
    version: i16,
    correlation_id: i32,
) -> PyResult<Vec<Group>> {
    Answer::whole(frame, correlation_id, version >= 5, |answer| {
        answer.since(version >= 1, 0, Answer::i32)?; // throttled
        answer.structures(|group| {
            let error = group.i16()?;
            group.since(version >= 6, None, Answer::raw_string)?; // its text
            group.raw_string()?; // its id
            let state = group.string()?;
            group.raw_string()?; // type of protocol
            group.raw_string()?; // protocol
            let members = group.structures(|member| {
                let id = member.string()?;
                member.since(version >= 4, None, Answer::raw_string)?; // instance
                let found = (member.string()?, id, member.string()?);
                member.raw_bytes()?; // subscription
                member.raw_bytes()?; // assignment
                Ok(found)
            })?;
            group.since(version >= 3, 0, Answer::i32)?; // what one may do
            Ok((error, state, members))
        })
    })
}

#[pyfunction]
pub fn consumer_group_describe_answer(
    frame: &[u8],
    version: i16,
    correlation_id: i32,
) -> PyResult<Vec<Group>> {
    Answer::whole(frame, correlation_id, true, |answer| {
        answer.i32()?; // throttled
        answer.structures(|group| {
            let error = group.i16()?;
            group.raw_string()?; // its text
            group.raw_string()?; // its id
            let state = group.string()?;
            group.i32()?; // epoch of the group
            group.i32()?; // of its assignment
            group.raw_string()?; // assignor
            let members = group.structures(|member| consumer_member(member, version))?;
            group.i32()?; // what one may do
            Ok((error, state, members))
        })
    })
}

fn consumer_member(member: &mut Answer<'_>, version: i16) -> Parsed<(String, String, String)> {
    let id = member.string()?;
    member.raw_string()?; // instance
    member.raw_string()?; // rack
    member.i32()?; // epoch
    let found = (member.string()?, id, member.string()?);
    member.array(Answer::raw_string)?; // topics
    member.raw_string()?; // expression
    for _ in 0..2 {
        member.structure(assignment)?; // of now, and to come
    }
    member.since(version >= 1, false, Answer::bool)?; // type
    Ok(found)
}

fn assignment(assignment: &mut Answer<'_>) -> Parsed<()> {
    assignment.structures(|topic| {
        topic.take(UUID_BYTES)?;
        topic.raw_string()?; // name
        topic.numbers().map(drop)
    })?;
    Ok(())
}

#[cfg(test)]
mod tests;
