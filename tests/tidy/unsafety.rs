//! Where unsafe code may be, and what must be written above it.

use crate::source::{Breach, Source};

/// The only places of the library with unsafe code.
const PLACES: [&str; 4] = ["src/sys", "src/memory", "src/fabric/shm", "src/fabric/verbs"];

/// What a SAFETY comment answers for.
const OBLIGATIONS: [&str; 5] = ["live", "bounds", "alias", "device", "thread"];

/// Lines of one statement that may stand between the comment and the block it is about.
const STATEMENT_LINES_MAX: usize = 8;

/// Every unsafe block, implementation and function in the wrong place, or without its comment.
pub(crate) fn breaches(source: &Source) -> Vec<Breach> {
    let mut found = Vec::new();
    let implementations = trait_implementations(source);
    for (line, next) in uses(source) {
        // The contract's traits and their implementations are promises: they have no unsafe block.
        let is_promise = source.is_in("src/fabric") && matches!(next, "trait" | "impl");
        if source.is_in("src") && !is_promise && !PLACES.iter().any(|place| source.is_in(place)) {
            found.push(
                source.breach(
                    line,
                    format!("unsafe code outside {}: move it there, behind a safe call", PLACES.join(", ")),
                ),
            );
        }
        let above = comment_above(source, line);
        if matches!(next, "fn" | "extern" | "trait") {
            // What a trait's function asks for is written at the trait.
            let is_traits = implementations.iter().any(|(begin, end)| (*begin..*end).contains(&line));
            if !is_traits && !above.iter().any(|text| text.starts_with("/// # Safety")) {
                found.push(source.breach(line, "an unsafe function without `/// # Safety`: say what its caller owes"));
            }
        } else if let Some(what) = comment_breach(&above) {
            found.push(source.breach(line, what));
        }
    }
    found
}

/// Every `unsafe`: its line, and the word or sign after it.
pub(crate) fn uses(source: &Source) -> Vec<(usize, &str)> {
    let tokens = source.tokens();
    let pairs = tokens.windows(2).filter(|pair| pair[0].text == "unsafe" && !pair[1].text.starts_with([')', ',']));
    // A type such as `unsafe fn(u8)` promises nothing by itself; here nobody needs one.
    pairs.map(|pair| (pair[0].line, pair[1].text)).collect()
}

/// First and last line of each `impl Trait for Type`.
fn trait_implementations(source: &Source) -> Vec<(usize, usize)> {
    let tokens = source.tokens();
    let mut found = Vec::new();
    for at in (0..tokens.len()).filter(|at| tokens[*at].text == "impl") {
        let Some(body) = tokens[at..].iter().position(|token| token.text == "{").map(|body| at + body) else {
            continue;
        };
        let is_for = tokens[at..body].windows(2).any(|pair| pair[0].text == "for" && pair[1].text != "<");
        let mut open = 0usize;
        let end = tokens[body..].iter().find(|token| {
            match token.text {
                "{" => open += 1,
                "}" => open -= 1,
                _ => {}
            }
            open == 0
        });
        if let (true, Some(end)) = (is_for, end) {
            found.push((tokens[at].line, end.line));
        }
    }
    found
}

/// The comment above the statement that begins at or above this line, attributes left out, without indentation.
fn comment_above(source: &Source, line: usize) -> Vec<String> {
    let (code, comments): (Vec<&str>, Vec<&str>) = (source.code.lines().collect(), source.comments.lines().collect());
    let mut at = line - 1;
    let mut passed = 0;
    while at > 0 && comments[at - 1].trim().is_empty() {
        let above = code[at - 1].trim_end();
        let is_attribute = above.trim_start().starts_with("#[") || above.trim_start().starts_with(")]");
        if !is_attribute && (above.is_empty() || above.ends_with([';', '{', '}']) || passed == STATEMENT_LINES_MAX) {
            return Vec::new();
        }
        passed += 1;
        at -= 1;
    }
    let mut texts = Vec::new();
    while at > 0 {
        let (text, beside) = (comments[at - 1].trim(), code[at - 1].trim());
        let is_attribute = beside.starts_with("#[");
        if !is_attribute && (text.is_empty() || !beside.is_empty()) {
            break;
        }
        texts.push(text.to_owned());
        at -= 1;
    }
    texts.reverse();
    texts
}

