//! The forward pass of the five families: a generic decoder with the switches of [`Spec`].
//!
//! Shapes: 1 text of n tokens, w = `width`, h heads of queries, k of keys and values (Ainslie et al., 2023, "GQA").

use mlx_rs::error::Exception;
use mlx_rs::fast::{ScaledDotProductAttentionMask, rms_norm, scaled_dot_product_attention};
use mlx_rs::ops::indexing::TryIndexOp;
use mlx_rs::ops::{add, divide, multiply, tanh};
use mlx_rs::{Array, Dtype, Stream};

use super::cache::Cache;
use super::layers::{Linear, Matrix, gelu, silu};
use super::rope::Turn;
use super::spec::Spec;

/// The weights on MLX. Belong to the thread, as all arrays.
pub struct Decoder {
    pub(super) spec: Spec,
    pub(super) words: Matrix,
    pub(super) blocks: Vec<Block>,
    pub(super) norm: Array,
    /// None if the table of tokens is the last layer too.
    pub(super) head: Option<Linear>,
}

pub(super) struct Block {
    pub(super) turn: Turn,
    pub(super) window: Option<i32>,
    pub(super) attention: Attention,
    pub(super) before_attention: Array,
    /// Gemma's only.
    pub(super) after_attention: Option<Array>,
    pub(super) before_feed: Array,
    /// Gemma's only.
    pub(super) after_feed: Option<Array>,
    pub(super) gate: Gate,
    pub(super) down: Linear,
}

pub(super) struct Attention {
    pub(super) queries: Queries,
    pub(super) q_norm: Option<Array>,
    pub(super) k_norm: Option<Array>,
    pub(super) out: Linear,
}

pub(super) enum Queries {
    Apart { q: Linear, k: Linear, v: Linear },
    Fused(Linear),
}

pub(super) enum Gate {
    Apart { gate: Linear, up: Linear },
    Fused(Linear),
}

impl Decoder {
    /// Reads tokens (1 × n) behind those in the cache; vectors of all of them come back (1 × n × w).
    pub fn read(&self, ids: &Array, cache: &mut Cache, stream: &Stream) -> Result<Array, Exception> {
        let tokens = ids.shape().get(1).copied().unwrap_or(0);
        let at = cache.tokens();
        let mut x = self.words.rows(ids)?;
        if self.spec.gemma {
            // Rounded as it was in training.
            let root = Array::from_f32((self.spec.width as f32).sqrt()).as_dtype(Dtype::Bfloat16)?;
            x = multiply(&x, root.as_dtype(x.dtype())?)?;
        }
        for (index, block) in self.blocks.iter().enumerate() {
            let inner = rms_norm(&x, Some(&block.before_attention), self.spec.eps)?;
            let mut seen = self.attend(block, index, &inner, cache, stream)?;
            if let Some(norm) = &block.after_attention {
                seen = rms_norm(&seen, Some(norm), self.spec.eps)?;
            }
            x = sum(&x, &seen, self.spec.gemma)?;
            let inner = rms_norm(&x, Some(&block.before_feed), self.spec.eps)?;
            let mut fed = block.down.of(&self.gated(&block.gate, &inner)?)?;
            if let Some(norm) = &block.after_feed {
                fed = rms_norm(&fed, Some(norm), self.spec.eps)?;
            }
            x = sum(&x, &fed, self.spec.gemma)?;
        }
        cache.advance(tokens);
        debug_assert_eq!(cache.tokens(), at + tokens);
        Ok(x)
    }

    /// Logits of the last of the tokens (1 × vocabulary).
    pub fn last(&self, vectors: &Array, stream: &Stream) -> Result<Array, Exception> {
        let last = vectors.shape().get(1).map_or(0, |n| n - 1);
        let vector = vectors.try_index_device((.., last, ..), stream)?;
        self.logits(&vector)
    }

    /// Logits of vectors.
    pub fn logits(&self, vectors: &Array) -> Result<Array, Exception> {
        let vectors = rms_norm(vectors, Some(&self.norm), self.spec.eps)?;
        let logits = match &self.head {
            Some(head) => head.of(&vectors)?,
            None => self.words.of(&vectors)?,
        };
        match self.spec.soft_cap {
            Some(cap) => {
                let cap = Array::from_f32(cap).as_dtype(logits.dtype())?;
                multiply(tanh(divide(logits, &cap)?)?, &cap)
            }
            None => Ok(logits),
        }
    }

