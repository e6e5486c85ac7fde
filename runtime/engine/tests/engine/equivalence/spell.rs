//! Values in as many ways as they can be written, and air between the tokens of a text.

use cerb_lang::lex;

use super::pipeline::{Kind, Lit, decimal};

/// A stream of random numbers (SplitMix64).
#[derive(Debug, Clone)]
pub struct Rng(pub u64);

impl Rng {
    pub fn pick(&mut self, of: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % of.max(1) as u64) as usize
    }

    pub fn of<'t>(&mut self, all: &[&'t str]) -> &'t str {
        all[self.pick(all.len())]
    }

    pub fn shuffle<T>(&mut self, all: &mut [T]) {
        for at in (1..all.len()).rev() {
            all.swap(at, self.pick(at + 1));
        }
    }
}

/// Writes a value in the plainest way.
pub fn plain(kind: Kind, lit: &Lit) -> String {
    let unit = match kind {
        Kind::Px => " px",
        Kind::Um => " um",
        Kind::Um2 => " um2",
        Kind::Pct => " %",
        Kind::Dur => " s",
        Kind::Bytes => " KiB",
        Kind::Mpp => " mpp",
        _ => "",
    };
    match lit {
        Lit::Milli(n) => format!("{}{unit}", decimal(*n, 3)),
        Lit::Whole(n) => format!("{n}{unit}"),
        Lit::Flag(flag) => flag.to_string(),
        Lit::Word(word) => format!("\"{word}\""),
        Lit::Names(names) => format!("{names:?}"),
    }
}

/// Writes a number of `10^-places` in one of many ways.
fn number(n: i64, places: usize, rng: &mut Rng) -> String {
    let text = decimal(n, places);
    match rng.pick(5) {
        0 if text.contains('.') => format!("{text}00"),
        1 => format!("{n}e-{places}"),
        2 => format!("{}E+1", decimal(n, places + 1)),
        3 => format!("0{text}"),
        _ => text,
    }
}

/// Writes a value in one of the ways it can be written, or computes it.
pub fn spelled(kind: Kind, lit: &Lit, rng: &mut Rng) -> String {
    let unit = |name: &str| {
        if name.is_empty() {
            String::new()
        } else {
            format!(" {name}")
        }
    };
    match (kind, lit) {
        (Kind::Bool, Lit::Flag(flag)) => {
            let (yes, no) = (
                [
                    "true",
                    "!false",
                    "1 < 2",
                    "true || false",
                    "\"a\" != \"b\"",
                    "0.5 mpp >= 0.5 mpp",
                ],
                [
                    "false",
                    "!true",
                    "2 px < 1 px",
                    "true && false",
                    "1 == 2",
                    "1 min < 60 s",
                ],
            );
            rng.of(if *flag { &yes } else { &no }).to_owned()
        }
        (Kind::Word, Lit::Word(word)) => {
            let cut = rng.pick(word.len() + 1);
            match rng.pick(3) {
                0 => format!("\"{}\" + \"{}\"", &word[..cut], &word[cut..]),
                1 => {
                    word.chars().fold("\"".to_owned(), |text, c| {
                        format!("{text}\\u{{{:x}}}", u32::from(c))
                    }) + "\""
                }
                _ => plain(kind, lit),
            }
        }
        (Kind::Names, Lit::Names(names)) => {
            let mut all: Vec<String> = names
                .iter()
                .map(|name| spelled(Kind::Word, &Lit::Word(name), rng))
                .collect();
            if !all.is_empty() && rng.pick(3) == 0 {
                all.push(String::new());
            }
            format!("[{}]", all.join(", ").trim_end())
        }
        (Kind::Px | Kind::Int | Kind::Bytes, Lit::Whole(n)) => {
            let name = ["", "px", "KiB"][match kind {
                Kind::Int => 0,
                Kind::Px => 1,
                _ => 2,
            }];
            let u = unit(name);
            let parts: i64 = rng.pick(9) as i64;
            match (rng.pick(8), kind) {
                (0, _) => format!("{parts}{u} + {}{u}", n - parts).replace("+ -", "- "),
                (1, _) => format!("-(-{n}{u})"),
                (2, _) if n % 2 == 0 => format!("2 * {}{u}", n / 2),
                (3, Kind::Bytes) => format!("{} MiB", number(*n * 9_765_625, 10, rng)),
                (4, Kind::Px) => format!("{n} px2 / 1 px"),
                (5, Kind::Px) => format!("{n} um / 1 mpp"),
                (6, Kind::Px) => format!("{} px", number(*n * 10, 1, rng)),
                (7, Kind::Int) => format!("({n}) * 1"),
                _ => format!("{n}{u}"),
            }
        }
        (_, Lit::Milli(n)) => {
            let n = *n;
            let name = ["", "um", "um2", "%", "s", "mpp"][match kind {
                Kind::Um => 1,
                Kind::Um2 => 2,
                Kind::Pct => 3,
                Kind::Dur => 4,
                Kind::Mpp => 5,
                _ => 0,
            }];
            let u = unit(name);
            match (rng.pick(9), kind) {
                (0, _) => format!("2 * {}{u}", number(n * 5, 4, rng)),
                (1, _) => format!("{}{u} / 2", number(n * 2, 3, rng)),
                (2, _) => format!("-(-{}{u})", number(n, 3, rng)),
                (3, _) => {
                    let half = number(n * 5, 4, rng);
                    format!("{half}{u} + {half}{u}")
                }
                (4 | 5, Kind::Um) => format!("{} mm", number(n, 6, rng)),
                (4 | 5, Kind::Um2) => format!("{} mm2", number(n, 9, rng)),
                (6, Kind::Um) => format!("1 px * {} mpp", number(n, 3, rng)),
                (6, Kind::Um2) => format!("{} um * 1 um", number(n, 3, rng)),
                (6, Kind::Mpp) => format!("{} um / 1 px", number(n, 3, rng)),
                (6, Kind::Float) => format!("{} um / 1 um", number(n, 3, rng)),
                (5 | 6, Kind::Pct) => format!("{} * 100 %", number(n, 5, rng)),
                (4 | 5, Kind::Dur) => format!("{} min", number(n / 600, 2, rng)),
                (6, Kind::Dur) if n % 3600 == 0 => format!("{} h", number(n / 3600, 3, rng)),
                _ => format!("{}{u}", number(n, 3, rng)),
            }
        }
        _ => plain(kind, lit),
    }
}

