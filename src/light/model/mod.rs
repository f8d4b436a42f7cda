//! A language model from a directory in Hugging Face's layout, as `mlx-community` publishes them.
//!
//! | file of the directory | what of it |
//! |---|---|
//! | `config.json` | family and sizes ([`spec`], [`rope`]) |
//! | `model.safetensors`, or several and an index | weights, whole or quantised ([`files`], [`build`]) |
//! | `tokenizer.json`, `generation_config.json` | tokens, and which of them end a text ([`words`]) |
//! | `chat_template.jinja` or `tokenizer_config.json` | how a conversation is written ([`chat`]) |
//!
//! [`decoder`] is the forward pass, [`cache`] what it remembers, [`layers`] what it multiplies by; [`choose`] and
//! [`write`] are what is done with it.

pub mod build;
pub mod cache;
pub mod chat;
pub mod choose;
pub mod decoder;
pub mod files;
pub mod layers;
pub mod rope;
pub mod sample;
pub mod spec;
pub mod words;
pub mod write;

use std::path::Path;

use mlx_rs::error::Exception;
use mlx_rs::{Array, Device, Dtype, Stream, with_stream};

use self::cache::Cache;
use self::chat::Chat;
use self::decoder::Decoder;
use self::files::Weights;
use self::layers::Matrix;
use self::spec::Spec;
use self::words::Words;
pub use crate::intent::weights::ModelError;
use crate::light::prompt::{About, Limits, Prompt, Refusal, Written};
use crate::light::worker::Generator;

/// Tokens that are read in one go: between two goes a deadline is looked at.
const CHUNK: usize = 512;

/// A loaded model. Stays on the thread that loaded it: MLX streams belong to threads.
pub struct Model {
    stream: Stream,
    decoder: Decoder,
    words: Words,
    chat: Chat,
    about: About,
    /// What was read last; a prompt that begins alike is read from where it differs.
    cache: Cache,
    read: Vec<u32>,
}

/// What a model may have at most; whoever has more is refused before its weights are read.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Numbers.
    pub parameters: u64,
    /// Of the files of weights.
    pub bytes: u64,
    /// Tokens of prompt and reply together; the model's own limit, if that is lower.
    pub context: usize,
}

/// Whether a request is still wanted. Asked between steps.
pub type Wanted<'a> = &'a dyn Fn() -> bool;

impl Model {
    /// Reads a directory and puts the weights on MLX's default device.
    pub fn load(dir: &Path, bounds: &Bounds) -> Result<Self, ModelError> {
        let spec = Spec::read(dir)?;
        let weights = Weights::look(dir)?;
        let parameters = build::parameters(&spec, &weights);
        let over = |what: &str, has: u64, most: u64| {
            ModelError::malformed(dir, format!("{has} {what}, above the limit of {most} (light.only_light)"))
        };
        if parameters > bounds.parameters {
            return Err(over("parameters", parameters, bounds.parameters));
        }
        if weights.bytes > bounds.bytes {
            return Err(over("bytes", weights.bytes, bounds.bytes));
        }
        let mut words = Words::read(dir, &spec)?;
        let chat = Chat::read(dir)?;
        words.ends_with(chat.eos());
        let context = spec.positions.min(bounds.context);
        let mlx = |e: Exception| ModelError::Mlx(e.what().to_owned());
        let stream =
            Device::try_default().and_then(|device| Stream::try_default_on_device(&device)).map_err(mlx)?;
        let blocks = spec.blocks.len();
        let decoder = with_stream(&stream, || build::decoder(spec, &weights, context))?;
        let about = About {
            name: dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            kind: format!("{}, {}", decoder.spec.kind, precision(&decoder)),
            parameters,
            bytes: weights.bytes,
            context,
        };
        Ok(Self { stream, decoder, words, chat, about, cache: Cache::new(blocks), read: Vec::new() })
    }

    /// What it is.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// The tokens of a prompt and its text, if they fit.
    fn prompt(&self, prompt: &Prompt) -> Result<(String, Vec<u32>), Refusal> {
        let (text, tokens) = self.chat.tokens(prompt, &self.words).map_err(Refusal::Failed)?;
        if tokens.len() >= self.about.context {
            return Err(Refusal::TooLong { tokens: tokens.len(), limit: self.about.context - 1 });
        }
        Ok((text, tokens))
    }

