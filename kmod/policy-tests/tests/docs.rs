//! The table and what is written about it.

use kmod_policy_tests::*;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// The generated part of `config-policy.md` begins and ends with these lines.
const BEGIN: &str =
    "<!-- generated from policy/cfgtable.c: BARLINE_BLESS=1 cargo test -p kmod-policy-tests --test docs -->";
const END: &str = "<!-- end of the generated part -->";

/// R7: a row that protects something says why; a row that protects nothing has no reason to give.
#[test]
fn r7_every_protected_register_has_a_reason() {
    let docs = docs();
    assert!(docs.len() > 50, "{} rows", docs.len());
    for doc in docs {
        let name = doc.reg.unwrap_or(doc.id);
        if doc.rule == "PASS" {
            assert_eq!((doc.why, doc.text), ("PASS", ""), "{name}");
        } else {
            assert!(doc.why != "PASS" && doc.why != "NONE", "{name}");
            assert!(
                doc.text.ends_with('.') && doc.text.len() > 20,
                "{name}: {:?}",
                doc.text
            );
        }
        assert_eq!(doc.rule == "ACT", doc.action != "NONE", "{name}");
    }
}

/// R2: registers and bits have their names from pci_regs.h, never a number.
#[test]
fn r2_rows_are_keyed_by_names() {
    for doc in docs() {
        assert!(doc.id == "HEADER" || doc.id.starts_with("PCI_"), "{}", doc.id);
        if let Some(reg) = doc.reg {
            assert!(reg.starts_with("PCI_"), "{reg}");
        }
        if let Some(bits) = doc.bits {
            assert!(!bits.contains("0x"), "{bits}");
        }
    }
}

/// No bit of a register is in two rows: which one held would depend on their order.
#[test]
fn rows_do_not_overlap() {
    let mut taken: BTreeMap<(u8, u16, u16), u64> = BTreeMap::new();
    for row in reg_rows() {
        let width = u64::MAX >> (64 - 8 * row.size);
        let bits = u64::from(row.bits) & width;
        assert!(bits != 0 && row.reg % row.size as u16 == 0, "{:#x}", row.reg);
        let key = (row.list, row.id, row.reg);
        let others = taken.entry(key).or_default();
        assert_eq!(
            *others & bits,
            0,
            "register {:#x} of capability {:#x}",
            row.reg,
            row.id
        );
        *others |= bits;
    }
}

fn generated() -> String {
    let mut text = String::from(
        "| where | register | bits | rule | why | what would happen |\n|---|---|---|---|---|---|\n",
    );
    for doc in docs() {
        let bits = match doc.bits {
            None => "-",
            Some("EVERY") => "all",
            Some(bits) => bits,
        }
        .replace(" | ", ", ");
        let rule = if doc.action == "NONE" {
            doc.rule.to_owned()
        } else {
            format!("ACT: {}", doc.action)
        };
        let why = if doc.rule == "PASS" { "-" } else { doc.why };
        let reg = doc.reg.unwrap_or("(others)");
        writeln!(
            text,
            "| {} | {reg} | {bits} | {rule} | {why} | {} |",
            doc.id, doc.text
        )
        .expect("a string");
    }
    text
}

/// R6, R7: the document has the rows of the code.
#[test]
fn r6_the_document_is_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Documentation/config-policy.md");
    let text = std::fs::read_to_string(&path).expect("config-policy.md");
    let (head, rest) = text.split_once(BEGIN).expect("the line before the table");
    let (table, tail) = rest.split_once(END).expect("the line behind the table");
    let wanted = format!("\n\n{}\n", generated());
    if std::env::var_os("BARLINE_BLESS").is_some() {
        std::fs::write(&path, format!("{head}{BEGIN}{wanted}{END}{tail}"))
            .expect("config-policy.md is written");
        return;
    }
    assert_eq!(table, wanted, "run the command in config-policy.md");
}
