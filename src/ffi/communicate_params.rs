//! What `sss_child_communicate` takes and tells: `struct sss_communicate`, `struct
//! sss_communicated`, `struct sss_chunk`, `struct sss_room`.

use std::ffi::c_void;

use nix::errno::Errno;

use super::handle::sss_child_ctx;
use super::params::{In, ask_fn, event_fn};
use super::watch_params::{sss_child_event, sss_deadline};
use crate::communicate::{Done, Forms, Input, Output, Params};
use crate::reap::callback::{Pvt, Record};
use crate::reap::event::Told;
use crate::sys::error::Error;
use crate::sys::opaque::Bytes;

/// The child's standard input is a pipe: what input or input_fn gives, then the
/// end of the file. As all SSS_COMMUNICATE_*: a bit of sss_communicate.mask.
pub const SSS_COMMUNICATE_INPUT: u32 = 0x1;
/// The child's standard output is a pipe, which is read.
pub const SSS_COMMUNICATE_OUTPUT: u32 = 0x2;
/// The child's standard error is a pipe, which is read.
pub const SSS_COMMUNICATE_ERROR: u32 = 0x4;
/// The child's standard error goes where its standard output does. With
/// SSS_COMMUNICATE_OUTPUT, and without SSS_COMMUNICATE_ERROR.
pub const SSS_COMMUNICATE_ERROR_TO_OUTPUT: u32 = 0x8;
/// sss_communicate.output_limit counts.
pub const SSS_COMMUNICATE_OUTPUT_LIMIT: u32 = 0x10;
/// sss_communicate.error_limit counts.
pub const SSS_COMMUNICATE_ERROR_LIMIT: u32 = 0x20;
/// sss_communicate.drain_ns counts.
pub const SSS_COMMUNICATE_DRAIN: u32 = 0x40;

/// A piece of what a child wrote.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sss_chunk {
    /// sizeof(struct sss_chunk) of the library.
    pub size: usize,
    /// 1 for standard output, 2 for standard error.
    pub stream: u32,
    /// 0.
    pub reserved: u32,
    /// The bytes, valid until the callback returns or frees the child's handle.
    pub data: *const c_void,
    /// How many, at least 1.
    pub length: usize,
}

/// Where to put what a child is to read.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sss_room {
    /// sizeof(struct sss_room) of the library.
    pub size: usize,
    /// The place, valid until the callback returns or frees the child's handle.
    pub data: *mut c_void,
    /// How many bytes fit.
    pub capacity: usize,
}

/// Told of a piece of output; see struct sss_communicate.
///
/// Called as a sss_child_fn_t is.
///
/// @param child  the handle.
/// @param chunk  the piece, valid until the callback returns.
/// @param pvt    as given.
#[allow(non_camel_case_types)]
pub type sss_chunk_fn_t = Option<
    unsafe extern "C" fn(child: *mut sss_child_ctx, chunk: *const sss_chunk, pvt: *mut c_void),
>;

/// Asked for more input; see struct sss_communicate.
///
/// Called as a sss_child_fn_t is, when all that came before is written.
///
/// @param child  the handle.
/// @param room   where to put it, valid until the callback returns.
/// @param pvt    as given.
///
/// @return how many bytes were put there; 0 ends the input.
#[allow(non_camel_case_types)]
pub type sss_input_fn_t = Option<
    unsafe extern "C" fn(child: *mut sss_child_ctx, room: *const sss_room, pvt: *mut c_void) -> u32,
>;

