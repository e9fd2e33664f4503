//! What stands in a ring: descriptors of batches and of their results.
//!
//! ```text
//!   word   request                               reply
//!   0      kind | ranges << 8 | slot << 16       kind
//!   1      batch                                 batch
//!   2      time left in µs                       time in the model in µs | rows << 32
//!   3      rows | header bytes << 32             small results, or header bytes
//!   4..    ranges: first | rows << 32            or: header offset | bytes used of the slot << 32
//!          or: payload bytes
//! ```
//!
//! Results that fit beside the head of a reply travel in it: one cache line instead of two.
//!
//! The upper half of word 0 is the ring's.

use std::time::Duration;

use skysail_memory::payload::ALIGN;
use skysail_memory::ring::{ENTRY_WORDS, Entry};
use skysail_memory::rows::{RANGES_MAX, RowRange};
use zerocopy::{FromBytes, IntoBytes};

use crate::message::BatchId;

/// Rows in the row log; results of the agreed schema end to end in the slot.
const ROWS: u64 = 1;
/// A header and its payloads, in the batch's block or slot.
const FRAME: u64 = 2;
/// Results of the agreed schema in the descriptor itself.
const INLINE: u64 = 3;
/// Words of results in a descriptor: with its head they fill a cache line.
pub(super) const INLINE_WORDS: usize = 5;
/// Where they begin.
const INLINE_AT: usize = 3;
/// Words before the ranges.
const HEAD_WORDS: usize = 4;

const _: () = assert!(HEAD_WORDS + RANGES_MAX <= ENTRY_WORDS);
// A word of a range is `first | rows << 32`.
const _: () = assert!(cfg!(target_endian = "little"));
const _: () = assert!((INLINE_AT + INLINE_WORDS) * size_of::<u64>() == ALIGN);

/// Where a message's tensors lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// Rows of the log.
    Ranges(&'a [RowRange]),
    /// A block: the header at its start, the payload frame at the next multiple of 64.
    Block {
        header_bytes: usize,
        payload_bytes: usize,
    },
}

/// A batch to compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request<'a> {
    pub(super) batch: BatchId,
    pub(super) slot: u16,
    pub(super) rows: u32,
    pub(super) remaining: Duration,
    pub(super) place: Place<'a>,
}

/// What a reply's slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// The output tensors end to end, each on a multiple of 64.
    Rows,
    /// The output tensors end to end, each on a multiple of 8, with nothing in the slot.
    Inline([u64; INLINE_WORDS]),
    /// A header at an offset; the slot up to `payload_bytes` is the payload frame.
    Frame {
        header_offset: usize,
        header_bytes: usize,
        payload_bytes: usize,
    },
}

/// A batch's results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) batch: BatchId,
    pub(super) rows: u32,
    pub(super) compute: Duration,
    pub(super) content: Content,
}

