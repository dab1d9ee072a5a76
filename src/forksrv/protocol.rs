//! What a fork server and its client say to each other: pure, and bounded.
//!
//! The control socket carries *requests*, of one fixed length. One that wants an answer
//! carries the answer's socket as its first descriptor. A launch's *order*, which may be
//! long, and the descriptors that it names are written to that socket, in parts, before
//! the request is sent. *Replies* have a fixed length too.
//!
//! Both ends run on one machine, often in one program, so numbers are in its own
//! byte order. Every length is checked against what is there before anything is
//! allocated for it, and what follows the end of a message is an error.
//!
//! A child of the server's own goes by a *number*, which the server gives once. Its pid
//! is another one in each pid namespace, and another child's once it is reaped.

use std::ffi::CStr;

use nix::errno::Errno;

use crate::sys::bits::{ToSigned, ToUnsigned};
use crate::sys::error::Error;

/// Changes with every change of the protocol: both ends must have the same version.
pub(crate) const VERSION: u16 = 3;

/// The length of a request.
pub(crate) const REQUEST: usize = 64;
/// The length of a reply.
pub(crate) const REPLY: usize = 32;

/// The longest order. execve(2) takes 6 MiB of arguments and environment.
pub(crate) const ORDER_MOST: usize = 8 << 20;
/// How many descriptors an order names at most.
pub(crate) const DESCRIPTORS_MOST: usize = 16_384;
/// How much of an order goes into one message: less than any socket's buffer.
pub(crate) const PART: usize = 32 << 10;

/// Room for most orders.
const PAGE: usize = 4096;

const MAGIC: u32 = 0x5346_4B53;

/// What the client asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    /// The first message. It carries a pidfd of the client, if there is one.
    Hello { client: i32, options: u32 },
    /// Make a process.
    Launch {
        /// When the client gives up, by CLOCK_MONOTONIC in nanoseconds.
        deadline: u64,
        order: u32,
        descriptors: u32,
        way: Way,
    },
    /// Tell a child's end, and reap it.
    Wait {
        child: u64,
        options: u32,
        deadline: u64,
    },
    /// End. The children live on.
    Stop,
}

/// Whose child a launched process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// The client's, where that is possible.
    Any,
    /// The client's: CLONE_PARENT.
    Clients,
    /// The server's.
    Servers,
}

/// What the server, or a process that it made, answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply {
    /// The server is ready for requests.
    Hello,
    /// From the new process: everything but exec is done, and it waits for one byte. The
    /// client learns its pid from the message's credentials.
    Ready { way: Way },
    /// From the server: there is no process. From the new process: it ends.
    Failed { step: u32, errno: i32 },
    /// The process was made. Where it is the server's it has a number, and its pidfd
    /// comes with it. Its pid is 0 where the client has pids of its own.
    Made { pid: i32, way: Way, child: u64 },
    /// The process has execed, or is no more.
    Gone { pid: i32, child: u64 },
    /// Its end, as waitpid(2) gives it; child 0 where it lives. Or an errno.
    Status { child: u64, status: i32, errno: i32 },
    /// A child of the server's own has ended.
    SigChld { child: u64 },
}

/// Request::Wait's options: answer when the child has ended.
pub(crate) const WAIT_BLOCK: u32 = 1;

/// What is wrong with a message: it is truncated, too long, or of another version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bad {
    Length,
    Magic,
    Version(u16),
    Kind,
    Value,
    Memory,
}

impl From<Bad> for Errno {
    fn from(bad: Bad) -> Self {
        match bad {
            Bad::Memory => Errno::ENOMEM,
            Bad::Version(_) => Errno::EPROTONOSUPPORT,
            _ => Errno::EPROTO,
        }
    }
}

impl Way {
    pub(crate) fn number(self) -> u32 {
        match self {
            Way::Any => 0,
            Way::Clients => 1,
            Way::Servers => 2,
        }
    }

    fn from_number(number: u32) -> Result<Self, Bad> {
        match number {
            0 => Ok(Way::Any),
            1 => Ok(Way::Clients),
            2 => Ok(Way::Servers),
            _ => Err(Bad::Value),
        }
    }
}

/// The words of a fixed message after magic, version and kind.
struct Words([u32; REQUEST / 4]);

