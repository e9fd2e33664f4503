//! A queue of descriptors between two processes.
//!
//! An entry is up to [`ENTRY_WORDS`] words of 64 bits. It is published by one store of its first
//! word, whose upper half is the turn: how often the ring has gone round. One cache line moves
//! for each message of up to 8 words, and no position is shared. Every word is an atomic, so a
//! peer that writes anywhere at any time can spoil what is read, but not how: the reader takes
//! each word once into private memory and the layer above checks it there.
//!
//! The ring does not know when it is full. Whoever sends keeps count of what is unanswered, and
//! has no more of it than entries.
//!
//! A consumer with nothing to do sleeps on a descriptor of its own. It says so in a word of its
//! own ([`SleepFlag`]); a producer that sees it set rings. Both write, then look, with a full
//! fence between, so that one of them sees the other (Dekker's argument).
//!
//! # Invariants
//! - Entries arrive whole and in order, as long as no more than [`ENTRIES`] are under way.
//! - A consumer that armed its flag and found nothing is rung for by the next entry.
//!
//! # Cost
//! `send` and `recv`: a store or load a word. `SleepFlag::is_set`: one full fence.

use crate::sync::{AtomicU64, Ordering, fence};

/// Entries of a ring.
pub const ENTRIES: usize = if cfg!(loom) { 2 } else { 128 };
/// Words of an entry: two cache lines.
pub const ENTRY_WORDS: usize = if cfg!(loom) { 2 } else { 16 };
/// Words of a ring.
pub const RING_WORDS: usize = ENTRIES * ENTRY_WORDS;

const TURN_SHIFT: u32 = 32;
const _: () = assert!(ENTRIES.is_power_of_two());

/// Words that two processes share.
pub trait Words {
    /// All of them.
    fn words(&self) -> &[AtomicU64];
}

/// An entry's words; those that were not sent are whatever lay there.
pub type Entry = [u64; ENTRY_WORDS];

/// The writing end of a ring.
#[derive(Debug)]
pub struct Producer<W> {
    words: W,
    next: u64,
}

/// The reading end of a ring.
#[derive(Debug)]
pub struct Consumer<W> {
    words: W,
    next: u64,
}

/// Where entry `number` lies, and its turn, which is never 0.
fn place(number: u64) -> (usize, u64) {
    let index = (number as usize % ENTRIES) * ENTRY_WORDS;
    // 31 bits of laps, then they repeat: no entry is that old.
    let turn = (number / ENTRIES as u64) % 0x7fff_ffff + 1;
    (index, turn)
}

impl<W: Words> Producer<W> {
    /// A ring whose words are all zero.
    ///
    /// # Panics
    /// If there are fewer than [`RING_WORDS`] words.
    pub fn new(words: W) -> Self {
        assert!(words.words().len() >= RING_WORDS, "a whole ring");
        Producer { words, next: 0 }
    }

    /// Publishes an entry. The upper half of the first word is overwritten by the turn.
    ///
    /// # Panics
    /// If `entry` is empty or longer than an entry.
    pub fn send(&mut self, entry: &[u64]) {
        assert!(!entry.is_empty() && entry.len() <= ENTRY_WORDS);
        let (index, turn) = place(self.next);
        let words = &self.words.words()[index..index + ENTRY_WORDS];
        for (word, value) in words.iter().zip(entry).skip(1) {
            // Relaxed: published by the store of the first word.
            word.store(*value, Ordering::Relaxed);
        }
        let first = (turn << TURN_SHIFT) | (entry[0] & u64::from(u32::MAX));
        // Release pairs with the acquiring load in `recv`.
        words[0].store(first, Ordering::Release);
        self.next += 1;
    }
}

impl<W: Words> Consumer<W> {
    /// A ring whose words were all zero when its producer began.
    ///
    /// # Panics
    /// If there are fewer than [`RING_WORDS`] words.
    pub fn new(words: W) -> Self {
        assert!(words.words().len() >= RING_WORDS, "a whole ring");
        Consumer { words, next: 0 }
    }

    /// Whether an entry is there.
    #[inline]
    pub fn is_ready(&self) -> bool {
        let (index, turn) = place(self.next);
        // Acquire: see `recv`, which is called next.
        self.words.words()[index].load(Ordering::Acquire) >> TURN_SHIFT == turn
    }

    /// Takes the next entry into `entry`, each word read once; the upper half of the first is 0.
    /// False if there is none.
    #[inline]
    pub fn recv(&mut self, entry: &mut Entry) -> bool {
        let (index, turn) = place(self.next);
        let words = &self.words.words()[index..index + ENTRY_WORDS];
        // Acquire pairs with the releasing store in `send`.
        let first = words[0].load(Ordering::Acquire);
        if first >> TURN_SHIFT != turn {
            return false;
        }
        entry[0] = first & u64::from(u32::MAX);
        for (value, word) in entry.iter_mut().zip(words).skip(1) {
            // Relaxed: ordered after the load of the first word.
            *value = word.load(Ordering::Relaxed);
        }
        self.next += 1;
        true
    }
}

/// The place of an entry that has not come yet, for whoever waits beside the consumer.
#[derive(Debug)]
pub struct Awaited<W> {
    words: W,
    index: usize,
    turn: u64,
}

impl<W: Words + Clone> Consumer<W> {
    /// Where the next entry will be.
    pub fn awaited(&self) -> Awaited<W> {
        let (index, turn) = place(self.next);
        let words = self.words.clone();
        Awaited { words, index, turn }
    }
}

impl<W: Words> Awaited<W> {
    /// Moves on to the next entry of `consumer`, which must be of the same ring.
    pub fn follow(&mut self, consumer: &Consumer<W>) {
        (self.index, self.turn) = place(consumer.next);
    }

    /// Whether the entry is there.
    pub fn is_ready(&self) -> bool {
        // Acquire: as in `Consumer::is_ready`.
        self.words.words()[self.index].load(Ordering::Acquire) >> TURN_SHIFT == self.turn
    }
}

/// A consumer's word that says whether it sleeps.
#[derive(Clone, Debug)]
pub struct SleepFlag<W> {
    words: W,
}

impl<W: Words> SleepFlag<W> {
    /// A flag in the first of `words`.
    ///
    /// # Panics
    /// If there are none.
    pub fn new(words: W) -> Self {
        assert!(!words.words().is_empty(), "a word");
        SleepFlag { words }
    }

    /// For the consumer: from here on the producer rings. Look at the ring once more, then sleep.
    pub fn arm(&self) {
        // Relaxed: ordered before the look that follows by the fence, which pairs with the
        // one in `is_set`.
        self.words.words()[0].store(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// For the consumer: no need to ring any longer.
    pub fn disarm(&self) {
        // Relaxed: a bell too many does no harm.
        self.words.words()[0].store(0, Ordering::Relaxed);
    }

    /// For the producer, after sending: whether the consumer must be rung for.
    pub fn is_set(&self) -> bool {
        // Pairs with the fence in `arm`: either the consumer's look finds what was sent
        // before this, or this load finds the flag.
        fence(Ordering::SeqCst);
        self.words.words()[0].load(Ordering::Relaxed) != 0
    }
}

#[cfg(test)]
mod tests;
