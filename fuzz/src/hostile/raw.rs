//! A container by its descriptors alone. PROTOCOL 9

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::FallocateFlags;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType,
};
use skysail_memory::ring::{ENTRIES, ENTRY_WORDS, RING_WORDS};
use skysail_rpc::message::{Encoder, Message, NONCE_BYTES};

/// Words of a region.
pub(super) const WORDS: usize = RING_WORDS + 16;
/// Where a region's bulk begins.
pub(super) const BULK: usize = (WORDS * 8).next_multiple_of(64);
/// The sleep flag, and the challenge.
const FLAG_WORD: usize = RING_WORDS;
const CHALLENGE_WORD: usize = RING_WORDS + 8;

/// The turn of the ring's entry `number`, for the upper half of its first word.
pub(super) fn turn(number: u64) -> u64 {
    (number / ENTRIES as u64 + 1) << 32
}

/// The first word of the ring's entry `number`.
pub(super) fn place(number: u64) -> usize {
    number as usize % ENTRIES * ENTRY_WORDS
}

/// Writes words into a region.
pub(super) fn write_words(region: &OwnedFd, first: usize, words: &[u64]) {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    write_bytes(region, first * 8, &bytes);
}

/// Writes bytes into a region, as far as it has room.
pub(super) fn write_bytes(region: &OwnedFd, offset: usize, bytes: &[u8]) {
    let _ = rustix::io::pwrite(region, bytes, offset as u64);
}

fn read_words<const N: usize>(region: &OwnedFd, first: usize) -> [u64; N] {
    let mut words = [0; N];
    for (index, word) in words.iter_mut().enumerate() {
        let mut bytes = [0; 8];
        let at = (first + index) * 8;
        let _ = rustix::io::pread(region, &mut bytes, at as u64);
        *word = u64::from_le_bytes(bytes);
    }
    words
}

/// What a container was given.
pub(super) struct Memory {
    slots: usize,
    slot_bytes: usize,
    challenge: u64,
    requests: OwnedFd,
    results: OwnedFd,
    bell: OwnedFd,
    our_bell: OwnedFd,
    log: Option<OwnedFd>,
    next_request: u64,
    next_reply: u64,
}

/// A request as it stands in the ring.
pub(super) struct Asked {
    pub(super) batch: u64,
    pub(super) slot: usize,
    pub(super) rows: u32,
    pub(super) ranges: Vec<(u32, u32)>,
}

