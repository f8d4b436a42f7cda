//! The gate before the keywords' automaton. `keywords::tests` holds it, with the automaton, against a plain search.

/// Which beginnings of keywords there are: one look or two tell most words of a message apart from all
/// keywords, however many those are. By the first eight bytes of keywords that have as many (four letters of
/// a Russian word), else by the first four, three, two, one.
#[derive(Debug)]
pub(super) struct Gate {
    /// The first four bytes of any keyword that long; asked before `eight` and `short`.
    four: Box<[u64]>,
    /// Four of those with four to seven.
    short: Box<[u64]>,
    eight: Box<[u64]>,
    /// Those of three bytes.
    three: Box<[u64]>,
    /// Two bytes as they are: those of two, and any behind those of one.
    two: Box<[u64]>,
}

impl Gate {
    pub(super) fn new() -> Self {
        let bits = || vec![0; (1 << 16) / 64].into_boxed_slice();
        Self { four: bits(), short: bits(), eight: bits(), three: bits(), two: bits() }
    }

    pub(super) fn open_for(&mut self, stem: &[u8]) {
        if let Some(first) = stem.first_chunk::<4>() {
            set(&mut self.four, mix(u32::from_le_bytes(*first)));
        }
        match (stem.first_chunk::<8>(), stem) {
            (Some(first), _) => set(&mut self.eight, mix_long(u64::from_le_bytes(*first))),
            (None, [a, b, c, d, ..]) => set(&mut self.short, mix(u32::from_le_bytes([*a, *b, *c, *d]))),
            (None, [a, b, c]) => set(&mut self.three, mix(u32::from_le_bytes([*a, *b, *c, 0]))),
            (None, [a, b]) => set(&mut self.two, u16::from_le_bytes([*a, *b])),
            (None, [a]) => (0..=u8::MAX).for_each(|b| set(&mut self.two, u16::from_le_bytes([*a, b]))),
            (None, []) => {}
        }
    }

    pub(super) fn passes(&self, rest: &[u8]) -> bool {
        // So near the end there is not much to walk.
        let Some(first) = rest.first_chunk::<4>() else { return true };
        let four = u32::from_le_bytes(*first);
        (is_set(&self.four, mix(four)) && self.passes_long(four, rest))
            || is_set(&self.three, mix(four & 0xff_ffff))
            || is_set(&self.two, (four & 0xffff) as u16)
    }

    fn passes_long(&self, four: u32, rest: &[u8]) -> bool {
        let eight = |eight: &[u8; 8]| is_set(&self.eight, mix_long(u64::from_le_bytes(*eight)));
        is_set(&self.short, mix(four)) || rest.first_chunk().is_some_and(eight)
    }
}

/// Fibonacci hashing: the high bits of a product with 2^32 / φ.
fn mix(bytes: u32) -> u16 {
    (bytes.wrapping_mul(0x9e37_79b1) >> 16) as u16
}

/// The same of 2^64 / φ.
fn mix_long(bytes: u64) -> u16 {
    (bytes.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as u16
}

fn set(bits: &mut [u64], at: u16) {
    bits[usize::from(at) / 64] |= 1 << (at % 64);
}

fn is_set(bits: &[u64], at: u16) -> bool {
    bits[usize::from(at) / 64] & (1 << (at % 64)) != 0
}
