//! A place in a JSON text. What is common is read here; what is not, and what is wrong, is jiter's.

use std::ops::Range;

use jiter::{Jiter, JiterError, JiterErrorType, JiterResult, JsonErrorType, NumberAny, NumberInt};

/// Digits that an `i64` holds whatever they are, and those that an `f64` does.
const INT_DIGITS: usize = 18;
const FLOAT_DIGITS: usize = 15;
const POWERS: [f64; FLOAT_DIGITS + 1] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
];

/// Why a value could not be appended. What its row has appended until then is to be taken back.
#[derive(Debug)]
pub enum Stop {
    /// The row cannot be read, and why.
    Row(String),
    /// The row is broken, or would change the type of a column, which only one known to be whole may.
    Check,
    /// No type holds this value and those before.
    Conflict,
}

impl From<JiterError> for Stop {
    fn from(error: JiterError) -> Self {
        match error.error_type {
            JiterErrorType::JsonError(JsonErrorType::NumberOutOfRange) => Self::Conflict,
            _ => Self::Check,
        }
    }
}

/// A number as its text has it.
#[derive(Debug, PartialEq)]
pub enum Number {
    Int(i64),
    Float(f64),
}

/// See whether there is one JSON value and nothing else, or say what is wrong.
pub fn check(text: &[u8]) -> Result<(), String> {
    let mut json = Jiter::new(text).with_allow_inf_nan();
    json.next_skip()
        .and_then(|()| json.finish())
        .map_err(|error| format!("no JSON: {} at byte {}", error.error_type, error.index))
}

/// A text, known to be UTF-8, and how far it is read.
#[derive(Debug)]
pub struct Cursor<'j> {
    text: &'j [u8],
    pub index: usize,
    tape: Vec<u8>,
}

impl<'j> Cursor<'j> {
    /// Begin at the start; the tape is memory to use again.
    pub fn new(text: &'j [u8], tape: Vec<u8>) -> Self {
        Self {
            text,
            index: 0,
            tape,
        }
    }

    /// Give the memory back.
    pub fn into_tape(self) -> Vec<u8> {
        self.tape
    }