fn low(value: u64) -> u32 {
    #[allow(clippy::cast_possible_truncation, reason = "the lower half")]
    let low = value as u32;
    low
}

fn both(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

impl Words {
    fn new(kind: u16, rest: &[u32]) -> Self {
        let mut words = [0; REQUEST / 4];
        words[0] = MAGIC;
        words[1] = u32::from(VERSION) << 16 | u32::from(kind);
        words[2..2 + rest.len()].copy_from_slice(rest);
        Words(words)
    }

    fn parse(bytes: &[u8], length: usize) -> Result<(u16, Self), Bad> {
        if bytes.len() != length {
            return Err(Bad::Length);
        }
        let mut words = [0; REQUEST / 4];
        for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(4)) {
            *word = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        let [version, kind] = [words[1] >> 16, words[1] & 0xffff].map(|half| {
            #[allow(clippy::cast_possible_truncation, reason = "16 bits")]
            let half = half as u16;
            half
        });
        if words[0] != MAGIC {
            return Err(Bad::Magic);
        }
        if version != VERSION {
            return Err(Bad::Version(version));
        }
        Ok((kind, Words(words)))
    }

    /// The words after the header, of which only so many are used.
    fn rest(&self, used: usize) -> Result<&[u32], Bad> {
        let (rest, zeros) = self.0[2..].split_at(used);
        if zeros.iter().any(|&word| word != 0) {
            return Err(Bad::Value);
        }
        Ok(rest)
    }

    fn write(&self, bytes: &mut [u8]) {
        for (word, bytes) in self.0.iter().zip(bytes.chunks_exact_mut(4)) {
            bytes.copy_from_slice(&word.to_ne_bytes());
        }
    }
}

impl Request {
    pub(crate) fn encode(&self) -> [u8; REQUEST] {
        let words = match *self {
            Request::Hello { client, options } => Words::new(1, &[client.to_unsigned(), options]),
            Request::Launch {
                deadline,
                order,
                descriptors,
                way,
            } => Words::new(
                2,
                &[
                    low(deadline),
                    low(deadline >> 32),
                    order,
                    descriptors,
                    way.number(),
                ],
            ),
            Request::Wait {
                child,
                options,
                deadline,
            } => Words::new(
                3,
                &[
                    low(child),
                    low(child >> 32),
                    options,
                    low(deadline),
                    low(deadline >> 32),
                ],
            ),
            Request::Stop => Words::new(4, &[]),
        };
        let mut bytes = [0; REQUEST];
        words.write(&mut bytes);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Bad> {
        let (kind, words) = Words::parse(bytes, REQUEST)?;
        match kind {
            1 => {
                let rest = words.rest(2)?;
                Ok(Request::Hello {
                    client: rest[0].to_signed(),
                    options: rest[1],
                })
            }
            2 => {
                let rest = words.rest(5)?;
                if rest[2] as usize > ORDER_MOST || rest[3] as usize > DESCRIPTORS_MOST {
                    return Err(Bad::Value);
                }
                Ok(Request::Launch {
                    deadline: both(rest[0], rest[1]),
                    order: rest[2],
                    descriptors: rest[3],
                    way: Way::from_number(rest[4])?,
                })
            }
            3 => {
                let rest = words.rest(5)?;
                let child = both(rest[0], rest[1]);
                if child == 0 || rest[2] & !WAIT_BLOCK != 0 {
                    return Err(Bad::Value);
                }
                Ok(Request::Wait {
                    child,
                    options: rest[2],
                    deadline: both(rest[3], rest[4]),
                })
            }
            4 => words.rest(0).map(|_| Request::Stop),
            _ => Err(Bad::Kind),
        }
    }
}

impl Reply {
    pub(crate) fn encode(&self) -> [u8; REPLY] {
        let words = match *self {
            Reply::Hello => Words::new(1, &[]),
            Reply::Ready { way } => Words::new(2, &[way.number()]),
            Reply::Failed { step, errno } => Words::new(3, &[step, errno.to_unsigned()]),
            Reply::Made { pid, way, child } => Words::new(
                4,
                &[
                    pid.to_unsigned(),
                    way.number(),
                    low(child),
                    low(child >> 32),
                ],
            ),
            Reply::Status {
                child,
                status,
                errno,
            } => Words::new(
                5,
                &[
                    low(child),
                    low(child >> 32),
                    status.to_unsigned(),
                    errno.to_unsigned(),
                ],
            ),
            Reply::SigChld { child } => Words::new(6, &[low(child), low(child >> 32)]),
            Reply::Gone { pid, child } => {
                Words::new(7, &[pid.to_unsigned(), low(child), low(child >> 32)])
            }
        };
        let mut bytes = [0; REPLY];
        words.write(&mut bytes);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Bad> {
        let (kind, words) = Words::parse(bytes, REPLY)?;
        let pid = words.0[2].to_signed();
        match kind {
            1 => words.rest(0).map(|_| Reply::Hello),
            2 => Ok(Reply::Ready {
                way: Way::from_number(words.rest(1)?[0])?,
            }),
            3 => words.rest(2).map(|rest| Reply::Failed {
                step: rest[0],
                errno: rest[1].to_signed(),
            }),
            4 => {
                let rest = words.rest(4)?;
                Ok(Reply::Made {
                    pid,
                    way: Way::from_number(rest[1])?,
                    child: both(rest[2], rest[3]),
                })
            }
            5 => {
                let rest = words.rest(4)?;
                Ok(Reply::Status {
                    child: both(rest[0], rest[1]),
                    status: rest[2].to_signed(),
                    errno: rest[3].to_signed(),
                })
            }
            6 => words.rest(2).map(|rest| Reply::SigChld {
                child: both(rest[0], rest[1]),
            }),
            7 => words.rest(3).map(|rest| Reply::Gone {
                pid,
                child: both(rest[1], rest[2]),
            }),
            _ => Err(Bad::Kind),
        }
    }
}

/// The number of a descriptor among those that came with an order.
pub(crate) type Index = u32;

/// The working directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Directory<'a> {
    Path(&'a CStr),
    Descriptor(Index),
}

/// One descriptor of the child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mapped {
    pub(crate) source: Index,
    pub(crate) target: i32,
}

/// One resource limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) resource: u32,
    pub(crate) soft: u64,
    pub(crate) hard: u64,
}

/// A function to run in place of a program: its address, which holds where the
/// server was forked from the client, and the address of what it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) entry: u64,
    pub(crate) pvt: u64,
}

