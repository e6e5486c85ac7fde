//! A `.cerb.yaml` file is a plan or messages, and what converts to text converts back.
#![no_main]

#[path = "../src/common.rs"]
mod common;
#[path = "../src/convert.rs"]
mod convert;

use libfuzzer_sys::fuzz_target;

use cerb_lang::to_yaml;

fuzz_target!(|yaml: &str| {
    common::holds("test.cerb.yaml", yaml, &[("n", "1")]);
    let Some(text) = convert::text(yaml) else {
        return;
    };
    match to_yaml(&text, "test.cerb") {
        Ok(back) => assert_eq!(convert::text(&back), Some(text), "as YAML:\n{back}"),
        Err(found) => panic!("what was converted does not convert back:\n{text}\n{found}"),
    }
});
