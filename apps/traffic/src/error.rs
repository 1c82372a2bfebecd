use std::io;

/// What is wrong with a description of traffic, and how it would be right.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrafficError {
    /// A word, value or key that means nothing here.
    #[error("{0}")]
    Wrong(String),
    /// A file that cannot be read.
    #[error("{path}: {source}")]
    File {
        /// Its path.
        path: String,
        /// The system's word.
        source: io::Error,
    },
}

impl TrafficError {
    /// A description that is wrong.
    pub fn wrong(text: impl Into<String>) -> Self {
        Self::Wrong(text.into())
    }
}

/// The result of reading a description.
pub type Result<T, E = TrafficError> = std::result::Result<T, E>;

/// The candidate that takes the fewest insertions, deletions, changes and swaps to get from `text`.
pub(crate) fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> &'a str {
    candidates
        .into_iter()
        .min_by_key(|candidate| strsim::damerau_levenshtein(text, candidate))
        .unwrap_or_default()
}

/// A message of serde's about a key that nobody knows, with the nearest one that somebody does.
pub fn with_nearest(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let known = message.contains("unknown field") || message.contains("unknown variant");
    match quoted.next().filter(|_| known) {
        Some(word) => format!("{}; did you mean {}?", message.trim_end(), nearest(word, quoted)),
        None => message.trim_end().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_a_key_are_answered() {
        let message = "unknown field `wieght`, expected one of `name`, `weight`, `size`";
        assert!(with_nearest(message).ends_with("did you mean weight?"));
        assert_eq!(with_nearest("something else\n"), "something else");
    }
}
