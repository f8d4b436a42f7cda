//! A secret of the config: used, never shown.

use std::fmt;

/// A key that we hold. Whatever prints it prints dots.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// From a file or a variable. Empty or with what no header can carry: none.
    pub(super) fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic())).then(|| Self(text.to_owned()))
    }

    /// The value of `Authorization`.
    pub fn bearer(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_itself_to_the_upstream_only() {
        let secret = Secret::new(" s3cret\n").unwrap();
        assert_eq!(secret.bearer(), "Bearer s3cret");
        assert_eq!(format!("{secret:?}"), "Secret(…)");
        for odd in ["", " \n", "two words", "наш"] {
            assert!(Secret::new(odd).is_none(), "{odd}");
        }
    }
}
