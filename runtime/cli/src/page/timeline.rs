//! When what was at work: lanes of bars, as a picture inside the page.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;

use cerb_engine::{Ended, Event, Moment};

use super::escaped;
use crate::terminal;

/// Width of the picture, and of the names at its left.
const WIDTH: f64 = 1100.0;
const NAMES: f64 = 210.0;
/// What stays free at the right for the last label of the axis.
const MARGIN: f64 = 40.0;
/// Up to so many bars each has a lane of its own; more share the lane of their node.
const FEW: usize = 24;
/// Lanes drawn before the rest is only counted.
const MOST: usize = 60;
/// Letters of a name that fit.
const LETTERS: usize = 30;

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Ran,
    /// It was tried again.
    Again,
    Failed,
    /// It had not ended when the run did.
    Open,
}

impl Kind {
    fn class(self) -> &'static str {
        match self {
            Kind::Ran => "ran",
            Kind::Again => "again",
            Kind::Failed => "failed",
            Kind::Open => "open",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Kind::Ran => "at work",
            Kind::Again => "an attempt that was made again",
            Kind::Failed => "failed",
            Kind::Open => "not ended",
        }
    }
}

/// One attempt of an action.
struct Bar<'a> {
    node: &'a str,
    item: Option<&'a str>,
    from: u64,
    to: u64,
    kind: Kind,
}

impl Bar<'_> {
    fn label(&self) -> String {
        match self.item {
            Some(item) => format!("{}@{item}", self.node),
            None => self.node.to_owned(),
        }
    }
}

/// Returns what was at work from when to when.
fn bars(moments: &[Moment], end: u64) -> Vec<Bar<'_>> {
    let mut open: BTreeMap<usize, Bar> = BTreeMap::new();
    let mut all = Vec::new();
    fn close(mut bar: Bar<'_>, at: u64, kind: Kind) -> Bar<'_> {
        (bar.to, bar.kind) = (at, kind);
        bar
    }
    fn bar<'a>(node: &'a str, item: Option<&'a str>, from: u64) -> Bar<'a> {
        Bar {
            node,
            item,
            from,
            to: from,
            kind: Kind::Open,
        }
    }
    for moment in moments {
        let at = moment.at_ms;
        match &moment.event {
            Event::ActionStarted { id, node, item, .. } => {
                let began = bar(node, item.as_deref(), at);
                if let Some(before) = open.insert(*id, began) {
                    all.push(close(before, at, Kind::Again));
                }
            }
            Event::ActionFinished { id, state, .. } => {
                let kind = match state {
                    Ended::Ran | Ended::Hit => Kind::Ran,
                    Ended::Failed => Kind::Failed,
                    Ended::Skipped | Ended::Dropped => Kind::Open,
                };
                all.extend(open.remove(id).map(|bar| close(bar, at, kind)));
            }
            _ => {}
        }
    }
    all.extend(open.into_values().map(|bar| close(bar, end, Kind::Open)));
    all.sort_by_key(|bar| (bar.from, bar.to));
    all
}

/// Puts bars into as few rows as keep them apart.
fn rows<'b, 'a>(bars: &[&'b Bar<'a>]) -> Vec<Vec<&'b Bar<'a>>> {
    let mut rows: Vec<Vec<&Bar>> = Vec::new();
    for bar in bars {
        let free = |row: &&mut Vec<&Bar>| row.last().is_none_or(|last| last.to <= bar.from);
        match rows.iter_mut().find(free) {
            Some(row) => row.push(bar),
            None => rows.push(vec![bar]),
        }
    }
    rows
}

