use super::{Filter, FilterError, Instruction, MOST_INSTRUCTIONS};
use std::str::FromStr;

impl FromStr for Filter {
    type Err = FilterError;

    /// The form of `tcpdump -ddd`: the number of instructions, then one a line as `CODE JT JF K`; commas do for line ends.
    fn from_str(text: &str) -> Result<Self, FilterError> {
        let mut lines = text
            .split(['\n', ','])
            .map(str::trim)
            .enumerate()
            .filter(|(_, line)| !line.is_empty());
        let (_, first) = lines.next().ok_or(FilterError::Length)?;
        let announced: usize = first.parse().map_err(|_| FilterError::Text(1))?;
        if announced > MOST_INSTRUCTIONS {
            return Err(FilterError::Length);
        }
        let program = lines
            .map(|(number, line)| instruction(line).ok_or(FilterError::Text(number + 1)))
            .collect::<Result<Vec<_>, _>>()?;
        if program.len() != announced {
            return Err(FilterError::Length);
        }
        Self::new(&program)
    }
}

fn instruction(line: &str) -> Option<Instruction> {
    let mut words = line.split_ascii_whitespace();
    let parsed = Instruction {
        code: words.next()?.parse().ok()?,
        jt: words.next()?.parse().ok()?,
        jf: words.next()?.parse().ok()?,
        k: words.next()?.parse().ok()?,
    };
    words.next().is_none().then_some(parsed)
}