/// A process to be made. Strings are an iterator over C strings: of the caller's
/// array where it is encoded, of the message where it is decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Order<'a, Strings> {
    pub(crate) path: &'a CStr,
    pub(crate) search: Option<&'a CStr>,
    pub(crate) argv: Strings,
    pub(crate) envp: Strings,
    pub(crate) function: Option<Function>,
    /// None: that of the server.
    pub(crate) directory: Option<Directory<'a>>,
    /// A directory that is entered from there: this may fail, or needs the child's
    /// credentials.
    pub(crate) then: Option<Directory<'a>>,
    pub(crate) map: Vec<Mapped>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) groups: Option<Vec<u32>>,
    pub(crate) umask: Option<u32>,
    pub(crate) limits: Vec<Limit>,
    pub(crate) nice: i32,
    pub(crate) oom_score_adj: Option<i32>,
    pub(crate) session: bool,
    pub(crate) pgrp: Option<i32>,
    pub(crate) terminal: Option<Index>,
    pub(crate) foreground: Option<Index>,
    pub(crate) no_new_privs: bool,
    pub(crate) cgroup: Option<Index>,
    pub(crate) blocked_signals: u64,
    pub(crate) ignored_signals: u64,
    pub(crate) shell: bool,
    /// Of `then`.
    pub(crate) as_child: bool,
    pub(crate) may_fail: bool,
    /// It shares no memory with the server, which goes on while it is held.
    pub(crate) fork: bool,
    /// The client's session and process group.
    pub(crate) home: [i32; 2],
}

/// C strings, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packed<'a>(&'a [u8]);

impl<'a> Iterator for Packed<'a> {
    type Item = &'a CStr;

    fn next(&mut self) -> Option<&'a CStr> {
        let string = CStr::from_bytes_until_nul(self.0).ok()?;
        self.0 = &self.0[string.count_bytes() + 1..];
        Some(string)
    }
}

