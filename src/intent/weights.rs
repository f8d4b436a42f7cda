//! The model's file: one `.safetensors` with everything that classifying needs, checked before use.
//!
//! Tensors: `table` (F16, buckets × dim), `hidden.weight` (F32, dim × hidden), `hidden.bias`, `out.weight`
//! (F32, hidden × 5), `out.bias`. `__metadata__` says how features are made, which labels there are, the
//! thresholds and where it all comes from. Anything missing, unknown, cut off or of another shape is refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::features::{self, Settings};
use crate::category::Label;

/// Of the file's layout.
pub const FORMAT: &str = "brainstem-bag/1";
/// No model of this kind is larger.
const MAX_FILE: u64 = 256 << 20;
/// No header is larger.
const MAX_HEADER: usize = 1 << 20;

/// Why a model file was refused.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// It cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It is no model of ours, or not all of it.
    #[error("{}: {what}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// MLX refused the tensors or the first evaluation.
    #[error("mlx: {0}")]
    Mlx(String),
    /// The model loaded, but a known text did not come out as it should.
    #[error("the model's self-check: {0}")]
    Canary(String),
}

impl ModelError {
    /// What the system says of a file.
    pub fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    /// What is wrong with a file.
    pub fn malformed(path: &Path, what: impl Into<String>) -> Self {
        Self::Malformed { path: path.to_owned(), what: what.into() }
    }
}

/// A model at rest: plain numbers, no MLX.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    /// How a text becomes features.
    pub settings: Settings,
    /// Width of a row of the table.
    pub dim: usize,
    /// Width of the hidden layer.
    pub hidden: usize,
    /// Half-precision bits, row by row.
    pub table: Vec<u16>,
    /// dim × hidden.
    pub hidden_weight: Vec<f32>,
    /// hidden.
    pub hidden_bias: Vec<f32>,
    /// hidden × 5.
    pub out_weight: Vec<f32>,
    /// 5.
    pub out_bias: Vec<f32>,
    /// Logits are divided by it, so that probabilities mean what they say.
    pub temperature: f32,
    /// A greeting counts from this probability on.
    pub greeting_from: f32,
    /// Any other label counts from this probability on.
    pub sure_from: f32,
    /// What it was trained on and how it did: free text for people, by name.
    pub notes: BTreeMap<String, String>,
}

impl Weights {
    /// Reads and checks a file.
    pub fn load(path: &Path) -> Result<Self, ModelError> {
        let io = |source| ModelError::Io { path: path.to_owned(), source };
        let size = std::fs::metadata(path).map_err(io)?.len();
        let malformed = |what| ModelError::Malformed { path: path.to_owned(), what };
        if size > MAX_FILE {
            return Err(malformed(format!("{size} bytes, more than a model of this kind has ({MAX_FILE})")));
        }
        Self::parse(&std::fs::read(path).map_err(io)?).map_err(malformed)
    }

    /// Writes a file, whole or not at all (beside it first, then renamed).
    pub fn save(&self, path: &Path) -> Result<(), ModelError> {
        let io = |source| ModelError::Io { path: path.to_owned(), source };
        let mut beside = path.as_os_str().to_owned();
        beside.push(".part");
        std::fs::write(&beside, self.bytes()).map_err(io)?;
        std::fs::rename(&beside, path).map_err(io)
    }

