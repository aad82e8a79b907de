//! The texts in the sources of the library and the program, each as a reader meets it.

use crate::source::Source;
use std::path::Path;

/// A string literal of src.
pub(crate) struct Literal {
    pub(crate) path: String,
    pub(crate) line: usize,
    /// Without escapes: a line that goes on is one line.
    pub(crate) text: String,
}

/// All literals of src outside of its tests.
pub(crate) fn of_src() -> Vec<Literal> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut folders, mut paths) = (vec![root.join("src")], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().expect("a folder of sources can be read") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            match name.as_str() {
                "tests" | "tests.rs" => {}
                _ if path.is_dir() => folders.push(path),
                _ if name.ends_with(".rs") => paths.push(path),
                _ => {}
            }
        }
    }
    paths.sort();
    let read = |path: &std::path::PathBuf| {
        let name = path.strip_prefix(root).expect("it lies in the repository").display().to_string();
        of(&Source::new(&name, &std::fs::read_to_string(path).expect("a source can be read")))
    };
    paths.iter().flat_map(read).collect()
}

/// The literals of one file, up to its own tests.
fn of(source: &Source) -> Vec<Literal> {
    let text: Vec<char> = source.text.chars().collect();
    let code: Vec<char> = source.code.chars().collect();
    let end = end_of_code(&source.code);
    let is_quote = |at: usize| code[at] == '"' && !(at > 0 && code[at - 1] == '\'' && code.get(at + 1) == Some(&'\''));
    let quotes: Vec<usize> = (0..end).filter(|at| is_quote(*at)).collect();
    let literal = |quotes: &[usize]| {
        let (from, to) = (quotes[0] + 1, quotes[1]);
        let line = 1 + text[..from].iter().filter(|c| **c == '\n').count();
        Literal { path: source.path.clone(), line, text: read(&text[from..to]) }
    };
    quotes.chunks_exact(2).map(literal).collect()
}

/// Where the tests within a file begin, which are its last module; in characters.
fn end_of_code(code: &str) -> usize {
    let tests = code.match_indices("#[cfg(test)]").map(|(at, mark)| (at, &code[at + mark.len()..]));
    let mut modules = tests.filter(|(_, rest)| {
        let head: String = rest.chars().take_while(|c| !matches!(c, '{' | ';')).collect();
        head.trim_start().starts_with("mod ") && rest[head.len()..].starts_with('{')
    });
    modules.next().map_or(code.len(), |(at, _)| at).min(code.len())
}

/// What the characters between two quotes stand for.
fn read(inside: &[char]) -> String {
    let mut text = String::new();
    let mut chars = inside.iter().copied().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            text.push(c);
            continue;
        }
        match chars.next() {
            Some('\n') => while chars.next_if(|c| c.is_whitespace()).is_some() {},
            Some('n') => text.push('\n'),
            Some(other) => text.push(other),
            None => text.push('\\'),
        }
    }
    text
}

#[test]
fn literals_are_read_as_they_are_meant() {
    let text = "let a = \"one \\\n    line, a \\\"word\\\"\"; // \"no\"\nlet q = '\"';\nlet b = r#\"raw \"x\" one\"#;\n#[cfg(test)]\nmod more;\nlet c = \"c\";\n#[cfg(test)]\nmod tests {\n    \"not this\" }\n";
    let found: Vec<_> =
        of(&Source::new("x.rs", text)).into_iter().map(|literal| (literal.line, literal.text)).collect();
    let wanted = [(1, "one line, a \"word\""), (4, "raw \"x\" one"), (7, "c")];
    assert_eq!(found, wanted.map(|(line, text)| (line, text.to_owned())));
}

#[test]
fn many_literals_are_seen() {
    assert!(of_src().len() > 1000, "only {} literals seen: the reader has gone blind", of_src().len());
}