impl<'a, Strings: Iterator<Item = &'a CStr> + Clone> Order<'a, Strings> {
    /// The order as bytes: E2BIG for one that is too long.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, Error> {
        let mut out = Writer(Vec::new());
        out.0.try_reserve(PAGE).map_err(|_| Errno::ENOMEM)?;
        out.string(self.path)?;
        out.option(self.search, Writer::string)?;
        out.strings(self.argv.clone())?;
        out.strings(self.envp.clone())?;
        out.option(self.function, |out, function| {
            out.long(function.entry)?;
            out.long(function.pvt)
        })?;
        out.option(self.directory, Writer::directory)?;
        out.option(self.then, Writer::directory)?;
        out.list(&self.map, |out, entry| {
            out.word(entry.source)?;
            out.word(entry.target.to_unsigned())
        })?;
        out.option(self.uid, Writer::word)?;
        out.option(self.gid, Writer::word)?;
        out.option(self.groups.as_deref(), |out, groups| {
            out.list(groups, |out, &group| out.word(group))
        })?;
        out.option(self.umask, Writer::word)?;
        out.list(&self.limits, |out, limit| {
            out.word(limit.resource)?;
            out.long(limit.soft)?;
            out.long(limit.hard)
        })?;
        out.word(self.nice.to_unsigned())?;
        out.option(self.oom_score_adj, |out, value| {
            out.word(value.to_unsigned())
        })?;
        out.option(self.pgrp, |out, pgrp| out.word(pgrp.to_unsigned()))?;
        out.option(self.terminal, Writer::word)?;
        out.option(self.foreground, Writer::word)?;
        out.option(self.cgroup, Writer::word)?;
        out.long(self.blocked_signals)?;
        out.long(self.ignored_signals)?;
        let flags = [
            self.session,
            self.no_new_privs,
            self.fork,
            self.shell,
            self.as_child,
            self.may_fail,
        ];
        for flag in flags {
            out.word(u32::from(flag))?;
        }
        for id in self.home {
            out.word(id.to_unsigned())?;
        }
        Ok(out.0)
    }
}

impl<'a> Order<'a, Packed<'a>> {
    /// The order in these bytes, which came with so many descriptors.
    pub(crate) fn decode(bytes: &'a [u8], descriptors: usize) -> Result<Self, Bad> {
        let mut from = Reader { bytes, descriptors };
        let order = Order {
            path: from.string()?,
            search: from.option(Reader::string)?,
            argv: from.strings()?,
            envp: from.strings()?,
            function: from.option(|from| {
                Ok(Function {
                    entry: from.long()?,
                    pvt: from.long()?,
                })
            })?,
            directory: from.option(Reader::directory)?,
            then: from.option(Reader::directory)?,
            map: from.list(8, |from| {
                Ok(Mapped {
                    source: from.index()?,
                    target: from.word()?.to_signed(),
                })
            })?,
            uid: from.option(Reader::word)?,
            gid: from.option(Reader::word)?,
            groups: from.option(|from| from.list(4, Reader::word))?,
            umask: from.option(Reader::word)?,
            limits: from.list(20, |from| {
                Ok(Limit {
                    resource: from.word()?,
                    soft: from.long()?,
                    hard: from.long()?,
                })
            })?,
            nice: from.int()?,
            oom_score_adj: from.option(Reader::int)?,
            pgrp: from.option(Reader::int)?,
            terminal: from.option(Reader::index)?,
            foreground: from.option(Reader::index)?,
            cgroup: from.option(Reader::index)?,
            blocked_signals: from.long()?,
            ignored_signals: from.long()?,
            session: from.flag()?,
            no_new_privs: from.flag()?,
            fork: from.flag()?,
            shell: from.flag()?,
            as_child: from.flag()?,
            may_fail: from.flag()?,
            home: [from.int()?, from.int()?],
        };
        if !from.bytes.is_empty() {
            return Err(Bad::Length);
        }
        if order.map.iter().any(|entry| entry.target < 0) || order.argv.clone().next().is_none() {
            return Err(Bad::Value);
        }
        Ok(order)
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if self.0.len() + bytes.len() > ORDER_MOST {
            return Err(Errno::E2BIG.into());
        }
        self.0.try_reserve(bytes.len()).map_err(|_| Errno::ENOMEM)?;
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn word(&mut self, word: u32) -> Result<(), Error> {
        self.bytes(&word.to_ne_bytes())
    }

    fn long(&mut self, long: u64) -> Result<(), Error> {
        self.bytes(&long.to_ne_bytes())
    }

    fn length(&mut self, length: usize) -> Result<(), Error> {
        self.word(u32::try_from(length).map_err(|_| Errno::E2BIG)?)
    }

    fn directory(&mut self, directory: Directory) -> Result<(), Error> {
        match directory {
            Directory::Path(path) => {
                self.word(0)?;
                self.string(path)
            }
            Directory::Descriptor(index) => {
                self.word(1)?;
                self.word(index)
            }
        }
    }

    fn string(&mut self, string: &CStr) -> Result<(), Error> {
        self.length(string.count_bytes() + 1)?;
        self.bytes(string.to_bytes_with_nul())
    }

    /// Their number, their length together, and the strings.
    fn strings<'s>(
        &mut self,
        strings: impl Iterator<Item = &'s CStr> + Clone,
    ) -> Result<(), Error> {
        let start = self.0.len();
        self.long(0)?;
        let mut count: u32 = 0;
        for string in strings {
            count += 1;
            self.bytes(string.to_bytes_with_nul())?;
        }
        let length = u32::try_from(self.0.len() - start - 8).map_err(|_| Errno::E2BIG)?;
        self.0[start..start + 4].copy_from_slice(&count.to_ne_bytes());
        self.0[start + 4..start + 8].copy_from_slice(&length.to_ne_bytes());
        Ok(())
    }

    fn option<T>(
        &mut self,
        value: Option<T>,
        put: impl FnOnce(&mut Self, T) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.word(u32::from(value.is_some()))?;
        value.map_or(Ok(()), |value| put(self, value))
    }

    fn list<T>(
        &mut self,
        list: &[T],
        put: impl Fn(&mut Self, &T) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.length(list.len())?;
        list.iter().try_for_each(|item| put(self, item))
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    descriptors: usize,
}

