//! Seeded random texts for the tests of the codec.

/// SplitMix64 (Steele, Lea and Flood, 2014).
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Random(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// A number in [0, 1).
    pub(super) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// `min` to `max` digits, the first of which is not 0 if there are several.
    pub(super) fn digits(&mut self, min: u64, max: u64) -> String {
        let count = min + self.below(max - min + 1);
        let mut text: String = (0..count)
            .map(|_| char::from(b'0' + self.below(10) as u8))
            .collect();
        if count > 1 && text.starts_with('0') {
            text.replace_range(..1, "7");
        }
        text
    }
}
