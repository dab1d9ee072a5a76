//! The same bits with the other sign. The standard library's cast_signed() and
//! cast_unsigned() are newer than the oldest Rust that the library builds with.

pub(crate) trait ToUnsigned {
    type Unsigned;
    fn to_unsigned(self) -> Self::Unsigned;
}

pub(crate) trait ToSigned {
    type Signed;
    fn to_signed(self) -> Self::Signed;
}

macro_rules! pairs {
    ($($signed:ty: $unsigned:ty),*) => {$(
        impl ToUnsigned for $signed {
            type Unsigned = $unsigned;
            #[inline(always)]
            #[allow(clippy::cast_sign_loss)]
            fn to_unsigned(self) -> $unsigned {
                self as $unsigned
            }
        }

        impl ToSigned for $unsigned {
            type Signed = $signed;
            #[inline(always)]
            #[allow(clippy::cast_possible_wrap)]
            fn to_signed(self) -> $signed {
                self as $signed
            }
        }
    )*};
}

pairs!(i8: u8, i16: u16, i32: u32, i64: u64, isize: usize);
