//! The shape of files: a header, a length that one head can hold, nothing left half done, no signs that do not belong.

use crate::source::{Breach, Source, Token};

/// A file that is longer has more than one job. The aim is 400; the unit tests at its end do not count.
const FILE_LINES_MAX: usize = 500;
/// A function that is longer does not fit a screen. The aim is 60.
const FUNCTION_LINES_MAX: usize = 70;

/// Every breach in a Rust file.
pub(crate) fn breaches(source: &Source) -> Vec<Breach> {
    let mut found = signs(source);
    if !source.text.starts_with("//! ") {
        found.push(source.breach(1, "no header: begin with `//! ` and the file's job, what it may import, its limits"));
    }
    let lines = lines_without_tests(source);
    if lines > FILE_LINES_MAX {
        found.push(
            source
                .breach(0, format!("{lines} lines without its unit tests, at most {FILE_LINES_MAX}: part it by jobs")),
        );
    }
    for (name, line, length) in functions(source) {
        if length > FUNCTION_LINES_MAX {
            let what = format!("`{name}` has {length} lines, at most {FUNCTION_LINES_MAX}: name its parts");
            found.push(source.breach(line, what));
        }
    }
    found.extend(unfinished(source));
    found
}

/// Tabs, and pictures in place of words; in any text file.
pub(crate) fn signs(source: &Source) -> Vec<Breach> {
    let mut found = Vec::new();
    for (index, line) in source.text.lines().enumerate() {
        if line.contains('\t') {
            found.push(source.breach(index + 1, "a tab: indent with spaces, write \\t in texts"));
        }
        if let Some(sign) = line.chars().find(|c| is_picture(*c)) {
            found.push(source.breach(index + 1, format!("U+{:04X} is a picture: use a word", u32::from(sign))));
        }
    }
    found
}

/// Emoji and dingbats. Arrows and the lines of drawings are none.
fn is_picture(c: char) -> bool {
    matches!(c, '\u{2600}'..='\u{27BF}' | '\u{2B00}'..='\u{2BFF}' | '\u{FE0F}' | '\u{1F000}'..='\u{1FAFF}')
}

/// What marks work left for later.
fn unfinished(source: &Source) -> Vec<Breach> {
    let mut found = Vec::new();
    let tokens = source.tokens();
    for pair in tokens.windows(2) {
        if pair[1].text == "!" && matches!(pair[0].text, "todo" | "unimplemented" | "dbg") {
            found.push(source.breach(pair[0].line, format!("{}!: finish it, or take it out", pair[0].text)));
        }
        if pair[0].text == "ignore" && pair[1].text == "]" && is_attribute_word(&tokens, pair[0]) {
            found.push(
                source.breach(pair[0].line, "an ignored test without a reason: #[ignore = \"why, and how to run it\"]"),
            );
        }
    }
    for (index, line) in source.comments.lines().enumerate() {
        let mut words = line.split(|c: char| !c.is_ascii_alphanumeric());
        if let Some(mark) = words.find(|word| matches!(*word, "FIXME" | "TODO" | "XXX")) {
            found.push(source.breach(index + 1, format!("{mark}: do it, or write down the limit it leaves")));
        }
    }
    found
}

