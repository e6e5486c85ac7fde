//! The `cerb` binary.
fn main() {}
