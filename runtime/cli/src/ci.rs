//! What came of tests and expectations, for machines that watch: JUnit XML, and a summary in Markdown.

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cerb_engine::{Outcome, Verdict};
use cerb_lang::Plan;
use clap::Args;

use crate::claims::{self, Claimed};
use crate::failure::Failure;
use crate::session::plain;
use crate::terminal::{self, count};

/// Files that a run or a test leaves for those who watch it.
#[derive(Args, Debug, Clone, Default)]
pub struct Reports {
    /// Write what came of each expectation as JUnit XML
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub junit: Option<PathBuf>,

    /// Add a summary in Markdown to a file, such as "$GITHUB_STEP_SUMMARY"
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub summary: Option<PathBuf>,
}

/// A pipeline, or one of its tests, that was judged.
pub struct Suite {
    /// What it is called: the test, or the pipeline.
    pub name: String,
    /// Milliseconds by the clock.
    pub wall_ms: u64,
    /// What was judged, one after the other.
    pub cases: Vec<Case>,
}

/// One thing that was judged.
pub struct Case {
    /// What it is called: the claim as written, or `node@item`.
    pub name: String,
    /// How it ended.
    pub end: End,
    /// Where it is written: `lab.cerb:12`.
    pub place: String,
}

/// How something ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It holds, or it was made.
    Passed,
    /// It does not hold; what was found.
    Failed(String),
    /// It could not be judged, or not be made; why.
    Error(String),
}

impl Reports {
    /// Writes what is asked for.
    pub fn write(&self, command: &str, suites: &[Suite]) -> Result<(), Failure> {
        let fault = |file: &Path, error: io::Error| {
            let title = format!("cannot write `{}`: {}", file.display(), plain(&error));
            Failure::call(title, "name a file in a folder that is there")
        };
        if let Some(file) = &self.junit {
            fs::write(file, junit(command, suites)).map_err(|error| fault(file, error))?;
        }
        if let Some(file) = &self.summary {
            let text = markdown(command, suites);
            let mut options = fs::OpenOptions::new();
            let opened = options.append(true).create(true).open(file);
            opened
                .and_then(|mut opened| io::Write::write_all(&mut opened, text.as_bytes()))
                .map_err(|error| fault(file, error))?;
        }
        Ok(())
    }

    /// Writes of a command that ended before anything was judged, and hands its failure on.
    pub fn or_failed<T>(
        &self,
        command: &str,
        name: &str,
        result: Result<T, Failure>,
    ) -> Result<T, Failure> {
        result.inspect_err(|failure| {
            let suite = Suite {
                name: name.to_owned(),
                wall_ms: 0,
                cases: vec![Case {
                    name: command.to_owned(),
                    end: End::Error(failure.title()),
                    place: name.to_owned(),
                }],
            };
            // The failure itself is what is told; that this could not be written is not.
            let _ = self.write(command, &[suite]);
        })
    }
}

impl Suite {
    /// Takes what a run came to.
    pub fn of(name: &str, plan: &Plan, outcome: &Outcome) -> Suite {
        let mut cases: Vec<Case> = claims::all(plan, outcome)
            .into_iter()
            .map(|claimed: Claimed<'_>| {
                let because = claimed
                    .expect
                    .otherwise
                    .iter()
                    .map(|text| format!(" ({text})"));
                let because: String = because.collect();
                Case {
                    name: format!("expect {}", claimed.expect.text),
                    end: match claimed.verdict {
                        Verdict::Holds => End::Passed,
                        Verdict::Fails(found) => End::Failed(format!("{found}{because}")),
                        Verdict::Lost(why) => End::Error(why.clone()),
                        Verdict::NotYet => {
                            End::Error("the run ended before it was known".to_owned())
                        }
                    },
                    place: format!("{}:{}", claimed.file, claimed.line),
                }
            })
            .collect();
        cases.extend(outcome.failures.iter().map(|failure| {
            let item = failure.item.iter().map(|item| format!("@{item}"));
            let name = format!("{}{}", failure.node, item.collect::<String>());
            Case {
                place: name.clone(),
                name,
                end: End::Error(failure.error.clone()),
            }
        }));
        if cases.is_empty() {
            cases.push(Case {
                name: "nothing is expected".to_owned(),
                end: match outcome.exit_code() {
                    0 => End::Passed,
                    _ => End::Error("it did not come to its end".to_owned()),
                },
                place: name.to_owned(),
            });
        }
        Suite {
            name: name.to_owned(),
            wall_ms: outcome.wall_ms,
            cases,
        }
    }

    fn number(&self, wanted: fn(&End) -> bool) -> usize {
        self.cases.iter().filter(|case| wanted(&case.end)).count()
    }

    fn passed(&self) -> usize {
        self.number(|end| *end == End::Passed)
    }
}

fn failed(end: &End) -> bool {
    matches!(end, End::Failed(_))
}

fn lost(end: &End) -> bool {
    matches!(end, End::Error(_))
}