/// Puts spaces, newlines and comments wherever they mean nothing.
pub fn sprinkle(text: &str, rng: &mut Rng) -> String {
    use cerb_lang::Kind as Token;
    let mut out = String::new();
    let mut open = Vec::new();
    for token in lex(text).0 {
        let word = &text[token.start as usize..token.end as usize];
        let loose = matches!(open.last(), Some(Token::OpenParen | Token::OpenBracket));
        let air = |rng: &mut Rng| {
            let line = [
                "\n",
                " # why, (not\n",
                "\n\n\t",
                "\n# let x = {\n",
                " ## so\n  ",
            ];
            match rng.pick(12) {
                0 | 1 => rng.of(&line),
                2 | 3 => "  ",
                4 => "\t",
                _ => "",
            }
            .to_owned()
        };
        match token.kind {
            Token::Space => out.push_str(rng.of(&[" ", " ", "  ", "\t "])),
            Token::Newline => {
                let lines = [
                    "\n",
                    "\n",
                    "\n",
                    "\n\n",
                    " # a \"comment\n",
                    "\n# one\n\n",
                    "\n## documented\n",
                    "  \n\t",
                    " ## µm\n",
                ];
                out.push_str(rng.of(&lines));
            }
            Token::CloseParen | Token::CloseBracket => {
                let text = air(rng);
                out.push_str(&text);
                out.push_str(word);
                open.pop();
            }
            Token::CloseBrace => {
                open.pop();
                out.push_str(word);
            }
            Token::OpenParen | Token::OpenBracket => {
                open.push(token.kind);
                out.push_str(word);
                let text = air(rng);
                out.push_str(&text);
            }
            Token::OpenBrace => {
                open.push(token.kind);
                out.push_str(word);
            }
            Token::Comma | Token::Plus | Token::Star | Token::And => {
                if loose {
                    let text = air(rng);
                    out.push_str(&text);
                }
                out.push_str(word);
                let text = air(rng);
                out.push_str(&text);
            }
            Token::At if rng.pick(4) == 0 => out.push_str("\n    @"),
            _ => out.push_str(word),
        }
    }
    match rng.pick(10) {
        0 => out.replace('\n', "\r\n"),
        1 => format!("\u{feff}{out}"),
        2 => out.trim_end().to_owned(),
        _ => out,
    }
}
