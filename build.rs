//! Has the dashboard embedded anew when its bundle changed. A build without the bundle works too.

use std::path::Path;

fn main() {
    let bundle = "dashboard/dist";
    // A path that does not exist would make every build run this; its folder changes when it comes.
    let watched = if Path::new(bundle).exists() { bundle } else { "dashboard" };
    println!("cargo::rerun-if-changed={watched}");
}