impl<'a> Reader<'a> {
    fn bytes(&mut self, length: usize) -> Result<&'a [u8], Bad> {
        let (bytes, rest) = self.bytes.split_at_checked(length).ok_or(Bad::Length)?;
        self.bytes = rest;
        Ok(bytes)
    }

    fn word(&mut self) -> Result<u32, Bad> {
        let bytes = self.bytes(4)?;
        Ok(u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn int(&mut self) -> Result<i32, Bad> {
        self.word().map(ToSigned::to_signed)
    }

    fn long(&mut self) -> Result<u64, Bad> {
        let [low, high] = [self.half()?, self.half()?];
        Ok(u64::from_ne_bytes([
            low[0], low[1], low[2], low[3], high[0], high[1], high[2], high[3],
        ]))
    }

    fn half(&mut self) -> Result<[u8; 4], Bad> {
        self.word().map(u32::to_ne_bytes)
    }

    fn flag(&mut self) -> Result<bool, Bad> {
        match self.word()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Bad::Value),
        }
    }

    fn directory(&mut self) -> Result<Directory<'a>, Bad> {
        match self.word()? {
            0 => Ok(Directory::Path(self.string()?)),
            1 => Ok(Directory::Descriptor(self.index()?)),
            _ => Err(Bad::Value),
        }
    }

    fn index(&mut self) -> Result<Index, Bad> {
        let index = self.word()?;
        if index as usize >= self.descriptors {
            return Err(Bad::Value);
        }
        Ok(index)
    }

    fn string(&mut self) -> Result<&'a CStr, Bad> {
        let length = self.word()? as usize;
        CStr::from_bytes_with_nul(self.bytes(length)?).map_err(|_| Bad::Value)
    }

    fn strings(&mut self) -> Result<Packed<'a>, Bad> {
        let count = self.word()? as usize;
        let length = self.word()? as usize;
        let bytes = self.bytes(length)?;
        let ends = bytes.iter().filter(|&&byte| byte == 0).count();
        if ends != count || bytes.last().is_some_and(|&byte| byte != 0) {
            return Err(Bad::Value);
        }
        Ok(Packed(bytes))
    }

    fn option<T>(
        &mut self,
        take: impl FnOnce(&mut Self) -> Result<T, Bad>,
    ) -> Result<Option<T>, Bad> {
        self.flag()?.then(|| take(self)).transpose()
    }

    /// Items of so many bytes each, so that no count makes us allocate more than
    /// what was sent.
    fn list<T>(
        &mut self,
        size: usize,
        take: impl Fn(&mut Self) -> Result<T, Bad>,
    ) -> Result<Vec<T>, Bad> {
        let count = self.word()? as usize;
        if count > self.bytes.len() / size {
            return Err(Bad::Length);
        }
        let mut list = Vec::new();
        list.try_reserve_exact(count).map_err(|_| Bad::Memory)?;
        for _ in 0..count {
            list.push(take(self)?);
        }
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::option::of;
    use proptest::prelude::*;
    use std::ffi::CString;

    /// An order with strings of its own.
    #[derive(Debug, Clone)]
    struct Owned {
        strings: [CString; 2],
        search: Option<CString>,
        argv: Vec<CString>,
        envp: Vec<CString>,
        words: [u32; 6],
        options: [Option<u32>; 8],
        lists: [Vec<u32>; 3],
        flags: [bool; 5],
        long: u64,
    }

    fn string() -> impl Strategy<Value = CString> {
        vec(1u8.., 0..20).prop_map(|bytes| CString::new(bytes).unwrap())
    }

    fn owned() -> impl Strategy<Value = Owned> {
        (
            [string(), string()],
            of(string()),
            vec(string(), 1..6),
            vec(string(), 0..6),
            any::<[u32; 6]>(),
            any::<[Option<u32>; 8]>(),
            [
                vec(any::<u32>(), 0..9),
                vec(any::<u32>(), 0..9),
                vec(any::<u32>(), 0..9),
            ],
            any::<[bool; 5]>(),
            any::<u64>(),
        )
            .prop_map(
                |(strings, search, argv, envp, words, options, lists, flags, long)| Owned {
                    strings,
                    search,
                    argv,
                    envp,
                    words,
                    options,
                    lists,
                    flags,
                    long,
                },
            )
    }

    /// How many descriptors come with it.
    const SENT: u32 = 7;

    fn order(owned: &Owned) -> Order<'_, impl Iterator<Item = &CStr> + Clone> {
        let int = |value: u32| value.to_signed();
        let index = |value: Option<u32>| value.map(|value| value % SENT);
        Order {
            path: &owned.strings[0],
            search: owned.search.as_deref(),
            argv: owned.argv.iter().map(CString::as_c_str),
            envp: owned.envp.iter().map(CString::as_c_str),
            function: owned.flags[4].then_some(Function {
                entry: owned.long,
                pvt: !owned.long,
            }),
            directory: owned.options[1].map(|_| {
                if owned.flags[0] {
                    Directory::Path(&owned.strings[1])
                } else {
                    Directory::Descriptor(owned.words[0] % SENT)
                }
            }),
            then: owned.options[0].map(|value| {
                if owned.flags[1] {
                    Directory::Path(&owned.strings[0])
                } else {
                    Directory::Descriptor(value % SENT)
                }
            }),
            map: owned.lists[0]
                .iter()
                .map(|&value| Mapped {
                    source: value % SENT,
                    target: int(value >> 1),
                })
                .collect(),
            uid: owned.options[0],
            gid: owned.options[1],
            groups: owned.options[2].map(|_| owned.lists[1].clone()),
            umask: owned.options[7],
            limits: owned.lists[2]
                .iter()
                .map(|&resource| Limit {
                    resource,
                    soft: owned.long,
                    hard: !owned.long,
                })
                .collect(),
            nice: int(owned.words[2]),
            oom_score_adj: owned.options[3].map(int),
            session: owned.flags[1],
            pgrp: owned.options[4].map(int),
            terminal: index(owned.options[5]),
            foreground: index(owned.options[6]),
            no_new_privs: owned.flags[2],
            cgroup: index(owned.options[7]),
            blocked_signals: owned.long,
            ignored_signals: !owned.long,
            shell: owned.flags[0],
            as_child: owned.flags[1],
            may_fail: owned.flags[2],
            fork: owned.flags[3],
            home: [int(owned.words[5]); 2],
        }
    }

    proptest! {
        #[test]
        fn an_order_comes_back_as_it_went(owned in owned()) {
            let order = order(&owned);
            let bytes = order.encode().unwrap();
            let back = Order::decode(&bytes, SENT as usize).unwrap();
            prop_assert!(back.argv.clone().eq(order.argv.clone()));
            prop_assert!(back.envp.clone().eq(order.envp.clone()));
            prop_assert_eq!(&back.encode().unwrap(), &bytes);
            prop_assert_eq!(back.map, order.map);
        }

        #[test]
        fn no_part_of_an_order_is_an_order(owned in owned(), cut in any::<prop::sample::Index>()) {
            let bytes = order(&owned).encode().unwrap();
            let cut = cut.index(bytes.len());
            prop_assert!(Order::decode(&bytes[..cut], SENT as usize).is_err());
            let longer = [&bytes[..], &[0]].concat();
            prop_assert_eq!(Order::decode(&longer, SENT as usize), Err(Bad::Length));
        }

        #[test]
        fn too_few_descriptors_are_seen(owned in owned()) {
            let order = order(&owned);
            let named = order.map.iter().map(|entry| entry.source)
                .chain(order.terminal).chain(order.foreground).chain(order.cgroup)
                .chain([order.directory, order.then].into_iter().flatten().filter_map(
                    |directory| match directory {
                        Directory::Descriptor(index) => Some(index),
                        Directory::Path(_) => None,
                    },
                ))
                .max();
            let bytes = order.encode().unwrap();
            if let Some(named) = named {
                prop_assert!(Order::decode(&bytes, named as usize).is_err());
                prop_assert!(Order::decode(&bytes, named as usize + 1).is_ok());
            }
        }

        #[test]
        fn any_bytes_are_an_order_or_an_error(
            owned in owned(),
            changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..9),
            noise in vec(any::<u8>(), 0..400),
        ) {
            let mut bytes = order(&owned).encode().unwrap();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            for bytes in [bytes, noise] {
                if let Ok(order) = Order::decode(&bytes, SENT as usize) {
                    prop_assert_eq!(order.encode().unwrap(), bytes);
                }
            }
        }

        #[test]
        fn any_bytes_are_a_message_or_an_error(bytes in vec(any::<u8>(), 0..80), kind in 0u8..9) {
            let mut headed = bytes;
            for (place, byte) in headed.iter_mut().zip(
                Request::Stop.encode().into_iter().take(8),
            ) {
                *place = byte;
            }
            if let Some(place) = headed.get_mut(4) {
                *place = kind;
            }
            for length in [REQUEST, REPLY, headed.len()] {
                let bytes = &headed[..length.min(headed.len())];
                if let Ok(request) = Request::decode(bytes) {
                    prop_assert_eq!(&request.encode()[..], bytes);
                }
                if let Ok(reply) = Reply::decode(bytes) {
                    prop_assert_eq!(&reply.encode()[..], bytes);
                }
            }
        }
    }

    #[test]
    fn messages_come_back_as_they_went() {
        let requests = [
            Request::Hello {
                client: 7,
                options: 1,
            },
            Request::Launch {
                deadline: 1 << 40,
                order: 1000,
                descriptors: 3,
                way: Way::Servers,
            },
            Request::Wait {
                child: 1 << 40,
                options: WAIT_BLOCK,
                deadline: 5 << 33,
            },
            Request::Stop,
        ];
        for request in requests {
            assert_eq!(Request::decode(&request.encode()), Ok(request));
        }
        let replies = [
            Reply::Hello,
            Reply::Ready { way: Way::Clients },
            Reply::Failed {
                step: 23,
                errno: libc::ENOENT,
            },
            Reply::Made {
                pid: 10,
                way: Way::Servers,
                child: 10 << 32,
            },
            Reply::Status {
                child: 11 << 32,
                status: 0x8b,
                errno: 0,
            },
            Reply::SigChld { child: 12 << 32 },
            Reply::Gone {
                pid: 13,
                child: 13 << 32,
            },
        ];
        for reply in replies {
            assert_eq!(Reply::decode(&reply.encode()), Ok(reply));
        }
    }

    #[test]
    fn another_version_is_told() {
        let mut bytes = Request::Stop.encode();
        bytes[6] = 9;
        assert_eq!(Request::decode(&bytes), Err(Bad::Version(9)));
        assert_eq!(Request::decode(&bytes[..63]), Err(Bad::Length));
        assert_eq!(Errno::from(Bad::Version(9)), Errno::EPROTONOSUPPORT);
        bytes[0] ^= 1;
        assert_eq!(Request::decode(&bytes), Err(Bad::Magic));
    }
}
