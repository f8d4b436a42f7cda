//! `config.json` of the default model, and which tensors must stand beside it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use mlx_rs::{Array, Dtype};
use serde::Deserialize;

use crate::category::Label;
use crate::intent::features::{self, Settings};

/// Of the directory's layout.
const FORMAT: u32 = 1;
/// Positions that the encoder has learnt.
const POSITIONS: usize = 64;

/// `config.json`: sizes, thresholds, names.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shape {
    pub(super) format: u32,
    pub(super) labels: Vec<String>,
    /// The first one is `none`.
    pub(super) answers: Vec<Arc<str>>,
    /// Of the encoder's vectors.
    pub(super) width: usize,
    pub(super) heads: usize,
    pub(super) layers: usize,
    pub(super) feed_forward: usize,
    /// Of the hidden layer above the encoder.
    pub(super) encoder_hidden: usize,
    /// A longer text is read in its first three quarters and its last quarter of so many pieces.
    pub(super) max_tokens: usize,
    pub(super) vocab: usize,
    pub(super) quant: HashMap<String, Quant>,
    pub(super) buckets: usize,
    pub(super) gram_min: usize,
    pub(super) gram_max: usize,
    pub(super) bag_width: usize,
    pub(super) bag_hidden: usize,
    pub(super) answer_buckets: usize,
    pub(super) answer_hidden: usize,
    /// The bag's weight in the average; the encoder's is the rest.
    pub(super) bag_share: f32,
    /// A bag that is so sure of a label other than `greeting` is believed without asking the encoder.
    pub(super) bag_sure_from: f32,
    pub(super) temperature: f32,
    pub(super) greeting_from: f32,
    pub(super) sure_from: f32,
    /// An answer is named from this probability on: that of a greeting times that of this answer. It is what keeps
    /// wrong answers away; `greeting_from` alone only names the category.
    pub(super) answer_from: f32,
    /// The same for several answers together that one text can stand for.
    pub(super) family_from: f32,
    pub(super) rms_eps: f32,
}

/// How a table is packed.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Quant {
    pub(super) bits: i32,
    pub(super) group: i32,
}

impl Shape {
    pub(super) fn settings(&self, buckets: usize) -> Settings {
        Settings { buckets: buckets as u32, gram_min: self.gram_min, gram_max: self.gram_max }
    }

    /// Outputs of the answers' head: its table is packed in groups, so a few behind the last name are spare.
    fn answer_outputs(&self) -> usize {
        let group = self.quant.get("ans.table").map_or(1, |quant| quant.group.max(1) as usize);
        self.answers.len().next_multiple_of(group)
    }

    /// What is wrong with it.
    pub(super) fn check(&self) -> Result<(), String> {
        let whole = |name: &str, value: usize, most: usize| match (1..=most).contains(&value) {
            true => Ok(()),
            false => Err(format!("{name} is {value}, expected 1 to {most}")),
        };
        let share = |name: &str, value: f32, most: f32| match (0.0..=most).contains(&value) {
            true => Ok(()),
            false => Err(format!("{name} is {value}, expected 0 to {most}")),
        };
        if self.format != FORMAT {
            return Err(format!("format is {}, expected {FORMAT}", self.format));
        }
        if !self.labels.iter().map(String::as_str).eq(Label::ALL.map(Label::name)) {
            return Err(format!("labels are {:?}, expected {:?}", self.labels, Label::ALL.map(Label::name)));
        }
        if self.answers.first().map(AsRef::as_ref) != Some("none") {
            return Err("answers do not begin with \"none\"".into());
        }
        for (name, value, most) in [
            ("width", self.width, 4096),
            ("heads", self.heads, self.width),
            ("layers", self.layers, 64),
            ("feed_forward", self.feed_forward, 16384),
            ("encoder_hidden", self.encoder_hidden, 4096),
            ("vocab", self.vocab, 1 << 20),
            ("buckets", self.buckets, 1 << 22),
            ("gram_min", self.gram_min, features::MAX_CHARS),
            ("gram_max", self.gram_max, features::MAX_CHARS),
            ("bag_width", self.bag_width, 1024),
            ("bag_hidden", self.bag_hidden, 4096),
            ("answer_buckets", self.answer_buckets, 1 << 22),
            ("answer_hidden", self.answer_hidden, 4096),
            ("max_tokens", self.max_tokens, POSITIONS),
        ] {
            whole(name, value, most)?;
        }
        if !self.width.is_multiple_of(self.heads) {
            return Err(format!("width {} is no multiple of heads {}", self.width, self.heads));
        }
        share("bag_share", self.bag_share, 1.0)?;
        share("bag_sure_from", self.bag_sure_from, 1.0)?;
        share("temperature", self.temperature, 100.0)?;
        share("greeting_from", self.greeting_from, 1.0)?;
        share("sure_from", self.sure_from, 1.0)?;
        share("answer_from", self.answer_from, 1.0)?;
        share("family_from", self.family_from, 1.0)?;
        if self.temperature == 0.0 {
            return Err("temperature is 0".into());
        }
        for table in ["enc.word", "bag.table", "ans.table"] {
            let quant = self.quant.get(table).ok_or_else(|| format!("quant lacks {table:?}"))?;
            if !matches!(quant.bits, 4 | 8) || !matches!(quant.group, 32 | 64 | 128) {
                return Err(format!("{table} is packed as {quant:?}: bits are 4 or 8, groups 32, 64 or 128"));
            }
        }
        Ok(())
    }

