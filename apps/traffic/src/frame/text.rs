//! Templates as text: `ethernet/vlan(id=5)/ipv4(dst=10.0.0.1)/udp/raw(hex=00ff)`, or as tables of a TOML file.

use super::def::{self, LAYERS, Layer};
use super::value;
use crate::error::{Result, TrafficError, nearest};

/// What is done about a checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sum {
    /// Right.
    Good,
    /// Wrong on purpose.
    Wrong,
    /// This, whatever it should be.
    Fixed(u16),
}

/// A header with what is said of it.
#[derive(Clone, Debug)]
pub struct Given {
    /// Which.
    pub layer: &'static Layer,
    /// Values of fields, each once.
    pub values: Vec<(&'static str, u128)>,
    /// Its checksum, if it has one.
    pub sum: Sum,
}

/// A frame as it was described: headers, then bytes.
#[derive(Clone, Debug, Default)]
pub struct Template {
    /// Headers, outermost first.
    pub headers: Vec<Given>,
    /// Payload that was given; the rest up to the frame's size is filled.
    pub raw: Vec<u8>,
}

impl Template {
    /// Reads the short form.
    ///
    /// # Errors
    /// The first thing that is wrong, with the nearest that is right.
    pub fn parse(text: &str) -> Result<Self> {
        let mut template = Self::default();
        for part in split(text, '/') {
            let (name, arguments) = match part.split_once('(') {
                None => (part, ""),
                Some((name, rest)) => {
                    let rest = rest.strip_suffix(')');
                    (
                        name,
                        rest.ok_or_else(|| TrafficError::wrong(format!("{part}: the ) is missing")))?,
                    )
                }
            };
            let pairs = split(arguments, ',').filter(|pair| !pair.is_empty());
            let pairs: Result<Vec<_>> = pairs.map(pair).collect();
            template.add(name.trim(), &pairs?)?;
        }
        template.checked()
    }

