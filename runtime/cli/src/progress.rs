//! What a run says while it works: bars on a terminal, plain lines elsewhere, JSON for programs.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use cerb_engine::{Ended, Event, Moment};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::terminal::{self, Paint};
use crate::work::{Busiest, Work};

/// Least time between two lines about the same action.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// A bar is this many steps long, so that parts of an action move it.
const STEPS: u64 = 1000;
/// Least time between two looks at which stage is the busiest.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How a run speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    /// One bar per stage.
    Bars,
    /// One line per finished action, and one every ten seconds about a long one.
    Lines,
    /// One JSON object per event, on standard output.
    Json,
}

impl Voice {
    /// Chooses by what standard error is.
    pub fn choose(json: bool) -> Voice {
        match (json, std::io::stderr().is_terminal()) {
            (true, _) => Voice::Json,
            (false, true) => Voice::Bars,
            (false, false) => Voice::Lines,
        }
    }
}

/// Follows the events of one run.
pub struct Progress {
    voice: Voice,
    paint: Paint,
    state: Mutex<State>,
}

struct State {
    work: Work,
    /// Time of the last event.
    at_ms: u64,
    /// The line below the bars that names the busiest stage, and when it was written.
    footer: Option<(ProgressBar, Instant)>,
    bars: Option<MultiProgress>,
    /// How many actions of each node are expected to run.
    expected: BTreeMap<String, usize>,
    stages: BTreeMap<String, Stage>,
    running: BTreeMap<usize, Running>,
    finished: usize,
    to_do: usize,
}

/// One node, while some of its actions run.
struct Stage {
    bar: ProgressBar,
    finished: usize,
    began: Instant,
}

/// One action at work.
struct Running {
    node: String,
    label: String,
    began: Instant,
    last_line: Instant,
    done: u64,
    /// What was done when it first said so, of parts that an earlier run made, and when that was.
    first: Option<(u64, Instant)>,
    total: u64,
    unit: String,
}

impl Running {
    fn part(&self) -> f64 {
        if self.total == 0 {
            0.0
        } else {
            (self.done as f64 / self.total as f64).min(1.0)
        }
    }

    /// `120/480 patches · 4.1/s · 1 min 28 s left`
    fn words(&self) -> String {
        if self.total == 0 {
            return "at work".to_owned();
        }
        // The first report of work that goes on counts what was found; that of other work is its first piece.
        let (found, since) = match self.first {
            Some((found, when)) if found > 1 => (found, when),
            _ => (0, self.began),
        };
        let took = since.elapsed().as_secs_f64();
        let counts = format!(
            "{}/{} {}",
            terminal::thousands(self.done),
            terminal::thousands(self.total),
            self.unit
        );
        if self.done <= found || took < 0.5 {
            return counts;
        }
        let rate = (self.done - found) as f64 / took;
        let left = Duration::from_secs_f64(self.total.saturating_sub(self.done) as f64 / rate);
        format!(
            "{counts} · {} · {} left",
            per_second(rate),
            terminal::duration(left)
        )
    }
}

fn per_second(rate: f64) -> String {
    if rate >= 100.0 {
        format!("{}/s", terminal::thousands(rate.round() as u64))
    } else {
        format!("{rate:.1}/s")
    }
}

