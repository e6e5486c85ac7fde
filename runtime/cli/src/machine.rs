//! What this process may use: cores and memory, as the machine, its control group and Slurm allow.

use std::path::{Path, PathBuf};

/// Returns the number of cores this process may keep busy.
///
/// The smallest of the affinity mask and control group quota (both read by the
/// standard library) and the allotment that Slurm names.
pub fn cores() -> usize {
    let machine = std::thread::available_parallelism().map_or(1, usize::from);
    cores_within(machine, &|name| std::env::var(name).ok())
}

fn cores_within(machine: usize, env: &dyn Fn(&str) -> Option<String>) -> usize {
    ["SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"]
        .iter()
        .find_map(|name| env(name)?.parse::<usize>().ok())
        .filter(|&allotted| allotted > 0)
        .map_or(machine, |allotted| allotted.min(machine))
        .max(1)
}

/// Returns the bytes of memory this process may use, and who says so.
pub fn memory() -> (u64, &'static str) {
    let machine = std::fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| total_memory(&text))
        .unwrap_or(4 << 30);
    let group = std::fs::read_to_string("/proc/self/cgroup")
        .ok()
        .and_then(|text| group_limit(&text, Path::new("/sys/fs/cgroup")));
    let slurm = slurm_memory(cores(), &|name| std::env::var(name).ok());
    [
        (Some(machine), "the machine"),
        (group, "the control group"),
        (slurm, "Slurm"),
    ]
    .into_iter()
    .filter_map(|(bytes, who)| Some((bytes?, who)))
    .min_by_key(|&(bytes, _)| bytes)
    .unwrap_or((machine, "the machine"))
}

/// Returns the memory budget used unless `--memory` says otherwise: 75 % of [`memory`].
///
/// The rest is for the page cache, the decoders' own buffers and other programs.
pub fn default_memory() -> u64 {
    memory().0 / 4 * 3
}

/// Says who decided a memory budget, given who asked for it, if anybody.
pub fn memory_by(budget: u64, asked: Option<&str>) -> String {
    let (allowed, who) = memory();
    match asked {
        None => format!("75 % of {who}"),
        Some(asked) if budget > allowed => {
            format!("{asked}, more than {who} has: {}", show_bytes(allowed))
        }
        Some(asked) => asked.to_owned(),
    }
}

fn total_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find(|line| line.starts_with("MemTotal:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

/// Returns the tightest memory limit on the way from this process's group to the root.
fn group_limit(membership: &str, mount: &Path) -> Option<u64> {
    membership
        .lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
            match controllers {
                "" => tightest(mount, path, "memory.max"),
                list if list.split(',').any(|name| name == "memory") => {
                    tightest(&mount.join("memory"), path, "memory.limit_in_bytes")
                }
                _ => None,
            }
        })
        .min()
}

fn tightest(mount: &Path, path: &str, file: &str) -> Option<u64> {
    let group: PathBuf = mount.join(path.trim_start_matches('/'));
    group
        .ancestors()
        .take_while(|dir| dir.starts_with(mount))
        .filter_map(|dir| {
            std::fs::read_to_string(dir.join(file))
                .ok()?
                .trim()
                .parse::<u64>()
                .ok()
        })
        // Version 1 writes "no limit" as a number just below 2^63.
        .filter(|&bytes| bytes < 1 << 62)
        .min()
}

fn slurm_memory(cores: usize, env: &dyn Fn(&str) -> Option<String>) -> Option<u64> {
    let mebibytes = |name: &str| env(name)?.parse::<u64>().ok().filter(|&n| n > 0);
    mebibytes("SLURM_MEM_PER_NODE")
        .or_else(|| Some(mebibytes("SLURM_MEM_PER_CPU")? * cores as u64))
        .map(|n| n << 20)
}

/// Reads an amount of memory, which must be enough to work with.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let bytes = parse_size(text)?;
    if bytes < 64 << 20 {
        return Err(format!(
            "{} is too little to work with; give at least 64MiB",
            show_bytes(bytes)
        ));
    }
    Ok(bytes)
}

/// Reads a size as a person writes it: `4GiB`, `512 MiB`, `4G`, `1073741824`.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let split = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (number, unit) = (&text[..split], text[split..].trim());
    let scale = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1u64,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        _ => {
            return Err(format!(
                "`{unit}` is not a unit of bytes; write for example 4GiB or 512MiB"
            ));
        }
    };
    let number: f64 = number
        .parse()
        .map_err(|_| format!("`{text}` is not a size; write for example 4GiB or 512MiB"))?;
    Ok((number * scale as f64) as u64)
}

/// Writes a size as a person reads it: `4 GiB`, `1.5 MiB`, `17 B`.
pub fn show_bytes(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 || value >= 100.0 || (value - value.round()).abs() < 0.05 {
        format!("{value:.0} {}", units[unit])
    } else {
        format!("{value:.1} {}", units[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slurm_narrows_the_cores_and_never_widens_them() {
        let slurm = |n: &'static str| {
            move |name: &str| (name == "SLURM_CPUS_PER_TASK").then(|| n.to_owned())
        };
        assert_eq!(cores_within(16, &slurm("4")), 4);
        assert_eq!(cores_within(2, &slurm("64")), 2);
        assert_eq!(cores_within(8, &slurm("many")), 8);
        assert_eq!(cores_within(8, &|_| None), 8);
    }

    #[test]
    fn slurm_memory_is_per_node_or_per_core() {
        let env = |name: &str| (name == "SLURM_MEM_PER_CPU").then(|| "2048".to_owned());
        assert_eq!(slurm_memory(4, &env), Some(8 << 30));
        let env = |name: &str| (name == "SLURM_MEM_PER_NODE").then(|| "1024".to_owned());
        assert_eq!(slurm_memory(4, &env), Some(1 << 30));
    }

    #[test]
    fn the_tightest_group_on_the_way_up_counts() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("user/job");
        std::fs::create_dir_all(&inner).unwrap();
        std::fs::write(inner.join("memory.max"), "max\n").unwrap();
        std::fs::write(dir.path().join("user/memory.max"), "1048576\n").unwrap();
        assert_eq!(group_limit("0::/user/job\n", dir.path()), Some(1 << 20));
        assert_eq!(group_limit("0::/\n", dir.path()), None);
    }

    #[test]
    fn sizes_are_read_and_written() {
        assert_eq!(parse_bytes("4GiB"), Ok(4 << 30));
        assert_eq!(parse_bytes("512 MiB"), Ok(512 << 20));
        assert_eq!(parse_bytes("1.5g"), Ok(3 << 29));
        assert!(parse_bytes("4 parsecs").is_err());
        assert!(parse_bytes("12").is_err());
        assert_eq!(parse_size("12"), Ok(12));
        assert_eq!(show_bytes(17), "17 B");
        assert_eq!(show_bytes(3 << 29), "1.5 GiB");
        assert_eq!(show_bytes(4 << 30), "4 GiB");
    }

    #[test]
    fn it_is_told_who_decided_the_memory() {
        assert!(memory_by(1, None).starts_with("75 % of "));
        assert_eq!(memory_by(1, Some("asked for")), "asked for");
        let more = memory_by(u64::MAX, Some("asked for"));
        assert!(more.starts_with("asked for, more than "), "{more}");
    }

    #[test]
    fn meminfo_is_in_kibibytes() {
        assert_eq!(
            total_memory("MemTotal:       1024 kB\nMemFree: 1 kB\n"),
            Some(1 << 20)
        );
    }
}