/// What is wrong with the comment above an unsafe block.
fn comment_breach(comment: &[String]) -> Option<String> {
    let form =
        "write `// SAFETY:`, then `// - live|bounds|alias|device|thread: why it holds`, a line for each that applies";
    let Some(begin) = comment.iter().position(|text| text == "// SAFETY:") else {
        return Some(format!("unsafe without a SAFETY comment of our form above it: {form}"));
    };
    let mut obligations = 0;
    for text in &comment[begin + 1..] {
        let Some(item) = text.strip_prefix("// - ") else { continue };
        match item.split_once(':') {
            // One reason may answer for several.
            Some((words, reason))
                if words.split(", ").all(|word| OBLIGATIONS.contains(&word)) && !reason.trim().is_empty() =>
            {
                obligations += 1;
            }
            _ => return Some(format!("`{item}` in a SAFETY comment is no obligation with its reason: {form}")),
        }
    }
    (obligations == 0).then(|| format!("a SAFETY comment without obligations: {form}"))
}

#[cfg(test)]
fn complaints(path: &str, text: &str) -> usize {
    breaches(&Source::new(path, text)).len()
}

#[cfg(test)]
const GOOD: &str = "// SAFETY:\n// - live: mapped until drop,\n//   and no sooner.\n// - bounds: checked above.\n";

#[test]
fn unsafe_code_has_its_places() {
    let text = format!("fn f() {{\n{GOOD}unsafe {{ g() }};\n}}");
    assert_eq!(complaints("src/memory/copy.rs", &text), 0);
    assert_eq!(complaints("src/sys/mod.rs", &text), 0);
    assert_eq!(complaints("tests/helper.rs", &text), 0);
    assert_eq!(complaints("src/session/mod.rs", &text), 1);
    assert_eq!(complaints("src/fabric/sim/mod.rs", &text), 1);
    assert_eq!(complaints("src/system.rs", &text), 1, "a name that only begins like a place");
}

#[test]
fn every_block_and_implementation_says_why() {
    for (above, wanted) in [
        ("", 1),
        ("// SAFETY: it works\n", 1),
        ("// SAFETY:\n", 1),
        ("// SAFETY:\n// - live:\n", 1),
        ("// SAFETY:\n// - luck: plenty.\n", 1),
        ("// SAFETY:\n// - live, luck: plenty.\n", 1),
        ("// SAFETY:\n// - live, bounds: the caller's, passed on.\n", 0),
        ("// SAFETY:\n// - live: yes.\n\n", 1),
        ("// SAFETY:\n// - live: yes.\nlet a = 1;\n", 1),
        ("// A remark first.\n// SAFETY:\n// - live: yes.\n", 0),
        ("// SAFETY:\n// - live: yes.\n#[inline]\n", 0),
        ("// SAFETY:\n// - live: yes.\nlet a = g(b,\n", 0),
        (GOOD, 0),
    ] {
        let text = format!("fn f() {{\n{above}unsafe {{ g() }};\n}}");
        assert_eq!(complaints("src/sys/x.rs", &text), wanted, "{above}");
    }
    assert_eq!(complaints("src/sys/x.rs", "unsafe impl Send for X {}"), 1);
    assert_eq!(complaints("src/sys/x.rs", &format!("{GOOD}unsafe impl Send for X {{}}")), 0);
    assert_eq!(
        complaints("src/sys/x.rs", "// not unsafe { }\nconst A: &str = \"unsafe { }\";\n#![allow(unsafe_code)]"),
        0
    );
}

#[test]
fn unsafe_functions_say_what_their_callers_owe() {
    assert_eq!(complaints("src/sys/x.rs", "/// Copies.\nunsafe fn f() {}"), 1);
    assert_eq!(
        complaints(
            "src/sys/x.rs",
            "/// Copies.\n///\n/// # Safety\n///\n/// Both ends live.\n#[inline]\npub(crate) unsafe fn f() {}"
        ),
        0
    );
    let method = "T for X {\n    unsafe fn f() {}\n}";
    assert_eq!(complaints("src/sys/x.rs", &format!("{GOOD}unsafe impl {method}")), 0, "the trait says what is owed");
    assert_eq!(complaints("src/sys/x.rs", "impl X {\n    unsafe fn f() {}\n}"), 1);
}