    /// Reads a list of tables, each with `choice = "ipv4"` (the word of Open Traffic Generator) and the values of fields.
    ///
    /// # Errors
    /// As [`Template::parse`].
    pub fn from_tables(tables: &[toml::Table]) -> Result<Self> {
        let mut template = Self::default();
        for table in tables {
            let name = table.get("choice").and_then(toml::Value::as_str);
            let name =
                name.ok_or_else(|| TrafficError::wrong("a header needs its name, as in choice = \"ipv4\""))?;
            let pairs = table.iter().filter(|(key, _)| *key != "choice");
            let text = |value: &toml::Value| match value {
                toml::Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let pairs: Vec<_> = pairs.map(|(key, value)| (key.clone(), text(value))).collect();
            template.add(name, &pairs)?;
        }
        template.checked()
    }

    fn add(&mut self, name: &str, pairs: &[(String, String)]) -> Result<()> {
        if !self.raw.is_empty() {
            return Err(TrafficError::wrong(format!("{name}: nothing can follow raw")));
        }
        if name == "raw" {
            return match pairs {
                [(key, text)] if key == "hex" => value::hex(text).map(|bytes| self.raw = bytes),
                _ => Err(TrafficError::wrong(
                    "raw takes its bytes alone: write raw(hex=00ff)",
                )),
            };
        }
        let layer = def::layer(name).ok_or_else(|| {
            if name.is_empty() {
                return TrafficError::wrong("a header's name is missing; write ethernet/ipv4/udp");
            }
            let near = nearest(name, LAYERS.iter().map(|layer| layer.name).chain(["raw"]));
            TrafficError::wrong(format!("there is no layer {name:?}; did you mean {near}?"))
        })?;
        let (mut values, mut sum) = (Vec::new(), Sum::Good);
        for (key, text) in pairs {
            let field = layer.field(key).ok_or_else(|| {
                let near = nearest(key, layer.fields.iter().map(|field| field.name));
                TrafficError::wrong(format!("{name} has no field {key:?}; did you mean {near}?"))
            })?;
            if values.iter().any(|(known, _)| *known == field.name) {
                return Err(TrafficError::wrong(format!("{name}.{key} is given twice")));
            }
            match (field.kind, text.trim()) {
                (def::Kind::Checksum, "good") => sum = Sum::Good,
                (def::Kind::Checksum, "wrong") => sum = Sum::Wrong,
                (def::Kind::Checksum, "zero") => sum = Sum::Fixed(0),
                (def::Kind::Checksum, _) => sum = Sum::Fixed(value::parse(field, text)? as u16),
                _ => values.push((field.name, value::parse(field, text)?)),
            }
        }
        self.headers.push(Given { layer, values, sum });
        Ok(())
    }

    /// Whether the layers can stand behind each other.
    fn checked(self) -> Result<Self> {
        let Some(first) = self.headers.first() else {
            return match self.raw.len() {
                14.. => Ok(self),
                _ => Err(TrafficError::wrong(
                    "a frame needs ethernet, or raw with 14 bytes at least",
                )),
            };
        };
        if first.layer.name != "ethernet" {
            return Err(TrafficError::wrong(format!(
                "a frame starts with ethernet, not with {}",
                first.layer.name
            )));
        }
        for pair in self.headers.windows(2) {
            let (one, two) = (pair[0].layer, pair[1].layer.name);
            if one.followers.iter().all(|(name, _)| *name != two) {
                let others = LAYERS
                    .iter()
                    .filter(|other| other.followers.iter().any(|(name, _)| *name == two));
                let others: Vec<&str> = others.map(|other| other.name).collect();
                return Err(TrafficError::wrong(format!(
                    "{two} cannot follow {}; it follows {}",
                    one.name,
                    others.join(", ")
                )));
            }
        }
        Ok(self)
    }
}

fn pair(text: &str) -> Result<(String, String)> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| TrafficError::wrong(format!("{text}: write a field as in ttl=64")))?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

/// Splits at a mark outside of brackets.
fn split(text: &str, mark: char) -> impl Iterator<Item = &str> {
    let mut depth = 0;
    text.split(move |c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        depth == 0 && c == mark
    })
    .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(text: &str) -> String {
        Template::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn slips_are_answered_with_the_nearest_right_word() {
        for (text, near) in [
            ("ethernet/ipv5", "did you mean ipv4?"),
            ("ethernet/ipv4(scr=1.2.3.4)", "did you mean src?"),
            ("ethernet/ipv4(src=1.2.3)", "198.18.0.1"),
            ("ethernet/ipv4(src=1.2.3.4,src=1.2.3.4)", "twice"),
            ("ethernet/udp", "it follows ipv4, ipv6"),
            ("ipv4/udp", "starts with ethernet"),
            ("ethernet/ipv4(ttl)", "ttl=64"),
            ("ethernet/ipv4(ttl=1", "the ) is missing"),
            ("ethernet/raw(hex=0)", "pairs"),
            ("ethernet/raw(hex=00)/udp", "nothing can follow raw"),
            ("raw(hex=00)", "14 bytes"),
            ("", "write ethernet/ipv4/udp"),
            ("ethernet//udp", "a header's name is missing"),
            ("ethernet/vlan(id=4096)", "0 to 4095"),
        ] {
            assert!(why(text).contains(near), "{text}: {}", why(text));
        }
    }

    #[test]
    fn tables_are_the_same_as_text() {
        let text =
            "[[packet]]\nchoice='ethernet'\ntype=0x800\n[[packet]]\nchoice='ipv4'\nttl=3\nsrc='10.0.0.1'\n";
        let file: toml::Table = toml::from_str(text).unwrap();
        let tables: Vec<toml::Table> = file["packet"].clone().try_into().unwrap();
        let template = Template::from_tables(&tables).unwrap();
        let mut values = template.headers[1].values.clone();
        values.sort_unstable();
        assert_eq!(values, [("src", 0x0a00_0001), ("ttl", 3)]);
        assert_eq!(template.headers[0].values, [("type", 0x800)]);
        let nameless = Template::from_tables(&[toml::Table::new()])
            .unwrap_err()
            .to_string();
        assert!(nameless.contains("choice = \"ipv4\""), "{nameless}");
    }
}