impl Progress {
    /// Starts; `expected` says how many actions of each node will run, for the bars.
    pub fn new(voice: Voice, paint: Paint, expected: BTreeMap<String, usize>) -> Progress {
        let bars = (voice == Voice::Bars)
            .then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10)));
        Progress {
            voice,
            paint,
            state: Mutex::new(State {
                work: Work::default(),
                at_ms: 0,
                footer: None,
                bars,
                expected,
                stages: BTreeMap::new(),
                running: BTreeMap::new(),
                finished: 0,
                to_do: 0,
            }),
        }
    }

    /// Takes one event.
    pub fn take(&self, moment: &Moment) {
        let mut state = match self.state.lock() {
            Ok(state) => state,
            // A display that broke half way is no reason to stop the run.
            Err(poisoned) => poisoned.into_inner(),
        };
        state.work.take(moment);
        state.at_ms = moment.at_ms;
        if self.voice == Voice::Json {
            print_line(moment);
            return;
        }
        match &moment.event {
            Event::RunStarted { runs, follows, .. } => state.to_do = runs + follows,
            Event::ActionStarted { id, node, item, .. } => {
                self.started(&mut state, *id, node, item.as_deref())
            }
            Event::Progress {
                id,
                done,
                total,
                unit,
            } => self.moved(&mut state, *id, *done, *total, unit),
            Event::ActionFinished {
                id,
                node,
                item,
                state: ended,
                wall_ms,
                error,
                ..
            } => {
                let label = label(node, item.as_deref());
                self.finished(
                    &mut state,
                    *id,
                    node,
                    &label,
                    *ended,
                    *wall_ms,
                    error.as_deref(),
                );
            }
            // Told by the summary, and by a warning before the run.
            Event::Unreadable { .. }
            | Event::Note { .. }
            | Event::Published { .. }
            | Event::Judged { .. }
            | Event::RunFinished { .. } => {}
        }
        name_busiest(&mut state);
    }

    /// Returns the stage that took the largest share of the work so far.
    pub fn busiest(&self) -> Option<Busiest> {
        let state = self.state.lock().ok()?;
        state.work.busiest(state.at_ms)
    }

    /// Removes the bars.
    pub fn finish(&self) {
        if let Ok(state) = self.state.lock()
            && let Some(bars) = &state.bars
        {
            // Fails only when standard error is gone, and then there is nobody to tell.
            let _ = bars.clear();
        }
    }

    fn started(&self, state: &mut State, id: usize, node: &str, item: Option<&str>) {
        let now = Instant::now();
        state.running.insert(
            id,
            Running {
                node: node.to_owned(),
                label: item.unwrap_or(node).to_owned(),
                began: now,
                last_line: now,
                done: 0,
                first: None,
                total: 0,
                unit: String::new(),
            },
        );
        if let Some(bars) = &state.bars {
            let expected = state.expected.get(node).copied().unwrap_or(1).max(1) as u64;
            let footer = state.footer.as_ref();
            state
                .stages
                .entry(node.to_owned())
                .or_insert_with(|| Stage {
                    bar: match footer {
                        Some((footer, _)) => {
                            bars.insert_before(footer, bar(node, expected, self.paint))
                        }
                        None => bars.add(bar(node, expected, self.paint)),
                    },
                    finished: 0,
                    began: now,
                });
            redraw(state, node);
        }
    }

    fn moved(&self, state: &mut State, id: usize, done: u64, total: u64, unit: &str) {
        let Some(running) = state.running.get_mut(&id) else {
            return;
        };
        running.first.get_or_insert((done, Instant::now()));
        (running.done, running.total, running.unit) = (done, total, unit.to_owned());
        let node = running.node.clone();
        if self.voice == Voice::Lines && running.last_line.elapsed() >= LINE_EVERY {
            running.last_line = Instant::now();
            let line = format!("  {}: {}", label_of(running), running.words());
            eprintln!("{line}");
        }
        redraw(state, &node);
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one event")]
    fn finished(
        &self,
        state: &mut State,
        id: usize,
        node: &str,
        label: &str,
        ended: Ended,
        wall_ms: u64,
        error: Option<&str>,
    ) {
        state.running.remove(&id);
        state.finished += 1;
        let took = terminal::duration(Duration::from_millis(wall_ms));
        let bars = state.bars.clone();
        match ended {
            Ended::Failed => {
                let reason = error.unwrap_or("no reason given");
                say(
                    bars.as_ref(),
                    &format!("  {} {label}: {reason}", self.paint.bad("×")),
                );
            }
            Ended::Ran if self.voice == Voice::Lines => {
                eprintln!(
                    "  [{}/{}] {label} · {took}",
                    state.finished,
                    state.to_do.max(state.finished)
                );
            }
            _ => {}
        }
        if let Some(stage) = state.stages.get_mut(node) {
            stage.finished += 1;
            let expected = state.expected.get(node).copied().unwrap_or(1);
            if stage.finished >= expected {
                stage.bar.finish_and_clear();
                if let (Some(bars), Ended::Ran) = (&bars, ended) {
                    bars.remove(&stage.bar);
                    let took = terminal::duration(stage.began.elapsed());
                    say(
                        Some(bars),
                        &format!("  {} {node} · {took}", self.paint.good("✓")),
                    );
                }
                state.stages.remove(node);
                return;
            }
        }
        redraw(state, node);
    }
}

fn say(bars: Option<&MultiProgress>, line: &str) {
    match bars {
        // As above: nobody to tell.
        Some(bars) => drop(bars.println(line)),
        None => eprintln!("{line}"),
    }
}

fn label(node: &str, item: Option<&str>) -> String {
    item.map_or_else(|| node.to_owned(), |item| format!("{node}@{item}"))
}

fn label_of(running: &Running) -> String {
    if running.label == running.node {
        running.node.clone()
    } else {
        format!("{}@{}", running.node, running.label)
    }
}

