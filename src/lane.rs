//! Sixteen bytes at once in one vector register (SSE2, NEON): a question to each of them, answered by all at once.

use wide::u8x16;

/// Bytes of a lane.
pub(crate) const WIDTH: usize = 16;

/// A bit for each of them.
pub(crate) const ALL: u32 = 0xffff;

/// The next bytes, behind the last of them zeros.
#[inline]
pub(crate) fn next(bytes: &[u8]) -> u8x16 {
    bytes.first_chunk::<WIDTH>().map_or_else(|| padded(bytes, 0), |chunk| u8x16::new(*chunk))
}

/// All bytes, and `with` behind the last of them.
pub(crate) fn all(bytes: &[u8], with: u8) -> impl Iterator<Item = u8x16> {
    let (lanes, rest) = bytes.as_chunks();
    let rest = (!rest.is_empty()).then(|| padded(rest, with));
    lanes.iter().map(|chunk| u8x16::new(*chunk)).chain(rest)
}

/// Fewer bytes than a lane has, and `with` behind them.
#[cold]
fn padded(bytes: &[u8], with: u8) -> u8x16 {
    let mut lane = [with; WIDTH];
    lane.iter_mut().zip(bytes).for_each(|(place, byte)| *place = *byte);
    u8x16::new(lane)
}

/// All ones in the bytes that are this one, else zeros.
#[inline]
pub(crate) fn equal(lane: u8x16, byte: u8) -> u8x16 {
    lane.simd_eq(u8x16::splat(byte))
}

/// All ones in the bytes from `low` to `high`, else zeros.
#[inline]
pub(crate) fn between(lane: u8x16, low: u8, high: u8) -> u8x16 {
    let above = lane - u8x16::splat(low);
    above.simd_eq(above.min(u8x16::splat(high - low)))
}

/// One bit for each byte whose highest bit is set, that of the first byte lowest.
#[inline]
pub(crate) fn bits(lane: u8x16) -> u32 {
    lane.to_bitmask()
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn bytes_are_compared_each_by_itself(bytes: [u8; WIDTH], byte: u8, low in 0u8..=255, more in 0u8..=255) {
            let high = low.saturating_add(more);
            let wanted = |holds: &dyn Fn(u8) -> bool| {
                bytes.iter().rev().fold(0, |bits, b| bits << 1 | u32::from(holds(*b)))
            };
            let lane = next(&bytes);
            proptest::prop_assert_eq!(bits(equal(lane, byte)), wanted(&|b| b == byte));
            proptest::prop_assert_eq!(bits(between(lane, low, high)), wanted(&|b| (low..=high).contains(&b)));
        }
    }

    #[test]
    fn behind_the_last_byte_stand_zeros() {
        assert_eq!(bits(equal(next(b"abc"), 0)), 0xfff8);
        assert_eq!(bits(equal(padded(b"abc", b' '), b' ')), 0xfff8);
    }
}
