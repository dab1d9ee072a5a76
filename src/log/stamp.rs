//! UTC times as text: in front of a line, and in the name of a rotated file.

/// Length of a time in front of a line: `2026-11-26T22:17:40.123456789Z`.
pub(crate) const LINE: usize = 30;
/// Length of a time in a file's name: `20261126T221740.123456789Z`.
pub(crate) const NAME: usize = 26;

const SECOND: u64 = 1_000_000_000;
const DAY: u64 = 86_400;

/// Year, month and day of a number of days since 1970-01-01, after Howard
/// Hinnant's "chrono-Compatible Low-Level Date Algorithms".
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468; // days since 0000-03-01
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153; // March is 0
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 {
        (year_of_era + era * 400, month + 3)
    } else {
        (year_of_era + era * 400 + 1, month - 9)
    };
    (year, month, day)
}

/// The inverse of [`civil`].
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year.checked_sub(1)?, month + 9)
    };
    let year_of_era = year % 400;
    let of_year = (153 * month + 2) / 5 + day - 1;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    (year / 400 * 146_097 + of_era).checked_sub(719_468)
}

#[allow(clippy::cast_possible_truncation)] // digits
fn put(target: &mut [u8], mut number: u64) {
    for digit in target.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

fn get(source: &[u8]) -> Option<u64> {
    source.iter().try_fold(0, |number, digit| match digit {
        b'0'..=b'9' => Some(number * 10 + u64::from(digit - b'0')),
        _ => None,
    })
}

/// Writes times in front of lines; the date is worked out once for each second.
#[derive(Debug)]
pub(crate) struct Stamper {
    second: u64,
    text: [u8; LINE],
}

impl Stamper {
    pub(crate) fn new() -> Self {
        Stamper {
            second: u64::MAX,
            text: *b"0000-00-00T00:00:00.000000000Z",
        }
    }

    /// The text of a CLOCK_REALTIME time in nanoseconds.
    pub(crate) fn text(&mut self, time: u64) -> &[u8; LINE] {
        let second = time / SECOND;
        if second != self.second {
            self.second = second;
            let (year, month, day) = civil(second / DAY);
            let of_day = second % DAY;
            put(&mut self.text[..4], year);
            put(&mut self.text[5..7], month);
            put(&mut self.text[8..10], day);
            put(&mut self.text[11..13], of_day / 3_600);
            put(&mut self.text[14..16], of_day / 60 % 60);
            put(&mut self.text[17..19], of_day % 60);
        }
        put(&mut self.text[20..29], time % SECOND);
        &self.text
    }
}

/// The text of a time in a file's name.
pub(crate) fn name(time: u64) -> [u8; NAME] {
    let mut stamper = Stamper::new();
    let line = stamper.text(time);
    let mut text = *b"00000000T000000.000000000Z";
    let digits = line.iter().filter(|byte| byte.is_ascii_digit());
    let places = text.iter_mut().filter(|byte| byte.is_ascii_digit());
    for (place, digit) in places.zip(digits) {
        *place = *digit;
    }
    text
}

/// The time in a file's name; None for what [`name`] never writes.
pub(crate) fn parse(text: &[u8]) -> Option<u64> {
    if text.len() != NAME {
        return None;
    }
    let second = days(
        get(&text[..4])?,
        get(&text[4..6])?,
        get(&text[6..8])?.max(1),
    )? * DAY
        + get(&text[9..11])? * 3_600
        + get(&text[11..13])? * 60
        + get(&text[13..15])?;
    let time = second
        .checked_mul(SECOND)?
        .checked_add(get(&text[16..25])?)?;
    // There is only one text for each time: this refuses the 31st of February.
    (name(time) == text).then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_times() {
        let text = |time| String::from_utf8(Stamper::new().text(time).to_vec()).unwrap();
        assert_eq!(text(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(
            text(951_827_696_000_000_007),
            "2000-02-29T12:34:56.000000007Z"
        );
        assert_eq!(
            text(1_795_731_460_123_456_789),
            "2026-11-26T22:17:40.123456789Z"
        );
        assert_eq!(
            &name(1_795_731_460_123_456_789),
            b"20261126T221740.123456789Z"
        );
    }

    #[test]
    fn what_is_no_time() {
        for text in [
            "",
            "20260230T000000.000000000Z",
            "20261126T221740.123456789",
            "20261126T221760.123456789Z",
            "20261126 221740.123456789Z",
            "2026112xT221740.123456789Z",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_name_gives_its_time(time in 0u64..=u64::MAX / 2) {
            prop_assert_eq!(parse(&name(time)), Some(time));
        }

        #[test]
        fn names_sort_as_times_do(one in 0u64..=u64::MAX / 2, other in 0u64..=u64::MAX / 2) {
            prop_assert_eq!(one.cmp(&other), name(one).cmp(&name(other)));
        }

        #[test]
        fn one_stamper_serves_all_times(times in prop::collection::vec(0u64..=u64::MAX / 2, 1..20)) {
            let mut stamper = Stamper::new();
            for time in times {
                prop_assert_eq!(*stamper.text(time), *Stamper::new().text(time));
            }
        }

        #[test]
        fn any_text(text in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Some(time) = parse(&text) {
                prop_assert_eq!(&name(time)[..], &text[..]);
            }
        }
    }
}
