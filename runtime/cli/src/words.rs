//! Words: the nearest of those there are, for "did you mean".

/// Returns the known word that few edits turn `word` into, if there is one.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // A word of one or two letters is near to any other.
    let few = (word.chars().count() / 3).min(3);
    known
        .map(|other| (distance(word, other), other))
        .min()
        .filter(|(edits, _)| *edits <= few)
        .map(|(_, other)| other)
}

/// Edits (insert, delete, replace) that turn one word into another.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let next = (corner + usize::from(x != *y))
                .min(row[j] + 1)
                .min(row[j + 1] + 1);
            corner = row[j + 1];
            row[j + 1] = next;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        assert_eq!(distance("tissue.msk", "tissue.mask"), 1);
        assert_eq!(distance("", "abc"), 3);
    }

    #[test]
    fn only_what_is_near_is_suggested() {
        let known = ["instances.nuclei", "tissue.mask"];
        assert_eq!(
            nearest("instances.nuclie", known.into_iter()),
            Some("instances.nuclei")
        );
        assert_eq!(nearest("cohort.table", known.into_iter()), None);
        assert_eq!(nearest("n", ["%"].into_iter()), None);
    }
}
