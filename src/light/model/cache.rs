//! Keys and values of the tokens read so far, block by block. Grown in steps, so that most tokens cost no copy; cut
//! back by forgetting where they end.

use mlx_rs::error::Exception;
use mlx_rs::ops::concatenate;
use mlx_rs::ops::indexing::{TryIndexMutOp, TryIndexOp};
use mlx_rs::{Array, Stream, ops};

/// Room is made for so many tokens at a time.
const STEP: i32 = 256;

/// Of one block: 1 × heads × room × width each.
#[derive(Default)]
pub struct Kept {
    both: Option<(Array, Array)>,
}

/// Of all blocks.
pub struct Cache {
    blocks: Vec<Kept>,
    tokens: i32,
}

impl Cache {
    /// Empty.
    pub fn new(blocks: usize) -> Self {
        Self { blocks: (0..blocks).map(|_| Kept::default()).collect(), tokens: 0 }
    }

    /// Tokens read so far.
    pub fn tokens(&self) -> i32 {
        self.tokens
    }

    /// What of it one block has.
    pub fn block(&mut self, index: usize) -> Option<&mut Kept> {
        self.blocks.get_mut(index)
    }

    /// So many tokens more were read by all blocks.
    pub fn advance(&mut self, tokens: i32) {
        self.tokens += tokens;
    }

    /// Forgets all but the first so many.
    pub fn cut(&mut self, tokens: i32) {
        self.tokens = self.tokens.min(tokens.max(0));
    }

    /// To be evaluated where nothing else of a pass is wanted.
    pub fn arrays(&self) -> Vec<&Array> {
        self.blocks.iter().filter_map(|kept| kept.both.as_ref()).flat_map(|(k, v)| [k, v]).collect()
    }
}

impl Kept {
    /// Puts keys and values behind the first `at` tokens; all of them come back.
    pub fn put(
        &mut self,
        keys: &Array,
        values: &Array,
        at: i32,
        stream: &Stream,
    ) -> Result<(Array, Array), Exception> {
        let end = at + keys.shape().get(2).copied().unwrap_or(0);
        let (mut all_keys, mut all_values) = match self.both.take() {
            Some(both) if both.0.shape().get(2).is_some_and(|room| *room >= end) => both,
            both => grown(both, keys, values, at, end, stream)?,
        };
        all_keys.try_index_mut_device((.., .., at..end, ..), keys, stream)?;
        all_values.try_index_mut_device((.., .., at..end, ..), values, stream)?;
        let seen = |all: &Array| all.try_index_device((.., .., 0..end, ..), stream);
        let both = (seen(&all_keys)?, seen(&all_values)?);
        self.both = Some((all_keys, all_values));
        Ok(both)
    }
}

fn grown(
    both: Option<(Array, Array)>,
    keys: &Array,
    values: &Array,
    at: i32,
    end: i32,
    stream: &Stream,
) -> Result<(Array, Array), Exception> {
    let (mut old_keys, mut old_values) = (None, None);
    if let Some((keys, values)) = both.filter(|_| at > 0) {
        old_keys = Some(keys.try_index_device((.., .., 0..at, ..), stream)?);
        old_values = Some(values.try_index_device((.., .., 0..at, ..), stream)?);
    }
    let start = if old_keys.is_some() { at } else { 0 };
    let room = (end - start + STEP - 1) / STEP * STEP;
    let more = |old: Option<Array>, like: &Array| {
        let mut shape = like.shape().to_vec();
        if let Some(tokens) = shape.get_mut(2) {
            *tokens = room;
        }
        let fresh = ops::zeros_dtype(&shape, like.dtype())?;
        match old {
            Some(old) => concatenate(&[&old, &fresh], 2),
            None => Ok(fresh),
        }
    };
    Ok((more(old_keys, keys)?, more(old_values, values)?))
}
