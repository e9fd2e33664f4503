//! `skysail tokens`: the bearer tokens that a front end lets in.
//!
//! They change the file of a data directory, not a running front end, which notices by itself.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde_json::{Value, json};
use skysail_api::access::{Now, Scope, Secret, Token, listed};
use skysail_core::Name;

use crate::cli::parse;
use crate::cli::render::Table;
use crate::config::default_data_dir;
use crate::console::{note, print, usage};
use crate::token_file::{change, path, read};

/// `skysail tokens`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Make a token, and print it: the only time that it is shown
    New(New),
    /// List the tokens there are, without themselves
    List(List),
    /// Take a token away
    Revoke(Revoke),
}

/// Whose tokens, and how they are printed.
#[derive(Debug, clap::Args)]
struct Common {
    /// Data directory of the front end [default: the one of skysail serve]
    #[arg(
        long,
        value_name = "DIR",
        env = "SKYSAIL_SERVE_DATA_DIR",
        hide_env_values = true
    )]
    data_dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// `skysail tokens new`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  skysail tokens new --name ops --scope admin,query > ops.token
  skysail tokens new --name shop --scope query,feedback --app digits --app spam --expires 90d
  skysail tokens new --name prometheus --scope metrics

No scope implies another. query: predictions; feedback: telling how good they were; admin: the
management API; metrics: /metrics. The commands that ask a front end take the token from
--token-file FILE or SKYSAIL_TOKEN; other clients send 'Authorization: Bearer TOKEN'.

With --expires it is taken until 60 s after its time, since clocks differ; one that must end at
once is to be revoked.")]
pub(crate) struct New {
    /// What it is called
    #[arg(long, value_name = "NAME")]
    name: Name,
    /// What it is for
    #[arg(long = "scope", value_name = "SCOPE", required = true, value_delimiter = ',',
          value_parser = scopes())]
    scopes: Vec<Scope>,
    /// An application that it may query and give feedback to [default: all]
    #[arg(long = "app", value_name = "APP")]
    applications: Vec<Name>,
    /// How long it is taken, such as 12h or 90d, and 60 s more [default: until it is revoked]
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    expires: Option<Duration>,
    #[command(flatten)]
    common: Common,
}

/// `skysail tokens list`.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    #[command(flatten)]
    common: Common,
}

/// `skysail tokens revoke`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  skysail tokens revoke shop

A running front end refuses it within about a second.")]
pub(crate) struct Revoke {
    /// What it is called
    name: Name,
    #[command(flatten)]
    common: Common,
}

fn scopes() -> impl TypedValueParser<Value = Scope> {
    let names = PossibleValuesParser::new(Scope::ALL.map(Scope::name));
    names.try_map(|name| name.parse::<Scope>())
}

