//! The codecs of record batches, each bounded in what it may give.

use std::io::Read;

use flate2::bufread::MultiGzDecoder;
use zstd_safe::DCtx;

use crate::error::Fault;
use crate::reader::Reader;

const XERIAL_MAGIC: &[u8] = b"\x82SNAPPY\0";
/// After the magic: a version and the oldest version that can read it.
const XERIAL_HEADER_BYTES: usize = 16;
const LZ4_MAGIC: u32 = 0x184D_2204;
/// An LZ4 match reaches at most so far back.
const LZ4_WINDOW: usize = 64 << 10;
const SMALLEST_GUESS: usize = 64 << 10;
/// More than this is given back to the system after use.
const MOST_KEPT_BYTES: usize = 8 << 20;

/// The codecs' state and the one buffer that they fill.
pub struct Decompressor {
    buffer: Vec<u8>,
    zstd: DCtx<'static>,
}

impl Default for Decompressor {
    fn default() -> Self {
        Self {
            buffer: Vec::new(),
            zstd: DCtx::create(),
        }
    }
}

impl Decompressor {
    /// Decompress the payload of a batch; more than `limit` bytes are refused, and never made.
    pub fn decompress(&mut self, codec: i16, data: &[u8], limit: usize) -> Result<&[u8], Fault> {
        let length = match codec {
            1 => self.gzip(data, limit),
            2 => self.snappy(data, limit),
            3 => self.lz4(data, limit),
            4 => self.zstd(data, limit),
            _ => Err(Fault::Corrupt("its compression is unknown")),
        }?;
        Ok(&self.buffer[..length])
    }

    /// What was decompressed last.
    pub fn last(&self, length: usize) -> &[u8] {
        &self.buffer[..length]
    }

    /// Free what an unusually large batch took.
    pub fn shrink(&mut self) {
        if self.buffer.len() > MOST_KEPT_BYTES {
            self.buffer = Vec::new();
        }
    }

    /// A buffer of at least this size. Fresh memory comes zeroed from the system, page by page as it is used.
    fn room(&mut self, size: usize) -> &mut [u8] {
        if self.buffer.len() < size {
            self.buffer = Vec::new(); // free it first: its contents are not needed
            self.buffer = vec![0; size.next_power_of_two()];
        }
        &mut self.buffer
    }

    fn gzip(&mut self, data: &[u8], limit: usize) -> Result<usize, Fault> {
        let mut decoder = MultiGzDecoder::new(data);
        self.room(
            data.len()
                .saturating_mul(4)
                .clamp(SMALLEST_GUESS.min(limit), limit),
        );
        let mut length = 0;
        loop {
            if length == self.buffer.len() {
                self.buffer
                    .resize(length.saturating_mul(2).min(limit.saturating_add(1)), 0);
            }
            match decoder.read(&mut self.buffer[length..]) {
                Ok(0) => return Ok(length),
                Ok(count) if length + count > limit => return Err(Fault::TooLarge(limit)),
                Ok(count) => length += count,
                Err(_) => return Err(Fault::Corrupt("its gzip data are broken")),
            }
        }
    }

    fn snappy(&mut self, data: &[u8], limit: usize) -> Result<usize, Fault> {
        let broken = Fault::Corrupt("its snappy data are broken");
        let blocks = snappy_blocks(data).ok_or(broken)?;
        let sizes = blocks.iter().map(|block| snap::raw::decompress_len(block));
        let total = sizes.sum::<Result<usize, _>>().map_err(|_| broken)?;
        if total > limit {
            return Err(Fault::TooLarge(limit));
        }
        let mut decoder = snap::raw::Decoder::new();
        let mut free = self.room(total);
        for block in blocks {
            let count = decoder.decompress(block, free).map_err(|_| broken)?;
            free = &mut free[count..];
        }
        Ok(total)
    }

    fn lz4(&mut self, data: &[u8], limit: usize) -> Result<usize, Fault> {
        let broken = Fault::Corrupt("its lz4 data are broken");
        let blocks = lz4_blocks(data).ok_or(broken)?;
        let bound = blocks
            .iter()
            .map(Lz4Block::most_bytes)
            .fold(0, usize::saturating_add);
        let room = bound.min(limit);
        let buffer = &mut self.room(room)[..room];
        let mut length = 0;
        for block in blocks {
            let fault = if bound > limit && block.most_bytes() > room - length {
                Fault::TooLarge(limit)
            } else {
                broken
            };
            length += block.decompress(buffer, length).ok_or(fault)?;
        }
        Ok(length)
    }