impl Memory {
    /// Takes what came over the control socket, if it came.
    pub(super) fn receive(socket: &OwnedFd) -> Option<Memory> {
        let mut bytes = [0; 48];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(5))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut into = [std::io::IoSliceMut::new(&mut bytes)];
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let received = rustix::net::recvmsg(socket, &mut into, &mut control, flags).ok()?;
        let mut fds = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        if received.bytes != bytes.len() {
            return None;
        }
        let (words, _) = bytes.as_chunks::<8>();
        let word = |index: usize| u64::from_le_bytes(words[index]);
        let mut fds = fds.into_iter();
        Some(Memory {
            slots: word(0) as usize,
            slot_bytes: word(1) as usize,
            challenge: word(5),
            requests: fds.next()?,
            results: fds.next()?,
            bell: fds.next()?,
            our_bell: fds.next()?,
            log: fds.next(),
            next_request: 0,
            next_reply: 0,
        })
    }

    /// Writes what proves that the memory is mapped.
    pub(super) fn answer_challenge(&self) {
        write_words(&self.results, CHALLENGE_WORD, &[!self.challenge]);
    }

    /// The next request, if there is one.
    pub(super) fn request(&mut self) -> Option<Asked> {
        let entry: [u64; ENTRY_WORDS] = read_words(&self.requests, place(self.next_request));
        if entry[0] >> 32 << 32 != turn(self.next_request) {
            return None;
        }
        self.next_request += 1;
        let count = (entry[0] >> 8 & 0xff) as usize;
        let range = |word: &u64| (*word as u32, (word >> 32) as u32);
        let ranges = if entry[0] & 0xff == 1 {
            entry[4..].iter().take(count).map(range).collect()
        } else {
            Vec::new()
        };
        Some(Asked {
            batch: entry[1],
            slot: (entry[0] >> 16 & 0xffff) as usize,
            rows: entry[3] as u32,
            ranges,
        })
    }

    /// Rows of the log, of `bytes` each.
    pub(super) fn rows(&self, ranges: &[(u32, u32)], bytes: usize) -> Vec<u8> {
        let mut rows = Vec::new();
        for (first, count) in ranges {
            let mut range = vec![0; *count as usize * bytes];
            let log = self.log.as_ref().expect("a log");
            let at = u64::from(*first) * bytes as u64;
            rustix::io::pread(log, &mut range, at).expect("readable");
            rows.extend(range);
        }
        rows
    }

    /// Writes into a slot.
    pub(super) fn write_slot(&self, slot: usize, offset: usize, bytes: &[u8]) {
        let at = BULK + slot % self.slots.max(1) * self.slot_bytes + offset;
        write_bytes(&self.results, at, bytes);
    }

    /// Writes an entry where the front end looks next, the first word last.
    pub(super) fn reply(&mut self, entry: &[u64]) {
        self.place(self.next_reply, entry);
        self.next_reply += 1;
    }

    /// Writes entry `number`, with its turn.
    pub(super) fn place(&self, number: u64, entry: &[u64]) {
        let index = place(number);
        write_words(&self.results, index + 1, &entry[1..]);
        let first = turn(number) | entry[0] & u64::from(u32::MAX);
        write_words(&self.results, index, &[first]);
    }

    /// The number of the entry where the front end looks next, if all before were right.
    pub(super) fn next_reply(&self) -> u64 {
        self.next_reply
    }

    /// Writes a message's header and payloads into a slot; what its descriptor says of them.
    pub(super) fn write_frame(
        &self,
        slot: usize,
        message: &Message,
        spoil: Option<(usize, u8)>,
    ) -> (usize, usize, usize) {
        let mut end = 0;
        let header = Encoder::default().encode_placed(message, |payload| {
            let offset = end;
            self.write_slot(slot, offset, payload.as_bytes());
            end = (offset + payload.len()).next_multiple_of(64);
            Some(offset)
        });
        let header = header.expect("everything has a place");
        let mut bytes = header.as_bytes().to_vec();
        if let Some((at, with)) = spoil {
            let at = at % bytes.len();
            bytes[at] ^= with;
        }
        self.write_slot(slot, end, &bytes);
        (end, bytes.len(), end)
    }

    /// Writes any words of the results: ring, flag, challenge and what lies behind.
    pub(super) fn scribble(&self, first: usize, words: &[u64]) {
        write_words(&self.results, first, words);
    }

    /// Says that it sleeps, or does not.
    pub(super) fn set_flag(&self, value: u64) {
        write_words(&self.results, FLAG_WORD, &[value]);
    }

    /// Rings for the front end.
    pub(super) fn ring(&self, count: u64) {
        let _ = rustix::io::write(&self.bell, &count.to_ne_bytes());
    }

    /// Reads its own bell.
    pub(super) fn hear_bell(&self) {
        let _ = rustix::io::read(&self.our_bell, &mut [0; 64]);
    }

    /// Tries everything that the descriptors must not allow.
    ///
    /// # Panics
    /// If one of them allows it.
    pub(super) fn break_out(&self) {
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        for region in [Some(&self.requests), self.log.as_ref()]
            .into_iter()
            .flatten()
        {
            let wrote = rustix::io::pwrite(region, &[1], 0);
            assert!(wrote.is_err(), "it may only read");
            assert!(rustix::fs::fallocate(region, punch, 0, 4096).is_err());
        }
        for region in [&self.requests, &self.results] {
            assert!(rustix::fs::ftruncate(region, 0).is_err(), "it is sealed");
        }
    }

    /// Gives pages of its results back to the system.
    pub(super) fn punch(&self, offset: u64) {
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let _ = rustix::fs::fallocate(&self.results, punch, offset, 8192);
    }
}

/// What the container of `nonce` says first.
pub(super) fn visit(nonce: &[u8; NONCE_BYTES]) -> Vec<u8> {
    [&b"skysail1"[..], nonce].concat()
}

/// A connection to the control socket at `path`.
pub(super) fn connect(path: &Path) -> Option<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    let socket = rustix::net::socket_with(family, kind, flags, None).ok()?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path).ok()?).ok()?;
    Some(socket)
}

/// Says something to the control socket.
pub(super) fn say(socket: &OwnedFd, bytes: &[u8]) {
    let _ = rustix::net::send(socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
}
