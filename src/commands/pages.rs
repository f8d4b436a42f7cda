//! `brainstem completions` and `brainstem man`: what packages install, made from the command line's own definition.

use std::path::PathBuf;

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man as Page;

use super::{Failure, say};

/// `brainstem completions SHELL`
#[derive(Debug, Args)]
pub struct Completions {
    /// For which shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    /// Prints them.
    ///
    /// # Errors
    /// If standard output takes nothing.
    pub fn run(self, mut command: Command) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "brainstem", &mut script);
        say(String::from_utf8_lossy(&script))
    }
}

/// `brainstem man [--out DIR]`
#[derive(Debug, Args)]
pub struct Man {
    /// Write brainstem.1, brainstem-check.1, … into this folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Man {
    /// Prints the page of the whole, or writes one for each command.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn run(self, command: Command) -> Result<(), Failure> {
        match self.out {
            Some(folder) => Ok(clap_mangen::generate_to(command, folder)?),
            None => {
                let mut page = Vec::new();
                Page::new(command).render(&mut page)?;
                say(String::from_utf8_lossy(&page))
            }
        }
    }
}
