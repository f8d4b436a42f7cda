//! How a position is written into queries and keys: rotary embeddings (Su et al., 2021, "RoFormer"), and the ways in
//! which they are stretched for long contexts.

use mlx_rs::Array;
use mlx_rs::error::Exception;
use mlx_rs::fast;
use mlx_rs::ops::{concatenate, multiply};
use serde::Deserialize;

/// `rope_scaling` or `rope_parameters` as typed.
#[derive(Debug, Clone, Deserialize)]
pub struct RawScaling {
    rope_type: Option<String>,
    /// The older word for it; many files have both.
    #[serde(rename = "type")]
    kind: Option<String>,
    rope_theta: Option<f32>,
    factor: Option<f32>,
    low_freq_factor: Option<f32>,
    high_freq_factor: Option<f32>,
    original_max_position_embeddings: Option<f32>,
    short_factor: Option<Vec<f32>>,
    long_factor: Option<Vec<f32>>,
}

/// One way of turning.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// The first of a head's dimensions, so many; the rest is left as it is.
    dims: i32,
    traditional: bool,
    base: f32,
    /// Positions are multiplied by it.
    scale: f32,
    stretch: Stretch,
}

#[derive(Debug, Clone, PartialEq)]
enum Stretch {
    /// Wavelengths as the base gives them.
    No,
    /// Wavelengths of their own.
    Waves(Vec<f32>),
    /// Phi-3's: one set of factors for short texts, another for long ones, and what is turned is made larger.
    Long { short: Vec<f32>, long: Vec<f32>, original: f32, longest: f32 },
}

impl Rope {
    /// Of what is typed, or what is wrong with it.
    pub fn new(
        dims: i32,
        theta: Option<f32>,
        traditional: bool,
        scaling: Option<&RawScaling>,
        longest: usize,
    ) -> Result<Self, String> {
        let base = theta.or(scaling.and_then(|s| s.rope_theta)).unwrap_or(10_000.0);
        if !(base > 1.0 && base.is_finite()) {
            return Err(format!("rope_theta is {base}, expected above 1"));
        }
        let plain = Self { dims, traditional, base, scale: 1.0, stretch: Stretch::No };
        let Some(scaling) = scaling else { return Ok(plain) };
        let factor = || match scaling.factor {
            Some(factor) if factor > 0.0 => Ok(factor),
            other => Err(format!("the rope's factor is {other:?}, expected above 0")),
        };
        match scaling.kind.as_deref().or(scaling.rope_type.as_deref()).unwrap_or("default") {
            "default" => Ok(plain),
            "linear" => Ok(Self { scale: 1.0 / factor()?, ..plain }),
            "llama3" => {
                let waves = llama3(dims, base, factor()?, scaling);
                Ok(Self { stretch: Stretch::Waves(waves), ..plain })
            }
            "longrope" | "su" => {
                let factors = |name: &str, list: &Option<Vec<f32>>| match list {
                    Some(list) if list.len() as i32 == dims / 2 => Ok(list.clone()),
                    Some(list) => Err(format!("{name} has {} numbers, expected {}", list.len(), dims / 2)),
                    None => Err(format!("the rope has no {name}")),
                };
                let stretch = Stretch::Long {
                    short: factors("short_factor", &scaling.short_factor)?,
                    long: factors("long_factor", &scaling.long_factor)?,
                    original: scaling.original_max_position_embeddings.unwrap_or(4096.0).max(2.0),
                    longest: longest as f32,
                };
                Ok(Self { stretch, ..plain })
            }
            other => {
                Err(format!("rope_type {other:?} is not supported; default, linear, llama3, longrope are"))
            }
        }
    }

    /// Phi-3 names the length that it was first made for beside the scaling.
    #[must_use]
    pub fn made_for(mut self, tokens: usize) -> Self {
        if let Stretch::Long { original, .. } = &mut self.stretch {
            *original = (tokens as f32).max(2.0);
        }
        self
    }

