//! Words for people: the nearest name, lists, plurals.

/// Returns the candidate a word was probably meant to be: few letters changed, dropped, added or swapped;
/// among the equally near the one that it begins. One that has no letter of it is none of these.
#[must_use]
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let budget = (word.chars().count().max(3) / 3).min(4);
    candidates
        .into_iter()
        .filter(|candidate| candidate.chars().count().abs_diff(word.chars().count()) <= budget)
        .map(|candidate| {
            (
                distance(word, candidate),
                !candidate.starts_with(word),
                candidate,
            )
        })
        .filter(|(away, _, candidate)| *away <= budget && *away < candidate.chars().count())
        .min()
        .map(|(.., candidate)| candidate)
}

/// Number of edits between two words, a swap of neighbours counted as one.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (
        a.to_lowercase().chars().collect(),
        b.to_lowercase().chars().collect(),
    );
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let changed = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1)
                .min(rows[i][j - 1] + 1)
                .min(rows[i - 1][j - 1] + changed);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

/// Joins names in backticks: "`a`, `b` and `c`".
#[must_use]
pub fn listed<S: AsRef<str>>(names: &[S], last: &str) -> String {
    match names {
        [] => String::new(),
        [only] => format!("`{}`", only.as_ref()),
        [head @ .., tail] => {
            let head: Vec<_> = head
                .iter()
                .map(|name| format!("`{}`", name.as_ref()))
                .collect();
            format!("{} {last} `{}`", head.join(", "), tail.as_ref())
        }
    }
}

/// "a" or "an".
pub(crate) fn article(word: &str) -> &'static str {
    if word.starts_with(['A', 'E', 'I', 'O', 'U', 'a', 'e', 'i', 'o', 'u']) {
        "an"
    } else {
        "a"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_a_slip_away() {
        assert_eq!(nearest("witin", ["within", "width"]), Some("within"));
        assert_eq!(nearest("colour", ["at", "input"]), None);
        assert_eq!(nearest("mp", ["mm", "px", "mpp"]), Some("mpp"));
        assert_eq!(nearest("n", ["%"]), None);
        assert_eq!(nearest("ouptut", ["output", "input"]), Some("output"));
    }
}
