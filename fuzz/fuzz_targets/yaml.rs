//! A `.cerb.yaml` file is a plan or messages.
#![no_main]

#[path = "../src/common.rs"]
mod common;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| common::holds("test.cerb.yaml", text, &[("n", "1")]));