    /// What has been read since a place.
    pub fn since(&self, start: usize) -> &'j [u8] {
        &self.text[start..self.index]
    }

    /// Whether nothing comes any more.
    pub fn is_done(&mut self) -> bool {
        self.peek();
        self.index == self.text.len()
    }

    /// Look at the first byte of what comes next; zero at the end.
    #[inline]
    pub fn peek(&mut self) -> u8 {
        while let Some(byte) = self.text.get(self.index) {
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return *byte;
            }
            self.index += 1;
        }
        0
    }

    /// Go over a byte, if it comes next.
    #[inline]
    pub fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == byte;
        self.index += usize::from(found);
        found
    }

    /// Go over some bytes, if they come next.
    #[inline]
    pub fn take_all(&mut self, bytes: &[u8]) -> bool {
        let found = self.text[self.index..].starts_with(bytes);
        if found {
            self.index += bytes.len();
        }
        found
    }

    /// Go on in an object or a list, or leave it.
    #[inline]
    pub fn next(&mut self, end: u8) -> Result<bool, Stop> {
        if self.take(b',') {
            return Ok(true);
        }
        if self.take(end) {
            Ok(false)
        } else {
            Err(Stop::Check)
        }
    }

    /// Read a field's name and go to its value.
    #[inline]
    pub fn name(&mut self) -> Result<&[u8], Stop> {
        if self.peek() != b'"' {
            return Err(Stop::Check);
        }
        let plain = self.plain_string();
        if plain.is_none() {
            let mut tape = std::mem::take(&mut self.tape);
            tape.clear();
            self.escaped_string(&mut tape)?;
            self.tape = tape;
        }
        if !self.take(b':') {
            return Err(Stop::Check);
        }
        Ok(plain.map_or(&self.tape[..], |range| &self.text[range]))
    }

    /// Append the string that comes next.
    #[inline]
    pub fn string(&mut self, out: &mut Vec<u8>) -> Result<(), Stop> {
        match self.plain_string() {
            Some(range) => out.extend_from_slice(&self.text[range]),
            None => self.escaped_string(out)?,
        }
        Ok(())
    }

    /// Find the string that comes next, if it has no escapes.
    #[inline]
    fn plain_string(&mut self) -> Option<Range<usize>> {
        let start = self.index + 1;
        let end = start + special(self.text.get(start..)?);
        if self.text.get(end) != Some(&b'"') {
            return None;
        }
        self.index = end + 1;
        Some(start..end)
    }

    #[cold]
    fn escaped_string(&mut self, out: &mut Vec<u8>) -> Result<(), Stop> {
        self.slowly(|json| {
            out.extend_from_slice(json.known_str()?.as_bytes());
            Ok(())
        })
    }

    /// Read a number; one that neither type holds is a conflict.
    #[inline]
    pub fn number(&mut self) -> Result<Number, Stop> {
        if let Some(number) = self.plain_number() {
            return Ok(number);
        }
        self.slowly(|json| match json.next_number()? {
            NumberAny::Int(NumberInt::Int(value)) => Ok(Number::Int(value)),
            NumberAny::Float(value) => Ok(Number::Float(value)),
        })
        .and_then(|number| match number {
            Number::Float(value) if value.is_infinite() && self.text[self.index - 1] != b'y' => {
                Err(Stop::Conflict)
            }
            number => Ok(number),
        })
    }

    /// Read a number that is short enough to be exact by arithmetic alone, and has no exponent.
    #[inline]
    fn plain_number(&mut self) -> Option<Number> {
        let text = self.text.get(self.index..)?;
        let negative = text.first() == Some(&b'-');
        let digits = &text[usize::from(negative)..];
        let (mut value, whole) = accumulate(0, digits);
        let zeros = digits.first() == Some(&b'0') && whole > 1;
        if whole == 0 || whole > INT_DIGITS || zeros {
            return None;
        }
        let mut length = usize::from(negative) + whole;
        let mut fraction = 0;
        if text.get(length) == Some(&b'.') {
            (value, fraction) = accumulate(value, &text[length + 1..]);
            length += 1 + fraction;
            if fraction == 0 || whole + fraction > FLOAT_DIGITS {
                return None;
            }
        }
        if matches!(text.get(length), Some(b'0'..=b'9' | b'.' | b'e' | b'E')) {
            return None;
        }
        self.index += length;
        let value = if negative { -value } else { value };
        if fraction == 0 {
            return Some(Number::Int(value));
        }
        #[expect(clippy::cast_precision_loss, reason = "fifteen digits are exact")]
        let exact = value as f64 / POWERS[fraction];
        let zero = if negative { -0.0 } else { 0.0 };
        Some(Number::Float(if value == 0 { zero } else { exact }))
    }

    /// Read `true` or `false`.
    #[inline]
    pub fn boolean(&mut self) -> Result<bool, Stop> {
        let value = self.take_all(b"true");
        if value || self.take_all(b"false") {
            Ok(value)
        } else {
            Err(Stop::Check)
        }
    }

    /// Go over `null`.
    pub fn null(&mut self) -> Result<(), Stop> {
        if self.take_all(b"null") {
            Ok(())
        } else {
            Err(Stop::Check)
        }
    }

    /// Go over a value, whatever it is.
    #[inline]
    pub fn skip(&mut self) -> Result<(), Stop> {
        let plain = match self.peek() {
            b'"' => self.plain_string().is_some(),
            b'-' | b'0'..=b'9' => self.plain_number().is_some(),
            b't' => self.take_all(b"true"),
            b'f' => self.take_all(b"false"),
            _ => false,
        };
        if plain {
            return Ok(());
        }
        // A number that is too long to be skipped is no conflict of types: the check will say so.
        self.slowly(Jiter::next_skip).map_err(|_| Stop::Check)
    }

    fn slowly<T>(
        &mut self,
        read: impl FnOnce(&mut Jiter<'j>) -> JiterResult<T>,
    ) -> Result<T, Stop> {
        let mut json = Jiter::new(&self.text[self.index..]).with_allow_inf_nan();
        let value = read(&mut json)?;
        self.index += json.current_index();
        Ok(value)
    }
}

/// Read digits onto a number, and say how many; those that do not fit are left.
#[inline]
fn accumulate(mut value: i64, text: &[u8]) -> (i64, usize) {
    let mut length = 0;
    for byte in text.iter().take(INT_DIGITS) {
        if !byte.is_ascii_digit() {
            break;
        }
        value = value.wrapping_mul(10).wrapping_add(i64::from(byte - b'0'));
        length += 1;
    }
    (value, length)
}

/// Find the first byte that does not stand for itself in a string: its end, an escape or a control character.
#[inline]
fn special(text: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word;
    let mut index = 0;
    while let Some(bytes) = text[index..].first_chunk::<8>() {
        let word = u64::from_le_bytes(*bytes);
        let quotes = zeros(word ^ (ONES * u64::from(b'"')));
        let escapes = zeros(word ^ (ONES * u64::from(b'\\')));
        let controls = word.wrapping_sub(ONES * 0x20) & !word;
        let found = (quotes | escapes | controls) & (ONES << 7);
        if found != 0 {
            return index + found.trailing_zeros() as usize / 8;
        }
        index += 8;
    }
    let rest = text[index..].iter();
    index
        + rest
            .take_while(|byte| !matches!(byte, b'"' | b'\\' | ..0x20))
            .count()
}
