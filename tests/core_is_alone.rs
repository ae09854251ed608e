//! The core names no protocol and no server: what it is used by may change without it.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

const FOREIGN: [&str; 8] = [
    "actix",
    "lapin",
    "stomp_parser",
    "sockjs",
    "frontends",
    "crate::producers",
    "crate::config",
    "telemetry::log",
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn names_of_others(text: &str) -> Vec<&'static str> {
    FOREIGN.into_iter().filter(|name| text.to_lowercase().contains(name)).collect()
}

#[test]
fn the_broker_names_no_door_and_no_server() {
    let mut found = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/broker"), &mut found);
    assert!(found.len() > 10, "the core is not where it was: {found:?}");
    for path in found {
        let named = names_of_others(&fs::read_to_string(&path).unwrap());
        assert!(named.is_empty(), "{} names {named:?}", path.display());
    }
}

#[test]
fn a_name_is_noticed() {
    assert_eq!(names_of_others("use actix_web::web;"), ["actix"]);
    assert_eq!(names_of_others("fn f(_: stomp_parser::Frame) {}"), ["stomp_parser"]);
    assert_eq!(names_of_others("use crate::backends::local::Local;"), [""; 0]);
}
