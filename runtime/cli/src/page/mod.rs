//! The page of a run: what was asked for, when what was at work, what came of it. HTML that needs no
//! other file and no script.

mod timeline;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use cerb_engine::{Ended, Event};
use serde_json::Value;

use crate::history;
use crate::machine::show_bytes;
use crate::reports::uri;
use crate::story::Story;
use crate::terminal::{self, count, thousands};

/// Rows of a table before the rest is only counted.
const MOST: usize = 200;
const STYLE: &str = include_str!("style.css");

/// Returns the page of a run; links lead from the folder `from`, if it lies in one, to the results.
pub fn html(story: &Story, from: Option<&Path>) -> String {
    let mut page = Page {
        story,
        body: String::new(),
    };
    page.head();
    page.numbers();
    page.failures();
    page.timeline();
    page.stages();
    page.expectations();
    page.left_out();
    page.notes();
    page.outputs(from);
    page.resources();
    page.settings();
    let title = format!("{} · run {}", escaped(&name(story)), story.past.id);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{}\
         <footer>Written by cerb {} from the run's own files; <code>cerb show {}</code> tells more.</footer>\n\
         </main>\n</body>\n</html>\n",
        page.body,
        escaped(
            story.request["cerb"]
                .as_str()
                .unwrap_or(env!("CARGO_PKG_VERSION"))
        ),
        story.past.id
    )
}

/// Makes text harmless inside markup.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// How the actions of a node ended.
#[derive(Default)]
struct Ends {
    ran: u64,
    hit: u64,
    failed: u64,
    skipped: u64,
    dropped: u64,
}

impl Ends {
    /// In the order of the columns.
    fn all(&self) -> [u64; 5] {
        [self.ran, self.hit, self.failed, self.skipped, self.dropped]
    }
}

const ENDS: [&str; 5] = ["ran", "up to date", "failed", "skipped", "dropped"];

struct Page<'a> {
    story: &'a Story,
    body: String,
}

