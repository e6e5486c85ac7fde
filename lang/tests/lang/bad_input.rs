//! Bad input: whatever the bytes, a message in little time and memory, and never a crash.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use cerb_lang::{Diagnostics, format};

use crate::catalog::{codes, files, good, plan, plan_named, plan_with};

const MEGABYTES_50: usize = 50_000_000;

/// Processor time far above what is needed, far below what a mistake in the algorithm takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long this thread has worked, in ticks of 10 ms: waiting for a busy machine does not count.
/// Where Linux does not tell, the clock does.
fn worked() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let start = *START;
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap_or_default();
    // Behind the name in brackets: state, parents, …, and 11 further on the ticks.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks: Vec<u64> = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse().ok())
        .collect();
    match ticks.as_slice() {
        [own, system] => Duration::from_millis(10 * (own + system)),
        _ => start.elapsed(),
    }
}

fn refused(text: &str) -> Diagnostics {
    let start = worked();
    let Err(found) = plan(text) else {
        panic!("{} is taken", &text[..text.len().min(40)])
    };
    // What cannot be planned for its text alone cannot be formatted either, and both end.
    let _ = format(text, "test.cerb");
    let took = worked() - start;
    assert!(took < PATIENCE, "{took:?}");
    found
}

#[test]
fn a_hundred_thousand_brackets_of_each_kind() {
    for (open, close) in [
        ("(", ")"),
        ("[", "]"),
        ("{ a: ", " }"),
        ("f(", ")"),
        ("{", "}"),
    ] {
        for tail in ["", close] {
            let text = format!("let a = {}1{}", open.repeat(100_000), tail.repeat(100_000));
            let found = refused(&text);
            assert!(
                found.items.iter().any(|d| d.code.starts_with("lang::")),
                "{open}"
            );
        }
        // Closing ones alone, and each on its own line.
        refused(&close.repeat(100_000));
        refused(&format!("let a = {}", format!("{open}\n").repeat(100_000)));
    }
    refused(&format!("param a: {}Int = 1", "Map<Key, ".repeat(100_000)));
    refused(&"test \"x\" { ".repeat(100_000));
}

#[test]
fn fifty_megabytes_of_one_kind_end_soon() {
    let one_line = |with: &str, count: usize| with.repeat(count);
    for text in [
        format!("let a = [{}1]", one_line("1, ", 1_000_000)),
        (0..10_000)
            .map(|i| format!("let a{i} = \"{}\"\n", "x".repeat(5000)))
            .collect(),
        format!("let a = \"{}\"", one_line("x", MEGABYTES_50)),
        one_line("# a comment\n", MEGABYTES_50 / 12),
        one_line("(\n", 1_000_000),
        one_line("µ", MEGABYTES_50 / 2),
        one_line("\"\n", MEGABYTES_50 / 10),
    ] {
        let start = worked();
        let shown = plan(&text).map_err(|found| found.render(false, 80).len());
        // Neither a value of 50 MB nor a mistake in one is shown whole.
        assert!(shown.is_ok() || shown.is_err_and(|length| length < 200_000));
        let took = worked() - start;
        assert!(took < PATIENCE, "{took:?} for {}…", &text[..20]);
    }
}

#[test]
fn more_than_64_megabytes_are_not_looked_at() {
    let text = " ".repeat((64 << 20) + 1);
    assert_eq!(codes(&text), ["lang::too_long"]);
    assert_eq!(
        format(&text, "test.cerb").unwrap_err().items[0].code,
        "lang::too_long"
    );
}

#[test]
fn marks_and_line_ends_of_other_systems_mean_nothing() {
    good("\u{feff}let a = 1\r\n\tlet b = [1,\r\n\t2]\r\n");
    good("let a = 1\r");
    // A second mark is no mark.
    assert_eq!(codes("\u{feff}\u{feff}let a = 1"), ["lang::bad_character"]);
}

#[test]
fn nul_bytes_and_control_characters_stand_nowhere() {
    for text in [
        "let a = 1\0",
        "let a = \"\0\"",
        "# \0\n",
        "## \0\n",
        "\0",
        "let a\u{7} = 1",
        "let a = 1\u{c}",
    ] {
        let found = refused(text);
        assert!(
            found.items.iter().any(|d| d.code == "lang::bad_character"),
            "{text:?}: {found}"
        );
    }
}

