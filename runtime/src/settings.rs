//! Reads settings from flags and the environment, and names every bad one at once.
//!
//! What the settings are is each program's own `config.rs`.

use std::{
    ffi::{OsStr, OsString},
    process,
    str::FromStr,
    time::Duration,
};

use clap::{
    Command, Parser,
    builder::OsStringValueParser,
    error::{ContextKind, ContextValue, ErrorKind},
};

use crate::{build, healthcheck};

/// `EX_USAGE` of sysexits(3): the program was asked in words that it does not understand.
const EXIT_USAGE: i32 = 64;

/// What settings say together, beyond what each says by itself.
pub trait Together {
    /// One line for each reason why they do not do together, which names a setting. None by default.
    fn conflicts(&self) -> Vec<String> {
        Vec::new()
    }
}

/// This process's settings. Prints and exits for `--help` and `--version`; one line for each bad setting and
/// exit code 64 otherwise.
pub fn parse<Settings: Parser + Together>() -> Settings {
    parse_words(healthcheck::words_besides())
}

/// The same from `words`, of which the first is the name of what they are for.
pub fn parse_words<Settings: Parser + Together>(words: impl IntoIterator<Item = OsString>) -> Settings {
    parse_from(words).unwrap_or_else(|refusal| refusal.exit())
}

/// Settings for two programs in the one called `name`: each flag of the first bears the first prefix, each of the
/// second the second (`--gateway-listen`, `--room-service-listen`). Environment variables are the same as alone.
pub fn parse_both<First: Parser + Together, Second: Parser + Together>(
    name: &'static str,
    about: &'static str,
    (first_prefix, second_prefix): (&'static str, &'static str),
) -> (First, Second) {
    let command = Command::new(name).version(build::version()).about(about);
    let command = adopt(command, &First::command(), first_prefix, &[]);
    // One process writes one log, and the first says how.
    let command = adopt(command, &Second::command(), second_prefix, &["log", "log-format"]);
    let matches = match collect(&command, &healthcheck::words_besides().collect::<Vec<_>>()) {
        Ok(matches) => matches,
        Err(refusal) => refusal.exit(),
    };
    // Everything was checked above; the two are read again from what was given, without the prefix.
    let share = |prefix: &str| -> Vec<OsString> {
        let given = matches.ids().filter_map(|id| {
            let flag = id.as_str().strip_prefix(prefix)?.strip_prefix('-')?;
            let value = matches.get_raw(id.as_str())?.next()?;
            let mut argument = OsString::from(format!("--{flag}="));
            argument.push(value);
            Some(argument)
        });
        std::iter::once(OsString::from(prefix)).chain(given).collect()
    };
    match (parse_from(share(first_prefix)), parse_from(share(second_prefix))) {
        (Ok(first), Ok(second)) => (first, second),
        (Err(Refusal::Bad(first)), Err(Refusal::Bad(second))) => {
            Refusal::Bad([first, second].concat()).exit()
        }
        (Err(refusal), _) | (_, Err(refusal)) => refusal.exit(),
    }
}

/// Reads a duration such as `5s`, `250ms` or `2m`, of at least a millisecond.
pub fn duration(text: &str) -> Result<Duration, String> {
    let duration =
        humantime::parse_duration(text).map_err(|error| format!("{error}; write it like 5s or 250ms"))?;
    if duration.is_zero() { Err("it must be longer than nothing".to_owned()) } else { Ok(duration) }
}

/// Where something may be loaded from: origins with commas, each a scheme, a host and perhaps a port; or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(pub Vec<String>);

impl FromStr for Origins {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        text.split(',').map(|word| origin(word.trim())).collect::<Result<_, _>>().map(Self)
    }
}

fn origin(text: &str) -> Result<String, String> {
    let lower = text.to_ascii_lowercase();
    let host = lower.strip_prefix("https://").or_else(|| lower.strip_prefix("http://")).unwrap_or_default();
    // Nothing that ends a host, or a word of a header.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']');
    if host.is_empty() || !host.bytes().all(plain) {
        return Err(format!("{text:?} is not an origin like https://pictures.example"));
    }
    Ok(lower)
}

/// Why the settings were not taken.
#[derive(Debug)]
enum Refusal {
    /// `--help` or `--version`: not a mistake.
    Told(clap::Error),
    /// One line for each bad setting.
    Bad(Vec<String>),
}

impl Refusal {
    fn exit(self) -> ! {
        match self {
            Self::Told(told) => told.exit(),
            Self::Bad(lines) => {
                for line in lines {
                    eprintln!("{line}");
                }
                process::exit(EXIT_USAGE)
            }
        }
    }
}

fn parse_from<Settings: Parser + Together>(
    args: impl IntoIterator<Item = OsString>,
) -> Result<Settings, Refusal> {
    let matches = collect(&Settings::command(), &args.into_iter().collect::<Vec<_>>())?;
    let settings =
        Settings::from_arg_matches(&matches).map_err(|error| Refusal::Bad(vec![first_line(&error)]))?;
    let conflicts = settings.conflicts();
    if conflicts.is_empty() { Ok(settings) } else { Err(Refusal::Bad(conflicts)) }
}

