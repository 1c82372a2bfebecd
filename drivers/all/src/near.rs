//! The nearest right word for a wrong one.

/// The candidate with the fewest slips between it and `text`.
pub(crate) fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> &'a str {
    let by_slips = candidates
        .into_iter()
        .min_by_key(|candidate| slips(text, candidate));
    by_slips.unwrap_or_default()
}

/// Characters to insert, drop or change to make `a` into `b`.
pub(crate) fn slips(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.chars().enumerate() {
            let changed = corner + usize::from(x != y);
            corner = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(corner + 1);
        }
    }
    row.pop().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_counted() {
        assert_eq!(
            (slips("", "abc"), slips("abc", "abc"), slips("moed", "mode")),
            (3, 0, 2)
        );
        assert_eq!(nearest("moed", ["rate", "mode", "size"]), "mode");
    }
}