    /// The file's content; the same weights give the same bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut data = Vec::with_capacity(self.table.len() * 2 + 4096);
        let mut header = Map::new();
        header.insert("__metadata__".into(), json!(self.metadata()));
        let mut tensor = |name: &str, dtype: &str, shape: Vec<usize>, bytes: &mut dyn Iterator<Item = u8>| {
            let start = data.len();
            data.extend(bytes);
            header.insert(
                name.into(),
                json!({"dtype": dtype, "shape": shape, "data_offsets": [start, data.len()]}),
            );
        };
        let [table, hidden, hidden_bias, out, out_bias] = self.shapes();
        tensor(table.0, table.1, table.2, &mut self.table.iter().flat_map(|v| v.to_le_bytes()));
        for ((name, dtype, shape), values) in [
            (hidden, &self.hidden_weight),
            (hidden_bias, &self.hidden_bias),
            (out, &self.out_weight),
            (out_bias, &self.out_bias),
        ] {
            tensor(name, dtype, shape, &mut values.iter().flat_map(|v| v.to_le_bytes()));
        }
        let mut text = Value::Object(header).to_string().into_bytes();
        text.resize(text.len().next_multiple_of(8), b' ');
        let mut file = (text.len() as u64).to_le_bytes().to_vec();
        file.extend(text);
        file.extend(data);
        file
    }

    /// The tensors that a file must have, no more and no less.
    fn shapes(&self) -> [(&'static str, &'static str, Vec<usize>); 5] {
        let (dim, hidden, labels) = (self.dim, self.hidden, Label::ALL.len());
        [
            ("table", "F16", vec![self.settings.buckets as usize, dim]),
            ("hidden.weight", "F32", vec![dim, hidden]),
            ("hidden.bias", "F32", vec![hidden]),
            ("out.weight", "F32", vec![hidden, labels]),
            ("out.bias", "F32", vec![labels]),
        ]
    }

    fn metadata(&self) -> BTreeMap<String, String> {
        let mut all: BTreeMap<String, String> =
            self.notes.iter().map(|(name, value)| (format!("note.{name}"), value.clone())).collect();
        for (name, value) in [
            ("format", FORMAT.to_owned()),
            ("features", features::VERSION.to_string()),
            ("labels", Label::ALL.map(Label::name).join(",")),
            ("buckets", self.settings.buckets.to_string()),
            ("gram_min", self.settings.gram_min.to_string()),
            ("gram_max", self.settings.gram_max.to_string()),
            ("dim", self.dim.to_string()),
            ("hidden", self.hidden.to_string()),
            ("temperature", self.temperature.to_string()),
            ("greeting_from", self.greeting_from.to_string()),
            ("sure_from", self.sure_from.to_string()),
        ] {
            all.insert(name.to_owned(), value);
        }
        all
    }

    /// A file's content, or what is wrong with it.
    fn parse(file: &[u8]) -> Result<Self, String> {
        let (length, rest) = file.split_first_chunk::<8>().ok_or("cut off: no safetensors header")?;
        let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
        if length > MAX_HEADER {
            return Err(format!("no safetensors file: its header would be {length} bytes long"));
        }
        let header = rest.get(..length).ok_or("cut off inside the header")?;
        let mut header: Map<String, Value> =
            serde_json::from_slice(header).map_err(|e| format!("the header is no JSON object: {e}"))?;
        let metadata =
            header.remove("__metadata__").ok_or("no __metadata__: not written by `brainstem train`")?;
        let metadata: BTreeMap<String, String> =
            serde_json::from_value(metadata).map_err(|e| format!("__metadata__: {e}"))?;
        let mut weights = Self::empty(&metadata)?;
        let shapes = weights.shapes();
        if let Some(unknown) = header.keys().find(|k| shapes.iter().all(|(name, ..)| k != name)) {
            return Err(format!("unknown tensor {unknown:?}"));
        }
        let data = &rest[length..];
        let mut end = 0;
        let mut bytes = Vec::new();
        for (name, dtype, shape) in shapes {
            let entry = header.get(name).ok_or_else(|| format!("no tensor {name:?}"))?;
            let (found, start) = (entry.clone(), end);
            end += shape.iter().product::<usize>() * if dtype == "F16" { 2 } else { 4 };
            let expected = json!({"dtype": dtype, "shape": shape, "data_offsets": [start, end]});
            if found != expected {
                return Err(format!("tensor {name:?} is {found}, expected {expected}"));
            }
            bytes.push(data.get(start..end).ok_or_else(|| {
                format!("cut off: {} bytes of tensors, {name:?} ends at {end}", data.len())
            })?);
        }
        if data.len() != end {
            return Err(format!("{} bytes after the last tensor", data.len() - end));
        }
        weights.table = bytes[0].chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect();
        let [hidden_weight, hidden_bias, out_weight, out_bias] = [1, 2, 3, 4].map(|i| floats(bytes[i]));
        Ok(Self { hidden_weight, hidden_bias, out_weight, out_bias, ..weights })
    }

    /// All that the metadata says, without tensors.
    fn empty(metadata: &BTreeMap<String, String>) -> Result<Self, String> {
        let value = |name: &str| metadata.get(name).ok_or_else(|| format!("__metadata__ lacks {name:?}"));
        let expect = |name: &str, expected: String| {
            let found = value(name)?;
            if *found == expected {
                Ok(())
            } else {
                Err(format!("{name} is {found:?}, expected {expected:?}"))
            }
        };
        expect("format", FORMAT.to_owned())?;
        expect("features", features::VERSION.to_string())?;
        expect("labels", Label::ALL.map(Label::name).join(","))?;
        let whole = |name: &str, max: usize| {
            let text = value(name)?;
            text.parse()
                .ok()
                .filter(|n| (1..=max).contains(n))
                .ok_or_else(|| format!("{name} is {text:?}, expected a whole number from 1 to {max}"))
        };
        let share = |name: &str, max: f32| {
            let text = value(name)?;
            text.parse()
                .ok()
                .filter(|n| (0.0..=max).contains(n))
                .ok_or_else(|| format!("{name} is {text:?}, expected a number from 0 to {max}"))
        };
        Ok(Self {
            settings: Settings {
                buckets: whole("buckets", 1 << 22)? as u32,
                gram_min: whole("gram_min", features::MAX_CHARS)?,
                gram_max: whole("gram_max", features::MAX_CHARS)?,
            },
            dim: whole("dim", 1024)?,
            hidden: whole("hidden", 1024)?,
            table: Vec::new(),
            hidden_weight: Vec::new(),
            hidden_bias: Vec::new(),
            out_weight: Vec::new(),
            out_bias: Vec::new(),
            temperature: share("temperature", 100.0)?.max(0.01),
            greeting_from: share("greeting_from", 1.0)?,
            sure_from: share("sure_from", 1.0)?,
            notes: metadata
                .iter()
                .filter_map(|(name, value)| Some((name.strip_prefix("note.")?.to_owned(), value.clone())))
                .collect(),
        })
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

/// The nearest half-precision number, ties to even; too large becomes the largest.
pub fn to_half(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = ((bits >> 16) & 0x8000) as u16;
    let magnitude = f32::from_bits(bits & 0x7fff_ffff);
    if magnitude >= 65504.0 {
        return sign | 0x7bff;
    }
    if magnitude < 6.103_515_6e-5 {
        // Subnormal: a whole number of 2^-24.
        return sign | (magnitude * 16_777_216.0).round_ties_even() as u16;
    }
    let bits = magnitude.to_bits();
    let rounded = bits + 0x0fff + ((bits >> 13) & 1);
    sign | ((rounded >> 13) - (112 << 10)) as u16
}

/// What a half-precision number stands for.
pub fn from_half(bits: u16) -> f32 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f32::from(bits & 0x3ff));
    match exponent {
        0 => sign * fraction * 2f32.powi(-24),
        31 => f32::NAN,
        _ => sign * (1.0 + fraction / 1024.0) * 2f32.powi(exponent - 15),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Weights {
        Weights {
            settings: Settings { buckets: 3, gram_min: 3, gram_max: 5 },
            dim: 2,
            hidden: 2,
            table: [1.0, -2.0, 0.5, 0.0, 0.25, 3.0].map(to_half).to_vec(),
            hidden_weight: vec![1.0, 2.0, 3.0, 4.0],
            hidden_bias: vec![0.0; 2],
            out_weight: vec![0.5; 10],
            out_bias: vec![0.1; 5],
            temperature: 1.5,
            greeting_from: 0.9,
            sure_from: 0.3,
            notes: BTreeMap::from([("data".to_owned(), "made up".to_owned())]),
        }
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.safetensors");
        small().save(&path).unwrap();
        assert_eq!(Weights::load(&path).unwrap(), small());
        assert_eq!(small().bytes(), small().bytes());
        let missing = Weights::load(&dir.path().join("none")).unwrap_err().to_string();
        assert!(missing.contains("none: No such file"), "{missing}");
    }

    #[test]
    fn a_file_cut_off_anywhere_is_refused() {
        let bytes = small().bytes();
        for length in 0..bytes.len() {
            assert!(Weights::parse(&bytes[..length]).is_err(), "{length} of {} bytes", bytes.len());
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(Weights::parse(&longer).unwrap_err(), "1 bytes after the last tensor");
    }

    /// The file with one thing in its header replaced by another of the same length.
    fn altered(from: &str, to: &str) -> String {
        let mut bytes = small().bytes();
        assert_eq!(from.len(), to.len());
        let at = bytes.windows(from.len()).position(|w| w == from.as_bytes()).unwrap();
        bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
        Weights::parse(&bytes).unwrap_err()
    }

    #[test]
    fn what_does_not_fit_is_named() {
        assert!(altered("brainstem-bag/1", "brainstem-bag/9").starts_with("format is \"brainstem-bag/9\""));
        assert!(altered("greeting,data", "greetink,data").starts_with("labels is "));
        assert!(altered("\"buckets\":\"3\"", "\"buckets\":\"4\"").starts_with("tensor \"table\" is "));
        assert!(altered("\"out.bias\"", "\"out.bios\"").starts_with("unknown tensor \"out.bios\""));
        assert!(altered("\"dim\":", "\"dum\":").contains("lacks \"dim\""));
        assert!(altered("\"dim\":\"2\"", "\"dim\":\"x\"").contains("dim is \"x\""));
    }

    #[test]
    fn halves_are_rounded_to_the_nearest() {
        for (value, bits) in
            [(0.0, 0), (1.0, 0x3c00), (-2.0, 0xc000), (65504.0, 0x7bff), (1e9, 0x7bff), (5.960_464_5e-8, 1)]
        {
            assert_eq!(to_half(value), bits, "{value}");
        }
        assert_eq!(to_half(1.0 + 1.0 / 2048.0), 0x3c00, "a tie goes to even");
        assert_eq!(to_half(1.0 + 3.0 / 2048.0), 0x3c02);
        assert_eq!(to_half(6.103e-5), 0x0400, "rounds up into the normal range");
        for bits in (0..0x7c00).chain(0x8000..0xfc00) {
            assert_eq!(to_half(from_half(bits)), bits);
        }
    }
}
