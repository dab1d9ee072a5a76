//! Parameter types: the pointers that C passes, each with its checks.
//!
//! C alone makes values of these types, as arguments and as fields of its structs, and the
//! header says what it promises with each: that the pointer is NULL, or good for `'a`, which
//! is the call. This is the one place that relies on it. C sees plain pointers: build.rs
//! has the table for the header.
//!
//! None of them is a Rust reference: a daemon's callback may free a handle while a call
//! uses it, and an older daemon's struct is shorter than ours.

use std::ffi::{CStr, c_char, c_void};
use std::marker::PhantomData;

use nix::errno::Errno;

use crate::reap::callback::{AskFn, EventFn};
use crate::sys::error::Error;
use crate::sys::strings::CStrArray;

/// The kinds of pointers: all are copied as pointers are.
macro_rules! pointer {
    ($(#[$doc:meta])* $name:ident<$T:ident>, $raw:ty) => {
        $(#[$doc])*
        #[repr(transparent)]
        pub struct $name<'a, $T>($raw, PhantomData<&'a ()>);

        impl<$T> Clone for $name<'_, $T> {
            fn clone(&self) -> Self {
                *self
            }
        }

        impl<$T> Copy for $name<'_, $T> {}

        impl<$T> $name<'_, $T> {
            /// # Safety
            /// The pointer is valid in the way that this type stands for, until the value is
            /// used for the last time.
            #[allow(dead_code, reason = "not every kind has a caller in Rust")]
            pub(crate) unsafe fn from_raw(pointer: $raw) -> Self {
                $name(pointer, PhantomData)
            }

            #[allow(dead_code, reason = "as from_raw()")]
            pub(crate) fn is_null(self) -> bool {
                self.0.is_null()
            }
        }
    };
}

pointer! {
    /// A handle, `T *`: NULL or what the library gave C, and C has not freed. Each kind of
    /// object has its own way in: see context_memory.rs, child_memory.rs and object.rs.
    Handle<T>, *mut T
}

impl<T> Handle<'_, T> {
    pub(crate) fn as_ptr(self) -> *mut T {
        self.0
    }
}

pointer! {
    /// A struct that begins with its size, `const T *`: NULL or readable for so many bytes,
    /// its fields as its documentation says.
    In<T>, *const T
}

impl<T: Copy> In<'_, T> {
    /// A copy, as openat2(2) makes it: a shorter struct is filled up with zeros, a longer
    /// one must end in zeros. EINVAL for NULL.
    pub(crate) fn read(self) -> Result<T, Error> {
        if self.0.is_null() {
            return Err(Errno::EINVAL.into());
        }
        // SAFETY: every such struct begins with its size.
        let size = unsafe { self.0.cast::<usize>().read() };
        if size < size_of::<usize>() * 2 {
            return Err(Errno::EINVAL.into());
        }
        if size > 4096 {
            return Err(Errno::E2BIG.into());
        }
        if size > size_of::<T>() {
            // SAFETY: C promises `size` readable bytes.
            let tail = unsafe {
                std::slice::from_raw_parts(
                    self.0.cast::<u8>().add(size_of::<T>()),
                    size - size_of::<T>(),
                )
            };
            if tail.iter().any(|&byte| byte != 0) {
                return Err(Errno::E2BIG.into());
            }
        }
        let mut copy = std::mem::MaybeUninit::<T>::zeroed();
        // SAFETY: both are valid for the smaller of the two sizes; zeros, and what C wrote,
        // are valid numbers and pointers.
        unsafe {
            std::ptr::copy_nonoverlapping(
                self.0.cast::<u8>(),
                copy.as_mut_ptr().cast::<u8>(),
                size.min(size_of::<T>()),
            );
            Ok(copy.assume_init())
        }
    }

    /// The same, where NULL is allowed.
    pub(crate) fn read_if_given(self) -> Result<Option<T>, Error> {
        if self.0.is_null() {
            return Ok(None);
        }
        self.read().map(Some)
    }
}

pointer! {
    /// Where a result goes, `T *`: NULL or writable.
    Out<T>, *mut T
}

impl<T> Out<'_, T> {
    /// EINVAL for NULL.
    pub(crate) fn required(self) -> Result<Self, Error> {
        if self.0.is_null() {
            return Err(Errno::EINVAL.into());
        }
        Ok(self)
    }

    /// Does nothing where C wants no result.
    pub(crate) fn write(self, value: T) {
        if !self.0.is_null() {
            // SAFETY: writable, as it is not NULL.
            unsafe { self.0.write(value) };
        }
    }
}

pointer! {
    /// Where a struct goes that begins with its size, `T *`: NULL or writable for so many
    /// bytes.
    OutStruct<T>, *mut T
}

