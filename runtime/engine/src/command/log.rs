//! What a program says: its first and last bytes, without secrets.

use std::collections::VecDeque;

/// Bytes kept of the beginning and of the end of a stream.
const KEPT: usize = 1 << 20;
/// What stands in the place of a secret.
const MASK: &[u8] = b"***";

/// Keeps the first and last bytes of a stream.
pub(super) struct Log {
    masks: Vec<Vec<u8>>,
    /// Bytes that may be the beginning of a secret.
    held: Vec<u8>,
    head: Vec<u8>,
    tail: VecDeque<u8>,
    cut: u64,
}

impl Log {
    /// Returns an empty log that leaves out these byte strings.
    pub fn new(masks: &[Vec<u8>]) -> Log {
        let mut masks = masks.to_vec();
        // The longest first: one secret may be a part of another.
        masks.sort_by_key(|mask| std::cmp::Reverse(mask.len()));
        Log {
            masks,
            held: Vec::new(),
            head: Vec::new(),
            tail: VecDeque::new(),
            cut: 0,
        }
    }

    /// Takes the next bytes.
    pub fn write(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
        self.pass_on(false);
    }

    /// Returns what is kept, with a line where something was cut out.
    pub fn finish(&mut self) -> Vec<u8> {
        self.pass_on(true);
        let mut all = std::mem::take(&mut self.head);
        if self.cut > 0 {
            all.extend(format!("\n[{} bytes are left out here]\n", self.cut).into_bytes());
        }
        all.extend(std::mem::take(&mut self.tail));
        all
    }

    /// Passes on what cannot be the beginning of a secret any more.
    fn pass_on(&mut self, all: bool) {
        let held = std::mem::take(&mut self.held);
        let longest = self.masks.first().map_or(0, Vec::len);
        let end = if all {
            held.len()
        } else {
            (held.len() + 1).saturating_sub(longest.max(1))
        };
        let (mut at, mut plain) = (0, 0);
        while at < end {
            match self.masks.iter().find(|mask| held[at..].starts_with(mask)) {
                Some(mask) => {
                    let length = mask.len();
                    self.keep(&held[plain..at]);
                    self.keep(MASK);
                    at += length;
                    plain = at;
                }
                None if self.masks.is_empty() => at = end,
                None => at += 1,
            }
        }
        self.keep(&held[plain..at]);
        self.held = held[at..].to_vec();
    }

    fn keep(&mut self, bytes: &[u8]) {
        let (first, rest) = bytes.split_at(bytes.len().min(KEPT - self.head.len()));
        self.head.extend_from_slice(first);
        self.tail.extend(rest);
        let over = self.tail.len().saturating_sub(KEPT);
        self.tail.drain(..over);
        self.cut += over as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(masks: &[&str], chunks: &[&str]) -> String {
        let masks: Vec<Vec<u8>> = masks.iter().map(|mask| mask.as_bytes().to_vec()).collect();
        let mut log = Log::new(&masks);
        for chunk in chunks {
            log.write(chunk.as_bytes());
        }
        String::from_utf8(log.finish()).unwrap()
    }

    #[test]
    fn a_secret_is_left_out_wherever_the_stream_is_cut() {
        let text = "a hunter2 b hunter2";
        for at in 0..text.len() {
            let (one, two) = text.split_at(at);
            assert_eq!(log(&["hunter2"], &[one, two]), "a *** b ***");
        }
        assert_eq!(
            log(&["hunter", "hunter2"], &["hunter2 hunter3"]),
            "*** ***3"
        );
        assert_eq!(log(&["hunter2"], &["hunter"]), "hunter");
    }

    #[test]
    fn a_long_log_keeps_both_ends() {
        let mut log = Log::new(&[]);
        log.write(b"first\n");
        for _ in 0..5 {
            log.write(&vec![b'x'; KEPT]);
        }
        log.write(b"\nlast");
        let all = String::from_utf8(log.finish()).unwrap();
        assert!(all.starts_with("first\n") && all.ends_with("\nlast"));
        let left_out = 3 * KEPT + 11;
        assert!(all.contains(&format!("\n[{left_out} bytes are left out here]\n")));
        assert!(all.len() < 2 * KEPT + 100);
    }
}