    /// Reads tokens as if they were the first; logits of the last one (1 × vocabulary) come back, not yet evaluated.
    fn read(&mut self, tokens: &[u32], wanted: Wanted<'_>) -> Result<Array, Refusal> {
        let alike = self.read.iter().zip(tokens).take_while(|(a, b)| a == b).count();
        let alike = alike.min(tokens.len().saturating_sub(1));
        if alike == 0 {
            self.forget();
        }
        self.cut(alike);
        let rest = tokens.get(alike..).unwrap_or_default();
        let mut chunks = rest.chunks(CHUNK).peekable();
        while let Some(chunk) = chunks.next() {
            if !wanted() {
                return Err(Refusal::Deadline);
            }
            let vectors = self.on(|model| {
                let ids = Array::from_slice(chunk, &[1, chunk.len() as i32]);
                model.decoder.read(&ids, &mut model.cache, &model.stream)
            })?;
            self.read.extend_from_slice(chunk);
            if chunks.peek().is_none() {
                return self.on(|model| model.decoder.last(&vectors, &model.stream));
            }
            self.on(|model| mlx_rs::transforms::eval(model.cache.arrays()))?;
        }
        Err(Refusal::Failed("the prompt is empty".to_owned()))
    }

    /// Does something on MLX; whatever goes wrong, what was read before is no longer trusted.
    fn on<T>(&mut self, what: impl FnOnce(&mut Self) -> Result<T, Exception>) -> Result<T, Refusal> {
        let stream = self.stream.clone();
        with_stream(&stream, || what(self)).map_err(|e| {
            self.forget();
            Refusal::Failed(format!("mlx: {}", e.what()))
        })
    }

    /// Reads the prompt anew next time.
    fn forget(&mut self) {
        self.cache = Cache::new(self.decoder.spec.blocks.len());
        self.read.clear();
    }

    /// Forgets all but the first so many tokens.
    fn cut(&mut self, tokens: usize) {
        self.read.truncate(tokens);
        self.cache.cut(i32::try_from(tokens).unwrap_or(i32::MAX));
    }

    /// Logits as numbers.
    fn numbers(&mut self, logits: &Array) -> Result<Vec<f32>, Refusal> {
        let numbers = self.on(|_| {
            let wide = logits.as_dtype(Dtype::Float32)?;
            wide.eval()?;
            wide.to_vec_exact::<f32>().map_err(|e| Exception::from(e.to_string().as_str()))
        })?;
        if numbers.iter().any(|n| n.is_nan()) {
            self.forget();
            return Err(Refusal::Failed("the model's logits are no numbers".to_owned()));
        }
        Ok(numbers)
    }

    /// The tokens that a prompt is read as.
    ///
    /// # Errors
    /// If the template fails or they do not fit.
    pub fn tokens(&self, prompt: &Prompt) -> Result<Vec<u32>, Refusal> {
        self.prompt(prompt).map(|(_, tokens)| tokens)
    }

    /// Logits of every token of a sequence, for comparison with other implementations.
    ///
    /// # Errors
    /// What MLX says.
    pub fn logits(&mut self, tokens: &[u32]) -> Result<Vec<Vec<f32>>, Refusal> {
        self.forget();
        let logits = self.on(|model| {
            let ids = Array::from_slice(tokens, &[1, tokens.len() as i32]);
            let vectors = model.decoder.read(&ids, &mut model.cache, &model.stream)?;
            model.decoder.logits(&vectors)
        })?;
        let numbers = self.numbers(&logits)?;
        self.forget();
        Ok(numbers.chunks(self.decoder.spec.vocab.max(1) as usize).map(<[f32]>::to_vec).collect())
    }
}

impl Generator for Model {
    fn about(&self) -> About {
        self.about.clone()
    }

    fn choose(
        &mut self,
        prompt: &Prompt,
        choices: &[String],
        wanted: Wanted<'_>,
    ) -> Result<Vec<f32>, Refusal> {
        Self::choose(self, prompt, choices, wanted)
    }

    fn write(
        &mut self,
        prompt: &Prompt,
        limits: &Limits,
        wanted: Wanted<'_>,
        listener: &mut dyn FnMut(&str) -> bool,
    ) -> Result<Written, Refusal> {
        Self::write(self, prompt, limits, wanted, listener)
    }
}

fn precision(decoder: &Decoder) -> String {
    let whole = match build::precision(decoder) {
        Dtype::Float32 => "f32",
        Dtype::Float16 => "f16",
        Dtype::Bfloat16 => "bf16",
        _ => "of another precision",
    };
    // The blocks are what a model is called by.
    match decoder.blocks.first().map(|block| &block.down.matrix) {
        Some(Matrix::Packed { bits, .. }) => format!("{bits} bit"),
        _ => whole.to_owned(),
    }
}
