//! What the user sees: data on stdout, talk on stderr.
//!
//! In: text and values. Out: lines in the chosen form. A closed or full stdout is remembered instead of
//! panicking, so that a command still finishes what it began.

use std::{
    cell::Cell,
    io::{self, IsTerminal, Write},
};

use serde::Serialize;

use super::outcome::Exit;

/// How data is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
    /// For both.
    Yaml,
}

/// Standard output and standard error, with the user's wishes applied.
#[derive(Debug)]
pub(crate) struct Terminal {
    format: Format,
    quiet: bool,
    colour: bool,
    /// Why stdout took no more, where it did.
    lost: Cell<Option<io::ErrorKind>>,
}

impl Terminal {
    /// Colour only on a terminal, and never under `NO_COLOR` (<https://no-color.org>).
    pub(crate) fn new(format: Format, quiet: bool) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            format,
            quiet,
            colour: io::stderr().is_terminal() && !refused,
            lost: Cell::new(None),
        }
    }

    /// The form the user asked for.
    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// Writes data to stdout, with a newline at its end.
    pub(crate) fn data(&self, text: &str) {
        if self.lost.get().is_some() {
            return;
        }
        let mut out = io::stdout().lock();
        let newline = if text.is_empty() || text.ends_with('\n') {
            ""
        } else {
            "\n"
        };
        let written = out
            .write_all(text.as_bytes())
            .and_then(|()| out.write_all(newline.as_bytes()))
            .and_then(|()| out.flush());
        if let Err(error) = written {
            self.lost.set(Some(error.kind()));
        }
    }

    /// Writes a value in the form the user asked for.
    pub(crate) fn value<T: Serialize>(&self, value: &T, table: impl FnOnce(&T) -> String) {
        match self.format {
            Format::Table => self.data(&table(value)),
            Format::Json => self.data(
                &serde_json::to_string_pretty(value)
                    .expect("our own types have string keys and no failing serializers"),
            ),
            Format::Yaml => self.data(
                &serde_saphyr::to_string(value)
                    .expect("our own types have string keys and no failing serializers"),
            ),
        }
    }

    /// Control sequences for a terminal, as they are.
    pub(crate) fn raw(&self, sequence: &str) {
        let mut out = io::stdout().lock();
        if let Err(error) = out
            .write_all(sequence.as_bytes())
            .and_then(|()| out.flush())
        {
            self.lost.set(Some(error.kind()));
        }
    }

    /// Whether stdout takes no more.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.get().is_some()
    }

    /// Talk: progress, hints, what was done. Silent under `--quiet`.
    pub(crate) fn say(&self, text: &str) {
        if !self.quiet {
            self.tell("", text);
        }
    }

    /// A warning; `--quiet` does not silence it.
    pub(crate) fn warn(&self, text: &str) {
        let label = if self.colour {
            "\x1b[33mwarning:\x1b[0m "
        } else {
            "warning: "
        };
        self.tell(label, text);
    }

    /// An error; `--quiet` does not silence it.
    pub(crate) fn complain(&self, text: &str) {
        let label = if self.colour {
            "\x1b[31merror:\x1b[0m "
        } else {
            "error: "
        };
        self.tell(label, text);
    }

    /// The exit after all output: data that a full disk swallowed is a failure, a reader that had
    /// enough (`| head`) is none.
    pub(crate) fn close(&self, exit: Exit) -> Exit {
        match self.lost.get() {
            None | Some(io::ErrorKind::BrokenPipe) => exit,
            Some(kind) => {
                self.complain(&format!(
                    "standard output took no more: {kind}; free the disk it goes to and repeat the command"
                ));
                if exit == Exit::Done {
                    Exit::Failed
                } else {
                    exit
                }
            }
        }
    }

    fn tell(&self, label: &str, text: &str) {
        // A closed stderr leaves nobody to tell.
        let _ = writeln!(io::stderr().lock(), "{label}{}", text.trim_end());
    }
}

/// Lays rows out in columns, two spaces apart, without trailing blanks.
pub(crate) fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count)
        .map(|column| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width + 2 - cell.chars().count()));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_leave_no_blanks_at_the_end() {
        let rows = vec![
            vec!["NODE".into(), "STATE".into()],
            vec!["eu-west-1".into(), "up".into()],
            vec!["x".into()],
        ];
        assert_eq!(columns(&rows), "NODE       STATE\neu-west-1  up\nx\n");
    }
}
