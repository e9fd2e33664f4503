use super::*;
use crate::ring::{Consumer, ENTRY_WORDS, Producer, RING_WORDS, Words};

fn region(peer: Peer) -> Region {
    let layout = Layout {
        words: RING_WORDS + 8,
        bulk_bytes: 4096,
    };
    Region::create("test", layout, peer).expect("memory")
}

#[test]
fn words_and_bulk_lie_apart() {
    let region = region(Peer::Writes);
    let (ring, flag) = (region.words(0, RING_WORDS), region.words(RING_WORDS, 1));
    let mut writer = region.into_bulk().writer();
    assert!(writer.write(0, &[0xff; 4096]) && !writer.write(1, &[0; 4096]));
    assert!(!writer.write(usize::MAX, &[1]));
    let (mut producer, mut consumer) = (Producer::new(ring.clone()), Consumer::new(ring));
    producer.send(&[7, 8]);
    let mut entry = [0; ENTRY_WORDS];
    assert!(consumer.recv(&mut entry));
    assert_eq!(entry[1], 8);
    // Relaxed: one thread.
    let flag = flag.words()[0].load(Ordering::Relaxed);
    assert_eq!(flag, 0, "the bulk begins after the words");
}

#[test]
fn a_slot_has_one_holder_and_pieces_do_not_overlap() {
    let mut slots = region(Peer::Writes).into_bulk().slots(2, 1024);
    assert!(slots.take(2).is_none(), "there are two");
    let mut room = slots.take(1).expect("free");
    let (mut a, mut b) = (
        room.carve(100).expect("fits"),
        room.carve(64).expect("fits"),
    );
    assert!(room.carve(1024).is_none() && room.carve(usize::MAX).is_none());
    a.extend_from_slice(&[1; 100]);
    b.extend_from_slice(&[2; 64]);
    let (a, b) = (a.freeze(), b.freeze());
    assert_eq!(
        (room.offset_of(&a), room.offset_of(&b)),
        (Some(0), Some(128))
    );
    assert_eq!(room.offset_of(&Payload::copy_from_slice(&[1])), None);
    assert_eq!((a.as_bytes(), b.as_bytes()), (&[1; 100][..], &[2; 64][..]));
    drop((room, a));
    assert!(slots.take(1).is_none(), "a piece holds the slot");
    drop(b);
    assert!(slots.take(1).is_some() && slots.take(0).is_some());
}

#[test]
fn a_piece_that_outgrows_its_slot_moves_to_the_heap() {
    let mut slots = region(Peer::Writes).into_bulk().slots(1, 1024);
    let mut room = slots.take(0).expect("free");
    let mut piece = room.carve(8).expect("fits");
    piece.extend_from_slice(&[3; 8]);
    piece.extend_from_slice(&[4; 8]);
    drop(room);
    assert!(slots.take(0).is_some(), "it has left the slot");
    assert_eq!(piece.as_bytes(), [[3; 8], [4; 8]].concat());
}

#[test]
fn reads_are_checked_copies() {
    let layout = Layout {
        words: 8,
        bulk_bytes: 256,
    };
    let region = Region::create("test", layout, Peer::Writes).expect("memory");
    let mut buf = PayloadBuf::default();
    let reader = region.into_bulk().reader();
    assert!(reader.read(0, 256, &mut buf));
    assert_eq!(buf.as_bytes(), [0; 256]);
    for (offset, bytes) in [(0, 257), (256, 1), (usize::MAX, 1), (1, usize::MAX)] {
        assert!(!reader.read(offset, bytes, &mut buf));
    }
    assert_eq!(buf.len(), 256);
}

#[cfg(not(miri))]
mod between_mappings {
    use super::*;
    use std::os::fd::AsFd;

    fn layout() -> Layout {
        Layout {
            words: 8,
            bulk_bytes: 8192,
        }
    }

    fn passed(region: &Region) -> OwnedFd {
        let fd = region.fd().expect("a descriptor");
        fd.try_clone_to_owned().expect("a descriptor")
    }

    #[test]
    fn both_ends_see_the_same_memory() {
        let ours = Region::create("test", layout(), Peer::Reads).expect("memory");
        let theirs = Region::open(passed(&ours), layout(), Access::Read).expect("theirs");
        let mut writer = ours.into_bulk().writer();
        assert!(writer.write(100, b"hello"));
        // SAFETY: nothing is written while there is a view.
        let view = unsafe { theirs.into_bulk().view() };
        assert_eq!(view.payload(100, 5).expect("inside").as_bytes(), b"hello");
        assert!(view.payload(8190, 3).is_none() && view.payload(usize::MAX, 1).is_none());
    }

    /// The table of what a container may try on a region that it shall only read.
    #[test]
    fn what_the_peer_shall_only_read_it_cannot_write() {
        let ours = Region::create("test", layout(), Peer::Reads).expect("memory");
        let fd = passed(&ours);
        assert!(
            Region::open(passed(&ours), layout(), Access::Write).is_err(),
            "mapped writable"
        );
        assert!(rustix::io::pwrite(&fd, b"x", 0).is_err(), "written");
        assert!(rustix::fs::ftruncate(&fd, 0).is_err(), "truncated");
        let more = rustix::fs::SealFlags::WRITE;
        assert!(rustix::fs::fcntl_add_seals(&fd, more).is_err(), "sealed");
        let punch = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
        assert!(
            rustix::fs::fallocate(&fd, punch, 0, 4096).is_err(),
            "punched"
        );
        let path = format!(
            "/proc/self/fd/{}",
            std::os::fd::AsRawFd::as_raw_fd(&fd.as_fd())
        );
        if let Ok(file) = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
        {
            let reopened = Region::open(file.into(), layout(), Access::Write);
            assert!(reopened.is_err(), "mapped writable by another descriptor");
        }
    }

    #[test]
    fn what_could_be_shrunk_or_has_another_size_is_refused() {
        let flags = rustix::fs::MemfdFlags::ALLOW_SEALING;
        let fd = rustix::fs::memfd_create("test", flags).expect("a file");
        rustix::fs::ftruncate(&fd, layout().bytes() as u64).expect("sized");
        let error = Region::open(fd, layout(), Access::Read).expect_err("not sealed");
        assert!(error.to_string().contains("shrinking"), "{error}");
        let ours = Region::create("test", layout(), Peer::Writes).expect("memory");
        let larger = Layout {
            words: 8,
            bulk_bytes: 8193,
        };
        let error = Region::open(passed(&ours), larger, Access::Read).expect_err("too small");
        assert!(error.to_string().contains("another size"), "{error}");
    }

    /// A hole in a region only makes zeros.
    #[test]
    fn a_hole_that_the_peer_punches_reads_as_zeros() {
        let ours = Region::create("test", layout(), Peer::Writes).expect("memory");
        let fd = passed(&ours);
        rustix::io::pwrite(&fd, &[9; 8192], 64).expect("theirs to write");
        let punch = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&fd, punch, 4096, 4096).expect("theirs to punch");
        let mut buf = PayloadBuf::default();
        assert!(ours.into_bulk().reader().read(0, 8192, &mut buf));
        assert_eq!((buf.as_bytes()[0], buf.as_bytes()[5000]), (9, 0));
    }
}
