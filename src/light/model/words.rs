//! Text to tokens and back, and which tokens end a text.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;
use tokenizers::Tokenizer;

use super::ModelError;
use super::spec::{Spec, Tokens};

/// A model's tokenizer.
pub struct Words {
    tokenizer: Tokenizer,
    eos: BTreeSet<u32>,
    /// Texts that stand for control tokens: none may come out of what a user wrote.
    control: Vec<String>,
}

#[derive(Deserialize)]
struct Generation {
    eos_token_id: Option<Tokens>,
}

impl Words {
    /// `tokenizer.json`, held against the table of tokens; and what `generation_config.json` says of the end.
    pub fn read(dir: &Path, spec: &Spec) -> Result<Self, ModelError> {
        let path = dir.join("tokenizer.json");
        let bytes = std::fs::read(&path).map_err(|source| ModelError::io(&path, source))?;
        let mut tokenizer =
            Tokenizer::from_bytes(bytes).map_err(|e| ModelError::malformed(&path, e.to_string()))?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|e| ModelError::malformed(&path, e.to_string()))?;
        // A token without a row would read memory that is none of its business.
        let last = tokenizer.get_vocab(true).into_values().max().unwrap_or(0);
        if i64::from(last) >= i64::from(spec.vocab) {
            let what = format!("has a token {last}, config.json's vocab_size is {}", spec.vocab);
            return Err(ModelError::malformed(&path, what));
        }
        let mut eos: BTreeSet<u32> = spec.eos.iter().copied().collect();
        let generation = dir.join("generation_config.json");
        if let Ok(text) = std::fs::read(&generation) {
            let read: Generation = serde_json::from_slice(&text)
                .map_err(|e| ModelError::malformed(&generation, e.to_string()))?;
            eos.extend(read.eos_token_id.iter().flat_map(Tokens::list));
        }
        let added = tokenizer.get_added_tokens_decoder();
        let control: Vec<String> =
            added.values().filter(|token| token.special).map(|token| token.content.clone()).collect();
        Ok(Self { tokenizer, eos, control })
    }

    /// A token more that ends a text, by its name.
    pub fn ends_with(&mut self, token: &str) {
        self.eos.extend(self.tokenizer.token_to_id(token));
    }

    /// Whether a text ends at this token.
    pub fn is_end(&self, token: u32) -> bool {
        self.eos.contains(&token)
    }

    /// The tokens that end a text.
    pub fn ends(&self) -> impl Iterator<Item = u32> + '_ {
        self.eos.iter().copied()
    }

    /// A text as tokens; `marked` adds those that the tokenizer puts around a whole text.
    pub fn tokens(&self, text: &str, marked: bool) -> Result<Vec<u32>, String> {
        let encoded = self.tokenizer.encode_fast(text, marked).map_err(|e| e.to_string())?;
        Ok(encoded.get_ids().to_vec())
    }

    /// What somebody wrote, without the names of control tokens.
    pub fn harmless(&self, text: &str) -> String {
        let mut text = text.to_owned();
        // Taking one out may join another; each round makes the text shorter.
        while let Some(token) = self.control.iter().find(|token| !token.is_empty() && text.contains(*token)) {
            text = text.replace(token.as_str(), "");
        }
        text
    }

    fn text(&self, tokens: &[u32]) -> Result<String, String> {
        self.tokenizer.decode(tokens, true).map_err(|e| e.to_string())
    }
}

/// Tokens that become text. A character may lie in several tokens, and some tokens read otherwise behind others, so a
/// few of those told before are read along.
#[derive(Debug, Default)]
pub struct Heard {
    tokens: Vec<u32>,
    from: usize,
    told: usize,
}

impl Heard {
    /// What is certain after one token more; empty while a character is not whole.
    pub fn push(&mut self, token: u32, words: &Words) -> Result<String, String> {
        self.tokens.push(token);
        let more = self.more(words)?;
        if more.is_empty() || more.ends_with(char::REPLACEMENT_CHARACTER) {
            return Ok(String::new());
        }
        self.from = self.told;
        self.told = self.tokens.len();
        Ok(more)
    }

    /// The text ends here: what is left, without a character that never became whole.
    pub fn rest(&mut self, words: &Words) -> Result<String, String> {
        let more = self.more(words)?;
        self.told = self.tokens.len();
        self.from = self.told;
        Ok(more.trim_end_matches(char::REPLACEMENT_CHARACTER).to_owned())
    }

    fn more(&self, words: &Words) -> Result<String, String> {
        let part = |from: usize, to: usize| words.text(self.tokens.get(from..to).unwrap_or_default());
        let (before, now) = (part(self.from, self.told)?, part(self.from, self.tokens.len())?);
        Ok(now.get(before.len()..).unwrap_or_default().to_owned())
    }
}
