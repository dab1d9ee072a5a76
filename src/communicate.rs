//! A child with its standard streams, told as one event: it has ended, and what
//! it wrote was read to the end.
//!
//! The two come in either order. A child may close its output and live on, and a
//! grandchild may hold the pipes open long after the child is gone; a bound on the
//! time after the child's end decides then.
//!
//! The child's watch is a rich one whose *companion* is the task here: the task is posted
//! when the child has ended, and makes the callback. So the handle is a child's handle
//! like any other: the child can be signalled, have a deadline, and be waited for.

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use crate::reap::callback::{AskFn, Call, EventFn, Pvt, Record};
use crate::reap::event;
use crate::reap::id::{ContextId, WatchId};
use crate::reap::rich;
use crate::reap::spawned;
use crate::reap::task::{self, Arc, Interest, Task, TaskId, Why};
use crate::spawn::{FdMap, SpawnError, Spec, Step};
use crate::sys::error::{Error, out_of_memory};
use crate::sys::lock::Mutex;
use crate::sys::opaque::Bytes;
use crate::sys::pipe::{self, NoSigpipe, Pipe};
use crate::sys::{clock, fd};

/// What the child is to read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Input {
    /// These bytes of the daemon's, which stay until all is told.
    Bytes(Bytes),
    /// What the daemon puts into a buffer when it is asked.
    Asked(AskFn),
}

/// What is done with what the child writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    /// How many bytes are kept or passed on; what is more is read and dropped.
    pub(crate) limit: u64,
    /// The callback for pieces, where it is passed on instead of collected.
    pub(crate) stream: Option<EventFn>,
}

/// How the records that C sees are made.
#[derive(Clone, Copy)]
pub(crate) struct Forms {
    pub(crate) end: fn(&event::Told) -> Record,
    pub(crate) done: fn(&Done) -> Record,
    /// Of the stream with this number.
    pub(crate) chunk: fn(u32, Bytes) -> Record,
    pub(crate) room: fn(Bytes) -> Record,
}

pub(crate) struct Params {
    pub(crate) input: Option<Input>,
    /// Standard output and standard error.
    pub(crate) outputs: [Option<Output>; 2],
    /// Standard error goes where standard output does.
    pub(crate) merged: bool,
    /// Nanoseconds from the child's end until its pipes are given up.
    pub(crate) drain: u64,
    pub(crate) deadline: Option<rich::Deadline>,
    pub(crate) done: Option<EventFn>,
    pub(crate) pvt: Pvt,
    pub(crate) handle: Option<Pvt>,
    pub(crate) forms: Forms,
}

/// What was read of one stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Collected {
    /// With a NUL behind them.
    pub(crate) bytes: Bytes,
    /// How many were read, kept or not.
    pub(crate) total: u64,
    /// 0 where it was read to its end.
    pub(crate) errno: i32,
}

/// All of it.
pub(crate) struct Done {
    /// The child's end, as [`Forms::end`] made it.
    pub(crate) end: *const std::ffi::c_void,
    pub(crate) outputs: [Collected; 2],
    pub(crate) written: u64,
    pub(crate) input_errno: i32,
}

/// How much is asked for, and passed on, at once.
const CHUNK: usize = 64 * 1024;
/// How much one step reads, so that the loop's other work has its turn.
const STEP: usize = 1024 * 1024;

struct Communicate {
    state: Mutex<State>,
}

impl Task for Communicate {
    fn step(&self, why: Why) -> Option<Call> {
        self.state.lock().step(why)
    }
}

/// Starts a child with pipes, and watches both. On an error there is no process
/// and no watch.
pub(crate) fn start(ctx: ContextId, spec: &Spec, params: Params) -> Result<WatchId, SpawnError> {
    // Before the pipes get the number of a descriptor that is not open.
    spec.check()?;
    let task = Arc::try_new(Communicate {
        state: Mutex::new(State::new(&params)?),
    })?;
    let id = task::add(ctx, &task)?;
    let made = begin(&task, id, ctx, spec, params);
    if made.is_err() {
        task::remove(id);
    }
    made
}

fn begin(
    task: &Communicate,
    id: TaskId,
    ctx: ContextId,
    spec: &Spec,
    params: Params,
) -> Result<WatchId, SpawnError> {
    // The lock is held, so that no step runs before everything is set up.
    let mut state = task.state.lock();
    state.task = Some(id);
    let (childs, fds) = state.connect(id, spec, &params)?;
    let spec = Spec {
        fds: Some(&fds),
        ..*spec
    };
    let rich = rich::prepare(ctx, id, params.deadline, params.handle)?;
    let started = spawned::start(ctx, &spec, spawned::Told::Rich(rich))
        .inspect_err(|_| rich::discard(ctx, rich))?;
    drop(childs);
    state.watch = Some(started.watch);
    state.handle = rich::handle_of(started.watch, params.handle);
    Ok(started.watch)
}

