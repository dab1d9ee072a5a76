//! A service's tag: a random number that its processes carry along. It has 62 bits, so
//! that it is a valid soft limit below any hard limit that is in use, and so that nested
//! supervisors do not take each other's processes for theirs.

use crate::sys::error::Error;
use crate::sys::random;

/// The environment variable that carries the tag, as 16 hexadecimal digits.
pub(crate) const VARIABLE: &str = "SSS_SERVICE_TAG";

/// A new tag. Its highest bit is set: no limit that an administrator chose has it.
pub(crate) fn random() -> Result<u64, Error> {
    Ok(random::number()? & ((1 << 62) - 1) | 1 << 61)
}

/// `VARIABLE=tag` with its NUL.
pub(crate) fn assignment(tag: u64) -> [u8; VARIABLE.len() + 18] {
    let mut text = [0; VARIABLE.len() + 18];
    text[..VARIABLE.len()].copy_from_slice(VARIABLE.as_bytes());
    text[VARIABLE.len()] = b'=';
    for (at, digit) in text[VARIABLE.len() + 1..][..16].iter_mut().enumerate() {
        let nibble = (tag >> (60 - 4 * at)) & 0xf;
        *digit = b"0123456789abcdef"[nibble as usize & 0xf];
    }
    text
}

/// The tag in `VARIABLE=tag`, without the NUL.
pub(crate) fn parse(assignment: &[u8]) -> Option<u64> {
    let digits = assignment
        .strip_prefix(VARIABLE.as_bytes())?
        .strip_prefix(b"=")?;
    if digits.len() != 16 {
        return None;
    }
    digits.iter().try_fold(0, |tag, &digit| {
        Some(tag << 4 | u64::from(char::from(digit).to_digit(16)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_assignment_is_read_back(tag: u64) {
            let text = assignment(tag);
            prop_assert_eq!(text.last(), Some(&0));
            prop_assert_eq!(parse(&text[..text.len() - 1]), Some(tag));
        }

        #[test]
        fn anything_else_is_refused(text in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = parse(&text);
        }
    }
}
