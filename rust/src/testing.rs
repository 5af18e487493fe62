//! An encoder of Fetch responses for the tests, which shares nothing with the readers.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "test data are small"
)]

use std::io::Write;

/// Zig-zag, 7 bits a byte.
pub fn varlong(value: i64) -> Vec<u8> {
    let mut left = ((value << 1) ^ (value >> 63)) as u64;
    let mut encoded = Vec::new();
    while left >= 0x80 {
        encoded.push((left as u8 & 0x7f) | 0x80);
        left >>= 7;
    }
    encoded.push(left as u8);
    encoded
}

pub fn varint(value: i32) -> Vec<u8> {
    varlong(value.into())
}

fn nullable(value: Option<&[u8]>) -> Vec<u8> {
    match value {
        None => varint(-1),
        Some(bytes) => [varint(bytes.len() as i32), bytes.to_vec()].concat(),
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    pub offset_delta: i32,
    pub timestamp_delta: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Record {
    pub fn encode(&self) -> Vec<u8> {
        let mut body = vec![0];
        body.extend(varlong(self.timestamp_delta));
        body.extend(varint(self.offset_delta));
        body.extend(nullable(self.key.as_deref()));
        body.extend(nullable(self.value.as_deref()));
        body.extend(varint(self.headers.len() as i32));
        for (key, value) in &self.headers {
            body.extend(nullable(Some(key)));
            body.extend(nullable(value.as_deref()));
        }
        [varint(body.len() as i32), body].concat()
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    pub base_offset: i64,
    pub last_offset_delta: i32,
    pub attributes: i16,
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    pub producer_id: i64,
    pub records: Vec<Record>,
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            base_offset: 0,
            last_offset_delta: 0,
            attributes: 0,
            base_timestamp: 1_000,
            max_timestamp: 2_000,
            producer_id: -1,
            records: Vec::new(),
        }
    }
}

impl Batch {
    /// A batch of these values at consecutive offsets.
    pub fn of(base_offset: i64, values: &[&str]) -> Self {
        let records: Vec<_> = values
            .iter()
            .enumerate()
            .map(|(index, value)| Record {
                offset_delta: index as i32,
                value: Some(value.as_bytes().to_vec()),
                ..Record::default()
            })
            .collect();
        Self {
            base_offset,
            last_offset_delta: values.len() as i32 - 1,
            records,
            ..Self::default()
        }
    }

    /// The marker that ends a transaction: 0 aborts, 1 commits.
    pub fn marker(base_offset: i64, producer_id: i64, kind: i16) -> Self {
        let key = [0_i16.to_be_bytes(), kind.to_be_bytes()].concat();
        let record = Record {
            key: Some(key),
            value: Some(vec![0; 6]),
            ..Record::default()
        };
        Self {
            base_offset,
            producer_id,
            attributes: 0x30,
            records: vec![record],
            ..Self::default()
        }
    }

    pub fn with(mut self, attributes: i16, producer_id: i64) -> Self {
        self.attributes |= attributes;
        self.producer_id = producer_id;
        self
    }

    pub fn encode(&self) -> Vec<u8> {
        let payload = self
            .records
            .iter()
            .flat_map(Record::encode)
            .collect::<Vec<_>>();
        self.encode_around(&compress(self.attributes & 7, &payload))
    }

    /// The batch with a payload of one's own making.
    pub fn encode_around(&self, payload: &[u8]) -> Vec<u8> {
        let mut checked = Vec::new();
        checked.extend(self.attributes.to_be_bytes());
        checked.extend(self.last_offset_delta.to_be_bytes());
        checked.extend(self.base_timestamp.to_be_bytes());
        checked.extend(self.max_timestamp.to_be_bytes());
        checked.extend(self.producer_id.to_be_bytes());
        checked.extend([0; 6]);
        checked.extend((self.records.len() as i32).to_be_bytes());
        checked.extend(payload);
        let mut batch = self.base_offset.to_be_bytes().to_vec();
        batch.extend((checked.len() as i32 + 9).to_be_bytes());
        batch.extend([0; 4]);
        batch.push(2);
        batch.extend(slow_crc(&checked).to_be_bytes());
        batch.extend(checked);
        batch
    }
}

/// CRC-32C, bit by bit.
pub fn slow_crc(data: &[u8]) -> u32 {
    !data.iter().fold(!0_u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            if crc & 1 == 1 {
                crc >> 1 ^ 0x82F6_3B78
            } else {
                crc >> 1
            }
        })
    })
}