/// What the child reads.
struct Feed {
    fd: Option<OwnedFd>,
    ask: Option<AskFn>,
    /// The buffer that the daemon fills when it is asked.
    buffer: Vec<u8>,
    /// Of the daemon's bytes, or of the buffer: what is still to be written.
    rest: Bytes,
    written: u64,
    errno: i32,
}

/// What the child writes to one stream.
struct Stream {
    fd: Option<OwnedFd>,
    output: Output,
    buffer: Vec<u8>,
    /// How many bytes were kept or passed on.
    kept: u64,
    total: u64,
    errno: i32,
    /// Set when the bound has passed: how much of what was there by then is still to be
    /// passed on.
    overdue: Option<usize>,
}

struct State {
    task: Option<TaskId>,
    watch: Option<WatchId>,
    handle: Pvt,
    input: Feed,
    streams: [Option<Stream>; 2],
    drain: u64,
    end: Option<Record>,
    told: bool,
    done: Option<EventFn>,
    pvt: Pvt,
    forms: Forms,
}

impl State {
    fn new(params: &Params) -> Result<Self, Error> {
        let mut input = Feed {
            fd: None,
            ask: None,
            buffer: Vec::new(),
            rest: Bytes::NONE,
            written: 0,
            errno: 0,
        };
        match params.input {
            Some(Input::Bytes(bytes)) => input.rest = bytes,
            Some(Input::Asked(ask)) => {
                input.ask = Some(ask);
                reserve(&mut input.buffer, CHUNK)?;
            }
            None => {}
        }
        let mut streams = [None, None];
        for (stream, output) in streams.iter_mut().zip(params.outputs) {
            let Some(output) = output else {
                continue;
            };
            let mut buffer = Vec::new();
            if output.stream.is_some() {
                reserve(&mut buffer, CHUNK)?;
            }
            *stream = Some(Stream {
                fd: None,
                output,
                buffer,
                kept: 0,
                total: 0,
                errno: 0,
                overdue: None,
            });
        }
        Ok(State {
            task: None,
            watch: None,
            handle: Pvt(std::ptr::null_mut()),
            input,
            streams,
            drain: params.drain,
            end: None,
            told: false,
            done: params.done,
            pvt: params.pvt,
            forms: params.forms,
        })
    }

    /// Makes the pipes; the child's ends, and its map of descriptors.
    fn connect(
        &mut self,
        id: TaskId,
        spec: &Spec,
        params: &Params,
    ) -> Result<(Vec<OwnedFd>, Vec<FdMap>), SpawnError> {
        let given = spec.fds.unwrap_or_default();
        let mut map = Vec::new();
        let mut childs = Vec::new();
        reserve(&mut map, given.len() + 3)?;
        reserve(&mut childs, 3)?;
        let failed = |error: Error| SpawnError::during(Step::Descriptors, error);
        if params.input.is_some() {
            let pipe = Pipe::to_child().map_err(failed)?;
            map.push(FdMap::new(pipe.childs.as_raw_fd(), 0));
            childs.push(pipe.childs);
            task::watch_fd(id, pipe.ours.as_raw_fd(), Interest::WRITE).map_err(failed)?;
            self.input.fd = Some(pipe.ours);
        }
        for (target, stream) in (1..).zip(&mut self.streams) {
            let Some(stream) = stream else {
                continue;
            };
            let pipe = Pipe::from_child().map_err(failed)?;
            map.push(FdMap::new(pipe.childs.as_raw_fd(), target));
            if target == 1 && params.merged {
                map.push(FdMap::new(pipe.childs.as_raw_fd(), 2));
            }
            childs.push(pipe.childs);
            task::watch_fd(id, pipe.ours.as_raw_fd(), Interest::READ).map_err(failed)?;
            stream.fd = Some(pipe.ours);
        }
        if spec.fds.is_some() {
            // A map of the spec that has a pipe's target too names it twice, which is
            // refused later.
            map.extend_from_slice(given);
            return Ok((childs, map));
        }
        for own in 0..3 {
            if map.iter().all(|entry| entry.target != own) && fd::is_inherited(own) {
                map.push(FdMap::new(own, own));
            }
        }
        Ok((childs, map))
    }

    fn step(&mut self, why: Why) -> Option<Call> {
        let call = match why {
            Why::Posted => self.child_ended(),
            Why::Deadline => {
                self.give_up();
                None
            }
            Why::Readable(fd) => self.ready(fd),
            Why::Answered(count) => self.answered(count),
            Why::Child(_) | Why::Returned => None,
        };
        let call = call.or_else(|| {
            self.end_overdue();
            self.tell()
        });
        if call.is_none() && self.told {
            // The last callback has returned, or there is none.
            let over = self.watch.is_some_and(rich::end_unheld);
            if let (true, Some(task)) = (over, self.task) {
                task::remove(task);
            }
        }
        call
    }

