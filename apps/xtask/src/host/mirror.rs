//! Where this machine's packages come from.

use anyhow::{Result, bail};
use std::fs;
use std::path::PathBuf;

/// The source entry of a suite on the mirror that this machine uses for its main one.
pub fn backports_source(suite: &str, codename: &str) -> Result<String> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(entries.flatten().map(|entry| entry.path()));
    }
    for file in files {
        let text = fs::read_to_string(&file).unwrap_or_default();
        let mirror = match file.extension().and_then(|ext| ext.to_str()) {
            Some("sources") => mirror_deb822(&text, codename),
            Some("list") => mirror_one_line(&text, codename),
            _ => None,
        };
        if let Some(mirror) = mirror {
            return Ok(mirror.source(suite));
        }
    }
    bail!(
        "no apt source of the suite {codename} on this machine: add one of {suite} by hand, then run this again"
    )
}

/// Where packages come from and which key signs them.
#[derive(Debug, PartialEq, Eq)]
struct Mirror {
    uri: String,
    signed_by: Option<String>,
}

impl Mirror {
    fn source(&self, suite: &str) -> String {
        let mut text = format!(
            "Types: deb\nURIs: {}\nSuites: {suite}\nComponents: main\n",
            self.uri
        );
        if let Some(key) = &self.signed_by {
            text.push_str(&format!("Signed-By: {key}\n"));
        }
        text
    }
}

/// Finds a suite in a deb822 file: paragraphs of `Field: value` with continuation lines.
fn mirror_deb822(text: &str, codename: &str) -> Option<Mirror> {
    text.split("\n\n").find_map(|paragraph| {
        let mut fields: Vec<(String, String)> = Vec::new();
        for line in paragraph.lines().filter(|line| !line.starts_with('#')) {
            if line.starts_with([' ', '\t']) {
                if let Some((_, value)) = fields.last_mut() {
                    value.push('\n');
                    value.push_str(line);
                }
            } else if let Some((name, value)) = line.split_once(':') {
                fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            }
        }
        let field = |name: &str| {
            fields
                .iter()
                .find(|(field, _)| field == name)
                .map(|(_, value)| value.as_str())
        };
        let suites = field("suites")?;
        let disabled = field("enabled").is_some_and(|value| value == "no");
        if disabled || !suites.split_whitespace().any(|suite| suite == codename) {
            return None;
        }
        let uri = field("uris")?.split_whitespace().next()?.to_owned();
        Some(Mirror {
            uri,
            signed_by: field("signed-by").map(str::to_owned),
        })
    })
}

/// Finds a suite in a file of `deb [options] URI SUITE COMPONENT...` lines.
fn mirror_one_line(text: &str, codename: &str) -> Option<Mirror> {
    text.lines().find_map(|line| {
        let rest = line.trim().strip_prefix("deb ")?.trim_start();
        let (options, rest) = match rest.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            None => ("", rest),
        };
        let mut words = rest.split_whitespace();
        let uri = words.next()?;
        let signed_by = options
            .split_whitespace()
            .find_map(|option| option.strip_prefix("signed-by="));
        (words.next()? == codename).then(|| Mirror {
            uri: uri.to_owned(),
            signed_by: signed_by.map(str::to_owned),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirror_is_taken_from_deb822_sources() {
        let text = "Types: deb\nURIs: http://a.example/x\nSuites: other\n\n\
                    # comment\nTypes: deb\nURIs: http://b.example/debian\nSuites: bookworm bookworm-updates\n\
                    Components: main\nSigned-By: /usr/share/keyrings/k.gpg\n";
        let mirror = mirror_deb822(text, "bookworm").expect("a mirror");
        assert_eq!(
            mirror.source("bookworm-backports"),
            "Types: deb\nURIs: http://b.example/debian\nSuites: bookworm-backports\nComponents: main\n\
             Signed-By: /usr/share/keyrings/k.gpg\n"
        );
        assert_eq!(mirror_deb822(text, "trixie"), None);
    }

    #[test]
    fn mirror_is_taken_from_one_line_sources() {
        let text = "# deb http://no.example x main\ndeb-src http://s.example bookworm main\n\
                    deb [arch=amd64 signed-by=/k.gpg] http://b.example/debian bookworm main contrib\n";
        let mirror = mirror_one_line(text, "bookworm").expect("a mirror");
        assert_eq!(
            mirror,
            Mirror {
                uri: "http://b.example/debian".into(),
                signed_by: Some("/k.gpg".into())
            }
        );
    }
}
