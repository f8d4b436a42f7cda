//! From `[light]` to a running engine.

use std::io;

use prometheus::IntCounter;

use super::engine::Engine;
use crate::config::Light;

/// The engine that the config asks for; in commands (`preload` false) the model is read when it is first wanted.
///
/// # Errors
/// If the system gives no thread.
#[cfg(feature = "mlx")]
pub fn start(light: &Light, preload: bool, restarts: IntCounter) -> io::Result<Engine> {
    use super::engine::Manners;
    use super::model::{Bounds, Model};
    use super::worker::{Generator, Load};

    let all = |limit: u64| if light.only_light { limit } else { u64::MAX };
    let bounds = Bounds {
        parameters: all(light.max_parameters),
        bytes: all(light.max_model_bytes),
        context: light.context,
    };
    let (memory, cache) = (light.memory_limit, light.cache_limit);
    let load: Load = Box::new(move |path| {
        limit_memory(memory, cache)?;
        let model = Model::load(path, &bounds).map_err(|e| e.to_string())?;
        Ok(Box::new(model) as Box<dyn Generator>)
    });
    let manners = Manners {
        model: light.model.clone(),
        preload: preload && light.preload,
        idle_unload: light.idle_unload,
    };
    Engine::start(manners, restarts, load)
}

/// Built without MLX: there is none.
///
/// # Errors
/// Never.
#[cfg(not(feature = "mlx"))]
pub fn start(_: &Light, _: bool, _: IntCounter) -> io::Result<Engine> {
    Ok(Engine::off())
}

/// For the whole process: MLX knows no other limits.
#[cfg(feature = "mlx")]
fn limit_memory(memory: u64, cache: u64) -> Result<(), String> {
    let told = |e: mlx_rs::error::Exception| e.what().to_owned();
    let bytes = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX);
    if memory > 0 {
        mlx_rs::memory::set_memory_limit(bytes(memory)).map_err(told)?;
    }
    mlx_rs::memory::set_cache_limit(bytes(cache)).map(drop).map_err(told)
}