#[test]
fn numbers_out_of_range() {
    for text in [
        "let a = 1e999",
        "let a = 99999999999999999999",
        "let a = 1e308 mm",
        "let a = 9223372036854775807 + 1",
        "let a = 1e308 * 10",
        "let a = 1 / 0",
        "param n: Int = 5 in 1..=99999999999999999999",
    ] {
        let found = refused(text);
        assert_eq!(found.items.len(), 1, "{found}");
        assert_eq!(found.items[0].code, "lang::out_of_range", "{text}");
    }
    // The version of the language is a number too.
    refused("cerb 99999999999999999999");
    refused("cerb 1.5");
}

#[test]
fn strings_that_are_none() {
    for text in [
        "let a = \"",
        "\"",
        "let a = \"\\u{110000}\"",
        "let a = \"\\u{d800}\"",
        "let a = \"\\u{\"",
        "let a = \"\\u{}\"",
        "let a = \"\\",
        "let a = \"\\\"",
    ] {
        let found = refused(text);
        assert_eq!(found.items[0].code, "lang::bad_string", "{text}: {found}");
    }
}

#[test]
fn blocks_without_an_end() {
    for text in [
        "let a = for s in t {",
        "let a = for s in t {\n  let b = s\n",
        "let a = if x {",
        "test \"x\" {\nlet a = 1\n",
        "def f(a: Int) -> Int {",
        "op x() -> File {",
        "let a = {",
    ] {
        let found = refused(text);
        assert!(
            found.items.iter().any(|d| d.code == "lang::unclosed"),
            "{text}: {found}"
        );
    }
}

#[test]
fn a_chain_of_ten_thousand_needs_no_stack() {
    let mut text = String::from("let a0 = 1\n");
    for i in 1..10_000 {
        text.push_str(&format!("let a{i} = a{} + 1\n", i - 1));
    }
    let small = std::thread::Builder::new().stack_size(1 << 20);
    let run = small.spawn(move || {
        good(&text);
        // The other way round, the first waits for all the others.
        let back: Vec<&str> = text.lines().rev().collect();
        good(&back.join("\n"));
        let circle = text.replace("let a0 = 1\n", "let a0 = a9999\n");
        let found = plan(&circle).unwrap_err();
        assert!(found.items.iter().any(|d| d.code == "lang::cycle"));
        assert!(found.render(false, 80).len() < 100_000);
        format(&circle, "test.cerb").unwrap();
    });
    run.unwrap().join().unwrap();
}

#[test]
fn modules_stay_in_their_folder_and_go_in_no_circle() {
    for path in [
        "../secret.cerb",
        "lib/../../x.cerb",
        "/etc/passwd",
        "C:/x.cerb",
        "~/x.cerb",
        "..\\\\x.cerb",
    ] {
        let found = codes(&format!("use \"{path}\" as x"));
        assert_eq!(found, ["lang::absolute_path"], "{path}");
    }
    let circle = files(&[
        ("a.cerb", "use \"b.cerb\"\nlet x = b.x"),
        ("b.cerb", "use \"c.cerb\"\nlet x = c.x"),
        ("c.cerb", "use \"a.cerb\"\nlet x = a.x"),
    ]);
    let found = plan_with("use \"a.cerb\"\nlet x = a.x", &[], &circle).unwrap_err();
    assert_eq!(found.items.len(), 1, "{found}");
    assert_eq!(found.items[0].code, "lang::cycle");
    // A file that uses itself is the shortest circle.
    let own = files(&[("a.cerb", "use \"a.cerb\"")]);
    let found = plan_with("use \"a.cerb\"", &[], &own).unwrap_err();
    assert_eq!(found.items[0].code, "lang::cycle");
}

fn refused_yaml(text: &str) -> Diagnostics {
    let start = worked();
    let Err(found) = plan_named(text, "test.cerb.yaml", &[], &files(&[])) else {
        panic!("{} is taken", &text[..text.len().min(40)])
    };
    let took = worked() - start;
    assert!(took < PATIENCE, "{took:?}");
    found
}

#[track_caller]
fn yaml_says(text: &str, code: &str) {
    let found = refused_yaml(text);
    assert_eq!(found.items.len(), 1, "{text}: {found}");
    assert_eq!(found.items[0].code, code, "{text}: {found}");
}

