//! What hashing a large file costs beside `b3sum`, BLAKE3's own program, on the same file in memory.
//!
//! `cargo bench -p cerb-store --bench hash [MIB]`; `B3SUM` names the peer where it is not on the path,
//! and without it the store is measured alone.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot do its work may stop"
)]

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use cerb_store::Store;
use rustix::time::{ClockId, clock_gettime};

/// Times each is measured, in turns, so that both meet the same noise.
const TURNS: u32 = 7;

/// Seconds that hashing took.
struct Spent {
    /// By the clock: the best turn, because other processes only take time away.
    wall: f64,
    /// Of all processors: the mean.
    cpu: f64,
}

impl Spent {
    const NONE: Spent = Spent {
        wall: f64::INFINITY,
        cpu: 0.0,
    };

    /// Does the work once more and counts it in; gives what it says.
    fn add(&mut self, cpu: fn() -> f64, work: impl FnOnce() -> String) -> String {
        let (began, before) = (Instant::now(), cpu());
        let said = work();
        self.wall = self.wall.min(began.elapsed().as_secs_f64());
        self.cpu += (cpu() - before) / f64::from(TURNS);
        said
    }

    fn say(&self, who: &str, mib: u32) {
        let speed = |seconds: f64| f64::from(mib) / 1024.0 / seconds;
        println!(
            "{who:>16}  {:6.1} ms wall ({:5.2} GiB/s)  {:6.1} ms cpu ({:5.2} GiB/s)",
            self.wall * 1e3,
            speed(self.wall),
            self.cpu * 1e3,
            speed(self.cpu),
        );
    }
}

/// Seconds of processor time of this process.
fn own() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Seconds of processor time of the programs this process has waited for, in hundredths.
fn programs() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // The name may hold spaces; fields 16 and 17 are counted from before it.
    let fields = stat.rsplit(')').next().unwrap().split_whitespace();
    let ticks: f64 = fields
        .skip(13)
        .take(2)
        .map(|field| field.parse::<f64>().unwrap())
        .sum();
    ticks / 100.0
}

/// Writes a file that is not sparse and whose blocks all differ.
fn fill(path: &Path, mib: u32) {
    let mut file = File::create(path).unwrap();
    let mut block = vec![0_u8; 1 << 20];
    for number in 0..mib {
        for (at, byte) in block.iter_mut().enumerate() {
            *byte = (at.wrapping_mul(2_654_435_761) >> 7) as u8 ^ number as u8;
        }
        file.write_all(&block).unwrap();
    }
    file.sync_all().unwrap();
}

fn main() {
    let mib = std::env::args().skip(1).find_map(|arg| arg.parse().ok());
    let mib = mib.unwrap_or(1024);
    let dir = tempfile::tempdir().unwrap();
    let (path, store) = (dir.path().join("file"), dir.path().join("store"));
    fill(&path, mib);
    let store = Store::open(&store).unwrap();
    let program = std::env::var_os("B3SUM").unwrap_or_else(|| OsString::from("b3sum"));
    let peer = |options: &[&str]| {
        let ran = Command::new(&program).args(options).arg(&path).output();
        let said = ran.ok().filter(|ran| ran.status.success())?.stdout;
        let said = String::from_utf8(said).unwrap();
        said.split_whitespace().next().map(str::to_owned)
    };
    let ours = || store.digest_of(&path, true).unwrap().digest.to_string();
    // Warms the pages, for both.
    let digest = ours();
    let with_peer = peer(&[]).is_some();
    let (mut own_spent, mut all, mut one) = (Spent::NONE, Spent::NONE, Spent::NONE);
    for _ in 0..TURNS {
        assert_eq!(own_spent.add(own, ours), digest);
        if with_peer {
            assert_eq!(all.add(programs, || peer(&[]).unwrap()), digest);
            let single = || peer(&["--num-threads", "1"]).unwrap();
            assert_eq!(one.add(programs, single), digest);
        }
    }
    own_spent.say("cerb", mib);
    if with_peer {
        all.say("b3sum", mib);
        one.say("b3sum, 1 thread", mib);
        println!(
            "cerb reads {:.0} % of what b3sum reads in the same wall time, {:.0} % in the same processor time",
            100.0 * all.wall / own_spent.wall,
            100.0 * all.cpu / own_spent.cpu,
        );
    } else {
        println!("no peer: `cargo install b3sum`, or say where it is in B3SUM");
    }
}