    fn zstd(&mut self, data: &[u8], limit: usize) -> Result<usize, Fault> {
        let broken = Fault::Corrupt("its zstd data are broken");
        let bound = zstd_safe::decompress_bound(data).map_err(|_| broken)?;
        let room = usize::try_from(bound).unwrap_or(usize::MAX).min(limit);
        self.room(room);
        let given = self.zstd.decompress(&mut self.buffer[..room], data);
        given.map_err(|_| {
            if bound > limit as u64 {
                Fault::TooLarge(limit)
            } else {
                broken
            }
        })
    }
}

/// Split xerial's stream into its blocks; without its magic, all is one block.
fn snappy_blocks(data: &[u8]) -> Option<Vec<&[u8]>> {
    if !data.starts_with(XERIAL_MAGIC) {
        return Some(vec![data]);
    }
    let mut reader = Reader(data.get(XERIAL_HEADER_BYTES..)?);
    let mut blocks = Vec::new();
    while !reader.0.is_empty() {
        let length = usize::try_from(reader.i32()?).ok()?;
        blocks.push(reader.take(length)?);
    }
    Some(blocks)
}

/// A block of an LZ4 frame.
struct Lz4Block<'a> {
    data: &'a [u8],
    compressed: bool,
    /// The most that its frame allows.
    most: usize,
    /// Where it may refer to the block before it.
    linked: bool,
}

impl Lz4Block<'_> {
    fn most_bytes(&self) -> usize {
        if self.compressed {
            self.most
        } else {
            self.data.len()
        }
    }

    /// Decompress behind the `length` bytes that the buffer holds already.
    fn decompress(&self, buffer: &mut [u8], length: usize) -> Option<usize> {
        let (done, free) = buffer.split_at_mut(length);
        if !self.compressed {
            free.get_mut(..self.data.len())?.copy_from_slice(self.data);
            return Some(self.data.len());
        }
        let most = self.most.min(free.len());
        let free = &mut free[..most];
        if self.linked && length > 0 {
            let window = &done[length.saturating_sub(LZ4_WINDOW)..];
            return lz4_flex::block::decompress_into_with_dict(self.data, free, window).ok();
        }
        lz4_flex::block::decompress_into(self.data, free).ok()
    }
}

/// Split LZ4 frames into their blocks. Their own checksums are not looked at: the batch has one over all of them.
fn lz4_blocks(data: &[u8]) -> Option<Vec<Lz4Block<'_>>> {
    let mut reader = Reader(data);
    let mut blocks = Vec::new();
    while !reader.0.is_empty() {
        lz4_frame(&mut reader, &mut blocks)?;
    }
    Some(blocks)
}

fn lz4_frame<'a>(reader: &mut Reader<'a>, blocks: &mut Vec<Lz4Block<'a>>) -> Option<()> {
    if reader.u32()?.swap_bytes() != LZ4_MAGIC {
        return None;
    }
    let &[flags, sizes] = reader.take(2)? else {
        return None;
    };
    let has = |bit: u8| flags & bit != 0;
    reader.take(if has(0x08) { 8 } else { 0 } + if has(0x01) { 4 } else { 0 } + 1)?; // content size, dictionary, checksum
    let most = 1_usize << (8 + 2 * u32::from(sizes >> 4 & 0x07).max(4));
    let mut linked = false; // the first block of a frame has none before it
    loop {
        let size = reader.u32()?.swap_bytes();
        if size == 0 {
            break;
        }
        let data = reader.take(usize::try_from(size & 0x7fff_ffff).ok()?)?;
        blocks.push(Lz4Block {
            data,
            compressed: size >> 31 == 0,
            most,
            linked,
        });
        linked = !has(0x20);
        reader.take(if has(0x10) { 4 } else { 0 })?; // the block's checksum
    }
    reader.take(if has(0x04) { 4 } else { 0 }).map(|_| ()) // the content's checksum
}
