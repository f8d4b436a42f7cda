//! FNV-1a, 64 bits (draft-eastlake-fnv): small, and the same on every machine and in every release. Trained weights,
//! running experiments and hashes of rule sets lean on that.

/// The offset basis.
pub(crate) const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// The hash of what `hash` stands for and some bytes more.
pub(crate) fn more(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drafts_own_examples() {
        assert_eq!(more(BASIS, b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(more(BASIS, b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(more(more(BASIS, b"foo"), b"bar"), 0x8594_4171_f739_67e8);
    }
}
