//! What travels: floats that the producer writes one and all, and the consumer adds up.
//!
//! Elements are small whole numbers, so that their sum is exact in `f32` in whatever order
//! they are added. The first element changes from one request to the next; a slot that was
//! not written again, or an answer to another request, gives a wrong sum.

/// Bytes of each payload, smallest first: 16 floats, one row of 784, 64 rows, 768 rows.
pub(crate) const SIZES: [usize; 4] = [64, 4 * 784, 64 * 4 * 784, 768 * 4 * 784];
/// Bytes of the largest.
pub(crate) const BYTES_MAX: usize = SIZES[3];
/// Bytes of an answer, where the bench decides.
pub(crate) const ANSWER_BYTES: usize = 64;

/// Larger copies are cut into pieces of this size: beyond the second-level cache glibc reads
/// every line that it is about to overwrite, below it does not.
const PIECE_BYTES: usize = 32 << 10;
/// Different first elements.
const STAMPS: u64 = 1000;
/// Elements are below this.
const VALUES: usize = 16;

// Below 2^24 every whole number is an f32.
const _: () = assert!(BYTES_MAX / 4 * (VALUES - 1) / 2 + (STAMPS as usize) < 1 << 24);

/// A payload as it stands in the producer's cache, to be written wherever a path wants it.
#[derive(Debug)]
pub(crate) struct Source {
    bytes: Vec<u8>,
    sum: f32,
}

impl Source {
    /// One of `bytes`, a multiple of 4.
    pub(crate) fn new(bytes: usize) -> Source {
        let value = |index: usize| (index % VALUES) as f32;
        let bytes: Vec<u8> = (0..bytes / 4)
            .flat_map(|i| value(i).to_le_bytes())
            .collect();
        let sum = sum(&bytes);
        Source { bytes, sum }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Writes all of it, stamped with `ticket`, over `to` of the same length.
    pub(crate) fn write(&self, to: &mut [u8], ticket: u64) {
        let pieces = to.chunks_mut(PIECE_BYTES);
        for (to, from) in pieces.zip(self.bytes.chunks(PIECE_BYTES)) {
            to.copy_from_slice(from);
        }
        to[..4].copy_from_slice(&stamp(ticket).to_le_bytes());
    }

    /// A buffer with all of it, stamped with `ticket`, and of no larger capacity.
    pub(crate) fn to_vec(&self, ticket: u64) -> Vec<u8> {
        let mut to = Vec::with_capacity(self.bytes.len());
        for piece in self.bytes.chunks(PIECE_BYTES) {
            to.extend_from_slice(piece);
        }
        to[..4].copy_from_slice(&stamp(ticket).to_le_bytes());
        to
    }

    /// The bytes before they are stamped, in pieces to be copied one by one.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.chunks(PIECE_BYTES)
    }

    /// The sum of what [`Self::write`] wrote.
    pub(crate) fn sum(&self, ticket: u64) -> f32 {
        self.sum + stamp(ticket)
    }
}

/// The first element of a request.
pub(crate) fn stamp(ticket: u64) -> f32 {
    (ticket % STAMPS) as f32
}

/// The sum of little-endian floats at any alignment.
pub(crate) fn sum(bytes: &[u8]) -> f32 {
    add_up(bytes.as_chunks::<4>().0, f32::from_le_bytes)
}

/// The sum of floats.
pub(crate) fn sum_f32(values: &[f32]) -> f32 {
    add_up(values, |value| value)
}

fn add_up<T: Copy>(values: &[T], float: impl Fn(T) -> f32 + Copy) -> f32 {
    let (wide, rest) = add_lanes::<32, T>(values, float);
    let (narrow, rest) = add_lanes::<8, T>(rest, float);
    wide + narrow + rest.iter().map(|value| float(*value)).sum::<f32>()
}

/// The sum of as many whole blocks as there are, in lanes that the compiler makes vectors of;
/// and what is left.
fn add_lanes<const LANES: usize, T: Copy>(values: &[T], float: impl Fn(T) -> f32) -> (f32, &[T]) {
    let (blocks, rest) = values.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for block in blocks {
        for (lane, value) in lanes.iter_mut().zip(block) {
            *lane += float(*value);
        }
    }
    (lanes.iter().sum(), rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_add_gives_the_same_exact_sum() {
        for bytes in SIZES {
            let source = Source::new(bytes);
            let written = source.to_vec(1234);
            let floats: Vec<f32> = written
                .as_chunks::<4>()
                .0
                .iter()
                .map(|bytes| f32::from_le_bytes(*bytes))
                .collect();
            let exact: f64 = floats.iter().map(|value| f64::from(*value)).sum();
            let expected = source.sum(1234);
            assert_eq!(f64::from(expected), exact, "{bytes} bytes");
            assert_eq!(sum(&written), expected);
            assert_eq!(sum_f32(&floats), expected);
            let mut again = vec![0; bytes];
            source.write(&mut again, 1234);
            assert_eq!(again, written);
        }
    }
}
