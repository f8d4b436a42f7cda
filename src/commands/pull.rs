//! `brainstem pull`: a model from the Hugging Face hub into a directory, ready for `light.model` or `classifier.model`.

use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::{Failure, say};
use crate::cli::Settings;
use crate::hub::{ENDPOINT, Entry, Hub, HubError};

/// Arguments of `pull`.
#[derive(Debug, Args)]
pub struct Pull {
    /// OWNER/NAME on the hub, e.g. mlx-community/Qwen2.5-1.5B-Instruct-4bit
    #[arg(value_name = "REPO", value_parser = repository)]
    repository: String,
    /// A branch, tag or commit
    #[arg(long, default_value = "main", value_parser = revision)]
    revision: String,
    /// Where the files go [default: models/NAME]
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// The hub, or a mirror of it
    #[arg(long, env = "HF_ENDPOINT", default_value = ENDPOINT, value_name = "URL")]
    endpoint: String,
    /// For what is not public
    #[arg(long, env = "HF_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

impl Pull {
    /// Fetches what is not there yet.
    ///
    /// # Errors
    /// If the hub does not have it, or it cannot be fetched or written.
    pub fn run(&self, settings: &Settings) -> Result<(), Failure> {
        crate::log::quiet();
        let light = settings.load()?.light;
        let name = self.repository.rsplit('/').next().unwrap_or(&self.repository);
        let into = self.to.clone().unwrap_or_else(|| Path::new("models").join(name));
        let hub = Hub::new(&self.endpoint, self.token.clone().filter(|token| !token.is_empty()));
        let listing = hub.list(&self.repository, &self.revision)?;
        let weights = listing.files.iter().filter(|file| file.name.ends_with(".safetensors"));
        let bytes: u64 = weights.filter_map(|file| file.size).sum();
        if light.only_light && bytes > light.max_model_bytes {
            eprintln!(
                "{}: {bytes} bytes of weights, above light.max_model_bytes = {}; it would not be loaded",
                self.repository, light.max_model_bytes
            );
        }
        for entry in &listing.files {
            let bar = bar(entry);
            hub.fetch(&self.repository, &listing.commit, entry, &into, &mut |have| bar.set_position(have))?;
            bar.finish();
        }
        say(format_args!(
            "{} files of {} in {}\nlight.model = \"{}\"\n",
            listing.files.len(),
            self.repository,
            into.display(),
            into.display()
        ))
    }
}

/// Shown on a terminal only.
fn bar(entry: &Entry) -> ProgressBar {
    const STYLE: &str = "{msg:40!} {bar:24} {bytes:>10} {binary_bytes_per_sec:>12} {eta:>5}";
    let bar = entry.size.map_or_else(ProgressBar::no_length, ProgressBar::new);
    // The template is ours; were it wrong, the plain bar would do.
    let style = ProgressStyle::with_template(STYLE).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.with_style(style).with_message(entry.name.clone())
}

impl From<HubError> for Failure {
    fn from(error: HubError) -> Self {
        Self::new(error.to_string())
    }
}

fn repository(text: &str) -> Result<String, String> {
    let part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    match text.split_once('/') {
        Some((owner, name)) if part(owner) && part(name) => Ok(text.to_owned()),
        _ => Err("expected OWNER/NAME".to_owned()),
    }
}

fn revision(text: &str) -> Result<String, String> {
    let fits = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if fits && !text.starts_with('.') {
        Ok(text.to_owned())
    } else {
        Err("expected a branch, tag or commit".to_owned())
    }
}