/// Parses, and when a value is bad, accepts anything for that setting and parses on, until the rest is known too.
fn collect(command: &Command, args: &[OsString]) -> Result<clap::ArgMatches, Refusal> {
    let mut lines = Vec::new();
    let mut attempt = command.clone();
    // Only a built command can show its flags as an error does.
    let mut built = command.clone();
    built.build();
    loop {
        let error = match attempt.clone().try_get_matches_from(args) {
            Ok(matches) if lines.is_empty() => return Ok(matches),
            Ok(_) => return Err(Refusal::Bad(lines)),
            Err(error) => error,
        };
        if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
            return Err(Refusal::Told(error));
        }
        let bad = match error.get(ContextKind::InvalidArg) {
            Some(ContextValue::String(shown)) if is_about_a_value(error.kind()) => {
                built.get_arguments().find(|arg| arg.to_string() == *shown)
            }
            _ => None,
        };
        let Some(bad) = bad else {
            lines.push(first_line(&error));
            return Err(Refusal::Bad(lines));
        };
        let name = match (bad.get_env().map(OsStr::to_string_lossy), bad.get_long()) {
            (Some(variable), Some(flag)) => format!("{variable} (--{flag})"),
            (None, Some(flag)) => format!("--{flag}"),
            (_, None) => bad.to_string(),
        };
        let value = match error.get(ContextKind::InvalidValue) {
            // A setting that `--help` does not show the value of is a secret here too.
            Some(ContextValue::String(value)) if !bad.is_hide_env_values_set() => format!("{value:?}"),
            _ => "the value".to_owned(),
        };
        let reason = match std::error::Error::source(&error) {
            Some(source) => source.to_string(),
            None => "it is not understood".to_owned(),
        };
        lines.push(format!("{name}: {value} does not do: {reason}"));
        let id = bad.get_id().clone();
        attempt = attempt.mut_arg(id, |arg| arg.value_parser(OsStringValueParser::new()));
    }
}

fn is_about_a_value(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::ValueValidation | ErrorKind::InvalidValue | ErrorKind::InvalidUtf8)
}

/// What is wrong, without the hints that follow: clap names in lines of their own what is missing.
fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    lines.join(" ").trim_start_matches("error: ").to_owned()
}

fn adopt(mut command: Command, from: &Command, prefix: &'static str, without: &[&str]) -> Command {
    for arg in from.get_arguments().filter(|arg| arg.get_env().is_some()) {
        let flag = arg.get_long().expect("every setting has a flag");
        if without.contains(&flag) {
            continue;
        }
        let name = format!("{prefix}-{flag}");
        command = command.arg(arg.clone().id(name.clone()).long(name));
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Parser)]
    struct Tea {
        #[arg(long, env = "TEST_TEA_CUPS", default_value_t = 1)]
        cups: u8,
        #[arg(long, env = "TEST_TEA_STEEP", default_value = "3m", value_parser = duration)]
        steep: Duration,
    }

    impl Together for Tea {
        fn conflicts(&self) -> Vec<String> {
            let cold = self.cups > 9 && self.steep > Duration::from_mins(5);
            if cold { vec!["TEST_TEA_CUPS: so many are cold by then".to_owned()] } else { Vec::new() }
        }
    }

    fn parse(args: &[&str]) -> Result<Tea, Refusal> {
        parse_from(std::iter::once("tea").chain(args.iter().copied()).map(OsString::from))
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let tea = parse(&["--cups", "2"]).unwrap();
        assert_eq!((tea.cups, tea.steep), (2, Duration::from_mins(3)));
    }

    #[test]
    fn every_bad_setting_is_named_at_once() {
        let Err(Refusal::Bad(lines)) = parse(&["--cups", "many", "--steep", "0s"]) else { panic!("refused") };
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].starts_with("TEST_TEA_CUPS (--cups): \"many\" does not do: "), "{lines:?}");
        assert!(lines[1].starts_with("TEST_TEA_STEEP (--steep): \"0s\" does not do: "), "{lines:?}");
    }

    #[test]
    fn an_origin_is_a_scheme_and_a_host() {
        let two: Origins = "https://A.example, http://b:8080".parse().unwrap();
        assert_eq!(two.0, ["https://a.example", "http://b:8080"]);
        assert_eq!("".parse(), Ok(Origins::default()));
        for bad in [
            "*",
            "a.example",
            "https://",
            "https://a/",
            "https://u@a",
            "https://a;b",
            "https://a b",
            "https://a,",
        ] {
            assert!(bad.parse::<Origins>().is_err(), "{bad}");
        }
    }

    #[test]
    fn settings_that_do_not_do_together_are_refused_like_bad_ones() {
        assert!(parse(&["--cups", "10"]).is_ok());
        let Err(Refusal::Bad(lines)) = parse(&["--cups", "10", "--steep", "6m"]) else { panic!("refused") };
        assert_eq!(lines, ["TEST_TEA_CUPS: so many are cold by then"]);
    }

    #[test]
    fn an_unknown_flag_is_named() {
        let Err(Refusal::Bad(lines)) = parse(&["--sugar"]) else { panic!("refused") };
        assert_eq!(lines.len(), 1);
        assert!(lines[0].contains("--sugar"), "{lines:?}");
    }
}
