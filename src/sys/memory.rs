//! memchr(3) and memrchr(3): the standard library has no fast search for a byte.

/// Where `byte` first stands.
pub(crate) fn find(byte: u8, bytes: &[u8]) -> Option<usize> {
    // SAFETY: reads no more than the slice.
    let found = unsafe { libc::memchr(bytes.as_ptr().cast(), i32::from(byte), bytes.len()) };
    (!found.is_null()).then(|| found.addr() - bytes.as_ptr().addr())
}

/// Where `byte` last stands.
pub(crate) fn find_last(byte: u8, bytes: &[u8]) -> Option<usize> {
    // SAFETY: reads no more than the slice.
    let found = unsafe { libc::memrchr(bytes.as_ptr().cast(), i32::from(byte), bytes.len()) };
    (!found.is_null()).then(|| found.addr() - bytes.as_ptr().addr())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_and_last() {
        assert_eq!(
            (find(b'b', b"abcb"), find_last(b'b', b"abcb")),
            (Some(1), Some(3))
        );
        assert_eq!(
            (find(b'x', b"abcb"), find_last(b'x', b"abcb")),
            (None, None)
        );
        assert_eq!((find(b'x', b""), find_last(b'x', b"")), (None, None));
    }
}
