//! Matrices as files hold them, whole or quantised, and what is multiplied by them.
//!
//! Quantised as MLX does it: rows packed into 32-bit words, and for each group of numbers one scale and one bias.

use mlx_rs::Array;
use mlx_rs::error::Exception;
use mlx_rs::ops::{add, addmm, dequantize, matmul, multiply, power, quantized_matmul, sigmoid, tanh};

/// A matrix of outputs × inputs.
pub enum Matrix {
    /// Its transpose, so that BLAS reads it without a copy.
    Whole(Array),
    /// Packed.
    Packed {
        /// Words.
        words: Array,
        /// One a group.
        scales: Array,
        /// One a group.
        biases: Array,
        /// Numbers in a group.
        group: i32,
        /// Bits of a number.
        bits: i32,
    },
}

impl Matrix {
    /// x times the transpose.
    pub fn of(&self, x: &Array) -> Result<Array, Exception> {
        match self {
            Self::Whole(transposed) => matmul(x, transposed),
            Self::Packed { words, scales, biases, group, bits } => {
                quantized_matmul(x, words, scales, biases, true, *group, *bits)
            }
        }
    }

    /// Rows of it.
    pub fn rows(&self, ids: &Array) -> Result<Array, Exception> {
        match self {
            Self::Whole(transposed) => transposed.transpose()?.take_axis(ids, 0),
            Self::Packed { words, scales, biases, group, bits } => {
                let part = |of: &Array| of.take_axis(ids, 0);
                dequantize(part(words)?, part(scales)?, &part(biases)?, *group, *bits)
            }
        }
    }

    fn arrays(&self) -> Vec<&Array> {
        match self {
            Self::Whole(transposed) => vec![transposed],
            Self::Packed { words, scales, biases, .. } => vec![words, scales, biases],
        }
    }
}

/// A matrix and perhaps a bias.
pub struct Linear {
    /// outputs × inputs
    pub matrix: Matrix,
    /// Added to the product.
    pub bias: Option<Array>,
}

impl Linear {
    /// Of a vector for each token.
    pub fn of(&self, x: &Array) -> Result<Array, Exception> {
        match (&self.matrix, &self.bias) {
            (Matrix::Whole(transposed), Some(bias)) => addmm(bias, x, transposed, None, None),
            (matrix, Some(bias)) => add(matrix.of(x)?, bias),
            (matrix, None) => matrix.of(x),
        }
    }

    /// All that is to be read before the first use.
    pub fn arrays(&self) -> Vec<&Array> {
        let mut all = self.matrix.arrays();
        all.extend(&self.bias);
        all
    }
}

/// x σ(x) (Elfwing et al., 2017).
pub fn silu(x: &Array) -> Result<Array, Exception> {
    multiply(x, sigmoid(x)?)
}

/// GELU by its approximation with a tangent (Hendrycks and Gimpel, 2016), which is what Gemma was trained with.
pub fn gelu(x: &Array) -> Result<Array, Exception> {
    // √(2/π)
    const ROOT: f32 = 0.797_884_6;
    let number = |n: f32| Array::from_f32(n).as_dtype(x.dtype());
    // In one step: in half precision two products round twice.
    let cube = power(x, number(3.0)?)?;
    let inner = multiply(add(x, multiply(cube, number(0.044_715)?)?)?, number(ROOT)?)?;
    multiply(multiply(x, number(0.5)?)?, add(tanh(inner)?, number(1.0)?)?)
}
