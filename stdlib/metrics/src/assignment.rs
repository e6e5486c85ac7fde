//! Who belongs to whom: the assignment of highest value, and the one of most pairs.

use std::collections::VecDeque;

/// Returns, for each row, the column assigned to it, so that the sum of values is highest.
///
/// Rows and columns are used once; pairs of value 0 are left apart (Kuhn 1955, with the shortest
/// paths of Jonker and Volgenant 1987). `values[row]` holds one value per column.
pub fn highest(values: &[Vec<f64>]) -> Vec<Option<usize>> {
    let rows = values.len();
    let columns = values.first().map_or(0, Vec::len);
    if rows > columns {
        let turned: Vec<Vec<f64>> = (0..columns)
            .map(|column| values.iter().map(|row| row[column]).collect())
            .collect();
        let mut found = vec![None; rows];
        for (column, row) in highest(&turned).into_iter().enumerate() {
            if let Some(row) = row {
                found[row] = Some(column);
            }
        }
        return found;
    }
    // Column 0 and row 0 stand for none.
    let mut row_price = vec![0.0; rows + 1];
    let mut column_price = vec![0.0; columns + 1];
    let mut row_of = vec![0; columns + 1];
    for row in 1..=rows {
        row_of[0] = row;
        let mut least = vec![f64::INFINITY; columns + 1];
        let mut before = vec![0; columns + 1];
        let mut used = vec![false; columns + 1];
        let mut column = 0;
        while row_of[column] != 0 {
            used[column] = true;
            let row = row_of[column];
            let (mut step, mut next) = (f64::INFINITY, 0);
            for other in (1..=columns).filter(|&other| !used[other]) {
                let cost = -values[row - 1][other - 1] - row_price[row] - column_price[other];
                if cost < least[other] {
                    (least[other], before[other]) = (cost, column);
                }
                if least[other] < step {
                    (step, next) = (least[other], other);
                }
            }
            if next == 0 {
                // Only values that are no numbers come here.
                break;
            }
            for other in 0..=columns {
                if used[other] {
                    row_price[row_of[other]] += step;
                    column_price[other] -= step;
                } else {
                    least[other] -= step;
                }
            }
            column = next;
        }
        while column != 0 {
            row_of[column] = row_of[before[column]];
            column = before[column];
        }
    }
    let mut found = vec![None; rows];
    for (column, &row) in row_of.iter().enumerate().skip(1) {
        if row > 0 && values[row - 1][column - 1] > 0.0 {
            found[row - 1] = Some(column - 1);
        }
    }
    found
}

/// Returns how many rows can have a column of their own among those they may have.
///
/// Paths that free a column are searched in breadth (Berge 1957).
pub fn most_pairs(may_have: &[Vec<usize>], columns: usize) -> usize {
    let mut row_of: Vec<Option<usize>> = vec![None; columns];
    let mut seen_for = vec![usize::MAX; columns];
    let mut from = vec![0; columns];
    let mut pairs = 0;
    let mut column_of: Vec<Option<usize>> = vec![None; may_have.len()];
    for start in 0..may_have.len() {
        let mut queue = VecDeque::from([start]);
        let mut free = None;
        'search: while let Some(row) = queue.pop_front() {
            for &column in &may_have[row] {
                if seen_for[column] == start {
                    continue;
                }
                seen_for[column] = start;
                from[column] = row;
                match row_of[column] {
                    Some(other) => queue.push_back(other),
                    None => {
                        free = Some(column);
                        break 'search;
                    }
                }
            }
        }
        pairs += usize::from(free.is_some());
        while let Some(column) = free {
            let row = from[column];
            row_of[column] = Some(row);
            free = column_of[row].replace(column);
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use cerb_image::random::Random;

    /// Tries everything.
    fn best(values: &[Vec<f64>], row: usize, used: &mut Vec<bool>) -> f64 {
        if row == values.len() {
            return 0.0;
        }
        let mut highest = best(values, row + 1, used);
        for column in 0..used.len() {
            if !used[column] {
                used[column] = true;
                highest = highest.max(values[row][column] + best(values, row + 1, used));
                used[column] = false;
            }
        }
        highest
    }

    #[test]
    fn nothing_is_higher_than_the_assignment_found_and_nothing_pairs_more() {
        let mut random = Random::of(&[9]);
        for _ in 0..400 {
            let (rows, columns) = (random.below(6), 1 + random.below(5));
            let mut value = || match random.chance(0.4) {
                true => random.unit(),
                false => 0.0,
            };
            let values: Vec<Vec<f64>> = (0..rows)
                .map(|_| (0..columns).map(|_| value()).collect())
                .collect();
            let found = highest(&values);
            let mut used: Vec<usize> = found.iter().flatten().copied().collect();
            used.sort_unstable();
            assert!(used.windows(2).all(|w| w[0] < w[1]));
            let pairs = found.iter().enumerate();
            let sum: f64 = pairs
                .filter_map(|(row, column)| Some(values[row][(*column)?]))
                .sum();
            assert!((sum - best(&values, 0, &mut vec![false; columns])).abs() < 1e-12);
            let ones: Vec<Vec<f64>> = values
                .iter()
                .map(|row| row.iter().map(|&v| f64::from(u8::from(v > 0.0))).collect())
                .collect();
            let may: Vec<Vec<usize>> = ones
                .iter()
                .map(|row| (0..columns).filter(|&c| row[c] > 0.0).collect())
                .collect();
            let most = best(&ones, 0, &mut vec![false; columns]);
            assert_eq!(most_pairs(&may, columns) as f64, most);
        }
    }
}