    /// The tensors that there must be, no more and no less.
    fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let (width, feed) = (self.width, self.feed_forward);
        let answers = self.answer_outputs();
        let heads = Label::ALL.len() + answers;
        let mut all: Vec<(String, Vec<usize>)> = [
            ("enc.pos", vec![POSITIONS, width]),
            ("enc.norm.weight", vec![width]),
            ("enc.hid.weight", vec![2 * width, self.encoder_hidden]),
            ("enc.hid.bias", vec![self.encoder_hidden]),
            ("enc.out.weight", vec![self.encoder_hidden, heads]),
            ("enc.out.bias", vec![heads]),
            ("bag.hid.weight", vec![self.bag_width, self.bag_hidden]),
            ("bag.hid.bias", vec![self.bag_hidden]),
            ("bag.out.weight", vec![self.bag_hidden, heads]),
            ("bag.out.bias", vec![heads]),
            ("ans.hid.weight", vec![2 * width + self.bag_width, self.answer_hidden]),
            ("ans.hid.bias", vec![self.answer_hidden]),
            ("ans.out.weight", vec![self.answer_hidden, answers]),
            ("ans.out.bias", vec![answers]),
        ]
        .map(|(name, shape)| (name.to_owned(), shape))
        .into();
        for layer in 0..self.layers {
            let parts = [
                ("n1.weight", vec![width]),
                ("qkv.weight", vec![width, 3 * width]),
                ("o.weight", vec![width, width]),
                ("n2.weight", vec![width]),
                ("f1.weight", vec![width, feed]),
                ("f1.bias", vec![feed]),
                ("f2.weight", vec![feed, width]),
            ];
            all.extend(parts.map(|(part, shape)| (format!("enc.blocks.{layer}.{part}"), shape)));
        }
        let tables = [
            ("enc.word", self.vocab, width),
            ("bag.table", self.buckets, self.bag_width),
            ("ans.table", self.answer_buckets, answers),
        ];
        for (table, rows, columns) in tables {
            let Some(Quant { bits, group }) = self.quant.get(table).copied() else { continue };
            let (bits, group) = (bits as usize, group as usize);
            for (part, columns) in
                [("weight", columns * bits / 32), ("scales", columns / group), ("biases", columns / group)]
            {
                all.push((format!("{table}.{part}"), vec![rows, columns]));
            }
        }
        all
    }

    pub(super) fn check_tensors(&self, found: &HashMap<String, Array>) -> Result<(), String> {
        let wanted = self.tensors();
        let names: BTreeSet<&str> = wanted.iter().map(|(name, _)| name.as_str()).collect();
        if let Some(unknown) = found.keys().find(|name| !names.contains(name.as_str())) {
            return Err(format!("unknown tensor {unknown:?}"));
        }
        for (name, shape) in &wanted {
            let tensor = found.get(name).ok_or_else(|| format!("no tensor {name:?}"))?;
            if !tensor.shape().iter().map(|n| *n as usize).eq(shape.iter().copied()) {
                return Err(format!("tensor {name:?} is {:?}, expected {shape:?}", tensor.shape()));
            }
            let packed = self.quant.keys().any(|table| *name == format!("{table}.weight"));
            let kind = if packed { Dtype::Uint32 } else { Dtype::Float16 };
            if tensor.dtype() != kind {
                return Err(format!("tensor {name:?} holds {:?}, expected {kind:?}", tensor.dtype()));
            }
        }
        Ok(())
    }
}
