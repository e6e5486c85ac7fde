//! The terminal: colours, tables, durations and counts as people read them.

use std::io::IsTerminal;
use std::path::Path;
use std::time::Duration;

use crate::args::When;

/// How text may be decorated on one stream.
#[derive(Clone, Copy, Debug)]
pub struct Paint {
    on: bool,
}

impl Paint {
    /// Decides for standard output.
    pub fn stdout(when: When) -> Paint {
        Paint {
            on: decide(when, std::io::stdout().is_terminal()),
        }
    }

    /// Decides for standard error.
    pub fn stderr(when: When) -> Paint {
        Paint {
            on: decide(when, std::io::stderr().is_terminal()),
        }
    }

    /// Returns whether colours are on.
    pub fn is_on(self) -> bool {
        self.on
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.on {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// Returns a heading.
    pub fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    /// Returns something of second rank.
    pub fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }

    /// Returns something that went well.
    pub fn good(self, text: &str) -> String {
        self.wrap("32", text)
    }

    /// Returns something that wants attention.
    pub fn warn(self, text: &str) -> String {
        self.wrap("33", text)
    }

    /// Returns something that went wrong.
    pub fn bad(self, text: &str) -> String {
        self.wrap("31", text)
    }

    /// Returns a name.
    pub fn name(self, text: &str) -> String {
        self.wrap("36", text)
    }
}

fn decide(when: When, terminal: bool) -> bool {
    match when {
        When::Always => true,
        When::Never => false,
        When::Auto => {
            let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
            terminal && !set("NO_COLOR") && std::env::var("TERM").as_deref() != Ok("dumb")
        }
    }
}

/// Returns the width to write prose and diagnostics in: `COLUMNS`, or 100.
pub fn width() -> usize {
    std::env::var("COLUMNS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(100usize)
        .clamp(40, 200)
}

/// Writes a duration in the two units that matter: `0.31 s`, `12.4 s`, `3 min 20 s`, `2 h 5 min`.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 1.0 {
        format!("{seconds:.2} s")
    } else if seconds < 59.95 {
        format!("{seconds:.1} s")
    } else if seconds < 3600.0 {
        let whole = seconds.round() as u64;
        format!("{} min {} s", whole / 60, whole % 60)
    } else {
        let minutes = (seconds / 60.0).round() as u64;
        format!("{} h {} min", minutes / 60, minutes % 60)
    }
}

/// Writes a count with its noun: `1 slide`, `2 slides`, `1,234 nuclei`.
pub fn count(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", thousands(n), if n == 1 { one } else { many })
}

/// Writes a whole number in groups of three: `1,234,567`.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Writes a path as short as it can be from the working directory.
pub fn path(path: &Path) -> String {
    let here = std::env::current_dir().and_then(std::fs::canonicalize).ok();
    let below = here.and_then(|here| path.strip_prefix(here).ok().map(Path::to_path_buf));
    below
        .unwrap_or_else(|| path.to_path_buf())
        .display()
        .to_string()
}

/// Columns of text, as wide as their widest cell; cells may carry colours.
#[derive(Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
    right: Vec<usize>,
}

impl Table {
    /// Starts a table in which the columns named by index are set to the right.
    pub fn new(right: &[usize]) -> Table {
        Table {
            rows: Vec::new(),
            right: right.to_vec(),
        }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Returns the table, each line indented by `indent` spaces.
    pub fn render(&self, indent: usize) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|c| {
                self.rows
                    .iter()
                    .filter_map(|row| row.get(c))
                    .map(|cell| visible(cell))
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let mut out = String::new();
        for row in &self.rows {
            let mut line = " ".repeat(indent);
            for (c, cell) in row.iter().enumerate() {
                let pad = " ".repeat(widths[c] - visible(cell));
                if self.right.contains(&c) {
                    line.push_str(&pad);
                    line.push_str(cell);
                } else {
                    line.push_str(cell);
                    line.push_str(&pad);
                }
                if c + 1 < row.len() {
                    line.push_str("  ");
                }
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

/// Returns how many characters of `text` are seen: escape sequences are not.
fn visible(text: &str) -> usize {
    let mut n = 0;
    let mut escape = false;
    for c in text.chars() {
        match (escape, c) {
            (false, '\x1b') => escape = true,
            (true, 'm') => escape = false,
            (true, _) => {}
            (false, _) => n += 1,
        }
    }
    n
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        let text = |seconds: f64| duration(Duration::from_secs_f64(seconds));
        assert_eq!(text(0.314), "0.31 s");
        assert_eq!(text(12.44), "12.4 s");
        assert_eq!(text(59.97), "1 min 0 s");
        assert_eq!(text(200.0), "3 min 20 s");
        assert_eq!(text(7500.0), "2 h 5 min");
    }

    #[test]
    fn counts_agree_with_their_nouns() {
        assert_eq!(count(1, "slide", "slides"), "1 slide");
        assert_eq!(count(1234567, "nucleus", "nuclei"), "1,234,567 nuclei");
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
    }

    #[test]
    fn a_table_lines_up_whatever_its_colours() {
        let paint = Paint { on: true };
        let mut table = Table::new(&[1]);
        table.row([paint.name("a"), "1".into(), "x".into()]);
        table.row(["long".into(), "100".into(), String::new()]);
        assert_eq!(
            table.render(2),
            "  \x1b[36ma\x1b[0m       1  x\n  long  100\n"
        );
    }
}
