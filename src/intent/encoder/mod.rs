//! Encoders of the BERT family from Hugging Face style directories: MiniLM, E5, BGE and their kin.
//!
//! | file of the directory | what of it |
//! |---|---|
//! | `config.json`, `modules.json`, … | sizes, pooling, prefix ([`shape`]) |
//! | `tokenizer.json` | pieces (the `tokenizers` crate) |
//! | `model.safetensors` | weights in F32, F16 or BF16 ([`file`], [`forward`]) |
//! | `head.safetensors` | what makes labels of a vector ([`head`]); made from our phrases if it is not there |
//!
//! [`Encoder`] makes vectors, [`Headed`] verdicts.

pub mod file;
pub mod forward;
pub mod head;
pub mod headed;
pub mod shape;

use std::path::{Path, PathBuf};

use mlx_rs::error::Exception;
use mlx_rs::{Device, DeviceType, Stream, with_stream};
use tokenizers::{Tokenizer, TruncationParams};

pub use headed::Headed;

use self::forward::Bert;
use self::shape::{Manner, Shape};
use super::ClassifyError;
use super::weights::ModelError;

/// Texts that are read at once where there are many: a wider one is no faster on the CPU.
const BATCH: usize = 16;

/// A loaded encoder. Stays on the thread that loaded it: MLX streams belong to threads.
pub struct Encoder {
    stream: Stream,
    tokenizer: Tokenizer,
    bert: Bert,
    manner: Manner,
    width: usize,
    fingerprint: u64,
    about: String,
}

impl Encoder {
    /// Reads a directory and puts the weights on MLX, on the CPU stream like the default classifier.
    pub fn load(dir: &Path) -> Result<Self, ModelError> {
        let shape = Shape::read(dir)?;
        let manner = Manner::read(dir, &shape)?;
        let tokenizer = tokenizer(&dir.join("tokenizer.json"), &manner, &shape)?;
        let path: PathBuf = dir.join("model.safetensors");
        let header = file::header(&path)?;
        let print =
            file::fingerprint(&path).map_err(|source| ModelError::Io { path: path.clone(), source })?;
        let mlx = |e: Exception| ModelError::Mlx(e.what().to_owned());
        let stream = Stream::try_default_on_device(&Device::new(DeviceType::Cpu, 0)).map_err(mlx)?;
        let (width, about) = (shape.hidden_size, shape.describe());
        let bert = with_stream(&stream, || Bert::load(&path, &header, shape))?;
        // Vectors depend on the manner, too: a head that was made with another one does not fit.
        let fingerprint = crate::fnv::more(print, format!("{manner:?}").as_bytes());
        let about = format!("{about}, {:.1} M parameters", header.parameters as f64 / 1e6);
        Ok(Self { stream, tokenizer, bert, manner, width, fingerprint, about })
    }

    /// The pieces of a text: the prefix, the marks of beginning and end, cut to what the model reads.
    pub fn pieces(&self, text: &str) -> Result<Vec<u32>, ClassifyError> {
        let text = format!("{}{text}", self.manner.prefix);
        let encoded = self.tokenizer.encode(text, true).map_err(|e| ClassifyError::Mlx(e.to_string()))?;
        if encoded.is_empty() {
            return Err(ClassifyError::Mlx("the tokenizer makes nothing of a text".into()));
        }
        Ok(encoded.get_ids().to_vec())
    }

    /// A text as a vector.
    pub fn embed(&self, text: &str) -> Result<Vec<f32>, ClassifyError> {
        let mut vectors = self.batch(&[self.pieces(text)?])?;
        vectors.pop().ok_or_else(|| ClassifyError::Mlx("no vector came back".into()))
    }

    /// Many texts as vectors, in their order; texts of like length go together.
    pub fn embed_all(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, ClassifyError> {
        let pieces: Vec<Vec<u32>> = texts.iter().map(|text| self.pieces(text)).collect::<Result<_, _>>()?;
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|i| pieces[*i].len());
        let mut vectors = vec![Vec::new(); texts.len()];
        for batch in order.chunks(BATCH) {
            let ids: Vec<Vec<u32>> = batch.iter().map(|i| pieces[*i].clone()).collect();
            for (i, vector) in batch.iter().zip(self.batch(&ids)?) {
                vectors[*i] = vector;
            }
        }
        Ok(vectors)
    }

    fn batch(&self, texts: &[Vec<u32>]) -> Result<Vec<Vec<f32>>, ClassifyError> {
        let pooled = with_stream(&self.stream, || {
            let pooled = self.bert.read(texts, self.manner.pooling)?;
            pooled.eval()?;
            Ok::<_, Exception>(pooled)
        });
        let pooled = pooled.map_err(|e| ClassifyError::Mlx(e.what().to_owned()))?;
        let numbers: Vec<f32> = pooled.to_vec_exact().map_err(|e| ClassifyError::Mlx(e.to_string()))?;
        let mut vectors: Vec<Vec<f32>> = numbers.chunks_exact(self.width).map(<[f32]>::to_vec).collect();
        for vector in &mut vectors {
            let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
            if !length.is_finite() {
                return Err(ClassifyError::Mlx("the vector is no number".into()));
            }
            if self.manner.normalize {
                vector.iter_mut().for_each(|x| *x /= length.max(1e-12));
            }
        }
        Ok(vectors)
    }

    /// Length of the vectors.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Differs for other weights, another pooling or another prefix.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Kind and size.
    pub fn describe(&self) -> &str {
        &self.about
    }
}

/// The tokenizer, with the cutting and padding that its file may ask for replaced by ours.
fn tokenizer(path: &Path, manner: &Manner, shape: &Shape) -> Result<Tokenizer, ModelError> {
    let bytes = std::fs::read(path).map_err(|source| ModelError::Io { path: path.to_owned(), source })?;
    let malformed = |what: String| ModelError::Malformed { path: path.to_owned(), what };
    let mut tokenizer = Tokenizer::from_bytes(bytes).map_err(|e| malformed(e.to_string()))?;
    tokenizer.with_padding(None);
    let cut = TruncationParams { max_length: manner.max_tokens, ..TruncationParams::default() };
    tokenizer.with_truncation(Some(cut)).map_err(|e| malformed(e.to_string()))?;
    // A piece without a row would read memory that is none of its business.
    let last = tokenizer.get_vocab(true).into_values().max().unwrap_or(0) as usize;
    if last >= shape.vocab_size {
        return Err(malformed(format!(
            "has a piece {last}, config.json's vocab_size is {}",
            shape.vocab_size
        )));
    }
    Ok(tokenizer)
}
