//! The command line, as it is typed.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::commands;
use crate::config::{Config, Overrides};
use crate::problem::Problem;

/// A reverse proxy in front of Ollama that answers life support itself and leaves the thinking to the big models.
#[derive(Debug, Parser)]
#[command(name = "brainstem", version, max_term_width = 100)]
pub struct Cli {
    /// Without a command: serve.
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    settings: Settings,
}

/// Where the config is and what is said over it.
#[derive(Debug, Clone, Default, Args)]
pub struct Settings {
    /// The config file [default: config/brainstem.toml, /etc/brainstem/brainstem.toml, whichever exists]
    #[arg(long, global = true, env = "BRAINSTEM_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where clients come in [default: 127.0.0.1:11440]
    #[arg(long, global = true, value_name = "ADDR")]
    pub listen: Option<String>,
    /// Where metrics, health and explain are [default: 127.0.0.1:9464]
    #[arg(long, global = true, value_name = "ADDR")]
    pub admin: Option<String>,
    /// The Ollama server [default: http://127.0.0.1:11434]
    #[arg(long, global = true, value_name = "URL")]
    pub upstream: Option<String>,
    /// The directory of rules and answers [default: rules]
    #[arg(long, global = true, value_name = "DIR")]
    pub rules: Option<String>,
}

impl Settings {
    /// The config file, if there is one.
    pub fn file(&self) -> Option<PathBuf> {
        self.config.clone().or_else(Config::default_file)
    }

    /// The checked config.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(&self) -> Result<Config, Vec<Problem>> {
        let overrides = Overrides {
            listen: self.listen.clone(),
            admin: self.admin.clone(),
            upstream: self.upstream.clone(),
            rules: self.rules.clone(),
        };
        Config::load(self.config.as_deref(), &overrides)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the proxy (also with no command)
    Serve {
        /// Take the listeners over from a running brainstem that gets SIGQUIT now (Linux; proxy.upgrade_sock)
        #[arg(long)]
        upgrade: bool,
    },
    /// Validate config, rules and answers; start nothing
    Check,
    /// Show the decision that an ask would get, and why; calls no upstream
    Explain(commands::explain::Explain),
    /// Run labelled lines through rules and classifier exactly as requests would go
    Eval(commands::eval::Eval),
    /// Do one of the light tasks: intent, title, fact, …
    Light(commands::light::Light),
    /// Run the labelled items of the light tasks and print one table
    EvalTasks(commands::eval_tasks::EvalTasks),
    /// Classify lines from stdin, one JSON object each; the classifier alone
    Classify,
    /// Make keys for clients (auth.keys)
    Key(commands::key::Keys),
    /// The process of `classifier.isolation = "process"`; brainstem starts it itself
    #[command(hide = true)]
    ClassifierWorker,
    /// Walk through the least certain decisions of a log and label them
    Review(commands::review::Review),
    /// Time test requests against a running proxy, or read a log's classifier lines
    Measure(commands::measure::Measure),
    /// Fetch a model from the Hugging Face hub, for light.model or classifier.model
    Pull(commands::pull::Pull),
    /// Print the completions for a shell: bash, zsh, fish, elvish, powershell
    #[command(hide = true)]
    Completions(commands::pages::Completions),
    /// Print the manual page, or write one for each command into a folder
    #[command(hide = true)]
    Man(commands::pages::Man),
    /// Train a classifier from labelled lines: the default kind, or a head for an encoder (--model)
    #[cfg(feature = "mlx")]
    Train(commands::train::Train),
}

impl Cli {
    /// Runs the command; the exit code is 0 for good, 1 if the thing checked is wrong (2, for usage, is clap's).
    pub fn run(self) -> ExitCode {
        let settings = &self.settings;
        let done = match self.command.unwrap_or(Command::Serve { upgrade: false }) {
            Command::Serve { upgrade } => commands::serve::run(settings, upgrade),
            Command::Check => commands::check::run(settings),
            Command::Explain(explain) => explain.run(settings),
            Command::Eval(eval) => eval.run(settings),
            Command::Light(light) => light.run(settings),
            Command::EvalTasks(eval) => eval.run(settings),
            Command::Classify => commands::classify::run(settings),
            Command::Key(keys) => keys.run(settings),
            Command::ClassifierWorker => commands::classifier_worker::run(),
            Command::Review(review) => review.run(settings),
            Command::Measure(measure) => measure.run(),
            Command::Pull(pull) => pull.run(settings),
            Command::Completions(completions) => completions.run(Self::command()),
            Command::Man(man) => man.run(Self::command()),
            #[cfg(feature = "mlx")]
            Command::Train(train) => train.run(),
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::from(1)
            }
        }
    }
}