/// A cell of a table: markup, and whether it is a number.
struct Cell(String, &'static str);

/// A text; what stands between backticks is code.
fn text(text: &str) -> Cell {
    let escaped = escaped(text);
    let parts: Vec<&str> = escaped.split('`').collect();
    if parts.len().is_multiple_of(2) {
        return Cell(escaped, "");
    }
    let parts = parts.iter().enumerate().map(|(at, part)| match at % 2 {
        0 => (*part).to_owned(),
        _ => format!("<code>{part}</code>"),
    });
    Cell(parts.collect(), "")
}

fn code(text: &str) -> Cell {
    Cell(format!("<code>{}</code>", escaped(text)), "")
}

fn number(text: String) -> Cell {
    Cell(escaped(&text), "n")
}

fn tally(n: u64) -> Cell {
    match n {
        0 => Cell("·".to_owned(), "n zero"),
        n => Cell(thousands(n), "n"),
    }
}

fn time(ms: u64) -> String {
    terminal::duration(Duration::from_millis(ms))
}

impl<'a> Page<'a> {
    fn heading(&mut self, text: &str) {
        let _ = writeln!(self.body, "<h2>{}</h2>", escaped(text));
    }

    /// Adds a table; the first cell of a row is its head.
    fn table(&mut self, heads: &[&str], rows: Vec<Vec<Cell>>) {
        let more = rows.len().saturating_sub(MOST);
        self.body
            .push_str("<div class=\"wide\"><table>\n<thead><tr>");
        let first: Vec<&str> = rows
            .first()
            .map(|row| row.iter().map(|cell| cell.1).collect())
            .unwrap_or_default();
        for (at, head) in heads.iter().enumerate() {
            let class = match first.get(at) {
                Some(class) if class.starts_with('n') => " class=\"n\"",
                _ => "",
            };
            let _ = write!(self.body, "<th{class}>{}</th>", escaped(head));
        }
        self.body.push_str("</tr></thead>\n<tbody>\n");
        for row in rows.iter().take(MOST) {
            self.body.push_str("<tr>");
            for (at, Cell(cell, class)) in row.iter().enumerate() {
                let tag = if at == 0 { "th" } else { "td" };
                let class = match *class {
                    "" => String::new(),
                    class => format!(" class=\"{class}\""),
                };
                let _ = write!(self.body, "<{tag}{class}>{cell}</{tag}>");
            }
            self.body.push_str("</tr>\n");
        }
        self.body.push_str("</tbody></table></div>\n");
        if more > 0 {
            let more = count(more as u64, "more", "more");
            let id = &self.story.past.id;
            let _ = writeln!(
                self.body,
                "<p class=\"soft\">and {more}: <code>cerb show {id} --json</code></p>"
            );
        }
    }

    /// Adds a table of names and values.
    fn facts(&mut self, rows: Vec<(String, String)>) {
        self.body.push_str("<table class=\"facts\"><tbody>\n");
        for (name, value) in rows {
            let _ = writeln!(
                self.body,
                "<tr><th>{}</th><td>{}</td></tr>",
                escaped(&name),
                escaped(&value)
            );
        }
        self.body.push_str("</tbody></table>\n");
    }

    fn head(&mut self) {
        let past = &self.story.past;
        let status = past.status();
        let class = match status {
            "complete" => "good",
            "partial" | "interrupted" | "running" => "warn",
            _ => "bad",
        };
        let _ = writeln!(
            self.body,
            "<h1>{}<span class=\"state {class}\">{}</span></h1>",
            escaped(&name(self.story)),
            escaped(status)
        );
        let mut about = vec![
            format!("run {}", past.id),
            format!("began {}", history::clock(past.began_ms)),
        ];
        if let Some(wall) = past.wall() {
            about.push(format!("took {wall}"));
        }
        if let Some(version) = self.story.request["cerb"].as_str() {
            about.push(format!("cerb {version}"));
        }
        let _ = writeln!(
            self.body,
            "<p class=\"soft\">{}</p>",
            escaped(&about.join(" · "))
        );
        if past.outcome.is_none() {
            let what = match status {
                "running" => "This run goes on.",
                _ => {
                    "This run did not come to write down its end: it was killed, or the machine stopped."
                }
            };
            let _ = writeln!(
                self.body,
                "<p class=\"notice\">{what} What stands here is what it had told after {}; \
                 what is finished is safe, and the same command goes on from there.</p>",
                time(self.story.length_ms())
            );
        } else if status == "interrupted" {
            self.body.push_str(
                "<p class=\"notice\">This run was asked to stop, and stopped in good order. \
                 What is finished is safe, and the same command goes on from there.</p>\n",
            );
        }
    }

    /// How the actions of each node ended; of a run without an end, those that it told of.
    fn ends(&self) -> BTreeMap<&'a str, Ends> {
        let mut all: BTreeMap<&str, Ends> = BTreeMap::new();
        let story = self.story;
        if let Some(nodes) = story.outcome("nodes").as_object() {
            for (node, counts) in nodes {
                let number = |field: &str| counts[field].as_u64().unwrap_or(0);
                let ends = Ends {
                    ran: number("ran"),
                    hit: number("hit"),
                    failed: number("failed"),
                    skipped: number("skipped"),
                    dropped: number("dropped"),
                };
                all.insert(node, ends);
            }
            return all;
        }
        for moment in &story.moments {
            if let Event::ActionFinished { node, state, .. } = &moment.event {
                let ends = all.entry(node).or_default();
                match state {
                    Ended::Ran => ends.ran += 1,
                    Ended::Hit => ends.hit += 1,
                    Ended::Failed => ends.failed += 1,
                    Ended::Skipped => ends.skipped += 1,
                    Ended::Dropped => ends.dropped += 1,
                }
            }
        }
        all
    }

    fn numbers(&mut self) {
        let mut sums = [0; 5];
        for ends in self.ends().values() {
            for (sum, n) in sums.iter_mut().zip(ends.all()) {
                *sum += n;
            }
        }
        if self.story.past.outcome.is_none() {
            sums[1] += self.story.hits_before() as u64;
        }
        let mut all: Vec<(&str, String)> = ENDS
            .iter()
            .zip(sums)
            .filter(|(name, n)| *n > 0 || **name == "ran")
            .map(|(name, n)| (*name, thousands(n)))
            .collect();
        all.extend(self.story.past.wall().map(|wall| ("took", wall)));
        if let Some(cpu) = self.story.outcome("cpu_ms").as_u64() {
            all.push(("processor time", time(cpu)));
        }
        if let Some(memory) = self.story.past.used().memory {
            all.push(("memory at most", show_bytes(memory)));
        }
        self.body.push_str("<dl class=\"numbers\">");
        for (name, value) in all {
            let _ = write!(
                self.body,
                "<div><dt>{name}</dt><dd>{}</dd></div>",
                escaped(&value)
            );
        }
        self.body.push_str("</dl>\n");
        if let Some(busiest) = self.story.work.busiest(self.story.length_ms()) {
            let _ = writeln!(
                self.body,
                "<p>The busiest stage: <strong>{}</strong>, {:.0} % of {} of work.</p>",
                escaped(&busiest.node),
                busiest.share * 100.0,
                time(busiest.of_ms)
            );
        }
    }

    fn failures(&mut self) {
        let mut rows = Vec::new();
        for failure in self
            .story
            .outcome("failures")
            .as_array()
            .into_iter()
            .flatten()
        {
            let field = |name: &str| failure[name].as_str().unwrap_or_default();
            rows.push(failed(
                field("node"),
                failure["item"].as_str(),
                field("class"),
                failure["attempts"].as_u64().unwrap_or(1),
                &self.story.portable(field("error")),
            ));
        }
        if self.story.past.outcome.is_none() {
            for moment in &self.story.moments {
                if let Event::ActionFinished {
                    state: Ended::Failed,
                    node,
                    item,
                    class,
                    attempts,
                    error,
                    ..
                } = &moment.event
                {
                    rows.push(failed(
                        node,
                        item.as_deref(),
                        class.as_deref().unwrap_or_default(),
                        u64::from(*attempts),
                        &self.story.portable(error.as_deref().unwrap_or_default()),
                    ));
                }
            }
        }
        if !rows.is_empty() {
            self.heading("What failed");
            self.table(&["node", "item", "class", "attempts", "error"], rows);
        }
    }

    fn timeline(&mut self) {
        if let Some(svg) = timeline::draw(&self.story.moments, self.story.length_ms()) {
            self.heading("What was at work when");
            self.body.push_str(&svg);
        }
    }

    fn stages(&mut self) {
        let ends = self.ends();
        let calls: BTreeMap<&str, &str> = self.story.request["nodes"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|node| Some((node["name"].as_str()?, node["text"].as_str()?)))
            .collect();
        let work = self.story.work.stages();
        let all: u64 = work.values().map(|stage| stage.work_ms).sum();
        let mut rows: Vec<(u64, &str, Vec<Cell>)> = Vec::new();
        for (node, ends) in &ends {
            let stage = work.get(*node).copied().unwrap_or_default();
            let call = calls
                .get(node)
                .map(|call| format!("<span class=\"call\">{}</span>", escaped(call)));
            let mut row = vec![Cell(
                format!("{}{}", escaped(node), call.unwrap_or_default()),
                "",
            )];
            row.extend(ends.all().map(tally));
            if stage.work_ms == 0 {
                row.extend((0..3).map(|_| Cell("·".to_owned(), "n zero")));
            } else {
                let share = stage.work_ms as f64 / all.max(1) as f64;
                row.push(number(time(stage.wall_ms)));
                row.push(number(time(stage.cpu_ms)));
                row.push(Cell(
                    format!(
                        "<i style=\"width:{:.2}rem\"></i>{:.0} %",
                        share * 7.0,
                        share * 100.0
                    ),
                    "share",
                ));
            }
            rows.push((stage.work_ms, node, row));
        }
        if rows.is_empty() {
            return;
        }
        rows.sort_by(|one, other| other.0.cmp(&one.0).then(one.1.cmp(other.1)));
        let mut heads = vec!["node"];
        heads.extend(ENDS);
        heads.extend(["by the clock", "processor", "share of the work"]);
        self.heading("Stages");
        self.table(&heads, rows.into_iter().map(|(.., row)| row).collect());
    }

    fn expectations(&mut self) {
        let mut rows = Vec::new();
        for moment in &self.story.moments {
            if let Event::Judged {
                text: claim,
                verdict,
                found,
                otherwise,
            } = &moment.event
            {
                let class = match verdict.as_str() {
                    "holds" => "good",
                    "fails" => "bad",
                    _ => "warn",
                };
                let why = [found.as_deref(), otherwise.as_deref()];
                let why: Vec<&str> = why.into_iter().flatten().collect();
                rows.push(vec![
                    code(claim),
                    Cell(
                        format!("<span class=\"{class}\">{}</span>", escaped(verdict)),
                        "",
                    ),
                    text(&why.join(" · ")),
                ]);
            }
        }
        if !rows.is_empty() {
            self.heading("What was expected");
            self.table(&["expectation", "verdict", "found"], rows);
        }
    }

    fn left_out(&mut self) {
        let mut rows = Vec::new();
        let cohorts = self.story.request["cohorts"].as_array();
        for cohort in cohorts.into_iter().flatten() {
            for drop in cohort["dropped"].as_array().into_iter().flatten() {
                rows.push(vec![
                    text(drop["key"].as_str().unwrap_or_default()),
                    code(drop["why"].as_str().unwrap_or_default()),
                    text("false, when planned"),
                    text(cohort["name"].as_str().unwrap_or_default()),
                ]);
            }
        }
        for left in self
            .story
            .outcome("dropped")
            .as_array()
            .into_iter()
            .flatten()
        {
            let nodes = left["nodes"].as_array().into_iter().flatten();
            let nodes: Vec<&str> = nodes.filter_map(Value::as_str).collect();
            rows.push(vec![
                text(left["item"].as_str().unwrap_or("every item")),
                code(left["condition"].as_str().unwrap_or_default()),
                text(&left["was"].to_string()),
                text(&nodes.join(", ")),
            ]);
        }
        if self.story.past.outcome.is_none() {
            for moment in &self.story.moments {
                if let Event::ActionFinished {
                    state: Ended::Dropped,
                    node,
                    item,
                    error,
                    ..
                } = &moment.event
                {
                    rows.push(vec![
                        text(item.as_deref().unwrap_or("every item")),
                        text(error.as_deref().unwrap_or_default()),
                        text(""),
                        text(node),
                    ]);
                }
            }
        }
        if !rows.is_empty() {
            self.heading("What was left out");
            self.table(&["item", "condition", "came out", "nodes"], rows);
        }
    }

    fn notes(&mut self) {
        // The same note of many nodes and items is told once.
        let mut alike: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        let mut add = |node: &str, item: Option<&str>, text| {
            let place = match item {
                Some(item) => format!("{node}@{item}"),
                None => node.to_owned(),
            };
            alike.entry(text).or_default().push(place);
        };
        match self.story.outcome("notes").as_array() {
            Some(notes) => {
                for note in notes {
                    let field = |name: &str| note[name].as_str();
                    let (node, text) = (field("node"), field("text"));
                    add(
                        node.unwrap_or_default(),
                        field("item"),
                        text.unwrap_or_default(),
                    );
                }
            }
            None => {
                for moment in &self.story.moments {
                    if let Event::Note { node, item, text } = &moment.event {
                        add(node, item.as_deref(), text);
                    }
                }
            }
        }
        let rows: Vec<Vec<Cell>> = alike
            .into_iter()
            .map(|(note, places)| {
                let more = match places.len() {
                    0..=3 => String::new(),
                    n => format!(" and {} more", n - 3),
                };
                let first: Vec<&str> = places.iter().take(3).map(String::as_str).collect();
                vec![
                    text(&format!("{}{more}", first.join(", "))),
                    text(&self.story.portable(note)),
                ]
            })
            .collect();
        if !rows.is_empty() {
            self.heading("To be known");
            self.table(&["of", "note"], rows);
        }
    }

    fn outputs(&mut self, from: Option<&Path>) {
        let out = self.story.request["settings"]["out"].as_str();
        let base = from.zip(out);
        let base = base.and_then(|(from, out)| relative(from, Path::new(out)));
        let fresh = self.story.outcome("published");
        let mut rows = Vec::new();
        let mut row = |path: &str, bytes: u64, of: &str, fresh: bool| {
            let name = match &base {
                Some(base) => {
                    let to = uri(&base.join(path).to_string_lossy());
                    format!("<a href=\"{}\">{}</a>", escaped(&to), escaped(path))
                }
                None => escaped(path),
            };
            let state = if fresh { "written" } else { "as it was" };
            rows.push(vec![
                Cell(name, ""),
                number(show_bytes(bytes)),
                text(of),
                text(state),
            ]);
        };
        let mut missing: Vec<&str> = Vec::new();
        match &self.story.manifest {
            Some(manifest) => {
                for (path, file) in &manifest.files {
                    let of = match &file.item {
                        Some(item) => format!("{}@{item}", file.node),
                        None => file.node.clone(),
                    };
                    row(path, file.bytes, &of, fresh[path] == true);
                }
                missing.extend(manifest.missing.iter().map(String::as_str));
            }
            None => {
                for moment in &self.story.moments {
                    if let Event::Published {
                        path,
                        bytes,
                        unchanged,
                    } = &moment.event
                    {
                        row(path, *bytes, "", !unchanged);
                    }
                }
            }
        }
        // First, so that none is beyond what is listed.
        let why = self.story.outcome("missing");
        let gone = missing.iter().map(|path| {
            let why = why[path]
                .as_str()
                .map(|why| format!(": {}", self::text(why).0));
            let state = format!(
                "<span class=\"bad\">not made</span>{}",
                why.unwrap_or_default()
            );
            vec![text(path), tally(0), text(""), Cell(state, "")]
        });
        let rows: Vec<Vec<Cell>> = gone.chain(rows).collect();
        if !rows.is_empty() {
            self.heading("Outputs");
            self.table(&["path", "size", "made by", "this run"], rows);
        }
    }

    fn resources(&mut self) {
        let used = self.story.past.used();
        let size = |bytes: Option<u64>| bytes.filter(|bytes| *bytes > 0).map(show_bytes);
        let mut rows = Vec::new();
        let settings = &self.story.request["settings"];
        if let Some(memory) = size(used.memory) {
            rows.push(("memory of the process, at most".to_owned(), memory));
        }
        if let Some(memory) = size(used.programs) {
            rows.push(("memory of one program, at most".to_owned(), memory));
        }
        if let Some(memory) = size(settings["memory"].as_u64()) {
            let by = settings["memory_by"].as_str();
            let by = by.map(|by| format!(" ({by})")).unwrap_or_default();
            rows.push(("memory it might use".to_owned(), format!("{memory}{by}")));
        }
        if let Some(scratch) = size(used.scratch) {
            rows.push(("scratch on disk, at most".to_owned(), scratch));
        }
        if let Some(stored) = used.stored {
            rows.push(("new in the store".to_owned(), show_bytes(stored)));
        }
        if let Some(published) = used.published {
            rows.push(("written to the results".to_owned(), show_bytes(published)));
        }
        if !rows.is_empty() {
            self.heading("Memory and disk");
            self.facts(rows);
        }
    }

    fn settings(&mut self) {
        let request = &self.story.request;
        let settings = &request["settings"];
        let mut rows = Vec::new();
        for (name, value) in &self.story.past.params {
            rows.push((name.clone(), value.clone()));
        }
        if !rows.is_empty() {
            self.heading("Parameters");
            self.facts(rows);
        }
        let mut rows = Vec::new();
        for cohort in request["cohorts"].as_array().into_iter().flatten() {
            let items = cohort["items"].as_array().map_or(0, Vec::len) as u64;
            rows.push((
                cohort["name"].as_str().unwrap_or_default().to_owned(),
                count(items, "item", "items"),
            ));
        }
        if let Some(class) = settings["device_class"].as_str() {
            rows.push(("device".to_owned(), class.to_owned()));
        }
        if let Some(jobs) = settings["jobs"].as_u64() {
            rows.push(("cores".to_owned(), jobs.to_string()));
        }
        if settings["fail_fast"] == true {
            rows.push(("at a failure".to_owned(), "stop".to_owned()));
        }
        let again = settings["refresh"].as_array().into_iter().flatten();
        let again: Vec<&str> = again.filter_map(Value::as_str).collect();
        if !again.is_empty() {
            rows.push(("run again".to_owned(), again.join(", ")));
        }
        let plan = &self.story.about["plan"];
        if let (Some(runs), Some(follows)) = (plan["runs"].as_u64(), plan["follows"].as_u64()) {
            let words = format!(
                "{} of {} up to date, {} to run, {} to follow",
                plan["hits"], plan["actions"], runs, follows
            );
            rows.push(("planned".to_owned(), words));
        }
        if !rows.is_empty() {
            self.heading("Settings in effect");
            self.facts(rows);
        }
    }
}

