//! Small conditions: a range of counts, a glob over names.

/// A range of counts, both ends inclusive: `5`, `..25`, `5..`, `5..25`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    min: usize,
    max: usize,
}

impl Bounds {
    /// Every count.
    pub(crate) const ANY: Self = Self { min: 0, max: usize::MAX };

    /// `None` if the text is no range, or an empty one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let number = |t: &str| if t.bytes().all(|b| b.is_ascii_digit()) { t.parse().ok() } else { None };
        let bounds = match text.trim().split_once("..") {
            None => {
                let exact = number(text.trim())?;
                Self { min: exact, max: exact }
            }
            Some(("", "")) => return None,
            Some((min, "")) => Self { min: number(min.trim())?, max: usize::MAX },
            Some(("", max)) => Self { min: 0, max: number(max.trim())? },
            Some((min, max)) => Self { min: number(min.trim())?, max: number(max.trim())? },
        };
        (bounds.min <= bounds.max).then_some(bounds)
    }

    pub(crate) fn contains(self, count: usize) -> bool {
        self.min <= count && count <= self.max
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self::ANY
    }
}

/// `*` is any run of characters, `?` one of them; ASCII case does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Glob(Box<str>);

impl Glob {
    pub(crate) fn new(pattern: &str) -> Self {
        Self(pattern.into())
    }

    /// Goes back only to the last star, so that the cost is at most pattern times text.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let (mut pattern, mut rest) = (self.0.as_ref(), text);
        let mut retry: Option<(&str, &str)> = None;
        loop {
            let mut wanted = pattern.chars();
            let mut given = rest.chars();
            match (wanted.next(), given.next()) {
                (None, None) => return true,
                (Some('*'), _) => {
                    pattern = wanted.as_str();
                    retry = Some((pattern, rest));
                    continue;
                }
                (Some(w), Some(g)) if w == '?' || w.eq_ignore_ascii_case(&g) => {
                    (pattern, rest) = (wanted.as_str(), given.as_str());
                    continue;
                }
                _ => {}
            }
            let Some((after_star, from)) = retry else { return false };
            let mut skipped = from.chars();
            if skipped.next().is_none() {
                return false;
            }
            retry = Some((after_star, skipped.as_str()));
            (pattern, rest) = (after_star, skipped.as_str());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_inclusive_at_both_ends() {
        let bounds = Bounds::parse("5..25").unwrap();
        assert!(bounds.contains(5) && bounds.contains(25) && !bounds.contains(4) && !bounds.contains(26));
        assert!(Bounds::parse("..25").unwrap().contains(0));
        assert!(Bounds::parse("5..").unwrap().contains(9999));
        assert!(Bounds::parse("3").unwrap().contains(3) && !Bounds::parse("3").unwrap().contains(2));
        for bad in ["", "..", "x", "5..x", "7..5", "-1", "+1", "5...7", "1.5"] {
            assert_eq!(Bounds::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn globs() {
        let matches = |glob: &str, text| Glob::new(glob).matches(text);
        assert!(matches("llama*", "llama3.2:1b") && matches("Llama*", "llama") && matches("*", ""));
        assert!(
            matches("*:1b", "llama3.2:1b") && matches("qwen?:*", "qwen3:8b") && matches("a*b*c", "aXbYbZc")
        );
        assert!(!matches("llama", "llama3") && !matches("?", "") && !matches("a*b", "ac"));
    }
}