impl<T: Copy> OutStruct<'_, T> {
    fn size(self) -> Result<usize, Error> {
        if self.0.is_null() {
            return Err(Errno::EINVAL.into());
        }
        // SAFETY: not NULL, and every such struct begins with its size.
        match unsafe { self.0.cast::<usize>().read() } {
            size if size < size_of::<usize>() * 2 => Err(Errno::EINVAL.into()),
            size => Ok(size),
        }
    }

    /// EINVAL as write(), before anything is done.
    pub(crate) fn required(self) -> Result<Self, Error> {
        self.size().map(|_| self)
    }

    /// The same, where NULL is allowed.
    pub(crate) fn checked(self) -> Result<Self, Error> {
        if self.0.is_null() {
            return Ok(self);
        }
        self.required()
    }

    /// Writes no further than C's size, which stays as it is. EINVAL for NULL or a size
    /// that is too small.
    pub(crate) fn write(self, mut value: T) -> Result<(), Error> {
        let size = self.size()?;
        let known = size.min(size_of::<T>());
        // SAFETY: `value` begins with its size; both are valid for `known` bytes.
        unsafe {
            (&raw mut value).cast::<usize>().write(size);
            let bytes = self.0.cast::<u8>();
            std::ptr::copy_nonoverlapping((&raw const value).cast::<u8>(), bytes, known);
            // A caller of a newer header must not read what we never wrote.
            bytes.add(known).write_bytes(0, size - known);
        }
        Ok(())
    }

    /// The same, where NULL is allowed.
    pub(crate) fn write_if_given(self, value: T) -> Result<(), Error> {
        if self.0.is_null() {
            return Ok(());
        }
        self.write(value)
    }
}

pointer! {
    /// A list, `const T *`: NULL or as long as the count says that stands beside it.
    List<T>, *const T
}

impl<'a, T> List<'a, T> {
    /// EINVAL for NULL with a count, and for more than `most`.
    pub(crate) fn of(self, count: usize, most: usize) -> Result<&'a [T], Error> {
        if count == 0 {
            return Ok(&[]);
        }
        if self.0.is_null() || count > most || count > isize::MAX.unsigned_abs() / size_of::<T>() {
            return Err(Errno::EINVAL.into());
        }
        // SAFETY: as long as its count says.
        Ok(unsafe { std::slice::from_raw_parts(self.0, count) })
    }
}

pointer! {
    /// Room for a list, `T *`, and the count that stands beside it: NULL or writable for so
    /// many.
    OutList<T>, *mut T
}

impl<T> OutList<'_, T> {
    /// Writes as many as fit, and how many there are to `count`, which says before how many
    /// fit. EINVAL for a NULL count, and for no room where some shall fit.
    pub(crate) fn write(
        self,
        count: Out<usize>,
        list: impl FnOnce(&mut dyn FnMut(T)) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let count = count.required()?;
        // SAFETY: not NULL; C says there how many fit.
        let room = unsafe { count.0.read() };
        if self.0.is_null() && room > 0 {
            return Err(Errno::EINVAL.into());
        }
        let mut found = 0;
        list(&mut |value| {
            if found < room {
                // SAFETY: there is room for so many.
                unsafe { self.0.add(found).write(value) };
            }
            found += 1;
        })?;
        count.write(found);
        Ok(())
    }
}

/// A string, `const char *`: NULL or a C string.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Str<'a>(*const c_char, PhantomData<&'a ()>);

impl<'a> Str<'a> {
    /// None for NULL.
    pub(crate) fn get(self) -> Option<&'a CStr> {
        // SAFETY: NULL or a C string.
        (!self.0.is_null()).then(|| unsafe { CStr::from_ptr(self.0) })
    }

    /// EINVAL for NULL.
    pub(crate) fn required(self) -> Result<&'a CStr, Error> {
        self.get().ok_or(Errno::EINVAL.into())
    }

    #[cfg(test)]
    pub(crate) fn of(string: Option<&'a CStr>) -> Self {
        Str(string.map_or(std::ptr::null(), CStr::as_ptr), PhantomData)
    }
}

/// Strings, `const char *const *`: NULL or an array of C strings that ends with NULL.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Strs<'a>(*const *const c_char, PhantomData<&'a ()>);

impl<'a> Strs<'a> {
    /// None for NULL.
    pub(crate) fn get(self) -> Option<CStrArray<'a>> {
        // SAFETY: NULL, or ends with NULL.
        (!self.0.is_null()).then(|| unsafe { CStrArray::from_ptr(self.0) })
    }

    #[cfg(test)]
    pub(crate) fn of(strings: Option<CStrArray<'a>>) -> Self {
        let first = strings.map_or(std::ptr::null(), |strings| strings.as_ptr());
        Strs(first, PhantomData)
    }
}

