//! Values for parameters of every type, as `-p` gives them, are taken or refused with messages.
#![no_main]

#[path = "../src/common.rs"]
mod common;

use libfuzzer_sys::fuzz_target;

const PARAMS: &str = "param n: Int = 1 in 1..=9\nparam f: Float = 1.5\nparam at: Mpp = 0.5 mpp in 0.2 mpp ..= 1 mpp\n\
    param who: Str = \"me\" in [\"me\", \"you\"]\nparam on: Bool = true\nparam all: [Px] = [1 px]\nparam maybe: Dur?\n";

fuzz_target!(|text: &str| {
    let names = ["n", "f", "at", "who", "on", "all", "maybe", text];
    common::holds("test.cerb", PARAMS, &names.map(|name| (name, text)));
});