    /// The child has ended: what it wrote before is there to be read.
    fn child_ended(&mut self) -> Option<Call> {
        let (task, watch) = (self.task?, self.watch?);
        let end = rich::take_end(watch)?;
        self.end = Some((self.forms.end)(&end));
        let all_written = self.input.ask.is_none() && self.input.rest.is_empty();
        self.close_input(if all_written { 0 } else { libc::EPIPE });
        for index in 0..self.streams.len() {
            let collects = |stream: &Stream| stream.output.stream.is_none();
            if self.streams[index].as_ref().is_some_and(collects) {
                self.read(index);
            }
        }
        if self.is_open() {
            task::set_deadline(task, Some(clock::now().saturating_add(self.drain)));
        }
        None
    }

    fn is_open(&self) -> bool {
        self.streams
            .iter()
            .flatten()
            .any(|stream| stream.fd.is_some())
    }

    /// The bound has passed. What is there by now still counts, and so does the end of
    /// the file, which the loop may have been too late to see.
    fn give_up(&mut self) {
        for index in 0..self.streams.len() {
            let Some(stream) = &mut self.streams[index] else {
                continue;
            };
            if stream.output.stream.is_some() {
                let there = stream.fd.as_ref().map(|fd| pipe::unread(fd.as_fd()));
                stream.overdue = there;
            } else {
                self.read(index);
                self.close_stream(index, libc::ETIMEDOUT);
            }
        }
    }

    /// Gives up the streams of which all that was there is passed on.
    fn end_overdue(&mut self) {
        for index in 0..self.streams.len() {
            let over = |stream: &Stream| stream.overdue == Some(0);
            if self.streams[index].as_ref().is_some_and(over) {
                self.read(index);
            }
        }
    }

    fn ready(&mut self, fd: RawFd) -> Option<Call> {
        if self.input.fd.as_ref().map(AsRawFd::as_raw_fd) == Some(fd) {
            return self.feed();
        }
        let index = self.streams.iter().position(|stream| {
            let held = stream.as_ref().and_then(|stream| stream.fd.as_ref());
            held.map(AsRawFd::as_raw_fd) == Some(fd)
        })?;
        self.read(index)
    }

    fn close_input(&mut self, errno: i32) {
        if let Some(fd) = self.input.fd.take() {
            self.unwatch(fd.as_raw_fd());
            self.input.errno = errno;
        }
    }

    fn close_stream(&mut self, index: usize, errno: i32) {
        let Some(stream) = &mut self.streams[index] else {
            return;
        };
        if let Some(fd) = stream.fd.take() {
            if stream.errno == 0 {
                stream.errno = errno;
            }
            self.unwatch(fd.as_raw_fd());
        }
    }

    /// Stops watching a descriptor, before it is closed.
    fn unwatch(&self, fd: RawFd) {
        if let Some(task) = self.task {
            task::unwatch_fd(task, fd);
        }
    }

    /// Writes what the child is to read, as much as the pipe holds.
    fn feed(&mut self) -> Option<Call> {
        let mut quiet = NoSigpipe::begin();
        loop {
            let fd = self.input.fd.as_ref()?;
            if self.input.rest.is_empty() {
                let Some(ask) = self.input.ask else {
                    self.close_input(0);
                    return None;
                };
                self.input.buffer.clear();
                let room = Bytes::room(&mut self.input.buffer);
                return Some(Call::Ask {
                    call: ask,
                    source: self.handle,
                    record: (self.forms.room)(room),
                    pvt: self.pvt,
                });
            }
            match pipe::write(fd.as_fd(), &self.input.rest, &mut quiet) {
                Ok(Some(count)) => {
                    self.input.rest.advance(count);
                    self.input.written += count as u64;
                    if !self.input.rest.is_empty() {
                        // The pipe is full.
                        return None;
                    }
                }
                Ok(None) => return None,
                Err(error) => {
                    self.close_input(error.errno as i32);
                    return None;
                }
            }
        }
    }

    /// The daemon has put so many bytes into the buffer; 0 means the end.
    fn answered(&mut self, count: u32) -> Option<Call> {
        let count = count as usize;
        if count == 0 {
            self.close_input(0);
            return None;
        }
        match Bytes::filled(&mut self.input.buffer, count) {
            Some(rest) => {
                self.input.rest = rest;
                self.feed()
            }
            None => {
                self.close_input(libc::EMSGSIZE);
                None
            }
        }
    }

