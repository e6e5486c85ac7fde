//! What stands around a place in a text that need not be whole: by its tokens alone.

use cerb_lang::{ITEM_WORDS, Kind, Token, lex};

/// A text in tokens.
pub(crate) struct Cursor<'a> {
    pub text: &'a str,
    tokens: Vec<Token>,
    /// The place.
    pub at: usize,
}

/// A call that is being written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OpenCall {
    /// The callee as written.
    pub callee: String,
    /// Names of the arguments before and behind the place.
    pub named: Vec<String>,
    /// How many arguments stand before the one the place is in.
    pub index: usize,
    /// The name of the argument the place is in.
    pub name: Option<String>,
    /// How many of the arguments before have no name.
    pub positional: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(text: &'a str, at: usize) -> Self {
        let (tokens, _) = lex(text);
        Self { text, tokens, at }
    }

    pub fn word(&self, token: &Token) -> &'a str {
        let range = token.start as usize..token.end as usize;
        self.text.get(range).unwrap_or("")
    }

    /// The token that the place lies in, or that ends there.
    pub fn token(&self) -> Option<&Token> {
        let behind = self
            .tokens
            .partition_point(|t| (t.start as usize) < self.at);
        self.tokens.get(behind.checked_sub(1)?)
    }

    /// The token that the place lies in or before, then the one that ends there.
    pub fn tokens_here(&self) -> impl Iterator<Item = &Token> {
        let behind = self
            .tokens
            .partition_point(|t| (t.start as usize) <= self.at);
        let from = behind.saturating_sub(2);
        self.tokens
            .get(from..behind)
            .unwrap_or(&[])
            .iter()
            .rev()
            .filter(|t| t.end as usize >= self.at)
    }

    /// Where the word that is being written starts.
    pub fn start(&self) -> usize {
        match self.token() {
            Some(token) if token.kind == Kind::Word => token.start as usize,
            _ => self.at,
        }
    }

    /// The token before a place, spaces passed over.
    pub fn before(&self, at: usize) -> Option<(usize, &Token)> {
        let behind = self.tokens.partition_point(|t| (t.end as usize) <= at);
        let found = self.tokens.get(..behind)?.iter().enumerate();
        found.rev().find(|(_, t)| t.kind != Kind::Space)
    }

    /// The words and dots right before a place: `cohort.` of `cohort.ta`.
    pub fn path(&self, at: usize) -> Option<(usize, Vec<&'a str>)> {
        let (mut i, dot) = self.before(at)?;
        if dot.kind != Kind::Dot {
            return None;
        }
        let mut words = Vec::new();
        let mut start;
        loop {
            // A newline before a dot is no end.
            let word = self.tokens.get(i.checked_sub(1)?)?;
            if word.kind != Kind::Word {
                return None;
            }
            words.push(self.word(word));
            start = word.start as usize;
            i -= 1;
            match i.checked_sub(1).and_then(|i| self.tokens.get(i)) {
                Some(dot) if dot.kind == Kind::Dot => i -= 1,
                _ => break,
            }
        }
        words.reverse();
        Some((start, words))
    }

    /// Whether nothing but spaces stands before a place on its line.
    pub fn first_on_line(&self, at: usize) -> bool {
        self.before(at)
            .is_none_or(|(_, t)| matches!(t.kind, Kind::Newline | Kind::Bom))
    }

    /// The brackets open at a place, outermost first, by the index of their token.
    fn open(&self, at: usize) -> Vec<usize> {
        let mut open: Vec<usize> = Vec::new();
        for (i, token) in self.tokens.iter().enumerate() {
            if token.end as usize > at {
                break;
            }
            match token.kind {
                Kind::OpenParen | Kind::OpenBracket | Kind::OpenBrace => open.push(i),
                Kind::CloseParen | Kind::CloseBracket | Kind::CloseBrace => {
                    open.pop();
                }
                // What was forgotten to be closed ends with the item.
                Kind::Word if self.item(i) => {
                    while let Some(last) = open.last()
                        && self.tokens[*last].kind != Kind::OpenBrace
                    {
                        open.pop();
                    }
                    if self.outermost(i) {
                        open.clear();
                    }
                }
                _ => {}
            }
        }
        open
    }

    fn outermost(&self, i: usize) -> bool {
        i.checked_sub(1)
            .and_then(|i| self.tokens.get(i))
            .is_none_or(|t| matches!(t.kind, Kind::Newline | Kind::Bom))
    }

    /// Whether a word starts an item.
    fn item(&self, i: usize) -> bool {
        let Some(token) = self.tokens.get(i) else {
            return false;
        };
        let next = self.tokens.get(i + 1).map(|t| t.kind);
        self.first_on_line(token.start as usize)
            && ITEM_WORDS.contains(&self.word(token))
            && matches!(next, Some(Kind::Space))
    }

    /// Closing brackets for everything but braces that is open at a place.
    pub fn closers(&self, at: usize) -> String {
        let mut out = String::new();
        for i in self.open(at).into_iter().rev() {
            match self.tokens[i].kind {
                Kind::OpenParen => out.push(')'),
                Kind::OpenBracket => out.push(']'),
                _ => break,
            }
        }
        out
    }

    /// How many braces are open at a place.
    pub fn blocks(&self, at: usize) -> usize {
        let open = self.open(at).into_iter();
        open.filter(|i| self.tokens[*i].kind == Kind::OpenBrace)
            .count()
    }

    /// Whether a type stands behind the colon before a place: of a `let`, a `param` or a port.
    pub fn wants_type(&self, at: usize) -> bool {
        let Some((colon, _)) = self.before(at) else {
            return false;
        };
        // The item that the colon is of, and the brackets it opened.
        let items = (0..colon).rev();
        let Some(item) = items.into_iter().find(|i| self.item(*i)) else {
            return false;
        };
        let mut depth = 0usize;
        let mut assigned = false;
        for token in &self.tokens[item..colon] {
            match token.kind {
                Kind::OpenParen | Kind::OpenBracket | Kind::OpenBrace => depth += 1,
                Kind::CloseParen | Kind::CloseBracket | Kind::CloseBrace => {
                    depth = depth.saturating_sub(1);
                }
                Kind::Assign => assigned |= depth == 0,
                _ => {}
            }
        }
        match self.word(&self.tokens[item]) {
            "let" | "param" => depth == 0 && !assigned,
            // Only the ports of a `def` or an `op` stand in one bracket that is open.
            "def" | "op" => {
                depth == 1
                    && self.tokens[item..colon]
                        .iter()
                        .all(|t| t.kind != Kind::OpenBrace)
            }
            _ => false,
        }
    }

    /// The call whose arguments the place lies in.
    pub fn call(&self) -> Option<OpenCall> {
        let opened = self.open(self.at);
        let paren = opened.into_iter().next_back()?;
        if self.tokens[paren].kind != Kind::OpenParen {
            return None;
        }
        let mut callee: Vec<&str> = Vec::new();
        let mut i = paren;
        while let Some(word) = i.checked_sub(1).and_then(|i| self.tokens.get(i)) {
            if word.kind != Kind::Word {
                break;
            }
            callee.push(self.word(word));
            i -= 1;
            match i.checked_sub(1).and_then(|i| self.tokens.get(i)) {
                Some(dot) if dot.kind == Kind::Dot => i -= 1,
                _ => break,
            }
        }
        if callee.is_empty() {
            return None;
        }
        callee.reverse();
        let mut call = OpenCall {
            callee: callee.join("."),
            named: Vec::new(),
            index: 0,
            name: None,
            positional: 0,
        };
        self.arguments(paren, &mut call);
        Some(call)
    }

    fn arguments(&self, paren: usize, call: &mut OpenCall) {
        let mut depth = 0usize;
        let (mut words, mut named, mut any) = (0, None::<&str>, false);
        let mut last_word = None;
        for (i, token) in self.tokens.iter().enumerate().skip(paren + 1) {
            let before = (token.end as usize) <= self.at;
            match token.kind {
                Kind::OpenParen | Kind::OpenBracket | Kind::OpenBrace => depth += 1,
                Kind::CloseParen | Kind::CloseBracket | Kind::CloseBrace if depth == 0 => return,
                Kind::CloseParen | Kind::CloseBracket | Kind::CloseBrace => depth -= 1,
                Kind::Comma if depth == 0 => {
                    if before {
                        call.index += 1;
                        call.positional += usize::from(named.is_none() && any);
                        call.name = None;
                    }
                    (words, named, any) = (0, None, false);
                    continue;
                }
                Kind::Colon if depth == 0 && words == 1 => {
                    named = last_word;
                    call.named.extend(named.map(str::to_owned));
                    if before {
                        call.name = named.map(str::to_owned);
                    }
                }
                Kind::Word if self.item(i) => return,
                _ => {}
            }
            if !token.kind.is_trivia() && token.kind != Kind::Newline {
                words += 1;
                any = true;
                last_word = (token.kind == Kind::Word).then(|| self.word(token));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cursor stands where `|` does.
    fn call(text: &str) -> Option<OpenCall> {
        let at = text.find('|').unwrap();
        Cursor::new(&text.replace('|', ""), at).call()
    }

    #[test]
    fn a_call_is_known_while_it_is_written() {
        let found = call("let a = tissue.mask(s, at: 8 mpp, |").unwrap();
        assert_eq!(found.callee, "tissue.mask");
        assert_eq!(found.named, ["at"]);
        assert_eq!((found.index, found.positional), (2, 1));
        let found = call("let a = f(g(1, 2), at: |8)\nlet b = 1").unwrap();
        assert_eq!(found.callee, "f");
        assert_eq!(found.name.as_deref(), Some("at"));
        assert_eq!(call("let a = f(1)|"), None);
        assert_eq!(call("let a = f(1,\nlet b = |"), None);
    }

    #[test]
    fn a_colon_is_followed_by_a_type_or_a_value() {
        let wants = |text: &str| Cursor::new(text, text.len()).wants_type(text.len());
        for text in [
            "let a: ",
            "param a: ",
            "def f(s: Slide, at: ",
            "op my.f(\n  s: Slide,\n  at: ",
            "def f(at: List<Mpp> = [1 mpp], to: ",
        ] {
            assert!(wants(text), "{text}");
        }
        for text in [
            "let a = { b: ",
            "let a = f(s, at: ",
            "def f(s: Slide) -> Mask { tissue.mask(s, at: ",
            "def f(s: Slide) -> Mask {\n  let a = 1\n  tissue.mask(s, at: ",
            "op my.f(s: Slide) -> File {\n  tool: ",
        ] {
            assert!(!wants(text), "{text}");
        }
    }

    #[test]
    fn forgotten_brackets_are_closed() {
        let text = "let a = for s in t {\n let b = f([1, ";
        let cursor = Cursor::new(text, text.len());
        assert_eq!(cursor.closers(text.len()), "])");
        assert_eq!(cursor.blocks(text.len()), 1);
    }

    #[test]
    fn the_path_before_a_word_is_known() {
        let text = "let a = cohort.ta";
        let cursor = Cursor::new(text, text.len());
        assert_eq!(cursor.path(cursor.start()), Some((8, vec!["cohort"])));
        let cursor = Cursor::new("a", 1);
        assert_eq!(cursor.path(0), None);
    }
}