/// Draws the time line of a run of `length` milliseconds; nothing when nothing was at work, or when
/// the run did not keep times.
pub fn draw(moments: &[Moment], length: u64) -> Option<String> {
    let bars = bars(moments, length);
    if bars.is_empty() || length == 0 || moments.iter().all(|moment| moment.at_ms == 0) {
        return None;
    }
    // In the order in which they began.
    let mut lanes: Vec<(String, Vec<&Bar>)> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    let few = bars.len() <= FEW;
    for bar in &bars {
        let name = match few {
            true => bar.label(),
            false => bar.node.to_owned(),
        };
        let place = *places.entry(name.clone()).or_insert_with(|| {
            lanes.push((name, Vec::new()));
            lanes.len() - 1
        });
        lanes[place].1.push(bar);
    }
    let more = lanes.len().saturating_sub(MOST);
    lanes.truncate(MOST);

    let scale = (WIDTH - NAMES - MARGIN) / length as f64;
    let x = |ms: u64| NAMES + ms as f64 * scale;
    let mut body = String::new();
    let mut top = 8.0;
    for (name, bars) in &lanes {
        let rows = rows(bars);
        let each = if rows.len() == 1 { 16.0 } else { 9.0 };
        let height = each * rows.len() as f64;
        let _ = write!(
            body,
            "<rect class=\"lane\" x=\"{NAMES}\" y=\"{top}\" width=\"{:.1}\" height=\"{height}\"/>\
             <text class=\"name\" x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            length as f64 * scale,
            NAMES - 8.0,
            top + 12.0,
            escaped(&shortened(name))
        );
        for (row, bars) in rows.iter().enumerate() {
            let y = top + each * row as f64 + 1.0;
            for (from, to, kind, title) in merged(bars, &x) {
                let _ = write!(
                    body,
                    "<rect class=\"{}\" x=\"{from:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.0}\"><title>{}</title></rect>",
                    kind.class(),
                    (to - from).max(1.5),
                    each - 2.0,
                    escaped(&title)
                );
            }
        }
        body.push('\n');
        top += height + 5.0;
    }
    let (mut grid, step) = (String::new(), step(length));
    for tick in (0..).map(|n| n * step).take_while(|tick| *tick <= length) {
        let at = x(tick);
        let _ = write!(
            grid,
            "<line class=\"grid\" x1=\"{at:.1}\" y1=\"4\" x2=\"{at:.1}\" y2=\"{top:.0}\"/>\
             <text x=\"{at:.1}\" y=\"{:.0}\" text-anchor=\"middle\">{}</text>",
            top + 14.0,
            tick_label(tick)
        );
    }
    let kinds: BTreeSet<Kind> = bars.iter().map(|bar| bar.kind).collect();
    let key: String = kinds
        .iter()
        .map(|kind| {
            format!(
                "<span><i class=\"{}\"></i>{}</span>",
                kind.class(),
                kind.words()
            )
        })
        .collect();
    let more = match more {
        0 => String::new(),
        n => format!(
            "<span>and {}, not drawn</span>",
            terminal::count(n as u64, "more lane", "more lanes")
        ),
    };
    Some(format!(
        "<div class=\"wide\"><svg class=\"timeline\" viewBox=\"0 0 {WIDTH:.0} {:.0}\" role=\"img\" aria-label=\"what was at work when\">\n{grid}\n{body}</svg></div>\n\
         <p class=\"soft key\">{key}{more}</p>\n",
        top + 22.0
    ))
}

/// Bars of a row as they are drawn: those that lie closer than can be seen become one.
fn merged(bars: &[&Bar], x: &dyn Fn(u64) -> f64) -> Vec<(f64, f64, Kind, String)> {
    let mut all: Vec<(f64, f64, Kind, String, usize)> = Vec::new();
    for bar in bars {
        let (from, to) = (x(bar.from), x(bar.to));
        match all.last_mut() {
            Some(last) if last.2 == bar.kind && from - last.1 < 0.5 && to - last.0 < 6.0 => {
                (last.1, last.4) = (to, last.4 + 1);
            }
            _ => {
                let took = Duration::from_millis(bar.to - bar.from);
                let from_start = Duration::from_millis(bar.from);
                let title = format!(
                    "{} · {} · from {}",
                    bar.label(),
                    terminal::duration(took),
                    terminal::duration(from_start)
                );
                all.push((from, to, bar.kind, title, 1));
            }
        }
    }
    let title = |title: String, n: usize| match n {
        1 => title,
        n => format!("{title}, and {} more", n - 1),
    };
    all.into_iter()
        .map(|(from, to, kind, first, n)| (from, to, kind, title(first, n)))
        .collect()
}

