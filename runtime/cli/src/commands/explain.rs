//! `cerb explain`: the page of an error code.

use cerb_lang::nearest;
use clap::Args;

use crate::args::When;
use crate::failure::{Failure, exit};
use crate::terminal::Paint;

/// Pages by code, from `docs/errors`; see `build.rs`.
pub const PAGES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/pages.rs"));

/// Explain an error code, with an example and a remedy
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cerb explain lang::mpp_mismatch
  cerb explain mpp_mismatch          its family may be left out
  cerb explain                       every code there is a page for")]
pub struct Explain {
    /// The code at the head of a message
    #[arg(value_name = "CODE")]
    pub code: Option<String>,
}

impl Explain {
    /// Prints the page.
    pub fn execute(self, color: When) -> Result<u8, Failure> {
        let paint = Paint::stdout(color);
        let Some(code) = self.code else {
            for (code, page) in PAGES {
                println!("{}  {}", paint.name(code), gist(page));
            }
            return Ok(exit::DONE);
        };
        let Some((_, page)) = PAGES
            .iter()
            .find(|(known, _)| *known == code)
            .or(named(&code)?)
        else {
            let whole = nearest(&code, PAGES.iter().map(|(known, _)| *known));
            let name = || nearest(&code, PAGES.iter().map(|(known, _)| name_of(known)));
            let help = match whole.or_else(name) {
                Some(near) => format!("did you mean `cerb explain {near}`?"),
                None => "`cerb explain` lists the codes".to_owned(),
            };
            return Err(Failure::call(
                format!("there is no page for `{code}`"),
                help,
            ));
        };
        for line in page.lines() {
            match line.strip_prefix("# ") {
                Some(heading) => println!("{}", paint.bold(heading.trim_matches('`'))),
                None => println!("{line}"),
            }
        }
        Ok(exit::DONE)
    }
}

/// The name of a code without its family.
fn name_of(code: &str) -> &str {
    code.split_once("::").map_or(code, |(_, name)| name)
}

/// Finds a page by the name of its code alone, when there is one of that name.
fn named(name: &str) -> Result<Option<&'static (&'static str, &'static str)>, Failure> {
    let found: Vec<_> = PAGES
        .iter()
        .filter(|(code, _)| name_of(code) == name)
        .collect();
    match found.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        several => {
            let codes: Vec<String> = several
                .iter()
                .map(|(code, _)| format!("`cerb explain {code}`"))
                .collect();
            Err(Failure::call(
                format!("{} families have a page `{name}`", several.len()),
                format!("name one: {}", codes.join(", ")),
            ))
        }
    }
}

/// Returns the first sentence of a page.
pub fn gist(page: &str) -> String {
    let mut lines = page
        .lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    let first = lines.next().unwrap_or_default();
    first
        .split_once(". ")
        .map_or(first, |(sentence, _)| sentence)
        .trim_end_matches('.')
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_begins_with_its_code_and_says_something() {
        for (code, page) in PAGES {
            assert!(page.starts_with(&format!("# `{code}`\n")), "{code}");
            assert!(gist(page).len() > 10, "{code}");
        }
    }
}