fn failed(node: &str, item: Option<&str>, class: &str, attempts: u64, error: &str) -> Vec<Cell> {
    vec![
        text(node),
        text(item.unwrap_or_default()),
        Cell(format!("<span class=\"bad\">{}</span>", escaped(class)), ""),
        tally(attempts),
        text(error),
    ]
}

/// The pipeline's file and the test; the folder of the machine it ran on is nobody else's business.
fn name(story: &Story) -> String {
    let named = &story.past.pipeline;
    match named.rsplit_once(" test \"") {
        Some((file, test)) => format!("{} · test “{}”", base(file), test.trim_end_matches('"')),
        None => base(named).to_owned(),
    }
}

/// The last part of a path as it was named.
fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Returns the way from one folder to another, when both are known from the root on.
fn relative(from: &Path, to: &Path) -> Option<PathBuf> {
    let from = std::fs::canonicalize(from).ok()?;
    let to = std::fs::canonicalize(to).unwrap_or_else(|_| to.to_path_buf());
    if !to.is_absolute() {
        return None;
    }
    let (from, to): (Vec<Component>, Vec<Component>) =
        (from.components().collect(), to.components().collect());
    let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let up = from[shared..].iter().map(|_| Component::ParentDir);
    Some(up.chain(to[shared..].iter().copied()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_between_folders_is_relative() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a/x"), dir.path().join("b"));
        std::fs::create_dir_all(&a).unwrap();
        std::fs::create_dir_all(&b).unwrap();
        assert_eq!(relative(&a, &b), Some(PathBuf::from("../../b")));
        assert_eq!(relative(&a, &a), Some(PathBuf::new()));
        assert_eq!(relative(&a, Path::new("b")), None);
    }

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(escaped("<a & \"b\">"), "&lt;a &amp; &quot;b&quot;&gt;");
        assert_eq!(
            text("`<a>` is `b`").0,
            "<code>&lt;a&gt;</code> is <code>b</code>"
        );
        assert_eq!(text("a ` b").0, "a ` b");
    }
}
