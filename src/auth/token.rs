//! Keys as clients hold them, and what is kept of them.

use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use subtle::ConstantTimeEq;

/// What every key of ours begins with, so that people and secret scanners know one when they see it.
pub const PREFIX: &str = "bsk_";

/// Random bytes in a key.
const BYTES: usize = 32;

/// What the file keeps of a key.
///
/// Plain SHA-256, no salt and no slow hash: those protect what people choose and others can guess. A key is
/// 256 random bits, so nobody gets from the hash to the key, and checking one must not cost a request
/// milliseconds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint([u8; 32]);

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fingerprint(…)")
    }
}

impl Fingerprint {
    /// Of a key.
    pub(super) fn of(key: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, key).as_ref());
        Self(bytes)
    }

    /// As it stands in the file: 64 hexadecimal digits.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            let pair = std::str::from_utf8(pair).ok()?;
            *byte = u8::from_str_radix(pair, 16).ok().filter(|_| !pair.starts_with('+'))?;
        }
        Some(Self(bytes))
    }

    /// The same, taking as long whether the first byte differs or none.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// A new key. `None` if the system has no randomness to give.
pub(super) fn fresh() -> Option<String> {
    let mut bytes = [0; BYTES];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(format!("{PREFIX}{}", hex(&bytes)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_sha256_and_survives_the_file() {
        let known = Fingerprint::of(b"abc");
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(known.to_string(), text);
        assert!(Fingerprint::parse(&text.to_uppercase()).unwrap().is(&known));
        for odd in ["", "ba78", &text[1..], &format!("{}+f", &text[..62]), &format!("{}xy", &text[..62])] {
            assert!(Fingerprint::parse(odd).is_none(), "{odd}");
        }
    }

    #[test]
    fn keys_are_long_and_never_the_same() {
        let (one, other) = (fresh().unwrap(), fresh().unwrap());
        assert_eq!(one.len(), PREFIX.len() + 64);
        assert!(one.starts_with(PREFIX) && one != other);
        assert!(!Fingerprint::of(one.as_bytes()).is(&Fingerprint::of(other.as_bytes())));
    }
}
