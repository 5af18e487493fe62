//! Times of seconds and a part of one, in the finest unit that holds all of a column exactly.

use std::sync::Arc;

use arrow_array::types::{
    ArrowPrimitiveType, DurationMicrosecondType, DurationNanosecondType, TimestampMicrosecondType,
    TimestampNanosecondType,
};
use arrow_array::{ArrayRef, PrimitiveArray, StringArray};
use arrow_buffer::NullBuffer;
use arrow_schema::{ArrowError, DataType};

const NANOS: i128 = 1_000_000_000;
const DAY_S: i64 = 86_400;
/// The first second of the year 1 and the last of the year 9999.
const YEARS: (i64, i64) = (-62_135_596_800, 253_402_300_799);
const TEN_THOUSAND_YEARS_S: i64 = 315_576_000_000;
/// Days before 1970 in the years from 1 on.
const DAYS_BEFORE: i64 = 719_162;

/// Times since 1970, or spans of time.
#[derive(Debug)]
pub struct Times {
    are_spans: bool,
    seconds: Vec<i64>,
    nanos: Vec<i32>,
}

impl Times {
    /// Begin without any; those of a type that has no nanoseconds are not kept like this.
    pub fn of(kind: &DataType) -> Self {
        Self {
            are_spans: matches!(kind, DataType::Duration(_)),
            seconds: Vec::new(),
            nanos: Vec::new(),
        }
    }

    /// Return the parts of the last one.
    pub fn last(&self) -> (i64, i32) {
        let last = self.seconds.last().zip(self.nanos.last());
        last.map_or((0, 0), |(seconds, nanos)| (*seconds, *nanos))
    }

    /// Append one, if Protobuf has such times.
    pub fn push(&mut self, seconds: i64, nanos: i32) -> Result<(), &'static str> {
        let whole = seconds.saturating_add((i64::from(nanos)).div_euclid(1_000_000_000));
        if self.are_spans && whole.unsigned_abs() > TEN_THOUSAND_YEARS_S.unsigned_abs() {
            return Err("a span of more than 10,000 years");
        }
        if !self.are_spans && !(YEARS.0..=YEARS.1).contains(&whole) {
            return Err("a time outside of the years 1 to 9999");
        }
        self.seconds.push(seconds);
        self.nanos.push(nanos);
        Ok(())
    }

    pub fn resize(&mut self, length: usize) {
        self.seconds.resize(length, 0);
        self.nanos.resize(length, 0);
    }

    /// Lay them out as nanoseconds, as microseconds where these do not reach, or as text where neither holds all.
    pub fn finish(
        self,
        kind: &DataType,
        nulls: Option<NullBuffer>,
    ) -> Result<ArrayRef, ArrowError> {
        let zone = match kind {
            DataType::Timestamp(_, zone) => zone.clone(),
            _ => None,
        };
        if let Some(nanos) = self.scaled(1) {
            return if self.are_spans {
                laid::<DurationNanosecondType>(nanos, nulls, |spans| spans)
            } else {
                laid::<TimestampNanosecondType>(nanos, nulls, |times| times.with_timezone_opt(zone))
            };
        }
        if let Some(micros) = self.scaled(1_000) {
            return if self.are_spans {
                laid::<DurationMicrosecondType>(micros, nulls, |spans| spans)
            } else {
                laid::<TimestampMicrosecondType>(micros, nulls, |times| {
                    times.with_timezone_opt(zone)
                })
            };
        }
        let texts = StringArray::from_iter_values(self.nanos().map(|nanos| self.text(nanos)));
        let (offsets, data, _) = texts.into_parts();
        Ok(Arc::new(StringArray::try_new(offsets, data, nulls)?))
    }

    fn nanos(&self) -> impl Iterator<Item = i128> {
        let parts = self.seconds.iter().zip(&self.nanos);
        parts.map(|(seconds, nanos)| i128::from(*seconds) * NANOS + i128::from(*nanos))
    }

    /// Return them in a unit of so many nanoseconds, if that is exact.
    fn scaled(&self, unit: i128) -> Option<Vec<i64>> {
        let exact = |nanos: i128| (nanos % unit == 0).then(|| i64::try_from(nanos / unit).ok());
        self.nanos().map(|nanos| exact(nanos).flatten()).collect()
    }

    fn text(&self, nanos: i128) -> String {
        if self.are_spans {
            let (sign, size) = (if nanos < 0 { "-" } else { "" }, nanos.abs());
            return format!("{sign}{}.{:09}s", size / NANOS, size % NANOS);
        }
        let (seconds, nanos) = (nanos.div_euclid(NANOS), nanos.rem_euclid(NANOS));
        let seconds = i64::try_from(seconds).unwrap_or(0);
        let (year, month, day) = date(seconds.div_euclid(DAY_S) + DAYS_BEFORE);
        let second = seconds.rem_euclid(DAY_S);
        let (hour, minute) = (second / 3600, second / 60 % 60);
        format!(
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}.{nanos:09}Z",
            second % 60
        )
    }
}

