//! C strings and arrays of them, as execve(2) takes them: borrowed from C, or
//! copies of our own.

use std::ffi::{CStr, c_char};
use std::marker::PhantomData;
use std::ptr::null;

use super::error::{Error, out_of_memory};

/// A NULL-terminated array of C strings that somebody else owns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CStrArray<'a> {
    first: *const *const c_char,
    strings: PhantomData<&'a CStr>,
}

// SAFETY: it is a shared reference to strings that nobody changes for 'a.
unsafe impl Send for CStrArray<'_> {}
// SAFETY: as above.
unsafe impl Sync for CStrArray<'_> {}

impl<'a> CStrArray<'a> {
    /// # Safety
    /// `first` points to pointers to C strings, the last of them NULL, all valid
    /// and unchanged for `'a`.
    pub(crate) unsafe fn from_ptr(first: *const *const c_char) -> Self {
        CStrArray {
            first,
            strings: PhantomData,
        }
    }

    /// No string at all.
    pub(crate) fn empty() -> CStrArray<'static> {
        static EMPTY: [usize; 1] = [0];
        CStrArray {
            first: (&raw const EMPTY).cast(),
            strings: PhantomData,
        }
    }

    /// The caller's environment. Like every reader of `environ`, it counts on
    /// nobody changing it meanwhile.
    pub(crate) fn environ() -> CStrArray<'static> {
        unsafe extern "C" {
            static environ: *const *const c_char;
        }
        // SAFETY: libc keeps it a NULL-terminated array, or NULL after clearenv.
        let first = unsafe { environ };
        if first.is_null() {
            return Self::empty();
        }
        CStrArray {
            first,
            strings: PhantomData,
        }
    }

    pub(crate) fn as_ptr(&self) -> *const *const c_char {
        self.first
    }

    /// Whether there is not even a first string.
    pub(crate) fn is_empty(&self) -> bool {
        // SAFETY: at least the terminating NULL is there.
        unsafe { (*self.first).is_null() }
    }

    /// The value of a variable.
    pub(crate) fn value(&self, name: &CStr) -> Option<&'a CStr> {
        self.iter().find_map(|variable| {
            let bytes = variable.to_bytes_with_nul();
            let value = bytes.strip_prefix(name.to_bytes())?.strip_prefix(b"=")?;
            CStr::from_bytes_with_nul(value).ok()
        })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &'a CStr> + Clone + use<'a> {
        let first = self.first;
        (0..).map_while(move |at| {
            // SAFETY: the array ends with NULL, where the iteration ends, and its
            // strings are valid for 'a.
            unsafe {
                let string = *first.add(at);
                (!string.is_null()).then(|| CStr::from_ptr(string))
            }
        })
    }
}

/// An array of C strings of our own.
#[derive(Debug)]
pub(crate) struct CStringArray {
    pointers: Vec<*const c_char>,
    /// What the pointers point into. It never grows, so it never moves.
    _bytes: Vec<u8>,
}

// SAFETY: nobody changes the bytes once they are there, and they are owned.
unsafe impl Send for CStringArray {}
// SAFETY: as above.
unsafe impl Sync for CStringArray {}

impl CStringArray {
    /// Copies the strings; ENOMEM where that is not possible.
    pub(crate) fn new<'s>(strings: impl Iterator<Item = &'s CStr> + Clone) -> Result<Self, Error> {
        Self::of(&|each| strings.clone().for_each(each))
    }

    /// The same, and the same code for every kind of iterator.
    #[allow(clippy::type_complexity, reason = "said once")]
    fn of(strings: &dyn Fn(&mut dyn FnMut(&CStr))) -> Result<Self, Error> {
        let (mut count, mut length) = (0, 0);
        strings(&mut |string| {
            count += 1;
            length += string.count_bytes() + 1;
        });
        let mut bytes = Vec::new();
        let mut pointers = Vec::new();
        reserve(&mut bytes, length)?;
        reserve(&mut pointers, count + 1)?;
        strings(&mut |string| {
            // No reallocation: there is room for all.
            let start = bytes.len();
            bytes.extend_from_slice(string.to_bytes_with_nul());
            pointers.push(bytes[start..].as_ptr().cast::<c_char>());
        });
        pointers.push(null());
        Ok(CStringArray {
            pointers,
            _bytes: bytes,
        })
    }

    /// Copies an environment, with each NAME=value in `set` put in, or in the
    /// place of the variable with that name.
    #[allow(dead_code, reason = "for the families that add variables")]
    pub(crate) fn environment(base: CStrArray, set: &[&CStr]) -> Result<Self, Error> {
        let kept = base
            .iter()
            .filter(|old| set.iter().all(|new| name(new) != name(old)));
        Self::new(kept.chain(set.iter().copied()))
    }

    pub(crate) fn as_array(&self) -> CStrArray<'_> {
        CStrArray {
            first: self.pointers.as_ptr(),
            strings: PhantomData,
        }
    }
}

/// The part before the equals sign.
#[allow(dead_code, reason = "as environment()")]
fn name(variable: &CStr) -> &[u8] {
    let bytes = variable.to_bytes();
    let end = bytes.iter().position(|&byte| byte == b'=');
    &bytes[..end.unwrap_or(bytes.len())]
}

/// A C string of our own. Unlike CString it is made without an allocation that
/// could abort.
#[derive(Debug)]
pub(crate) struct CStrBuf(Vec<u8>);

impl CStrBuf {
    pub(crate) fn new(string: &CStr) -> Result<Self, Error> {
        let string = string.to_bytes_with_nul();
        let mut bytes = Vec::new();
        reserve(&mut bytes, string.len())?;
        bytes.extend_from_slice(string);
        Ok(CStrBuf(bytes))
    }

    pub(crate) fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_with_nul(&self.0).unwrap_or_default()
    }
}

fn reserve<T>(vec: &mut Vec<T>, count: usize) -> Result<(), Error> {
    vec.try_reserve_exact(count).map_err(out_of_memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collected(array: &CStringArray) -> Vec<&CStr> {
        array.as_array().iter().collect()
    }

    #[test]
    fn a_copy_holds_the_same_strings() {
        let strings = [c"one", c"", c"two words"];
        let copy = CStringArray::new(strings.into_iter()).unwrap();
        let moved = Box::new(copy);
        assert_eq!(collected(&moved), strings);
        let again = CStringArray::new(moved.as_array().iter()).unwrap();
        drop(moved);
        assert_eq!(collected(&again), strings);
        assert!(
            CStringArray::new([].into_iter())
                .unwrap()
                .as_array()
                .is_empty()
        );
        assert!(CStrArray::empty().is_empty());
    }

    #[test]
    fn a_variable_takes_the_place_of_its_namesake() {
        let base = [c"A=1", c"AB=2", c"C", c"A=3"];
        let base = CStringArray::new(base.into_iter()).unwrap();
        let set = [c"A=new", c"D=4"];
        let made = CStringArray::environment(base.as_array(), &set).unwrap();
        assert_eq!(collected(&made), [c"AB=2", c"C", c"A=new", c"D=4"]);
    }

    #[test]
    fn a_string_is_copied_with_its_end() {
        assert_eq!(CStrBuf::new(c"path").unwrap().as_c_str(), c"path");
        assert_eq!(CStrBuf::new(c"").unwrap().as_c_str(), c"");
    }
}
