//! Kafka's primitive types, read from the front of a byte slice; `None` is "the bytes end before the value does".

/// What is left to read.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// Take the next `count` bytes.
    #[inline]
    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    #[inline]
    pub fn i16(&mut self) -> Option<i16> {
        self.array().map(i16::from_be_bytes)
    }

    #[inline]
    pub fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_be_bytes)
    }

    #[inline]
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    #[inline]
    pub fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }

    /// Take bytes whose length of 32 bits stands before them; a null is empty.
    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.i32()?;
        self.take(usize::try_from(length).unwrap_or(0))
    }

    /// Take a string whose length of 16 bits stands before it; null and invalid UTF-8 count as cut.
    pub fn string(&mut self) -> Option<&'a str> {
        let length = self.i16()?;
        std::str::from_utf8(self.take(usize::try_from(length).ok()?)?).ok()
    }

    /// How many elements an array says it has; a null array has none.
    pub fn count(&mut self) -> Option<usize> {
        self.i32().map(|count| usize::try_from(count).unwrap_or(0))
    }

    /// Read a zig-zag integer of up to 5 bytes; the bits over 32 are dropped, as the Java client does.
    #[inline]
    pub fn varint(&mut self) -> Option<i32> {
        let (&first, rest) = self.0.split_first()?;
        if first < 0x80 {
            self.0 = rest;
            return Some(unzigzag_32(u32::from(first)));
        }
        let (&second, rest) = rest.split_first()?;
        if second < 0x80 {
            self.0 = rest;
            return Some(unzigzag_32(
                u32::from(first & 0x7f) | u32::from(second) << 7,
            ));
        }
        let raw = self.long_varint(5)?;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the fifth byte may carry bits over 32"
        )]
        Some(unzigzag_32(raw as u32))
    }

    /// Read a zig-zag integer of up to 10 bytes.
    #[inline]
    pub fn varlong(&mut self) -> Option<i64> {
        let (&first, rest) = self.0.split_first()?;
        if first < 0x80 {
            self.0 = rest;
            return Some(unzigzag_64(u64::from(first)));
        }
        self.long_varint(10).map(unzigzag_64)
    }

    #[inline(never)]
    fn long_varint(&mut self, most: usize) -> Option<u64> {
        let mut value = 0;
        for (index, &byte) in self.0.iter().take(most).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                self.0 = &self.0[index + 1..];
                return Some(value);
            }
        }
        None
    }
}

#[inline]
#[expect(clippy::cast_possible_wrap, reason = "zig-zag is about bits")]
fn unzigzag_32(raw: u32) -> i32 {
    (raw >> 1) as i32 ^ -((raw & 1) as i32)
}

#[inline]
#[expect(clippy::cast_possible_wrap, reason = "zig-zag is about bits")]
fn unzigzag_64(raw: u64) -> i64 {
    (raw >> 1) as i64 ^ -((raw & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{varint, varlong};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_varint_is_read_whole_cut_and_with_trailing_bytes(value: i32, trailing: Vec<u8>) {
            let encoded = varint(value);
            let mut reader = Reader(&encoded);
            prop_assert_eq!(reader.varint(), Some(value));
            prop_assert!(reader.0.is_empty());
            for cut in 0..encoded.len() {
                prop_assert_eq!(Reader(&encoded[..cut]).varint(), None);
            }
            let longer = [&encoded[..], &trailing].concat();
            let mut reader = Reader(&longer);
            prop_assert_eq!(reader.varint(), Some(value));
            prop_assert_eq!(reader.0, &trailing[..]);
        }

        #[test]
        fn a_varlong_is_read_whole_cut_and_with_trailing_bytes(value: i64, trailing: Vec<u8>) {
            let encoded = varlong(value);
            for cut in 0..encoded.len() {
                prop_assert_eq!(Reader(&encoded[..cut]).varlong(), None);
            }
            let longer = [&encoded[..], &trailing].concat();
            let mut reader = Reader(&longer);
            prop_assert_eq!(reader.varlong(), Some(value));
            prop_assert_eq!(reader.0, &trailing[..]);
        }
    }

    #[test]
    fn padded_varints_are_legal_up_to_their_longest() {
        assert_eq!(Reader(&[0x82, 0x80, 0x80, 0x80, 0x00]).varint(), Some(1));
        assert_eq!(Reader(&[0x82, 0x80, 0x80, 0x80, 0x80, 0x00]).varint(), None);
        let padded = [0x82, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00];
        assert_eq!(Reader(&padded).varlong(), Some(1));
    }
}