    /// As MLX wants it, for a context of so many tokens.
    pub fn ready(&self, context: usize) -> Turn {
        let waves = |list: &[f32]| Some(Array::from_slice(list, &[list.len() as i32]));
        let (waves, gain) = match &self.stretch {
            Stretch::No => (None, 1.0),
            Stretch::Waves(list) => (waves(list), 1.0),
            Stretch::Long { short, long, original, longest } => {
                // Which set it is hangs on the longest text that there can be, not on this one: keys of both kinds
                // in one cache would not fit together.
                let factors = if context as f32 > *original { long } else { short };
                let list: Vec<f32> = wavelengths(self.dims, self.base)
                    .zip(factors)
                    .map(|(wave, factor)| wave * factor)
                    .collect();
                let ratio = longest / original;
                let gain = if ratio <= 1.0 { 1.0 } else { (1.0 + ratio.ln() / original.ln()).sqrt() };
                (waves(&list), gain)
            }
        };
        Turn { rope: self.clone(), waves, gain }
    }
}

fn wavelengths(dims: i32, base: f32) -> impl Iterator<Item = f32> {
    (0..dims / 2).map(move |i| base.powf((2 * i) as f32 / dims as f32))
}

/// Llama 3.1's: long waves are stretched, short ones left, those between mixed.
fn llama3(dims: i32, base: f32, factor: f32, scaling: &RawScaling) -> Vec<f32> {
    let low = scaling.low_freq_factor.unwrap_or(1.0);
    let high = scaling.high_freq_factor.unwrap_or(4.0);
    let old = scaling.original_max_position_embeddings.unwrap_or(8192.0);
    let stretched = |wave: f32| {
        let length = 2.0 * std::f32::consts::PI * wave;
        if length > old / low {
            wave * factor
        } else if length > old / high {
            let smooth = (old / length - low) / (high - low);
            wave / ((1.0 - smooth) / factor + smooth)
        } else {
            wave
        }
    };
    wavelengths(dims, base).map(stretched).collect()
}

/// A rope on MLX; belongs to the thread.
pub struct Turn {
    rope: Rope,
    waves: Option<Array>,
    gain: f32,
}

impl Turn {
    /// Turns heads (1 × heads × tokens × width) whose first token stands at a position.
    pub fn of(&self, x: &Array, position: i32) -> Result<Array, Exception> {
        let rope = &self.rope;
        let base = if self.waves.is_some() { None } else { Some(rope.base) };
        let turn = |x: &Array| {
            fast::rope(x, rope.dims, rope.traditional, base, rope.scale, position, self.waves.as_ref())
        };
        if self.gain == 1.0 {
            return turn(x);
        }
        let gain = Array::from_f32(self.gain).as_dtype(x.dtype())?;
        let width = *x.shape().last().unwrap_or(&rope.dims);
        if width == rope.dims {
            return turn(&multiply(x, gain)?);
        }
        let parts = x.split_at_indices(&[rope.dims], -1)?;
        match &parts[..] {
            [turned, rest] => turn(&concatenate(&[&multiply(turned, gain)?, rest], -1)?),
            _ => Err(Exception::from("a head could not be split")),
        }
    }

    /// The wavelengths, to be evaluated with the weights.
    pub fn arrays(&self) -> Option<&Array> {
        self.waves.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_waves_stay_and_long_ones_are_stretched() {
        let scaling = serde_json::from_str(
            r#"{"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192}"#,
        )
        .unwrap();
        let rope = Rope::new(64, Some(500_000.0), false, Some(&scaling), 131_072).unwrap();
        let Stretch::Waves(waves) = rope.stretch else { panic!("{rope:?}") };
        let plain: Vec<f32> = wavelengths(64, 500_000.0).collect();
        assert_eq!(waves[0], plain[0]);
        assert_eq!(waves[31], plain[31] * 32.0);
        assert!(waves.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn factors_must_be_as_many_as_waves() {
        let scaling =
            serde_json::from_str(r#"{"type": "longrope", "long_factor": [1.0], "short_factor": [1.0, 1.0]}"#);
        let error = Rope::new(4, None, false, Some(&scaling.unwrap()), 64).unwrap_err();
        assert_eq!(error, "long_factor has 1 numbers, expected 2");
    }
}