pub fn compress(codec: i16, payload: &[u8]) -> Vec<u8> {
    match codec {
        1 => gzip(payload),
        2 => xerial(payload),
        3 => lz4(payload, true),
        4 => zstd(payload),
        _ => payload.to_vec(),
    }
}

pub fn gzip(payload: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(payload).unwrap();
    encoder.finish().unwrap()
}

pub fn xerial(payload: &[u8]) -> Vec<u8> {
    let mut stream = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
    for chunk in payload.chunks(32 << 10) {
        let block = snap::raw::Encoder::new().compress_vec(chunk).unwrap();
        stream.extend((block.len() as i32).to_be_bytes());
        stream.extend(block);
    }
    stream
}

/// The real encoder's frame.
pub fn lz4(payload: &[u8], independent: bool) -> Vec<u8> {
    let mut encoder = lz4::EncoderBuilder::new()
        .block_mode(if independent {
            lz4::BlockMode::Independent
        } else {
            lz4::BlockMode::Linked
        })
        .block_size(lz4::BlockSize::Max64KB)
        .checksum(if independent {
            lz4::ContentChecksum::NoChecksum
        } else {
            lz4::ContentChecksum::ChecksumEnabled
        })
        .build(Vec::new())
        .unwrap();
    encoder.write_all(payload).unwrap();
    let (stream, result) = encoder.finish();
    result.unwrap();
    stream
}

/// A frame without its content's size, as a stream's is.
pub fn zstd(payload: &[u8]) -> Vec<u8> {
    let mut context = zstd_safe::CCtx::create();
    let bound = zstd_safe::compress_bound(payload.len());
    let mut frame = Vec::with_capacity(bound);
    context
        .set_parameter(zstd_safe::CParameter::ContentSizeFlag(false))
        .unwrap();
    context.compress2(&mut frame, payload).unwrap();
    frame
}

pub struct Section {
    pub topic: &'static str,
    pub partition: i32,
    pub aborted: Vec<(i64, i64)>,
    pub records: Vec<u8>,
}

/// A whole frame, correlation id 7 first.
pub fn response(version: i16, sections: &[Section]) -> Vec<u8> {
    let mut frame = 7_i32.to_be_bytes().to_vec();
    frame.extend(5_i32.to_be_bytes()); // throttle
    if version >= 7 {
        frame.extend([0; 6]);
    }
    frame.extend((sections.len() as i32).to_be_bytes());
    for section in sections {
        frame.extend((section.topic.len() as i16).to_be_bytes());
        frame.extend(section.topic.as_bytes());
        frame.extend(1_i32.to_be_bytes());
        frame.extend(section.partition.to_be_bytes());
        frame.extend([0; 2]);
        frame.extend(100_i64.to_be_bytes());
        frame.extend(90_i64.to_be_bytes());
        if version >= 5 {
            frame.extend(3_i64.to_be_bytes());
        }
        frame.extend((section.aborted.len() as i32).to_be_bytes());
        for (producer_id, first_offset) in &section.aborted {
            frame.extend(producer_id.to_be_bytes());
            frame.extend(first_offset.to_be_bytes());
        }
        if version >= 11 {
            frame.extend((-1_i32).to_be_bytes());
        }
        frame.extend((section.records.len() as i32).to_be_bytes());
        frame.extend(&section.records);
    }
    frame
}
