//! Two arms, so that what the classifier is worth can be read off the metrics: by its hash an ask is decided
//! with the classifier or by the rules alone.

use crate::ask::Ask;
use crate::config::Experiment;
use crate::fnv;
use crate::text::window;

/// How an ask is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arm {
    /// By hints and rules alone.
    Rules,
    /// The classifier is asked where the rules do not know.
    Classifier,
}

impl Arm {
    /// As in headers, metrics and the log of decisions.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rules => "rules",
            Self::Classifier => "classifier",
        }
    }
}

impl Experiment {
    /// The arm of an ask with that hash.
    pub fn arm(&self, hash: u64) -> Arm {
        // 53 bits, as many as a float holds: below 1, so that a share of 1 is everything and 0 is nothing.
        let place = (hash >> 11) as f64 / (1_u64 << 53) as f64;
        if place < self.classifier_share { Arm::Classifier } else { Arm::Rules }
    }
}

/// The hash of what is asked: the last human message (of a long one the ends that rules see, too) and the model's
/// name, whatever the dialect. 64-bit FNV-1a over text, a byte 0xff (which is in no text) and model, then MurmurHash3's
/// last mixing, because FNV leaves the upper bits of short texts much alike. Fixed for good: a retry, a restart or
/// another machine must find the same arm.
pub fn hash(ask: &Ask<'_>) -> u64 {
    let text = window(&ask.text);
    mix([text.as_bytes(), &[0xff], ask.model.as_bytes()].into_iter().fold(fnv::BASIS, fnv::more))
}

fn mix(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::Dialect;

    fn hash_of(dialect: Dialect, model: &str, text: &str) -> u64 {
        let body = match dialect {
            Dialect::Generate => format!(r#"{{"model":"{model}","prompt":"{text}"}}"#),
            _ => format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"{text}"}}]}}"#),
        };
        hash(&Ask::parse(dialect, body.as_bytes()).unwrap())
    }

    fn arms(classifier_share: f64) -> usize {
        let experiment = Experiment { classifier_share, shadow: false };
        let arm = |i| experiment.arm(hash_of(Dialect::Chat, "m", &format!("tell me about town {i}")));
        (0..2000).filter(|i| arm(*i) == Arm::Classifier).count()
    }

    #[test]
    fn the_hash_is_the_same_for_good() {
        // Worked out apart from this code; a change moves every running experiment's asks.
        assert_eq!(hash_of(Dialect::Chat, "llama3.2", "hello"), 0x3cd7_4390_2c79_06f9);
    }

    #[test]
    fn text_and_model_count_and_the_dialect_does_not() {
        let chat = hash_of(Dialect::Chat, "m", "привет");
        assert_eq!(chat, hash_of(Dialect::Generate, "m", "привет"));
        assert_ne!(chat, hash_of(Dialect::Chat, "n", "привет"));
        assert_ne!(chat, hash_of(Dialect::Chat, "m", "привет!"));
        assert_ne!(hash_of(Dialect::Chat, "bc", "a"), hash_of(Dialect::Chat, "c", "ab"));
    }

    #[test]
    fn the_share_is_kept() {
        assert_eq!(arms(0.0), 0);
        assert_eq!(arms(1.0), 2000);
        // Deterministic: these are not chances but what these 2000 texts give.
        assert!((900..=1100).contains(&arms(0.5)), "{}", arms(0.5));
        assert!((350..=450).contains(&arms(0.2)), "{}", arms(0.2));
    }
}
