//! Bytes as a list of decisions.

/// Reads one decision after the other; past the end all of them are 0.
#[derive(Clone, Debug)]
pub struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    /// The decisions in `data`.
    #[must_use]
    pub fn new(data: &'a [u8]) -> Self {
        Script(data)
    }

    /// Whether all have been read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A number below `limit`, which must not be 0.
    pub fn below(&mut self, limit: usize) -> usize {
        if limit > 256 {
            return usize::from(u16::from_le_bytes(self.array())) % limit;
        }
        usize::from(self.byte()) % limit
    }

    /// A byte.
    pub fn byte(&mut self) -> u8 {
        let [byte] = self.array();
        byte
    }

    /// A number of 32 bits.
    pub fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    /// A number of 64 bits.
    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// Yes or no.
    pub fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// As many bytes as the next two say, or as are left.
    pub fn chunk(&mut self) -> &'a [u8] {
        let bytes = usize::from(u16::from_le_bytes(self.array()));
        let (chunk, rest) = self.0.split_at(bytes.min(self.0.len()));
        self.0 = rest;
        chunk
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let (taken, rest) = self.0.split_at(N.min(self.0.len()));
        let mut array = [0; N];
        array[..taken.len()].copy_from_slice(taken);
        self.0 = rest;
        array
    }
}
