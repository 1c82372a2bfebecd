//! The list, for a person or for a program.

use crate::ports::Row;
use serde::Serialize;
use std::io::{self, Write};

#[derive(Serialize)]
struct Line<'a> {
    r#type: &'static str,
    #[serde(flatten)]
    row: &'a Row,
}

/// Prints all rows.
///
/// # Errors
/// Nobody reads, or there is no room.
pub fn rows(rows: &[Row], json: bool, out: &mut dyn Write) -> io::Result<()> {
    if !json {
        rows.iter().try_for_each(|row| for_people(row, out))?;
        return out.flush();
    }
    for row in rows {
        let line = serde_json::to_string(&Line { r#type: "port", row })?;
        writeln!(out, "{line}")?;
    }
    let ready = rows
        .iter()
        .filter(|row| row.port.is_some() && row.missing.is_none())
        .count();
    writeln!(
        out,
        "{{\"type\":\"summary\",\"ports\":{},\"ready\":{ready}}}",
        rows.len()
    )?;
    out.flush()
}

fn for_people(row: &Row, out: &mut dyn Write) -> io::Result<()> {
    let mut what = vec![row.what.clone()];
    what.extend(row.state.map(str::to_owned));
    what.extend(row.speed.map(|speed| format!("{speed} Mbit/s")));
    what.extend(row.driver.as_ref().map(|driver| format!("driver {driver}")));
    what.extend(row.mac.clone());
    let port = row.port.as_deref().unwrap_or("-");
    writeln!(out, "{port:<32} {}: {}", row.name, what.join(", "))?;
    match &row.missing {
        Some(missing) => writeln!(out, "{:<32} ! {missing}", ""),
        None => Ok(()),
    }
}
