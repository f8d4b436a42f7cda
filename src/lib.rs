//! brainstem
pub mod category;
pub mod config;
pub mod problem;
pub mod text;
