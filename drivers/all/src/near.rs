//! The nearest right word for a wrong one.

/// Characters to insert, drop or change to make one word into another.
pub(crate) use strsim::levenshtein as slips;

/// The candidate that `text` is the beginning of, or else the one with the fewest slips between it and `text`.
pub(crate) fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> &'a str {
    let by_slips = candidates
        .into_iter()
        .min_by_key(|candidate| (!candidate.starts_with(text), slips(text, candidate)));
    by_slips.unwrap_or_default()
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
        assert_eq!(nearest("zero", ["auto", "copy", "zerocopy"]), "zerocopy");
    }
}