    fn attend(
        &self,
        block: &Block,
        index: usize,
        x: &Array,
        cache: &mut Cache,
        stream: &Stream,
    ) -> Result<Array, Exception> {
        let spec = &self.spec;
        let n = x.shape().get(1).copied().unwrap_or(0);
        let at = cache.tokens();
        let (q, k, v) = match &block.attention.queries {
            Queries::Apart { q, k, v } => (q.of(x)?, k.of(x)?, v.of(x)?),
            Queries::Fused(all) => {
                let (q, k) = (spec.heads * spec.head, spec.kv_heads * spec.head);
                let parts = all.of(x)?.split_at_indices(&[q, q + k], -1)?;
                match <[Array; 3]>::try_from(parts) {
                    Ok([q, k, v]) => (q, k, v),
                    Err(_) => return Err(Exception::from("queries, keys and values did not come apart")),
                }
            }
        };
        let heads = |x: Array, heads: i32, norm: Option<&Array>| {
            let x = x.reshape(&[1, n, heads, spec.head])?;
            let x = match norm {
                Some(norm) => rms_norm(&x, Some(norm), spec.eps)?,
                None => x,
            };
            x.transpose_axes(&[0, 2, 1, 3])
        };
        let q = heads(q, spec.heads, block.attention.q_norm.as_ref())?;
        let k = heads(k, spec.kv_heads, block.attention.k_norm.as_ref())?;
        let v = heads(v, spec.kv_heads, None)?;
        let (q, k) = (block.turn.of(&q, at)?, block.turn.of(&k, at)?);
        let Some(kept) = cache.block(index) else { return Err(Exception::from("a block has no cache")) };
        let (mut k, mut v) = kept.put(&k, &v, at, stream)?;
        let all = at + n;
        let mut mask = None;
        if let Some(window) = block.window.filter(|window| all > *window) {
            // What no token of these sees is left out, and the rest masked.
            let from = (at - window + 1).max(0);
            k = k.try_index_device((.., .., from..all, ..), stream)?;
            v = v.try_index_device((.., .., from..all, ..), stream)?;
            mask = (n > 1).then(|| window_mask(at - from, n, window));
        }
        let mask = match &mask {
            Some(mask) => Some(ScaledDotProductAttentionMask::Array(mask)),
            None if n > 1 => Some(ScaledDotProductAttentionMask::Causal),
            None => None,
        };
        let seen = scaled_dot_product_attention(q, k, v, spec.scale, mask, None)?;
        let seen = seen.transpose_axes(&[0, 2, 1, 3])?.reshape(&[1, n, spec.heads * spec.head])?;
        block.attention.out.of(&seen)
    }

    fn gated(&self, gate: &Gate, x: &Array) -> Result<Array, Exception> {
        let (gate, up) = match gate {
            Gate::Apart { gate, up } => (gate.of(x)?, up.of(x)?),
            Gate::Fused(both) => match <[Array; 2]>::try_from(both.of(x)?.split_equal(2, -1)?) {
                Ok([gate, up]) => (gate, up),
                Err(_) => return Err(Exception::from("gate and up did not come apart")),
            },
        };
        let bent = if self.spec.gemma { gelu(&gate)? } else { silu(&gate)? };
        multiply(bent, up)
    }

    /// Everything that is to be read before the first use.
    pub fn arrays(&self) -> Vec<&Array> {
        let mut all = vec![&self.norm];
        match &self.words {
            Matrix::Whole(table) => all.push(table),
            Matrix::Packed { words, scales, biases, .. } => all.extend([words, scales, biases]),
        }
        all.extend(self.head.iter().flat_map(Linear::arrays));
        for block in &self.blocks {
            all.extend([&block.before_attention, &block.before_feed]);
            all.extend([&block.after_attention, &block.after_feed].into_iter().flatten());
            all.extend([&block.attention.q_norm, &block.attention.k_norm].into_iter().flatten());
            all.extend(block.turn.arrays());
            let linears = match &block.attention.queries {
                Queries::Apart { q, k, v } => vec![q, k, v],
                Queries::Fused(all) => vec![all],
            };
            let gates = match &block.gate {
                Gate::Apart { gate, up } => vec![gate, up],
                Gate::Fused(both) => vec![both],
            };
            let both = [&block.attention.out, &block.down];
            all.extend(linears.into_iter().chain(gates).chain(both).flat_map(Linear::arrays));
        }
        all
    }
}

/// Gemma's sums leave the range of half precision; they are cut to it.
fn sum(x: &Array, y: &Array, gemma: bool) -> Result<Array, Exception> {
    if !gemma || x.dtype() != Dtype::Float16 {
        return add(x, y);
    }
    const MOST: f32 = 65504.0;
    let wide = add(x.as_dtype(Dtype::Float32)?, y.as_dtype(Dtype::Float32)?)?;
    let low = mlx_rs::ops::maximum(wide, Array::from_f32(-MOST))?;
    mlx_rs::ops::minimum(low, Array::from_f32(MOST))?.as_dtype(Dtype::Float16)
}

/// n × (before + n): a token sees itself and the `window - 1` tokens before it.
fn window_mask(before: i32, n: i32, window: i32) -> Array {
    let sees = |row: i32, column: i32| column <= before + row && before + row < column + window;
    let mask: Vec<bool> =
        (0..n).flat_map(|row| (0..before + n).map(move |column| sees(row, column))).collect();
    Array::from_slice(&mask, &[n, before + n])
}
