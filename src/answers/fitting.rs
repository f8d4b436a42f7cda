//! Which answer fits a message that is social but that no rule names: the one with the most similar example.
//!
//! Similarity is the cosine of TF-IDF vectors over words and the three- and four-letter pieces of words, so
//! that endings and typos cost little. Pieces that no example has weigh the most: what the examples do not
//! know about pulls the score down. A doubtful message gets no answer.

use std::collections::HashMap;

/// A lower score names no answer. Found on the shipped answers: below it, wrong ones begin.
pub(crate) const FITS_FROM: f32 = 0.6;
/// So much better than the best example of any other answer must it be.
const MARGIN: f32 = 0.1;
/// A whole word says more than one of its pieces.
const WORD_WEIGHT: f32 = 2.0;
/// Longer messages are no small talk.
const MAX_BYTES: usize = 256;

/// All examples of all answers, as vectors.
#[derive(Debug, Default)]
pub(crate) struct Fitting {
    /// Piece to its index.
    pieces: HashMap<u64, u32>,
    /// Weight of a piece by its rarity.
    rarity: Vec<f32>,
    /// Weight of a piece that no example has.
    unknown: f32,
    /// For each piece, the examples that have it and how much it says there.
    postings: Vec<Vec<(u32, f32)>>,
    /// For each example, whose it is.
    answers: Vec<u32>,
}

impl Fitting {
    /// From pairs of an answer's index and an example's normal form.
    pub(crate) fn new(examples: &[(u32, String)]) -> Self {
        let mut fitting =
            Self { answers: examples.iter().map(|(answer, _)| *answer).collect(), ..Self::default() };
        let mut counted: Vec<Vec<(u32, f32)>> = Vec::with_capacity(examples.len());
        let mut having: Vec<u32> = Vec::new();
        for (_, text) in examples {
            let mut vector: Vec<(u32, f32)> = Vec::new();
            for (piece, weight) in pieces(text) {
                let next = fitting.pieces.len() as u32;
                let id = *fitting.pieces.entry(piece).or_insert(next);
                match vector.iter_mut().find(|(known, _)| *known == id) {
                    Some((_, sum)) => *sum += weight,
                    None => vector.push((id, weight)),
                }
            }
            having.resize(fitting.pieces.len(), 0);
            vector.iter().for_each(|(id, _)| having[*id as usize] += 1);
            counted.push(vector);
        }
        let total = examples.len() as f32;
        fitting.unknown = (1.0 + total).ln() + 1.0;
        fitting.rarity = having.iter().map(|n| ((1.0 + total) / (1.0 + *n as f32)).ln() + 1.0).collect();
        fitting.postings = vec![Vec::new(); fitting.pieces.len()];
        for (example, vector) in counted.iter_mut().enumerate() {
            vector.iter_mut().for_each(|(id, weight)| *weight *= fitting.rarity[*id as usize]);
            let length = vector.iter().map(|(_, w)| w * w).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
            for (id, weight) in vector {
                fitting.postings[*id as usize].push((example as u32, *weight / length));
            }
        }
        fitting
    }

    /// The answer that fits a message in normal form, and how well (0 to 1).
    pub(crate) fn best(&self, message: &str) -> Option<(u32, f32)> {
        if message.len() > MAX_BYTES {
            return None;
        }
        let (best, other) = self.two_best(message)?;
        let other = other.map_or(0.0, |(_, score)| score);
        (best.1 >= FITS_FROM && best.1 - other >= MARGIN).then_some(best)
    }

    /// The best two answers, however bad.
    fn two_best(&self, message: &str) -> Option<((u32, f32), Option<(u32, f32)>)> {
        let mut counts: Vec<(u64, f32)> = pieces(message).collect();
        counts.sort_unstable_by_key(|(piece, _)| *piece);
        counts.dedup_by(|again, first| {
            let same = again.0 == first.0;
            first.1 += if same { again.1 } else { 0.0 };
            same
        });
        let mut scores = vec![0.0f32; self.answers.len()];
        let mut length = 0.0;
        for (piece, count) in counts {
            let known = self.pieces.get(&piece).map(|id| *id as usize);
            let weight = count * known.map_or(self.unknown, |id| self.rarity[id]);
            length += weight * weight;
            for (example, part) in known.map_or(&[][..], |id| &self.postings[id]) {
                scores[*example as usize] += weight * part;
            }
        }
        let length = length.sqrt().max(f32::MIN_POSITIVE);
        let mut by_answer: HashMap<u32, f32> = HashMap::new();
        for (score, answer) in scores.iter().zip(&self.answers) {
            let best = by_answer.entry(*answer).or_default();
            *best = best.max((score / length).min(1.0));
        }
        let mut ranked: Vec<(u32, f32)> = by_answer.into_iter().collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        Some((*ranked.first()?, ranked.get(1).copied()))
    }
}

/// The words of a normal form, and the pieces of three and four letters of each between its edges.
fn pieces(text: &str) -> impl Iterator<Item = (u64, f32)> {
    text.split(' ').filter(|word| !word.is_empty()).flat_map(|word| {
        let letters: Vec<char> = std::iter::once('\u{2}').chain(word.chars()).chain(['\u{3}']).collect();
        let mut found = vec![(hash(0, &letters), WORD_WEIGHT)];
        for size in [3, 4] {
            found.extend(letters.windows(size).map(|piece| (hash(size as u64, piece), 1.0)));
        }
        found
    })
}

/// FNV-1a over characters.
fn hash(seed: u64, letters: &[char]) -> u64 {
    letters.iter().fold(0xcbf2_9ce4_8422_2325 ^ seed, |hash, c| {
        (hash ^ u64::from(u32::from(*c))).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fitting() -> Fitting {
        let examples = [
            (0, "привет"),
            (0, "здравствуйте"),
            (0, "добрый день"),
            (0, "hello"),
            (0, "good morning"),
            (1, "как дела"),
            (1, "как поживаешь"),
            (1, "how are you"),
            (2, "кто ты"),
            (2, "как тебя зовут"),
            (2, "what is your name"),
            (3, "что ты умеешь"),
            (3, "what can you do"),
            (4, "спасибо"),
            (4, "большое спасибо"),
            (4, "thank you"),
        ];
        Fitting::new(&examples.map(|(answer, text)| (answer, text.to_owned())))
    }

    fn best(text: &str) -> Option<u32> {
        fitting().best(text).map(|(answer, _)| answer)
    }

    #[test]
    fn small_differences_do_not_matter() {
        assert_eq!(best("здраствуйте"), Some(0));
        assert_eq!(best("спасибо большое"), Some(4));
        assert_eq!(best("как твои дела"), Some(1));
        assert_eq!(best("a what can you do"), Some(3));
        let (_, exact) = fitting().best("как дела").unwrap();
        assert!(exact > 0.99, "{exact}");
    }

    #[test]
    fn what_the_examples_do_not_know_fits_nothing() {
        for text in
            ["кто тебя сделал", "who made you", "привет почему небо голубое", "как дела у марии ивановны", ""]
        {
            assert_eq!(best(text), None, "{text}: {:?}", fitting().two_best(text));
        }
        assert_eq!(Fitting::default().best("привет"), None);
    }
}
