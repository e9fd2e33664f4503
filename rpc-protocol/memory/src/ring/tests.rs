use std::sync::Arc;

use super::*;

struct Shared(Arc<Vec<AtomicU64>>);

impl Words for Shared {
    fn words(&self) -> &[AtomicU64] {
        &self.0
    }
}

fn zeros(count: usize) -> Arc<Vec<AtomicU64>> {
    Arc::new((0..count).map(|_| AtomicU64::new(0)).collect())
}

#[cfg(loom)]
mod interleavings {
    use super::*;
    use loom::sync::Notify;
    use loom::thread;

    /// Whatever the interleaving, entries arrive whole, in order, and a consumer that sleeps
    /// is woken: a lost bell would leave `wait` without anybody to notify it.
    #[test]
    fn no_entry_is_torn_and_no_bell_is_lost() {
        loom::model(|| {
            let (ring, flag) = (zeros(RING_WORDS), zeros(1));
            let bell = Arc::new(Notify::new());
            let mut producer = Producer::new(Shared(ring.clone()));
            let (theirs, rung) = (SleepFlag::new(Shared(flag.clone())), bell.clone());
            let sender = thread::spawn(move || {
                for number in 1..=2 {
                    producer.send(&[number, 10 * number]);
                    if theirs.is_set() {
                        rung.notify();
                    }
                }
            });
            let mut consumer = Consumer::new(Shared(ring));
            let mine = SleepFlag::new(Shared(flag));
            let mut entry = [0; ENTRY_WORDS];
            for number in 1..=2 {
                while !consumer.recv(&mut entry) {
                    mine.arm();
                    if !consumer.is_ready() {
                        bell.wait();
                    }
                    mine.disarm();
                }
                assert_eq!((entry[0], entry[1]), (number, 10 * number));
            }
            assert!(!consumer.recv(&mut entry));
            sender.join().expect("no panic");
        });
    }
}

#[cfg(not(loom))]
mod sequences {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 64 }))]

        /// Against a queue, over several rounds of the ring.
        #[test]
        fn behaves_like_a_queue(steps in prop::collection::vec(any::<bool>(), 1..800)) {
            let ring = zeros(RING_WORDS);
            let (mut producer, mut consumer) =
                (Producer::new(Shared(ring.clone())), Consumer::new(Shared(ring)));
            let (mut oracle, mut sent) = (VecDeque::new(), 0_u64);
            let mut entry = [0; ENTRY_WORDS];
            for push in steps {
                if push && oracle.len() < ENTRIES {
                    let length = 1 + sent as usize % ENTRY_WORDS;
                    let entry: Vec<u64> = (0..length as u64).map(|i| sent * 100 + i).collect();
                    producer.send(&entry);
                    oracle.push_back(entry);
                    sent += 1;
                } else {
                    prop_assert_eq!(consumer.is_ready(), !oracle.is_empty());
                    let expected = oracle.pop_front();
                    prop_assert_eq!(consumer.recv(&mut entry), expected.is_some());
                    if let Some(expected) = expected {
                        prop_assert_eq!(&entry[..expected.len()], &expected[..]);
                    }
                }
            }
        }
    }

    #[test]
    fn turns_repeat_without_ever_being_zero() {
        for lap in [0, 1, 0x7fff_fffd, 0x7fff_fffe, 0x7fff_ffff, 1 << 40] {
            let (index, turn) = place(lap * ENTRIES as u64 + 3);
            assert_eq!(index, 3 * ENTRY_WORDS);
            assert!((1..=0x7fff_ffff).contains(&turn));
        }
        assert_ne!(place(0).1, place(ENTRIES as u64).1);
    }

    #[test]
    fn the_flag_is_the_consumers() {
        let flag = SleepFlag::new(Shared(zeros(1)));
        assert!(!flag.is_set());
        flag.arm();
        assert!(flag.is_set());
        flag.disarm();
        assert!(!flag.is_set());
    }
}
