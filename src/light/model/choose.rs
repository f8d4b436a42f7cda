//! Choosing among given continuations: the probability with which a model that may say nothing else says each.
//!
//! At each place where continuations differ, the tokens that go on are weighed against each other alone; where all go on
//! alike nothing is lost. So a long label loses nothing by its length, and the shares sum to 1. Only the places where they
//! differ cost a step: labels whose first tokens differ cost none but the prompt's.

use mlx_rs::Array;

use super::{Model, Wanted};
use crate::light::prompt::{Prompt, Refusal};

/// A continuation and what it is worth so far.
struct Branch {
    index: usize,
    tokens: Vec<u32>,
}

impl Model {
    /// The share of each continuation.
    ///
    /// # Errors
    /// Why there are none.
    pub fn choose(
        &mut self,
        prompt: &Prompt,
        choices: &[String],
        wanted: Wanted<'_>,
    ) -> Result<Vec<f32>, Refusal> {
        let (text, tokens) = self.prompt(prompt)?;
        let branches: Vec<Branch> = choices
            .iter()
            .enumerate()
            .map(|(index, choice)| Ok(Branch { index, tokens: self.continuation(&text, &tokens, choice)? }))
            .collect::<Result<_, Refusal>>()?;
        let longest = tokens.len() + branches.iter().map(|branch| branch.tokens.len()).max().unwrap_or(0);
        if longest > self.about.context {
            return Err(Refusal::TooLong { tokens: longest, limit: self.about.context });
        }
        let mut shares = vec![0.0; choices.len()];
        let logits = self.read(&tokens, wanted)?;
        let logits = self.numbers(&logits)?;
        let all: Vec<&Branch> = branches.iter().collect();
        self.share(&all, 0, 1.0, logits, wanted, &mut shares)?;
        Ok(shares)
    }

    /// A continuation's tokens as they are behind the prompt; tokenizers read a beginning otherwise than a middle.
    fn continuation(&self, text: &str, tokens: &[u32], choice: &str) -> Result<Vec<u32>, Refusal> {
        let failed = Refusal::Failed;
        let marked = self.chat.marks();
        let whole = self.words.tokens(&format!("{text}{choice}"), marked).map_err(failed)?;
        match whole.strip_prefix(tokens) {
            Some(rest) => Ok(rest.to_vec()),
            None => self.words.tokens(choice, false).map_err(failed),
        }
    }

    /// Gives `share` to branches that are alike in their first `depth` tokens, which have been read; these are the
    /// logits of the last of them.
    fn share(
        &mut self,
        branches: &[&Branch],
        depth: usize,
        share: f32,
        logits: Vec<f32>,
        wanted: Wanted<'_>,
        shares: &mut [f32],
    ) -> Result<(), Refusal> {
        // By the next token; None for a continuation that is complete.
        let mut groups: Vec<(Option<u32>, Vec<&Branch>)> = Vec::new();
        for branch in branches {
            let next = branch.tokens.get(depth).copied();
            match groups.iter_mut().find(|(token, _)| *token == next) {
                Some((_, group)) => group.push(branch),
                None => groups.push((next, vec![branch])),
            }
        }
        let logit = |token: u32| logits.get(token as usize).copied().unwrap_or(f32::NEG_INFINITY);
        let scores: Vec<f32> = groups
            .iter()
            .map(|(next, _)| match next {
                Some(token) => logit(*token),
                // Complete while others go on: then the text would end here.
                None => self.words.ends().map(logit).fold(f32::NEG_INFINITY, f32::max),
            })
            .collect();
        for ((next, group), part) in groups.iter().zip(softmax(&scores)) {
            let part = share * part;
            match (next, &group[..]) {
                (_, [only]) => give(shares, only, part),
                (None, same) => same.iter().for_each(|branch| give(shares, branch, part / same.len() as f32)),
                (Some(token), several) => {
                    if !wanted() {
                        return Err(Refusal::Deadline);
                    }
                    let read = self.read.len();
                    let logits = self.step(*token)?;
                    self.share(several, depth + 1, part, logits, wanted, shares)?;
                    self.cut(read);
                }
            }
        }
        Ok(())
    }

    fn step(&mut self, token: u32) -> Result<Vec<f32>, Refusal> {
        let logits = self.on(|model| {
            let ids = Array::from_slice(&[token], &[1, 1]);
            let vectors = model.decoder.read(&ids, &mut model.cache, &model.stream)?;
            model.decoder.last(&vectors, &model.stream)
        })?;
        self.read.push(token);
        self.numbers(&logits)
    }
}

fn give(shares: &mut [f32], branch: &Branch, part: f32) {
    if let Some(share) = shares.get_mut(branch.index) {
        *share = part;
    }
}

fn softmax(scores: &[f32]) -> Vec<f32> {
    let best = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if best == f32::NEG_INFINITY {
        return vec![1.0 / scores.len().max(1) as f32; scores.len()];
    }
    let powers: Vec<f32> = scores.iter().map(|score| (score - best).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_sum_to_one_even_where_nothing_is_possible() {
        assert_eq!(softmax(&[f32::NEG_INFINITY; 2]), [0.5, 0.5]);
        let shares = softmax(&[1.0, 2.0, f32::NEG_INFINITY]);
        assert!((shares.iter().sum::<f32>() - 1.0).abs() < 1e-6 && shares[2] == 0.0);
    }
}