fn two(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

fn halves(word: u64) -> (u32, u32) {
    (word as u32, (word >> 32) as u32)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl<'a> Request<'a> {
    /// Writes the descriptor into `entry`; returns its words.
    pub(super) fn write<'e>(&self, entry: &'e mut Entry) -> &'e [u64] {
        let (kind, count, header_bytes) = match self.place {
            Place::Ranges(ranges) => {
                let words = entry[HEAD_WORDS..].iter_mut();
                for (word, range) in words.zip(ranges) {
                    *word = two(range.first, range.rows);
                }
                (ROWS, ranges.len(), 0)
            }
            Place::Block {
                header_bytes,
                payload_bytes,
            } => {
                entry[HEAD_WORDS] = payload_bytes as u64;
                (FRAME, 1, header_bytes as u32)
            }
        };
        entry[0] = kind | (count as u64) << 8 | u64::from(self.slot) << 16;
        entry[1] = self.batch.0;
        entry[2] = micros(self.remaining);
        entry[3] = two(self.rows, header_bytes);
        &entry[..HEAD_WORDS + count]
    }

    /// The descriptor in `entry`, if it is one.
    pub(super) fn read(entry: &'a Entry) -> Option<Request<'a>> {
        let (kind, count) = (entry[0] & 0xff, (entry[0] >> 8 & 0xff) as usize);
        let (rows, header_bytes) = halves(entry[3]);
        let place = match kind {
            ROWS if (1..=RANGES_MAX).contains(&count) => {
                let words = entry[HEAD_WORDS..][..count].as_bytes();
                Place::Ranges(<[RowRange]>::ref_from_bytes(words).ok()?)
            }
            FRAME => Place::Block {
                header_bytes: header_bytes as usize,
                payload_bytes: usize::try_from(entry[HEAD_WORDS]).ok()?,
            },
            _ => return None,
        };
        Some(Request {
            batch: BatchId(entry[1]),
            slot: (entry[0] >> 16 & 0xffff) as u16,
            rows,
            remaining: Duration::from_micros(entry[2]),
            place,
        })
    }
}

impl Answer {
    /// Writes the descriptor into `entry`; returns its words.
    pub(super) fn write<'e>(&self, entry: &'e mut Entry) -> &'e [u64] {
        let (kind, words) = match self.content {
            Content::Rows => (ROWS, INLINE_AT),
            Content::Inline(results) => {
                entry[INLINE_AT..][..INLINE_WORDS].copy_from_slice(&results);
                (INLINE, INLINE_AT + INLINE_WORDS)
            }
            Content::Frame {
                header_offset,
                header_bytes,
                payload_bytes,
            } => {
                entry[3] = header_bytes as u64;
                entry[4] = two(header_offset as u32, payload_bytes as u32);
                (FRAME, 5)
            }
        };
        let compute = u32::try_from(self.compute.as_micros()).unwrap_or(u32::MAX);
        entry[0] = kind;
        entry[1] = self.batch.0;
        entry[2] = two(compute, self.rows);
        &entry[..words]
    }

    /// The descriptor in `entry`, if it is one. Nothing in it is to be believed.
    pub(super) fn read(entry: &Entry) -> Option<Answer> {
        let (compute, rows) = halves(entry[2]);
        let content = match entry[0] & 0xff {
            ROWS => Content::Rows,
            INLINE => {
                let mut results = [0; INLINE_WORDS];
                results.copy_from_slice(&entry[INLINE_AT..][..INLINE_WORDS]);
                Content::Inline(results)
            }
            FRAME => {
                let (header_offset, payload_bytes) = halves(entry[4]);
                Content::Frame {
                    header_offset: header_offset as usize,
                    header_bytes: usize::try_from(entry[3]).ok()?,
                    payload_bytes: payload_bytes as usize,
                }
            }
            _ => return None,
        };
        Some(Answer {
            batch: BatchId(entry[1]),
            rows,
            compute: Duration::from_micros(compute.into()),
            content,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ranges() -> impl Strategy<Value = Vec<RowRange>> {
        let range = any::<(u32, u32)>().prop_map(|(first, rows)| RowRange { first, rows });
        prop::collection::vec(range, 1..=RANGES_MAX)
    }

    proptest! {
        #[test]
        fn requests_come_back_as_they_were(
            (batch, slot, rows, micros) in any::<(u64, u16, u32, u64)>(),
            ranges in ranges(),
            (header, payload) in any::<(u32, u64)>(),
        ) {
            let (header_bytes, payload_bytes) = (header as usize, payload as usize);
            for place in [Place::Ranges(&ranges), Place::Block { header_bytes, payload_bytes }] {
                let remaining = Duration::from_micros(micros);
                let request = Request { batch: BatchId(batch), slot, rows, remaining, place };
                let mut entry = [0; ENTRY_WORDS];
                let count = request.write(&mut entry).len();
                prop_assert!(entry[count..].iter().all(|word| *word == 0));
                prop_assert!(entry[0] >> 32 == 0, "the upper half is the ring's");
                prop_assert_eq!(Request::read(&entry), Some(request));
            }
        }

        #[test]
        fn anything_is_read_without_a_panic(entry in any::<[u64; ENTRY_WORDS]>()) {
            let _ = (Request::read(&entry), Answer::read(&entry));
        }
    }

    #[test]
    fn answers_come_back_as_they_were() {
        let frame = Content::Frame {
            header_offset: 64,
            header_bytes: 200,
            payload_bytes: 1 << 20,
        };
        for content in [Content::Rows, Content::Inline([9; INLINE_WORDS]), frame] {
            let answer = Answer {
                batch: BatchId(u64::MAX),
                rows: 7,
                compute: Duration::from_micros(5),
                content,
            };
            let mut entry = [0; ENTRY_WORDS];
            answer.write(&mut entry);
            assert_eq!(Answer::read(&entry), Some(answer));
        }
        assert_eq!(Answer::read(&[4; ENTRY_WORDS]), None);
    }
}