/// Writes JUnit XML, as Jenkins, GitLab and the actions of GitHub read it.
fn junit(command: &str, suites: &[Suite]) -> String {
    let all = |wanted: fn(&Suite) -> usize| suites.iter().map(wanted).sum::<usize>();
    let wall: u64 = suites.iter().map(|suite| suite.wall_ms).sum();
    let seconds = |ms: u64| format!("{}.{:03}", ms / 1000, ms % 1000);
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        text,
        "<testsuites name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" time=\"{}\">",
        xml(command),
        all(|suite| suite.cases.len()),
        all(|suite| suite.number(failed)),
        all(|suite| suite.number(lost)),
        seconds(wall)
    );
    for suite in suites {
        let _ = writeln!(
            text,
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" time=\"{}\">",
            xml(&suite.name),
            suite.cases.len(),
            suite.number(failed),
            suite.number(lost),
            seconds(suite.wall_ms)
        );
        for case in &suite.cases {
            let _ = write!(
                text,
                "    <testcase classname=\"{}\" name=\"{}\"",
                xml(&suite.name),
                xml(&case.name)
            );
            let (tag, what) = match &case.end {
                End::Passed => {
                    text.push_str("/>\n");
                    continue;
                }
                End::Failed(what) => ("failure", what),
                End::Error(what) => ("error", what),
            };
            let _ = write!(
                text,
                ">\n      <{tag} message=\"{what}\">{}: {what}</{tag}>\n    </testcase>\n",
                xml(&case.place),
                what = xml(what),
            );
        }
        text.push_str("  </testsuite>\n");
    }
    text.push_str("</testsuites>\n");
    text
}

/// Writes text into XML; what no XML can hold becomes a question mark.
fn xml(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            '\t' => out.push_str("&#9;"),
            letter if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') => {
                out.push('?');
            }
            letter => out.push(letter),
        }
    }
    out
}

/// Writes a table of what was judged, and below it what did not hold.
fn markdown(command: &str, suites: &[Suite]) -> String {
    let good = suites
        .iter()
        .all(|suite| suite.passed() == suite.cases.len());
    let mut text = format!("### {} {}\n\n", mark(good), plain_text(command));
    text.push_str("| | | holds | time |\n|---|---|---:|---:|\n");
    for suite in suites {
        let whole = suite.passed() == suite.cases.len();
        let _ = writeln!(
            text,
            "| {} | {} | {} of {} | {} |",
            mark(whole),
            plain_text(&suite.name),
            suite.passed(),
            suite.cases.len(),
            terminal::duration(Duration::from_millis(suite.wall_ms))
        );
    }
    let mut rest = String::new();
    for suite in suites {
        for case in &suite.cases {
            let (End::Failed(what) | End::Error(what)) = &case.end else {
                continue;
            };
            let _ = writeln!(
                rest,
                "- {}, `{}` ({}): {}",
                plain_text(&suite.name),
                case.name.replace('`', "'"),
                plain_text(&case.place),
                plain_text(what)
            );
        }
    }
    if !rest.is_empty() {
        let bad: usize = suites
            .iter()
            .map(|suite| suite.cases.len() - suite.passed())
            .sum();
        let _ = write!(
            text,
            "\n{}:\n\n{rest}",
            count(bad as u64, "does not hold", "do not hold")
        );
    }
    text.push('\n');
    text
}

fn mark(good: bool) -> &'static str {
    if good { "✅" } else { "❌" }
}

/// Writes text into a line of Markdown: no table, list or tag begins in it.
fn plain_text(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    text.replace('|', "\\|").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suites() -> Vec<Suite> {
        let case = |name: &str, end| Case {
            name: name.to_owned(),
            end,
            place: "lab.cerb:3".to_owned(),
        };
        vec![Suite {
            name: "one <slide> | \"a\"".to_owned(),
            wall_ms: 1250,
            cases: vec![
                case("expect a < 2", End::Passed),
                case("expect b", End::Failed("it is 3 & \u{1}more".to_owned())),
                case("nuclei@x", End::Error("two\nlines".to_owned())),
            ],
        }]
    }

    #[test]
    fn junit_counts_and_escapes() {
        let text = junit("cerb test", &suites());
        assert!(
            text.contains("tests=\"3\" failures=\"1\" errors=\"1\" time=\"1.250\""),
            "{text}"
        );
        assert!(text.contains("name=\"one &lt;slide&gt; | &quot;a&quot;\""));
        assert!(text.contains("<failure message=\"it is 3 &amp; ?more\">lab.cerb:3: "));
        assert!(text.contains("<error message=\"two&#10;lines\">"));
    }

    #[test]
    fn markdown_keeps_to_its_table() {
        let text = markdown("cerb test", &suites());
        assert!(
            text.starts_with("### ❌ cerb test\n\n| | | holds | time |\n|---|---|---:|---:|\n"),
            "{text}"
        );
        assert!(
            text.contains("| ❌ | one &lt;slide> \\| \"a\" | 1 of 3 |"),
            "{text}"
        );
        assert!(text.contains("2 do not hold:\n\n- one"), "{text}");
    }
}