impl Command {
    /// Carries it out and prints what came of it.
    ///
    /// # Errors
    /// If what is asked for cannot be, or the file cannot be read or written.
    pub(crate) fn run(self) -> Result<ExitCode> {
        match self {
            Command::New(new) => new.run()?,
            Command::List(list) => list.run()?,
            Command::Revoke(revoke) => revoke.run()?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl New {
    fn run(&self) -> Result<()> {
        self.check().map_err(usage)?;
        let mut random = [0; 32];
        getrandom::fill(&mut random).map_err(|error| anyhow!("no random numbers: {error}"))?;
        let secret = Secret::new(random);
        let data_dir = self.common.data_dir()?;
        let token = self.token(&secret, Now::read().unix_seconds);
        add(&data_dir, token.clone())?;
        if self.common.json {
            let mut made = shown(&token);
            made["token"] = secret.reveal().into();
            print(&made.to_string());
            return Ok(());
        }
        print(secret.reveal());
        note(&format!(
            "This is the token '{}' for {}. It is not shown again: {} has its SHA-256 only.",
            self.name,
            listed(&token.scopes),
            path(&data_dir).display()
        ));
        Ok(())
    }

    fn check(&self) -> Result<()> {
        let asks = |scope: &Scope| matches!(scope, Scope::Query | Scope::Feedback);
        if !self.applications.is_empty() && !self.scopes.iter().any(asks) {
            bail!("--app is for tokens of scope query or feedback: the others know no application");
        }
        if self.expires.is_some_and(|expires| expires.as_secs() == 0) {
            bail!("--expires is less than a second");
        }
        Ok(())
    }

    fn token(&self, secret: &Secret, now_unix_seconds: u64) -> Token {
        let (mut scopes, mut applications) = (self.scopes.clone(), self.applications.clone());
        scopes.sort();
        scopes.dedup();
        applications.sort();
        applications.dedup();
        Token {
            name: self.name.clone(),
            sha256: secret.digest(),
            scopes,
            applications,
            created_unix_seconds: now_unix_seconds,
            expires_unix_seconds: self.expires.map(|time| now_unix_seconds + time.as_secs()),
        }
    }
}

fn add(data_dir: &Path, token: Token) -> Result<()> {
    change(data_dir, |tokens| {
        if tokens.iter().any(|one| one.name == token.name) {
            let name = &token.name;
            bail!(
                "there is a token '{name}' already: choose another name, or take that one away with \
                 'skysail tokens revoke {name}'"
            );
        }
        tokens.push(token);
        Ok(())
    })
}

impl List {
    fn run(&self) -> Result<()> {
        let data_dir = self.common.data_dir()?;
        let tokens = read(&data_dir)?;
        if self.common.json {
            print(&Value::from_iter(tokens.iter().map(shown)).to_string());
            return Ok(());
        }
        let text = table(&tokens, Now::read().unix_seconds);
        let none = format!("there are no tokens in {}", path(&data_dir).display());
        print(text.or(&none).trim_end());
        Ok(())
    }
}

impl Revoke {
    fn run(&self) -> Result<()> {
        let data_dir = self.common.data_dir()?;
        change(&data_dir, |tokens| {
            let before = tokens.len();
            tokens.retain(|token| token.name != self.name);
            if tokens.len() == before {
                let (name, file) = (&self.name, path(&data_dir));
                let file = file.display();
                bail!(
                    "there is no token '{name}' in {file}; 'skysail tokens list' shows those there are"
                );
            }
            Ok(())
        })?;
        print(&match self.common.json {
            true => json!({ "revoked": self.name.as_str() }).to_string(),
            false => format!("revoked '{}'", self.name),
        });
        Ok(())
    }
}

impl Common {
    fn data_dir(&self) -> Result<PathBuf> {
        let given = self.data_dir.clone().unwrap_or_else(default_data_dir);
        Ok(std::path::absolute(given)?)
    }
}

/// A token as JSON shows it.
fn shown(token: &Token) -> Value {
    json!({
        "name": token.name.as_str(),
        "scopes": token.scopes,
        "applications": token.applications,
        "created_unix_seconds": token.created_unix_seconds,
        "expires_unix_seconds": token.expires_unix_seconds,
    })
}

fn table(tokens: &[Token], now_unix_seconds: u64) -> Table {
    let mut table = Table::new(["NAME", "SCOPES", "APPLICATIONS", "MADE", "EXPIRES"]);
    for token in tokens {
        let names: Vec<_> = token.applications.iter().map(Name::as_str).collect();
        let expires = token
            .expires_unix_seconds
            .map(|at| match at.checked_sub(now_unix_seconds) {
                Some(left) => format!("in {}", rough(left)),
                None => format!("{} ago", rough(now_unix_seconds - at)),
            });
        table.row([
            token.name.to_string(),
            listed(&token.scopes),
            if names.is_empty() {
                "all".to_owned()
            } else {
                names.join(", ")
            },
            format!(
                "{} ago",
                rough(now_unix_seconds.saturating_sub(token.created_unix_seconds))
            ),
            expires.unwrap_or_else(|| "never".to_owned()),
        ]);
    }
    table
}

/// A time in the largest unit of which it has two.
fn rough(seconds: u64) -> String {
    for (unit, in_seconds) in [("d", 86_400), ("h", 3_600), ("min", 60)] {
        if seconds >= 2 * in_seconds {
            return format!("{}{unit}", seconds / in_seconds);
        }
    }
    format!("{seconds}s")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(subcommand)]
        command: Command,
    }

    fn new(line: &str) -> Result<New, clap::Error> {
        let words = ["tokens", "new"].into_iter().chain(line.split_whitespace());
        match Cli::try_parse_from(words)?.command {
            Command::New(new) => Ok(new),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_token_is_as_it_was_asked_for() {
        let new = new("--name shop --scope query,feedback,query --app b --app a --expires 90d");
        let new = new.expect("right");
        new.check().expect("right");
        let token = new.token(&Secret::new([1; 32]), 1000);
        assert_eq!(token.scopes, [Scope::Query, Scope::Feedback]);
        let applications: Vec<_> = token.applications.iter().map(Name::as_str).collect();
        assert_eq!(applications, ["a", "b"]);
        assert_eq!(token.expires_unix_seconds, Some(1000 + 90 * 86_400));
        assert_eq!(token.sha256, Secret::new([1; 32]).digest());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "--scope query",
            "--name a",
            "--name a/b --scope query",
            "--name a --scope root",
            "--name a --scope query --app a/b",
            "--name a --scope query --expires 90",
        ] {
            assert!(new(line).is_err(), "{line}");
        }
        for line in [
            "--name a --scope admin,metrics --app digits",
            "--name a --scope query --expires 0s",
        ] {
            let new = new(line).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert!(new.check().is_err(), "{line}");
        }
    }

    #[test]
    fn the_list_says_how_long_tokens_live() {
        let token = |name: &str, expires_unix_seconds| Token {
            name: Name::new(name).expect("a name"),
            sha256: Secret::new([1; 32]).digest(),
            scopes: vec![Scope::Query, Scope::Admin],
            applications: vec![],
            created_unix_seconds: 1000,
            expires_unix_seconds,
        };
        let tokens = [
            token("a", None),
            token("b", Some(1000 + 90 * 86_400)),
            token("c", Some(1005)),
        ];
        let text = table(&tokens, 1000 + 7200).or("none");
        let lines: Vec<_> = text.lines().map(|line| line.split("  ").last()).collect();
        let expected = ["EXPIRES", "never", "in 89d", "119min ago"];
        assert_eq!(lines, expected.map(Some));
        assert!(text.contains("query, admin  all"), "{text}");
    }
}
