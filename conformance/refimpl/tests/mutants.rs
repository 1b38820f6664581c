//! The table of mutants and the places where they break something agree.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

#[test]
fn each_mutant_breaks_something_and_each_place_is_a_mutants() {
    let listed = Command::new(env!("CARGO_BIN_EXE_refimpl")).args(["--list-mutants", "--json"]).output().unwrap();
    let listed: Vec<Value> = serde_json::from_slice(&listed.stdout).unwrap();
    let names: Vec<&str> = listed.iter().map(|mutant| mutant["name"].as_str().unwrap()).collect();
    let unique: BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(unique.len(), names.len(), "each name stands once");
    let mut sources = String::new();
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).unwrap() {
        sources.push_str(&std::fs::read_to_string(entry.unwrap().path()).unwrap());
    }
    let calls = ["broken(\"", "choose(\""];
    let asked: BTreeSet<&str> = calls
        .iter()
        .flat_map(|call| sources.split(call).skip(1))
        .filter_map(|rest| rest.split('"').next())
        .filter(|name| *name != "name")
        .collect();
    assert_eq!(asked, unique);
}

#[test]
fn an_unknown_mutant_is_refused() {
    let ended = Command::new(env!("CARGO_BIN_EXE_refimpl")).args(["--mutant", "no-such"]).output().unwrap();
    assert_eq!(ended.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("`no-such`"));
}