fn bar(node: &str, expected: u64, paint: Paint) -> ProgressBar {
    // Hidden until it joins the others; a bar of its own would leave a line behind.
    let bar = ProgressBar::with_draw_target(Some(expected * STEPS), ProgressDrawTarget::hidden());
    let template = if paint.is_on() {
        "  {prefix:24!} {bar:24.cyan/dim} {msg}"
    } else {
        "  {prefix:24!} {bar:24} {msg}"
    };
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style.progress_chars("━╸─"));
    bar.set_prefix(node.to_owned());
    bar
}

fn redraw(state: &mut State, node: &str) {
    let Some(stage) = state.stages.get(node) else {
        return;
    };
    let running: Vec<&Running> = state
        .running
        .values()
        .filter(|running| running.node == node)
        .collect();
    let expected = state.expected.get(node).copied().unwrap_or(1).max(1);
    let parts: f64 =
        stage.finished as f64 + running.iter().map(|running| running.part()).sum::<f64>();
    stage.bar.set_position((parts * STEPS as f64) as u64);
    let message = match running.as_slice() {
        [] => String::new(),
        [one] if expected == 1 => {
            if one.label == one.node {
                one.words()
            } else {
                format!("{} · {}", one.words(), one.label)
            }
        }
        several => {
            let took = stage.began.elapsed().as_secs_f64();
            let left = (parts > 0.02 * expected as f64 && took > 2.0)
                .then(|| Duration::from_secs_f64(took * (expected as f64 - parts).max(0.0) / parts))
                .map(|left| format!(" · {} left", terminal::duration(left)))
                .unwrap_or_default();
            let names: Vec<&str> = several
                .iter()
                .map(|running| running.label.as_str())
                .take(3)
                .collect();
            let more = if several.len() > 3 { " …" } else { "" };
            format!(
                "{}/{expected}{left} · {}{more}",
                stage.finished,
                names.join(", ")
            )
        }
    };
    stage.bar.set_message(message);
}

/// Names the busiest stage below the bars, while several work.
fn name_busiest(state: &mut State) {
    let Some(bars) = state.bars.as_ref().filter(|_| state.stages.len() > 1) else {
        return;
    };
    let now = Instant::now();
    if state
        .footer
        .as_ref()
        .is_some_and(|(_, last)| now.duration_since(*last) < LOOK_EVERY)
    {
        return;
    }
    if let Some(busiest) = state.work.busiest(state.at_ms) {
        let (footer, last) = state.footer.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::hidden());
            let style = ProgressStyle::with_template("  {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            (bars.add(bar), now)
        });
        footer.set_message(format!("busiest: {}", busiest.words()));
        *last = now;
    }
}

fn print_line(moment: &Moment) {
    if let Ok(text) = serde_json::to_string(moment) {
        let mut out = std::io::stdout().lock();
        // A reader that went away has ended the process already (SIGPIPE).
        let _ = writeln!(out, "{text}");
    }
}

/// Shows a spinner while `work` takes longer than a second, on a terminal only.
pub fn spinning<T>(voice: Voice, message: &'static str, work: impl FnOnce() -> T) -> T {
    if voice != Voice::Bars {
        return work();
    }
    let (done, wait) = mpsc::channel::<()>();
    let spinner = std::thread::spawn(move || {
        if wait.recv_timeout(Duration::from_secs(1)) != Err(mpsc::RecvTimeoutError::Timeout) {
            return;
        }
        let bar = ProgressBar::new_spinner().with_message(message);
        bar.enable_steady_tick(Duration::from_millis(100));
        // Returns when `done` is dropped.
        let _ = wait.recv();
        bar.finish_and_clear();
    });
    let result = work();
    drop(done);
    // The thread only draws; if it failed there is nothing to clear.
    let _ = spinner.join();
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_tells_how_far_it_is_and_how_long_it_will_take() {
        let mut running = Running {
            node: "maps".into(),
            label: "case-1".into(),
            began: Instant::now() - Duration::from_secs(10),
            last_line: Instant::now(),
            done: 20,
            first: None,
            total: 100,
            unit: "patches".into(),
        };
        assert_eq!(running.words(), "20/100 patches · 2.0/s · 40.0 s left");
        // Twelve of them were there already when it went on, five seconds ago.
        running.first = Some((12, Instant::now() - Duration::from_secs(5)));
        assert_eq!(running.words(), "20/100 patches · 1.6/s · 50.0 s left");
        running.done = 12;
        assert_eq!(running.words(), "12/100 patches");
        assert_eq!(label_of(&running), "maps@case-1");
    }
}