fn laid<T: ArrowPrimitiveType<Native = i64>>(
    values: Vec<i64>,
    nulls: Option<NullBuffer>,
    with_zone: impl FnOnce(PrimitiveArray<T>) -> PrimitiveArray<T>,
) -> Result<ArrayRef, ArrowError> {
    Ok(Arc::new(with_zone(PrimitiveArray::try_new(
        values.into(),
        nulls,
    )?)))
}

/// Return year, month and day, of the days since the beginning of the year 1.
fn date(days: i64) -> (i64, i64, i64) {
    let before =
        |year: i64| 365 * (year - 1) + (year - 1) / 4 - (year - 1) / 100 + (year - 1) / 400;
    let mut year = days * 400 / 146_097 + 1;
    if before(year + 1) <= days {
        year += 1;
    } else if before(year) > days {
        year -= 1;
    }
    let is_leap = before(year + 1) - before(year) == 366;
    let (mut month, mut day) = (1, days - before(year));
    for length in [
        31,
        28 + i64::from(is_leap),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
    ] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    (year, month, day + 1)
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray;
    use arrow_schema::TimeUnit;

    use super::*;

    fn laid_out(kind: &DataType, times: &[(i64, i32)]) -> ArrayRef {
        let mut made = Times::of(kind);
        for (seconds, nanos) in times {
            made.push(*seconds, *nanos).expect("times that there are");
        }
        made.finish(kind, None).expect("as many as there are")
    }

    #[test]
    fn the_unit_is_the_finest_that_holds_all() {
        let kind = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
        let micros = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        assert_eq!(laid_out(&kind, &[(1, 1)]).data_type(), &kind);
        assert_eq!(
            laid_out(&kind, &[(YEARS.1, 0), (1, 5_000)]).data_type(),
            &micros
        );
        let mixed = laid_out(
            &kind,
            &[YEARS.0, -1, 951_782_400, YEARS.1].map(|second| (second, 1)),
        );
        assert_eq!(
            mixed
                .as_string::<i32>()
                .iter()
                .flatten()
                .collect::<Vec<_>>(),
            [
                "0001-01-01T00:00:00.000000001Z",
                "1969-12-31T23:59:59.000000001Z",
                "2000-02-29T00:00:00.000000001Z",
                "9999-12-31T23:59:59.000000001Z",
            ]
        );
    }

    #[test]
    fn spans_reach_ten_thousand_years() {
        let kind = DataType::Duration(TimeUnit::Nanosecond);
        assert_eq!(laid_out(&kind, &[(-3, -500_000_000)]).data_type(), &kind);
        let long = laid_out(&kind, &[(TEN_THOUSAND_YEARS_S, 0)]);
        assert_eq!(long.data_type(), &DataType::Duration(TimeUnit::Microsecond));
        let mixed = laid_out(&kind, &[(TEN_THOUSAND_YEARS_S, 0), (-3, -500_000_001)]);
        assert_eq!(mixed.as_string::<i32>().value(1), "-3.500000001s");
        let mut made = Times::of(&kind);
        assert!(made.push(TEN_THOUSAND_YEARS_S + 1, 0).is_err());
        assert!(made.push(i64::MIN, i32::MIN).is_err());
    }
}