#[test]
fn a_hundred_thousand_brackets_of_each_kind_in_yaml() {
    for (open, close) in [("[", "]"), ("{a: ", "}"), ("- ", ""), ("? ", "")] {
        for tail in ["", close] {
            let (open, tail) = (open.repeat(100_000), tail.repeat(100_000));
            let found = refused_yaml(&format!("let:\n  a: {open}1{tail}\n"));
            assert!(found.items[0].code.starts_with("lang::"), "{found}");
            refused_yaml(&format!("{open}1{tail}\n"));
        }
    }
    for open in ["(", "[", "{ a: ", "f("] {
        yaml_says(
            &format!("let: {{a: '$({}1)'}}", open.repeat(100_000)),
            "lang::nested_too_deep",
        );
    }
}

#[test]
fn fifty_megabytes_of_yaml_end_soon() {
    for text in [
        format!("let: {{a: [{}1]}}", "1, ".repeat(900_000)),
        format!(
            "let:\n{}",
            (0..10_000)
                .map(|i| format!("  a{i}: \"{}\"\n", "x".repeat(5000)))
                .collect::<String>()
        ),
        format!("let: {{a: \"{}\"}}", "x".repeat(MEGABYTES_50)),
        format!("let:\n  a: |\n{}", "    $(1 +\n".repeat(MEGABYTES_50 / 10)),
        "# a comment\n".repeat(MEGABYTES_50 / 12),
        "\"\n".repeat(MEGABYTES_50 / 2),
        "µ".repeat(MEGABYTES_50 / 2),
        "a: 1\n".repeat(MEGABYTES_50 / 5),
    ] {
        let start = worked();
        let shown = plan_named(&text, "test.cerb.yaml", &[], &files(&[]))
            .map_err(|found| found.render(false, 80).len());
        assert!(shown.is_ok() || shown.is_err_and(|length| length < 200_000));
        let took = worked() - start;
        assert!(took < PATIENCE, "{took:?} for {}…", &text[..20]);
    }
    yaml_says(&" ".repeat((64 << 20) + 1), "lang::too_long");
}

#[test]
fn numbers_out_of_range_in_yaml() {
    for value in [
        "1e999",
        "99999999999999999999",
        "1e308 mm",
        "$(9223372036854775807 + 1)",
        "$(1 / 0)",
    ] {
        yaml_says(&format!("let: {{a: {value}}}"), "lang::out_of_range");
    }
    yaml_says(
        "param: {n: {type: Int, default: 5, in: 1..=99999999999999999999}}",
        "lang::out_of_range",
    );
    yaml_says("cerb: 99999999999999999999\n", "lang::yaml_shape");
}

#[test]
fn modules_in_yaml_stay_in_their_folder_and_nothing_goes_in_a_circle() {
    for path in ["../x.cerb.yaml", "/etc/passwd", "C:/x.yaml", "~/x.yaml"] {
        yaml_says(&format!("use: {{x: \"{path}\"}}"), "lang::absolute_path");
    }
    // From text to YAML and back.
    let circle = files(&[
        ("a.cerb.yaml", "use: {b: b.cerb}\nlet: {x: $b.x}\n"),
        ("b.cerb", "use \"a.cerb.yaml\" as a\nlet x = a.x\n"),
    ]);
    let start = "use: {a: a.cerb.yaml}\nlet: {x: $a.x}\n";
    let found = plan_named(start, "test.cerb.yaml", &[], &circle).unwrap_err();
    assert_eq!(found.items.len(), 1, "{found}");
    assert_eq!(found.items[0].code, "lang::cycle");
    yaml_says("let: {a: $b, b: $c, c: \"$(a + 1)\"}", "lang::cycle");
    yaml_says("let: {a: $a}", "lang::cycle");
}

#[test]
fn marks_and_line_ends_of_other_systems_mean_nothing_in_yaml() {
    let text = "\u{feff}let:\r\n  a: |\r\n    $(1 +\r\n    2)\r\n  b: [1,\r\n    2]\r\n";
    plan_named(text, "test.cerb.yaml", &[], &files(&[])).unwrap();
    for text in [
        "let: {a: \0}",
        "let: {a: \"\0\"}",
        "# \0\n",
        "let: {\u{7}: 1}",
    ] {
        refused_yaml(text);
    }
}
