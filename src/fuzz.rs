//! One function for each target of fuzz/: bytes go in, and what must hold is
//! asserted. It exists in a fuzzer's build only, which sets the cfg.

use std::ffi::CString;

use crate::forksrv::protocol::{Order, Reply, Request};
use crate::log::lines::{End, Line, Splitter, Verdict};
use crate::log::rotation::{self, Limit, Step};
use crate::spawn::path::Candidates;
use crate::supervise::notify::{self, Said};

/// Every path that is tried ends with the file's name and is short enough.
pub fn spawn_path(data: &[u8]) {
    let mut parts = data.splitn(2, |&byte| byte == 0);
    let (Some(file), Some(list)) = (parts.next(), parts.next()) else {
        return;
    };
    let (Ok(file), Ok(list)) = (CString::new(file), CString::new(list)) else {
        return;
    };
    let candidates = Candidates::new(&file, &list).expect("memory");
    let directories = list.to_bytes().split(|&byte| byte == b':').count();
    assert!(candidates.iter().count() <= directories);
    for path in candidates.iter() {
        let path = path.to_bytes();
        assert!(path.ends_with(file.to_bytes()));
        assert!(path.len() < 4096);
    }
}

/// However the bytes of a source arrive, and however often there is no room: its
/// lines hold all of them, and none is longer than it may be.
pub fn log_lines(data: &[u8]) {
    let [most, cut, refuse, input @ ..] = data else {
        return;
    };
    let refuse = u8::max(*refuse, 1);
    let most = usize::from(*most).max(1);
    let mut splitter = Splitter::new(most);
    let (mut text, mut asked) = (Vec::new(), 0u8);
    let mut take = |line: &Line| {
        asked = asked.wrapping_add(1);
        if refuse > 1 && asked % refuse == 0 {
            return Verdict::NoRoom;
        }
        assert!(line.len() <= most);
        assert!(line.end != End::Split || line.len() == most);
        text.extend_from_slice(line.head);
        text.extend_from_slice(line.tail);
        if line.end == End::Newline {
            text.push(b'\n');
        }
        Verdict::Taken
    };
    for part in input.chunks(usize::from(*cut).max(1)) {
        let mut used = 0;
        while used < part.len() {
            used += splitter.feed(&part[used..], 0, &mut take);
        }
    }
    while !splitter.finish(&mut take) {}
    assert_eq!(text, input);
}

/// The files hold all bytes; a line is split only where it may be.
pub fn log_rotation(data: &[u8]) {
    let [size, tears, bytes @ ..] = data else {
        return;
    };
    let mut pending = bytes;
    let limit = Limit {
        size: u64::from(*size),
        tears: tears % 2 == 1,
    };
    let (mut length, mut last) = (0, b'\n');
    while !pending.is_empty() {
        match limit.next(pending, length, last != b'\n') {
            Step::Write(count) => {
                assert!(count > 0);
                last = pending[count - 1];
                length += count as u64;
                pending = &pending[count..];
                assert!(!limit.tears || limit.size == 0 || length <= 2 * limit.size);
            }
            Step::Rotate => {
                assert!(length > 0 && (last == b'\n' || limit.tears));
                (length, last) = (0, b'\n');
            }
        }
    }
    // Any name: it counts as one of ours only if it has exactly the form of ours.
    if let Some(time) = rotation::rotated(b"log", data) {
        assert_eq!(&data[4..], crate::log::stamp::name(time));
    }
}

/// What a fork server and its client read: an order or a message that is understood
/// is written in the same way again.
pub fn forksrv(data: &[u8]) {
    if let Some((&descriptors, order)) = data.split_first() {
        if let Ok(order) = Order::decode(order, descriptors.into()) {
            assert_eq!(order.encode().expect("memory"), data[1..]);
        }
    }
    if let Ok(request) = Request::decode(data) {
        assert_eq!(request.encode(), data);
    }
    if let Ok(reply) = Reply::decode(data) {
        assert_eq!(reply.encode(), data);
    }
}

/// A notify socket's datagram: each line means the same alone and among others, and what
/// it says is within bounds.
pub fn notify(data: &[u8]) {
    let said = notify::parse(data);
    if data.len() > notify::MAX_DATAGRAM {
        assert_eq!(said.count(), 0);
        return;
    }
    let alone = data.split(|&byte| byte == b'\n').flat_map(notify::parse);
    assert!(said.eq(alone));
    for said in notify::parse(data) {
        match said {
            Said::Status(text) => assert!(text.len() <= notify::MAX_STATUS),
            Said::MainPid(pid) => assert!(pid > 0),
            Said::Watchdog(time) | Said::Extend(time) => {
                assert_eq!(time % 1_000, 0);
            }
            _ => {}
        }
    }
}