/// A family's callback, told of a struct by pointer.
type Told<S, R> = unsafe extern "C" fn(*mut S, *const R, *mut c_void);
/// The same with an answer.
type Asked<S, R> = unsafe extern "C" fn(*mut S, *const R, *mut c_void) -> u32;

/// A family's callback as the core holds it. The family makes its records of `R`.
pub(crate) fn event_fn<S, R>(call: Told<S, R>) -> EventFn {
    // SAFETY: only pointee types differ; it is called with pointers to those.
    unsafe { std::mem::transmute::<Told<S, R>, EventFn>(call) }
}

/// The same for one with an answer.
pub(crate) fn ask_fn<S, R>(call: Asked<S, R>) -> AskFn {
    // SAFETY: as above.
    unsafe { std::mem::transmute::<Asked<S, R>, AskFn>(call) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(C)]
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Sized2 {
        size: usize,
        first: usize,
        second: usize,
    }

    fn read(words: &[usize]) -> Result<Sized2, Error> {
        // SAFETY: each array is as long as its first element says.
        unsafe { In::from_raw(words.as_ptr().cast::<Sized2>()) }.read()
    }

    #[test]
    fn sized_struct_grows_as_openat2_does() {
        let known = read(&[32, 1, 2, 0]).unwrap();
        assert_eq!((known.first, known.second), (1, 2));
        assert_eq!(read(&[32, 1, 2, 3]), Err(Errno::E2BIG.into()));
        let filled = read(&[16, 1]).unwrap();
        assert_eq!((filled.first, filled.second), (1, 0));
        assert_eq!(read(&[8]), Err(Errno::EINVAL.into()));
        assert_eq!(read(&[5000]), Err(Errno::E2BIG.into()));
    }

    #[test]
    fn a_struct_is_written_no_further_than_its_size() {
        let value = Sized2 {
            size: 0,
            first: 1,
            second: 2,
        };
        let write = |words: &mut [usize]| {
            // SAFETY: each array is as long as its first element says.
            let out = unsafe { OutStruct::from_raw(words.as_mut_ptr().cast::<Sized2>()) };
            out.required()?.write(value)
        };
        let mut short = [16, 7, 7];
        assert_eq!((write(&mut short), short), (Ok(()), [16, 1, 7]));
        let mut long = [32, 7, 7, 7];
        assert_eq!((write(&mut long), long), (Ok(()), [32, 1, 2, 0]));
        let mut tiny = [8, 7];
        assert_eq!(
            (write(&mut tiny), tiny),
            (Err(Errno::EINVAL.into()), [8, 7])
        );
    }

    #[test]
    fn null_is_seen() {
        let null = std::ptr::null_mut::<Sized2>();
        // SAFETY: NULL is allowed.
        let (given, out, to) = unsafe {
            (
                In::from_raw(null.cast_const()),
                OutStruct::from_raw(null),
                Out::from_raw(null),
            )
        };
        assert_eq!(given.read(), Err(Errno::EINVAL.into()));
        assert_eq!(given.read_if_given(), Ok(None));
        let value = Sized2 {
            size: 24,
            first: 0,
            second: 0,
        };
        assert_eq!(out.write(value), Err(Errno::EINVAL.into()));
        assert_eq!(out.write_if_given(value), Ok(()));
        assert_eq!(to.required().err(), Some(Errno::EINVAL.into()));
        to.write(value);
        assert_eq!(Str::of(None).required(), Err(Errno::EINVAL.into()));
        assert_eq!(Str::of(Some(c"text")).get(), Some(c"text"));
    }

    #[test]
    fn lists_are_as_long_as_they_say() {
        let numbers = [1, 2, 3];
        // SAFETY: there are three, and NULL is allowed.
        let (list, null) = unsafe {
            (
                List::from_raw(numbers.as_ptr()),
                List::<i32>::from_raw(std::ptr::null()),
            )
        };
        assert_eq!(list.of(3, 3), Ok(&numbers[..]));
        assert_eq!(list.of(3, 2), Err(Errno::EINVAL.into()));
        assert_eq!(null.of(0, 3), Ok(&[][..]));
        assert_eq!(null.of(1, 3), Err(Errno::EINVAL.into()));

        let (mut room, mut count) = ([0; 2], 2);
        // SAFETY: there is room for two.
        let (out, told) = unsafe {
            (
                OutList::from_raw(room.as_mut_ptr()),
                Out::from_raw(&raw mut count),
            )
        };
        let written = out.write(told, |each| {
            numbers.into_iter().for_each(each);
            Ok(())
        });
        assert_eq!((written, room, count), (Ok(()), [1, 2], 3));
    }
}
