//! Eight bytes at once in one register: where the compiler finds no vectors by itself.

/// A one in every byte.
pub(crate) const ONES: u64 = u64::from_le_bytes([1; 8]);
/// The high bit of every byte.
pub(crate) const HIGHS: u64 = ONES << 7;

/// The next eight bytes, the first of them lowest.
pub(crate) fn word(bytes: &[u8]) -> Option<u64> {
    bytes.first_chunk().map(|word| u64::from_le_bytes(*word))
}

/// The high bits of the bytes that are this one. The seven low bits cannot carry into the next byte.
pub(crate) fn equal(word: u64, byte: u8) -> u64 {
    let x = word ^ (ONES * u64::from(byte));
    !(((x & !HIGHS) + !HIGHS) | x) & HIGHS
}

/// The high bits of the bytes below `bound`, which is 128 at most.
pub(crate) fn below(word: u64, bound: u8) -> u64 {
    !(((word & !HIGHS) + ONES * u64::from(0x80 - bound)) | word) & HIGHS
}

/// Which byte the lowest of some high bits belongs to; 8 if there is none.
pub(crate) fn first(highs: u64) -> usize {
    highs.trailing_zeros() as usize / 8
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn bytes_are_compared_each_by_itself(bytes: [u8; 8], byte: u8, bound in 0u8..=0x80) {
            let highs = |holds: &dyn Fn(u8) -> bool| u64::from_le_bytes(bytes.map(|b| if holds(b) { 0x80 } else { 0 }));
            let word = word(&bytes).unwrap();
            proptest::prop_assert_eq!(equal(word, byte), highs(&|b| b == byte));
            proptest::prop_assert_eq!(below(word, bound), highs(&|b| b < bound));
            proptest::prop_assert_eq!(first(equal(word, byte)), bytes.iter().position(|b| *b == byte).unwrap_or(8));
        }
    }
}