/// Whether this word stands alone in `#[...]`.
fn is_attribute_word(tokens: &[Token<'_>], word: Token<'_>) -> bool {
    tokens.windows(3).any(|three| three[0].text == "#" && three[1].text == "[" && three[2] == word)
}

/// Lines up to the module of unit tests that ends the file.
fn lines_without_tests(source: &Source) -> usize {
    let lines: Vec<&str> = source.code.lines().collect();
    let is_tests = |index: &usize| lines[*index] == "mod tests {" && lines[index - 1].starts_with("#[cfg(");
    (1..lines.len()).find(is_tests).unwrap_or(source.text.lines().count())
}

/// A row of a table: `NAME => "text",`. It has no logic to hold in mind.
fn is_row(line: &str) -> bool {
    line.split_once("=> \"")
        .is_some_and(|(_, text)| text.trim_end().ends_with("\",") && text.trim_start().starts_with('"'))
}

/// Every function with a body: its name, its first line, how many lines to its closing brace, rows of tables left out.
pub(crate) fn functions(source: &Source) -> Vec<(String, usize, usize)> {
    let tokens = source.tokens();
    let lines: Vec<&str> = source.code.lines().collect();
    let mut found = Vec::new();
    for at in 0..tokens.len().saturating_sub(1) {
        if tokens[at].text != "fn" || !tokens[at + 1].is_word() {
            continue;
        }
        // A declaration ends in `;` before any brace; `[u8; 4]` in its types does not end it.
        let mut brackets = 0usize;
        let body = tokens[at..].iter().position(|token| {
            match token.text {
                "[" | "(" => brackets += 1,
                "]" | ")" => brackets = brackets.saturating_sub(1),
                _ => {}
            }
            brackets == 0 && matches!(token.text, "{" | ";")
        });
        let Some(body) = body.map(|body| at + body).filter(|body| tokens[*body].text == "{") else { continue };
        let mut open = 0usize;
        let end = tokens[body..].iter().find(|token| {
            match token.text {
                "{" => open += 1,
                "}" => open -= 1,
                _ => {}
            }
            open == 0
        });
        if let Some(end) = end {
            let rows = lines[tokens[at].line - 1..end.line].iter().filter(|line| is_row(line)).count();
            found.push((tokens[at + 1].text.to_owned(), tokens[at].line, end.line - tokens[at].line + 1 - rows));
        }
    }
    found
}

#[cfg(test)]
fn complaints(text: &str) -> Vec<String> {
    breaches(&Source::new("src/sys/x.rs", text)).into_iter().map(|breach| breach.what).collect()
}

#[test]
fn a_good_file_has_no_breach() {
    let text =
        "//! Its job.\n\n#[test]\n#[ignore = \"needs an hour\"]\nfn f() -> [u8; 4] {\n    [0; 4] // ├──► fine\n}\n";
    assert_eq!(complaints(text), Vec::<String>::new());
}

#[test]
fn headers_tabs_and_pictures_are_seen() {
    assert!(complaints("fn f() {}")[0].contains("header"));
    assert!(complaints("//! x\n\tfn f() {}")[0].contains("tab"));
    assert!(complaints("//! x\n// \u{1F680}")[0].contains("U+1F680"));
    assert!(complaints("//! x\n// \u{2705}")[0].contains("U+2705"));
}

#[test]
fn what_is_left_for_later_is_seen() {
    for text in [
        "fn f() { todo!() }",
        "fn f() { unimplemented!(\"x\") }",
        "// FIXME later",
        "/* TODO */",
        "#[test]\n#[ignore]\nfn f() {}",
        "fn f() { dbg!(1); }",
    ] {
        assert_eq!(complaints(&format!("//! x\n{text}")).len(), 1, "{text}");
    }
    assert!(complaints("//! x\nconst A: &str = \"todo!() FIXME #[ignore]\";").is_empty());
}

#[test]
fn long_files_and_functions_are_seen() {
    let function = |lines: usize| format!("//! x\nfn f(a: [u8; 4]) {{\n{}}}\n", "    g();\n".repeat(lines));
    assert!(complaints(&function(FUNCTION_LINES_MAX - 2)).is_empty());
    assert!(complaints(&function(FUNCTION_LINES_MAX - 1))[0].contains("`f` has 71 lines"));
    let table = |row: &str| format!("//! x\nfn f(a: u8) {{\nmatch a {{\n{}}}\n}}\n", row.repeat(FUNCTION_LINES_MAX));
    assert!(complaints(&table("    A => \"a\",\n")).is_empty(), "rows of a table do not count");
    assert_eq!(complaints(&table("    A => g(\"a\"),\n")).len(), 1);
    let file = |lines: usize| format!("//! x\n{}", "const A: u8 = 0;\n".repeat(lines));
    assert!(complaints(&file(FILE_LINES_MAX - 1)).is_empty());
    assert!(complaints(&file(FILE_LINES_MAX))[0].contains("501 lines"));
    let tests = format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", file(10), "const A: u8 = 0;\n".repeat(FILE_LINES_MAX));
    assert!(complaints(&tests).is_empty(), "unit tests at the end do not count");
}

#[test]
fn functions_are_measured_from_name_to_brace() {
    let source = Source::new(
        "x.rs",
        "trait T { fn a(&self) -> [u8; 2]; }\nfn b() {\n    let c = || { 1 };\n}\nimpl X { fn d() {} }",
    );
    assert_eq!(functions(&source), [("b".to_owned(), 2, 3), ("d".to_owned(), 5, 1)]);
}
