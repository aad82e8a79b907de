//! One source file, parted into code and comments, so that a rule about code is not fooled by a word in a text.

/// A file with two views of it. Both have its lines and columns; what does not belong is blank.
pub(crate) struct Source {
    /// From the root of the repository, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    /// Without comments and without the inside of literals.
    pub(crate) code: String,
    /// Comments alone, with their markers.
    pub(crate) comments: String,
}

/// A breach of a rule.
pub(crate) struct Breach {
    pub(crate) path: String,
    /// From 1; 0 where it is about the whole file.
    pub(crate) line: usize,
    /// What is wrong, and what to do.
    pub(crate) what: String,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let (code, comments) = part(text);
        Self { path: path.to_owned(), text: text.to_owned(), code, comments }
    }

    pub(crate) fn breach(&self, line: usize, what: impl Into<String>) -> Breach {
        Breach { path: self.path.clone(), line, what: what.into() }
    }

    /// Whether it lies in this folder, or is this file.
    pub(crate) fn is_in(&self, place: &str) -> bool {
        self.path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The words and signs of its code.
    pub(crate) fn tokens(&self) -> Vec<Token<'_>> {
        tokens(&self.code)
    }
}

/// A word or a sign (one character, but `::` is one sign) of code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) text: &'a str,
    pub(crate) line: usize,
}

impl Token<'_> {
    pub(crate) fn is_word(&self) -> bool {
        self.text.starts_with(|c: char| c.is_alphabetic() || c == '_')
    }
}

fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    for (index, line) in code.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let length = if first.is_alphanumeric() || first == '_' {
                rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            found.push(Token { text: &rest[..length], line: index + 1 });
            rest = rest[length..].trim_start();
        }
    }
    found
}

/// What a character belongs to.
#[derive(Clone, Copy, PartialEq)]
enum State {
    Code,
    LineComment,
    /// How many are open.
    BlockComment(u32),
    Text,
    /// How many `#` end it.
    RawText(usize),
}

fn part(text: &str) -> (String, String) {
    let chars: Vec<char> = text.chars().collect();
    let (mut code, mut comments) = (String::new(), String::new());
    let mut state = State::Code;
    let mut at = 0;
    while at < chars.len() {
        let before = state;
        let length = step(&chars, at, &mut state);
        for &c in &chars[at..(at + length).min(chars.len())] {
            let is_comment = [before, state].iter().any(|s| matches!(s, State::LineComment | State::BlockComment(_)));
            let closes = state == State::Code && c == '"' && !is_comment;
            let is_code = before == State::Code && !is_comment || closes;
            let blank = |keep: bool| if keep || c == '\n' { c } else { ' ' };
            // The inside of a character literal is taken in one step of code: its quotes stay, as those of texts do.
            code.push(blank(
                is_code && (length == 1 || !(c.is_alphanumeric() || "{}();".contains(c)) || chars[at] != '\''),
            ));
            comments.push(blank(is_comment));
        }
        at += length;
    }
    (code, comments)
}

/// Takes what begins at `at`: how many characters, and what follows belongs to `state`.
fn step(chars: &[char], at: usize, state: &mut State) -> usize {
    let sees =
        |text: &str| chars[at..].len() >= text.len() && text.chars().eq(chars[at..at + text.len()].iter().copied());
    match *state {
        State::Code if sees("//") => *state = State::LineComment,
        State::Code if sees("/*") => {
            *state = State::BlockComment(1);
            return 2;
        }
        State::Code if sees("\"") => *state = State::Text,
        State::Code if sees("'") => return character(chars, at),
        State::Code => {
            if let Some((length, hashes)) = raw_text(chars, at) {
                *state = State::RawText(hashes);
                return length;
            }
        }
        State::LineComment if sees("\n") => *state = State::Code,
        State::BlockComment(open) if sees("*/") => {
            *state = if open == 1 { State::Code } else { State::BlockComment(open - 1) };
            return 2;
        }
        State::BlockComment(open) if sees("/*") => {
            *state = State::BlockComment(open + 1);
            return 2;
        }
        State::Text if sees("\\") => return 2,
        State::Text if sees("\"") => *state = State::Code,
        State::RawText(hashes) if sees(&format!("\"{}", "#".repeat(hashes))) => {
            *state = State::Code;
            return hashes + 1;
        }
        _ => {}
    }
    1
}

/// The length of a character literal; 1 where it is a lifetime.
fn character(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), _) => {
            let end = chars[at + 3..].iter().position(|c| *c == '\'');
            end.map_or(1, |end| end + 4)
        }
        (Some(_), Some('\'')) => 3,
        _ => 1,
    }
}

/// The opening of a raw text, as `r#"`: its length, and how many `#`.
fn raw_text(chars: &[char], at: usize) -> Option<(usize, usize)> {
    let is_word = |c: &char| c.is_alphanumeric() || *c == '_';
    if chars[at] != 'r' || (at > 0 && chars.get(at - 1).is_some_and(|c| is_word(c) && !matches!(c, 'b' | 'c'))) {
        return None;
    }
    let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
    (chars.get(at + 1 + hashes) == Some(&'"')).then_some((hashes + 2, hashes))
}

#[test]
fn parts_code_from_comments_and_texts() {
    let text = "let a = \"unsafe // no\"; // unsafe, says \"he\"\nlet b = r#\"un\"safe\"#; /* a /* b */ c */ let c = '\"';\nlet d: &'static str = \"\\\"x\";\n";
    let source = Source::new("x.rs", text);
    assert!(!source.code.contains("unsafe") && !source.code.contains("safe"));
    assert!(source.comments.contains("// unsafe, says \"he\""));
    assert!(source.comments.contains("/* a /* b */ c */"));
    assert!(source.code.contains("let c =") && source.code.contains("let d: &'static str ="));
    for view in [&source.code, &source.comments] {
        assert_eq!(view.lines().count(), 3);
        assert_eq!(view.chars().count(), text.chars().count());
    }
}

#[test]
fn braces_in_characters_are_no_code() {
    let source = Source::new("x.rs", "match c { '{' => 1, '\\'' => 2, '\\u{7d}' => 3, b'}' => 4 }");
    let braces = |sign| source.tokens().iter().filter(|token| token.text == sign).count();
    assert_eq!((braces("{"), braces("}")), (1, 1));
}

#[test]
fn tokens_are_words_and_signs_with_their_lines() {
    let source = Source::new("x.rs", "use crate::a_b;\nfn");
    let found: Vec<_> = source.tokens().iter().map(|token| (token.text, token.line)).collect();
    assert_eq!(found, [("use", 1), ("crate", 1), ("::", 1), ("a_b", 1), (";", 1), ("fn", 2)]);
}
