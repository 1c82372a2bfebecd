//! Suites of Debian: the machine's own, and others, which the machine never sees.

use crate::cmd;
use crate::paths::Paths;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where packages come from.
#[derive(Debug)]
pub struct Suite {
    /// Of apt.
    options: Vec<String>,
}

impl Suite {
    /// What the machine's own sources offer.
    pub fn own() -> Self {
        // As root, apt would drop its rights for a download and could then not write to a directory of ours.
        let options = ["-o", "APT::Sandbox::User=root"].map(str::to_owned).to_vec();
        Self { options }
    }

    /// Another suite of the mirror that the machine uses, with lists of packages in the cache: nothing on the machine changes.
    ///
    /// # Errors
    /// The mirror does not have it, or is out of reach.
    pub fn of(paths: &Paths, name: &str) -> Result<Self> {
        let dir = paths.cache.join(format!("apt-{name}"));
        for needed in ["lists/partial", "archives/partial"] {
            fs::create_dir_all(dir.join(needed)).with_context(|| format!("cannot make {}", dir.display()))?;
        }
        let sources = dir.join("suite.sources");
        fs::write(&sources, source_of(name)?)
            .with_context(|| format!("cannot write {}", sources.display()))?;
        let mut suite = Self::own();
        for setting in [
            format!("Dir::Etc::sourcelist={}", sources.display()),
            "Dir::Etc::sourceparts=-".to_owned(),
            format!("Dir::State::lists={}", dir.join("lists").display()),
            format!("Dir::Cache={}", dir.display()),
        ] {
            suite.options.extend(["-o".to_owned(), setting]);
        }
        cmd::output(suite.command("apt-get").args(["-q", "--error-on=any", "update"]))?;
        Ok(suite)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(&self.options);
        command
    }

    /// Names of packages that fit a regular expression.
    pub fn search(&self, pattern: &str) -> Result<Vec<String>> {
        let found = cmd::text(
            self.command("apt-cache")
                .args(["search", "--names-only", pattern]),
        )?;
        let first = |line: &str| line.split_whitespace().next().map(str::to_owned);
        Ok(found.lines().filter_map(first).collect())
    }

    /// Downloads a package and unpacks it into `dir`.
    pub fn download(&self, package: &str, dir: &Path) -> Result<()> {
        let mut command = self.command("apt-get");
        cmd::output(command.args(["-q", "download", package]).current_dir(dir))?;
        let deb = fs::read_dir(dir)?
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|ext| ext == "deb"))
            .with_context(|| format!("apt-get did not leave the package {package}"))?;
        cmd::output(Command::new("dpkg").arg("-x").arg(&deb).arg(dir))?;
        fs::remove_file(deb)?;
        Ok(())
    }
}

/// The machine's release of Debian, by its name.
pub fn codename() -> Result<String> {
    let release = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    let name = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .context("/etc/os-release has no VERSION_CODENAME")?;
    Ok(name.trim_matches('"').to_owned())
}

/// The source entry of a suite on the mirror that this machine uses for its main one.
pub fn source_of(suite: &str) -> Result<String> {
    let codename = codename()?;
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(entries.flatten().map(|entry| entry.path()));
    }
    for file in files {
        let text = fs::read_to_string(&file).unwrap_or_default();
        let mirror = match file.extension().and_then(|ext| ext.to_str()) {
            Some("sources") => mirror_deb822(&text, &codename),
            Some("list") => mirror_one_line(&text, &codename),
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