/// What became of a child and its streams.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sss_communicated {
    /// sizeof(struct sss_communicated) of the library.
    pub size: usize,
    /// The child's end: status, rusage and time.
    pub end: *const sss_child_event,
    /// What was collected of its standard output, with a NUL behind it that does
    /// not count; never NULL. Valid until the callback returns or frees the
    /// child's handle.
    pub output: *const c_void,
    /// How many bytes.
    pub output_length: usize,
    /// How many bytes it wrote, those beyond the limit included.
    pub output_total: u64,
    /// The same of its standard error.
    pub error: *const c_void,
    /// How many bytes.
    pub error_length: usize,
    /// How many bytes it wrote, those beyond the limit included.
    pub error_total: u64,
    /// How many bytes of the input were written to the pipe.
    pub input_written: u64,
    /// 0 where all input was written; EPIPE where the child closed it, or ended,
    /// before; EMSGSIZE where input_fn returned more than there was room for.
    pub input_errno: i32,
    /// 0 where the output was read to its end; ETIMEDOUT where somebody else held
    /// it open until drain_ns had passed; ENOMEM where memory was out, and the
    /// rest was dropped.
    pub output_errno: i32,
    /// The same of standard error.
    pub error_errno: i32,
    /// 0.
    pub reserved: u32,
}

/// Told once, when a child has ended and its pipes are read to their ends.
///
/// Called as a sss_child_fn_t is.
///
/// @param child  the handle.
/// @param done   what came of it, valid until the callback returns or frees the
///               child's handle.
/// @param pvt    as given.
#[allow(non_camel_case_types)]
pub type sss_communicate_fn_t = Option<
    unsafe extern "C" fn(
        child: *mut sss_child_ctx,
        done: *const sss_communicated,
        pvt: *mut c_void,
    ),
>;

/// What to do with a child's standard streams. Zero it, set size, and what else is
/// needed. A stream that has no bit here is as struct sss_spawn has it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sss_communicate<'a> {
    /// sizeof(struct sss_communicate), which tells the struct's version.
    pub size: usize,
    /// SSS_COMMUNICATE_*, ORed.
    pub mask: u32,
    /// 0.
    pub reserved: u32,
    /// What the child is to read; borrowed until cb is called or the handle freed.
    /// NULL with a length of 0 for none.
    pub input: *const c_void,
    /// How many bytes.
    pub input_length: usize,
    /// Asked for the input piece by piece; input is NULL then.
    pub input_fn: sss_input_fn_t,
    /// Told of standard output piece by piece, which is not collected then; or NULL.
    pub output_fn: sss_chunk_fn_t,
    /// The same of standard error.
    pub error_fn: sss_chunk_fn_t,
    /// How many bytes of standard output are collected, or told of, at most; what is
    /// more is read and dropped. 16 MiB by default, no limit with output_fn.
    pub output_limit: u64,
    /// The same of standard error.
    pub error_limit: u64,
    /// Nanoseconds, 0 or more, from the child's end until its pipes are given up
    /// where others (its own children) hold them open; INT64_MAX for never. Default 1 s.
    pub drain_ns: i64,
    /// A deadline for the child, which begins now; or NULL. See
    /// sss_child_set_deadline().
    pub deadline: In<'a, sss_deadline<'a>>,
    /// The callback, or NULL.
    pub cb: sss_communicate_fn_t,
    /// Handed to all of them as it is; borrowed until the handle is freed.
    pub pvt: *mut c_void,
}

const KNOWN: u32 = SSS_COMMUNICATE_INPUT
    | SSS_COMMUNICATE_OUTPUT
    | SSS_COMMUNICATE_ERROR
    | SSS_COMMUNICATE_ERROR_TO_OUTPUT
    | SSS_COMMUNICATE_OUTPUT_LIMIT
    | SSS_COMMUNICATE_ERROR_LIMIT
    | SSS_COMMUNICATE_DRAIN;

const LIMIT: u64 = 16 * 1024 * 1024;
const DRAIN_NS: u64 = 1_000_000_000;

