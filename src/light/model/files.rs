//! The files of weights of a directory: one `model.safetensors`, or several and an index; what they hold, by their
//! headers alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use safetensors::tensor::Dtype;
use serde::Deserialize;

use super::ModelError;
use crate::intent::encoder::file;

/// What the headers say.
#[derive(Debug)]
pub struct Weights {
    /// The files, in order.
    pub files: Vec<PathBuf>,
    /// Kind and shape by name.
    pub tensors: BTreeMap<String, Held>,
    /// Of all files.
    pub bytes: u64,
}

/// One tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Of its numbers.
    pub dtype: Dtype,
    /// Rows first.
    pub shape: Vec<usize>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Weights {
    /// Reads the headers of a directory's files; none of the weights.
    pub fn look(dir: &Path) -> Result<Self, ModelError> {
        let files = files(dir)?;
        let mut weights = Self { files, tensors: BTreeMap::new(), bytes: 0 };
        for path in &weights.files {
            let header = file::header(path)?;
            weights.bytes += std::fs::metadata(path).map_err(|source| ModelError::io(path, source))?.len();
            for name in header.tensors.offset_keys() {
                let Some(info) = header.tensors.info(&name) else { continue };
                let held = Held { dtype: info.dtype, shape: info.shape.clone() };
                if weights.tensors.insert(name.clone(), held).is_some() {
                    return Err(ModelError::malformed(
                        path,
                        format!("tensor {name:?} is in another file too"),
                    ));
                }
            }
        }
        Ok(weights)
    }

    /// Where complaints about tensors point to.
    pub fn place(&self) -> &Path {
        self.files.first().map_or(Path::new("model.safetensors"), PathBuf::as_path)
    }

    /// Numbers in all tensors, quantised ones counted one by one and their scales not at all.
    pub fn parameters(&self) -> u64 {
        let count = |(name, held): (&String, &Held)| {
            let Some(stem) = name.strip_suffix(".weight") else {
                let scales = name.ends_with(".scales") || name.ends_with(".biases");
                return if scales { 0 } else { product(&held.shape) };
            };
            let scales = self.tensors.get(&format!("{stem}.scales"));
            match scales {
                // As many groups as scales; their length is one of three, and bits must come out whole.
                Some(scales) => packing(&held.shape, &scales.shape)
                    .map_or_else(|| product(&held.shape), |(group, _)| product(&scales.shape) * group as u64),
                None => product(&held.shape),
            }
        };
        self.tensors.iter().map(count).sum()
    }
}

fn product(shape: &[usize]) -> u64 {
    shape.iter().map(|n| *n as u64).product()
}

/// Group size and bits that a packed matrix and its scales may have. Where several fit the likeliest is taken.
fn packing(packed: &[usize], scales: &[usize]) -> Option<(i32, i32)> {
    let (words, groups) = (*packed.last()?, *scales.last()?);
    [64, 32, 128].into_iter().find_map(|group| {
        let bits = (words * 32).checked_div(groups * group)?;
        let whole = bits * groups * group == words * 32;
        (whole && [4, 8].contains(&bits)).then_some((group as i32, bits as i32))
    })
}

fn files(dir: &Path) -> Result<Vec<PathBuf>, ModelError> {
    let index = dir.join("model.safetensors.index.json");
    let single = dir.join("model.safetensors");
    if single.exists() || !index.exists() {
        return Ok(vec![single]);
    }
    let text = std::fs::read(&index).map_err(|source| ModelError::io(&index, source))?;
    let map: Index =
        serde_json::from_slice(&text).map_err(|e| ModelError::malformed(&index, e.to_string()))?;
    let names: BTreeSet<String> = map.weight_map.into_values().collect();
    for name in &names {
        if name.contains(['/', '\\']) || name.contains("..") || !name.ends_with(".safetensors") {
            return Err(ModelError::malformed(&index, format!("{name:?} is no file of this directory")));
        }
    }
    if names.is_empty() {
        return Err(ModelError::malformed(&index, "names no files".to_owned()));
    }
    Ok(names.into_iter().map(|name| dir.join(name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_numbers_are_counted_one_by_one() {
        let held = |dtype, shape: &[usize]| Held { dtype, shape: shape.to_vec() };
        let tensors = [
            ("a.weight", held(Dtype::U32, &[10, 8])),
            ("a.scales", held(Dtype::F16, &[10, 1])),
            ("a.biases", held(Dtype::F16, &[10, 1])),
            ("norm.weight", held(Dtype::F16, &[64])),
            ("a.bias", held(Dtype::F16, &[10])),
        ];
        let tensors = tensors.map(|(name, held)| (name.to_owned(), held)).into();
        let weights = Weights { files: Vec::new(), tensors, bytes: 0 };
        assert_eq!(weights.parameters(), 640 + 64 + 10);
        assert_eq!(packing(&[10, 16], &[10, 1]), Some((64, 8)));
        assert_eq!(packing(&[10, 12], &[10, 3]), Some((32, 4)));
        assert_eq!(packing(&[10, 5], &[10, 3]), None);
    }

    #[test]
    fn an_index_may_not_point_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let index = dir.path().join("model.safetensors.index.json");
        std::fs::write(&index, r#"{"weight_map": {"a": "../b.safetensors"}}"#).unwrap();
        let error = Weights::look(dir.path()).unwrap_err().to_string();
        assert!(error.contains("\"../b.safetensors\" is no file of this directory"), "{error}");
    }
}
