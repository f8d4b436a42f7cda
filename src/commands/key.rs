//! `brainstem key new NAME`: makes a key, prints it once, and adds its hash to the keys file.

use std::fs::OpenOptions;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::{Failure, say};
use crate::auth::{Auth, fresh_key};
use crate::cli::Settings;

/// Keys of clients.
#[derive(Debug, Args)]
pub struct Keys {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a key: it is printed once, the keys file gets its hash
    New(New),
}

/// `brainstem key new`
#[derive(Debug, Args)]
struct New {
    /// Whose it is; it stands in metrics
    name: String,
    /// May pull, create, copy, push and delete models, and see the admin address
    #[arg(long)]
    as_admin: bool,
    /// The only models that it may use, e.g. llama3.2,qwen2.5:*
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    models: Vec<String>,
    /// How often it may ask, e.g. 60/1m
    #[arg(long, value_name = "N/SPAN")]
    rate: Option<String>,
    /// The keys file [default: auth.keys of the config]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Keys {
    /// Runs the command.
    ///
    /// # Errors
    /// If there is no keys file to write to, it is wrong, or the name is taken.
    pub fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let Command::New(new) = &self.command;
        let file = match &new.file {
            Some(file) => file.clone(),
            None => settings.load()?.auth.map(|auth| auth.keys).ok_or_else(|| {
                Failure::new("no keys file: set auth.keys in the config, or name one with --file")
            })?,
        };
        new.make(&file)
    }
}

impl New {
    fn make(&self, file: &Path) -> Result<(), Failure> {
        let named = |what: &str| Failure::new(format!("{}: {what}", file.display()));
        let (key, lines) =
            fresh_key(&self.name, self.as_admin, &self.models, self.rate.as_deref()).map_err(Failure::new)?;
        if file.exists() && Auth::open(file)?.has(&self.name) {
            return Err(named(&format!("there is a key \"{}\" already", self.name)));
        }
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        #[cfg(unix)]
        {
            // Hashes are no secret, but nobody else needs to know who has a key.
            use std::os::unix::fs::OpenOptionsExt as _;
            options.mode(0o600);
        }
        let written = options.open(file).and_then(|mut file| file.write_all(lines.as_bytes()));
        written.map_err(|e| named(&e.to_string()))?;
        say(format_args!("{key}\n"))?;
        if std::io::stdout().is_terminal() {
            eprintln!("This is the only time that it is shown. {} has its hash.", file.display());
        }
        Ok(())
    }
}