impl sss_communicate<'_> {
    pub(super) fn params(&self) -> Result<Params, Error> {
        let has = |bit| self.mask & bit != 0;
        let stray = |bit, field: bool| field && !has(bit);
        if self.mask & !KNOWN != 0
            || self.reserved != 0
            || !self.input.is_null() && self.input_fn.is_some()
            || self.input.is_null() && self.input_length != 0
            || self.input_length > isize::MAX.unsigned_abs()
            || stray(SSS_COMMUNICATE_INPUT, !self.input.is_null())
            || stray(SSS_COMMUNICATE_INPUT, self.input_fn.is_some())
            || stray(SSS_COMMUNICATE_OUTPUT, self.output_fn.is_some())
            || stray(SSS_COMMUNICATE_ERROR, self.error_fn.is_some())
            || stray(SSS_COMMUNICATE_OUTPUT, has(SSS_COMMUNICATE_OUTPUT_LIMIT))
            || stray(SSS_COMMUNICATE_ERROR, has(SSS_COMMUNICATE_ERROR_LIMIT))
            || stray(SSS_COMMUNICATE_OUTPUT, has(SSS_COMMUNICATE_ERROR_TO_OUTPUT))
            || has(SSS_COMMUNICATE_ERROR) && has(SSS_COMMUNICATE_ERROR_TO_OUTPUT)
        {
            return Err(Errno::EINVAL.into());
        }
        let drain = if has(SSS_COMMUNICATE_DRAIN) {
            u64::try_from(self.drain_ns).map_err(|_| Errno::EINVAL)?
        } else {
            DRAIN_NS
        };
        let output = |stream: sss_chunk_fn_t, bit, limit| Output {
            limit: match stream {
                _ if has(bit) => limit,
                Some(_) => u64::MAX,
                None => LIMIT,
            },
            stream: stream.map(event_fn),
        };
        let input = match self.input_fn {
            Some(ask) => Input::Asked(ask_fn(ask)),
            // SAFETY: the daemon's bytes, which it keeps until the callback of the end.
            None => Input::Bytes(unsafe { Bytes::from_raw(self.input.cast(), self.input_length) }),
        };
        Ok(Params {
            input: has(SSS_COMMUNICATE_INPUT).then_some(input),
            outputs: [
                has(SSS_COMMUNICATE_OUTPUT).then(|| {
                    output(
                        self.output_fn,
                        SSS_COMMUNICATE_OUTPUT_LIMIT,
                        self.output_limit,
                    )
                }),
                has(SSS_COMMUNICATE_ERROR)
                    .then(|| output(self.error_fn, SSS_COMMUNICATE_ERROR_LIMIT, self.error_limit)),
            ],
            merged: has(SSS_COMMUNICATE_ERROR_TO_OUTPUT),
            drain,
            deadline: self.deadline.get()?,
            done: self.cb.map(event_fn),
            pvt: Pvt(self.pvt),
            handle: None,
            forms: Forms {
                end: |told: &Told| Record::of(sss_child_event::from(told)),
                done,
                chunk,
                room,
            },
        })
    }
}

fn done(done: &Done) -> Record {
    let [output, error] = &done.outputs;
    Record::of(sss_communicated {
        size: size_of::<sss_communicated>(),
        end: done.end.cast(),
        output: output.bytes.as_ptr().cast(),
        output_length: output.bytes.len(),
        output_total: output.total,
        error: error.bytes.as_ptr().cast(),
        error_length: error.bytes.len(),
        error_total: error.total,
        input_written: done.written,
        input_errno: done.input_errno,
        output_errno: output.errno,
        error_errno: error.errno,
        reserved: 0,
    })
}

fn chunk(stream: u32, bytes: Bytes) -> Record {
    Record::of(sss_chunk {
        size: size_of::<sss_chunk>(),
        stream,
        reserved: 0,
        data: bytes.as_ptr().cast(),
        length: bytes.len(),
    })
}

fn room(place: Bytes) -> Record {
    Record::of(sss_room {
        size: size_of::<sss_room>(),
        data: place.as_ptr().cast_mut().cast(),
        capacity: place.len(),
    })
}
