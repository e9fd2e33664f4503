//! What stands in rings, and what passes over the control socket.

use std::sync::atomic::{AtomicU64, Ordering};

use skysail_memory::ring::{Consumer, ENTRIES, ENTRY_WORDS, RING_WORDS, Words};
use skysail_rpc::channel::fuzzing;

use crate::script::Script;

/// A ring that nobody writes any more.
struct Still(Vec<AtomicU64>);

impl Words for Still {
    fn words(&self) -> &[AtomicU64] {
        &self.0
    }
}

/// Words are read as a descriptor or refused, alone and as a ring that a peer has filled, which
/// comes to an end: a turn stands in it once.
pub fn descriptor(data: &[u8]) {
    let mut script = Script::new(data);
    let ring = Still((0..RING_WORDS).map(|_| AtomicU64::new(0)).collect());
    let mut index = 0;
    while !script.is_empty() && index < ENTRIES {
        let mut entry = [0; ENTRY_WORDS];
        let count = 1 + script.below(ENTRY_WORDS);
        entry[..count].fill_with(|| script.u64());
        fuzzing::descriptor(&entry);
        entry[0] &= u64::from(u32::MAX);
        entry[0] |= u64::from(script.byte() < 240) << 32;
        for (word, value) in ring.0[index * ENTRY_WORDS..].iter().zip(entry) {
            word.store(value, Ordering::Relaxed);
        }
        index += 1;
    }
    let mut consumer = Consumer::new(ring);
    let (mut found, mut entry) = (0, [0; ENTRY_WORDS]);
    while consumer.recv(&mut entry) {
        assert!(
            entry[0] <= u64::from(u32::MAX),
            "the upper half is the ring's"
        );
        fuzzing::descriptor(&entry);
        found += 1;
    }
    assert!(found <= index && !consumer.is_ready());
}

/// What a visitor says is a visit or is not; what a front end says of its memory is believed
/// only with sizes that memory may have.
pub fn visit(data: &[u8]) {
    if fuzzing::visit(data) {
        assert!(data.starts_with(b"skysail1") && data.len() == 24);
    }
    let _ = fuzzing::setup(data);
}
