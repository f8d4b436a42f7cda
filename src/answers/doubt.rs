//! Words that make a message more than small talk: somebody else, something broken, distress. Where one of them stands,
//! neither a near example nor the classifier's word answers anything, unless the answer's own examples have it.

use std::collections::HashSet;

use super::example;
use crate::text::fold;

/// The words of `doubt` in the rules.
#[derive(Debug, Default)]
pub(crate) struct Doubts {
    whole: HashSet<String>,
    /// Those with a `*`: any ending.
    begins: Vec<String>,
}

impl Doubts {
    /// Takes in a word.
    ///
    /// # Errors
    /// If it is more than one word, or none.
    pub(crate) fn add(&mut self, word: &str) -> Result<(), &'static str> {
        let (bare, open) = word.strip_suffix('*').map_or((word, false), |bare| (bare, true));
        let mut room = String::new();
        let normal = example::normal(&fold(bare), &mut room);
        if !normal.contains(char::is_alphanumeric) || normal.contains(' ') || bare.contains('*') {
            return Err("`doubt` takes single words, with a `*` at the end for any ending");
        }
        match open {
            true => self.begins.push(normal.to_owned()),
            false => drop(self.whole.insert(normal.to_owned())),
        }
        Ok(())
    }

    /// Whether this word of a normal form is one of them.
    pub(crate) fn is_one(&self, word: &str) -> bool {
        self.whole.contains(word) || self.begins.iter().any(|stem| word.starts_with(stem.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_cast_doubt_whole_or_by_their_beginning() {
        let mut doubts = Doubts::default();
        for word in ["Мам*", "her", "ещё"] {
            doubts.add(word).unwrap();
        }
        for (word, is_one) in
            [("мамочка", true), ("her", true), ("hers", false), ("еще", true), ("ма", false)]
        {
            assert_eq!(doubts.is_one(word), is_one, "{word}");
        }
        for wrong in ["two words", "*", "", "?!", "a*b"] {
            assert!(doubts.add(wrong).is_err(), "{wrong}");
        }
    }
}
