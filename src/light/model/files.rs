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
    fn an_index_may_not_point_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let index = dir.path().join("model.safetensors.index.json");
        std::fs::write(&index, r#"{"weight_map": {"a": "../b.safetensors"}}"#).unwrap();
        let error = Weights::look(dir.path()).unwrap_err().to_string();
        assert!(error.contains("\"../b.safetensors\" is no file of this directory"), "{error}");
    }
}