    fn read(&mut self, index: usize) -> Option<Call> {
        let stream = self.streams[index].as_mut()?;
        if let Some(call) = stream.output.stream {
            return self.pass_on(index, call);
        }
        match stream.collect() {
            Ok(false) => {}
            Ok(true) => self.close_stream(index, 0),
            Err(error) => self.close_stream(index, error.errno as i32),
        }
        None
    }

    fn pass_on(&mut self, index: usize, call: EventFn) -> Option<Call> {
        let stream = self.streams[index].as_mut()?;
        let fd = stream.fd.as_ref()?;
        stream.buffer.clear();
        // Where nothing is left, one byte tells whether this is the end of the file.
        let most = stream.overdue.map_or(CHUNK, |left| left.clamp(1, CHUNK));
        let got = pipe::read(fd.as_fd(), &mut stream.buffer, most);
        match (got, &mut stream.overdue) {
            (Ok(Some(0)), _) => self.close_stream(index, 0),
            (Ok(None), None) => {}
            (Ok(None), Some(_)) | (Ok(Some(_)), Some(0)) => {
                self.close_stream(index, libc::ETIMEDOUT);
            }
            (Ok(Some(count)), overdue) => {
                if let Some(left) = overdue {
                    *left -= count;
                }
                let passed = stream.take(count);
                stream.buffer.truncate(passed);
                let chunk = Bytes::of(&stream.buffer);
                #[allow(clippy::cast_possible_truncation)] // 1 or 2
                let number = index as u32 + 1;
                return (passed > 0).then(|| Call::Event {
                    call,
                    source: self.handle,
                    record: (self.forms.chunk)(number, chunk),
                    pvt: self.pvt,
                });
            }
            (Err(error), _) => self.close_stream(index, error.errno as i32),
        }
        None
    }

    /// Makes the one event, when everything has come.
    fn tell(&mut self) -> Option<Call> {
        let end = self.end.as_ref()?;
        if self.told || self.is_open() {
            return None;
        }
        self.told = true;
        if let Some(task) = self.task {
            task::set_deadline(task, None);
        }
        let [output, error] = &mut self.streams;
        let collected = |stream: &mut Option<Stream>| {
            stream
                .as_mut()
                .map_or(Collected::NOTHING, Stream::collected)
        };
        let done = Done {
            end: end.as_ptr(),
            outputs: [collected(output), collected(error)],
            written: self.input.written,
            input_errno: self.input.errno,
        };
        Some(Call::Event {
            call: self.done?,
            source: self.handle,
            record: (self.forms.done)(&done),
            pvt: self.pvt,
        })
    }
}

impl Collected {
    const NOTHING: Collected = Collected {
        bytes: Bytes::NONE,
        total: 0,
        errno: 0,
    };
}

impl Stream {
    /// `count` bytes were read. Returns how many of them are kept.
    fn take(&mut self, count: usize) -> usize {
        self.total += count as u64;
        let left = self.output.limit - self.kept;
        let kept = usize::try_from(left).unwrap_or(usize::MAX).min(count);
        self.kept += kept as u64;
        kept
    }

    /// Reads and keeps what is there, but at most a step's share. Whether that was all of
    /// it, up to the end.
    fn collect(&mut self) -> Result<bool, Error> {
        let mut share = STEP;
        while share > 0 {
            let Some(fd) = &self.fd else {
                return Ok(true);
            };
            let left = usize::try_from(self.output.limit - self.kept).unwrap_or(usize::MAX);
            let got = if left == 0 {
                pipe::skip(fd.as_fd())?
            } else {
                // One byte more, for the NUL.
                let wanted = left.min(CHUNK.max(self.buffer.len())) + 1;
                if self.buffer.capacity() - self.buffer.len() < 2
                    && self.buffer.try_reserve(wanted).is_err()
                {
                    self.errno = libc::ENOMEM;
                    self.output.limit = self.kept;
                    continue;
                }
                let room = self.buffer.capacity() - self.buffer.len() - 1;
                pipe::read(fd.as_fd(), &mut self.buffer, left.min(room))?
            };
            let Some(count) = got else {
                return Ok(false);
            };
            if count == 0 {
                return Ok(true);
            }
            self.take(count);
            share = share.saturating_sub(count);
        }
        Ok(false)
    }

    fn collected(&mut self) -> Collected {
        let bytes = if self.output.stream.is_some() {
            Bytes::NONE
        } else {
            Bytes::with_nul(&mut self.buffer)
        };
        Collected {
            bytes,
            total: self.total,
            errno: self.errno,
        }
    }
}

fn reserve<T>(list: &mut Vec<T>, count: usize) -> Result<(), Error> {
    list.try_reserve_exact(count).map_err(out_of_memory)
}