/// The distance of ticks: a round number of milliseconds, at most nine of them.
fn step(length: u64) -> u64 {
    let rounds = [
        1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 30_000, 60_000,
        120_000, 300_000, 600_000, 1_200_000, 1_800_000, 3_600_000, 7_200_000, 14_400_000,
        28_800_000, 86_400_000,
    ];
    let fits = |step: &&u64| length / **step <= 8;
    let days = |length: u64| length.div_ceil(8 * 86_400_000) * 86_400_000;
    rounds.iter().find(fits).copied().unwrap_or(days(length))
}

fn tick_label(ms: u64) -> String {
    let seconds = ms / 1000;
    match ms {
        0 => "0".to_owned(),
        1..1000 => format!("{ms} ms"),
        _ if !ms.is_multiple_of(1000) => format!("{:.1} s", ms as f64 / 1000.0),
        _ if seconds < 60 => format!("{seconds} s"),
        _ if seconds < 3600 => format!("{}:{:02} min", seconds / 60, seconds % 60),
        _ => format!("{}:{:02} h", seconds / 3600, seconds / 60 % 60),
    }
}

fn shortened(name: &str) -> String {
    if name.chars().count() <= LETTERS {
        return name.to_owned();
    }
    let end: Vec<char> = name.chars().rev().take(LETTERS - 1).collect();
    format!("…{}", end.into_iter().rev().collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(at_ms: u64, id: usize, item: &str) -> Moment {
        let event = Event::ActionStarted {
            id,
            node: "n".into(),
            item: Some(item.into()),
            attempt: 1,
        };
        Moment { at_ms, event }
    }

    fn finished(at_ms: u64, id: usize, state: Ended) -> Moment {
        let event = Event::ActionFinished {
            id,
            node: "n".into(),
            item: None,
            state,
            attempts: 1,
            wall_ms: 0,
            cpu_ms: 0,
            class: None,
            error: None,
        };
        Moment { at_ms, event }
    }

    #[test]
    fn attempts_are_bars_and_what_did_not_end_stays_open() {
        let all = [
            started(0, 0, "a"),
            started(10, 1, "<b>"),
            started(20, 0, "a"),
            finished(30, 0, Ended::Failed),
        ];
        let kinds: Vec<(u64, u64, Kind)> = bars(&all, 50)
            .iter()
            .map(|b| (b.from, b.to, b.kind))
            .collect();
        let expected = [
            (0, 20, Kind::Again),
            (10, 50, Kind::Open),
            (20, 30, Kind::Failed),
        ];
        assert_eq!(kinds, expected);
        let svg = draw(&all, 50).unwrap();
        assert!(svg.contains("n@&lt;b&gt;") && !svg.contains("<b>"), "{svg}");
        assert_eq!(svg.matches("class=\"lane\"").count(), 2);
    }

    #[test]
    fn ten_thousand_bars_make_no_ten_thousand_rectangles() {
        let mut all = Vec::new();
        for id in 0..10_000 {
            all.push(started(id as u64 * 2, id, &format!("i{id}")));
            all.push(finished(id as u64 * 2 + 2, id, Ended::Ran));
        }
        let svg = draw(&all, 20_000).unwrap();
        assert!(svg.matches("<rect").count() < 1000, "{}", svg.len());
    }

    #[test]
    fn a_run_that_kept_no_times_has_no_time_line() {
        assert!(draw(&[started(0, 0, "a"), finished(0, 0, Ended::Ran)], 90).is_none());
        assert!(draw(&[], 90).is_none());
    }

    #[test]
    fn ticks_are_round_and_few() {
        for length in [
            1,
            7,
            999,
            2483,
            61_000,
            3_600_000,
            90_000_000,
            9_000_000_000,
        ] {
            assert!(length / step(length) <= 9, "{length}");
        }
        assert_eq!(tick_label(90_000), "1:30 min");
        assert_eq!(tick_label(500), "500 ms");
    }
}
