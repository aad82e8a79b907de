//! The rows of the table: each is of a message that is there, and each message with a remedy has its row.

use crate::literals::{Literal, of_src};
use std::path::Path;

/// Begins of what a message says to do. A text in src with one of these has a row, or is among [`EXCEPTIONS`].
/// The first letter may be a capital.
const REMEDIES: [&str; 77] = [
    "a larger ring",
    "a name has",
    "allow ",
    "allowed are",
    "and look into",
    "ask for ",
    "begin anew",
    "begins with `",
    "build ",
    "call ",
    "choose another",
    "close ",
    "copy the ",
    "correct ",
    "dial again",
    "end it",
    "end its",
    "end that",
    "free memory",
    "free space",
    "free what",
    "give ",
    "goes on by itself",
    "have that",
    "install ",
    "ip address",
    "ip link",
    "is expected",
    "is missing",
    "is needed",
    "it has 1 to",
    "keep the ",
    "leave ",
    "load its",
    "look into",
    "make room",
    "modprobe",
    "mount ",
    "move ",
    "name it",
    "name the ",
    "names are unique",
    "needs ",
    "open the folder",
    "or free",
    "or make",
    "own name",
    "pipe it",
    "raise ",
    "rdma link",
    "read it",
    "register ",
    "remove ",
    "reserve them",
    "run as",
    "run both",
    "run the",
    "same release",
    "say why",
    "says why",
    "see ",
    "set ring",
    "shows where",
    "start it",
    "start once",
    "start one",
    "start the partner",
    "start with",
    "take a",
    "take the ",
    "tells why",
    "then post",
    "tried again",
    "try ",
    "ulimit",
    "use ",
    "write ",
];

/// Texts that have such a word, and ask nothing of anybody. `.0` is a part of the text, `.1` says why it has no row.
const EXCEPTIONS: [(&str, &str); 11] = [
    ("an account is missing", "what a damaged ledger of the demo lacks"),
    ("as these transfers leave them", "what the demo found"),
    ("did not leave within 10 s", "what a process of the demo did not do"),
    ("nothing before that is missing", "that a log is whole"),
    ("have it call `fabric::shm::make_dumpable` first", "looked for, to be told in the program's words"),
    ("in use when its process ended", "the state of a copy, within other messages"),
    ("to take the place of the one that is there", "what was tried; the cause behind it says what to do"),
    ("it is in use by another log", "a cause; the message around it says what to do"),
    ("its positions leave room to count on", "a rule that a ring did not keep"),
    ("write greeting", "the name of a step"),
    ("write confirmation", "the name of a step"),
];

/// A row of the table.
struct Row {
    line: usize,
    message: String,
    meaning: String,
    remedy: String,
    tried: String,
}

fn table() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/messages.md");
    std::fs::read_to_string(path).expect("docs/messages.md")
}

/// The rows of all tables in a text; what is above a line of dashes is no row.
fn rows(text: &str) -> Vec<Row> {
    let lines: Vec<&str> = text.lines().collect();
    let is_head = |at: usize| lines.get(at + 1).is_some_and(|next| next.starts_with("| ---"));
    let is_row = |at: usize| lines[at].starts_with('|') && !lines[at].starts_with("| ---") && !is_head(at);
    let row = |at: usize| {
        let cells: Vec<String> = lines[at].trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect();
        let [message, meaning, remedy, tried] =
            <[String; 4]>::try_from(cells).unwrap_or_else(|cells| panic!("line {}: {} cells", at + 1, cells.len()));
        Row { line: at + 1, message, meaning, remedy, tried }
    };
    (0..lines.len()).filter(|at| is_row(*at)).map(row).collect()
}

impl Row {
    fn parts(&self) -> Vec<&str> {
        self.message.split("...").map(str::trim).filter(|part| !part.is_empty()).collect()
    }

    /// Whether all its parts are in the text, in order.
    fn is_of(&self, text: &str) -> bool {
        let mut rest = text;
        self.parts().into_iter().all(|part| match rest.find(part) {
            Some(at) => {
                rest = &rest[at + part.len()..];
                true
            }
            None => false,
        })
    }

    /// The tests it names: file and function.
    fn tests(&self) -> Vec<(&str, &str)> {
        let quoted = self.tried.split('`').skip(1).step_by(2);
        quoted.filter_map(|name| name.split_once(": ")).collect()
    }
}

/// The word in it that makes it a remedy.
fn remedy(text: &str) -> Option<&'static str> {
    let begins = |word: &str, at: usize| {
        let before = text[..at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric()) && (text[at..].starts_with(word))
    };
    let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
    let has = |word: &str| text.match_indices(word).any(|(at, _)| begins(word, at));
    REMEDIES.into_iter().find(|word| has(word) || has(&capital(word)))
}

fn insist(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "{} to put in order:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn each_row_is_of_a_message_that_is_there() {
    let (text, literals) = (table(), of_src());
    let rows = rows(&text);
    assert!(rows.len() > 80, "only {} rows seen: the reader has gone blind", rows.len());
    let mut wrong = Vec::new();
    for row in &rows {
        let at = format!("docs/messages.md:{}: `{}`", row.line, row.message);
        if row.parts().iter().map(|part| part.len()).sum::<usize>() < 12 {
            wrong.push(format!("{at} is too short to tell messages apart"));
        }
        if !literals.iter().any(|literal| row.is_of(&literal.text)) {
            wrong.push(format!("{at} is in no text of src"));
        }
        if row.remedy.is_empty() {
            wrong.push(format!("{at} has no remedy"));
        }
        if row.meaning.is_empty() {
            wrong.push(format!("{at}: write `-` where the message says what it means"));
        }
        if rows.iter().any(|other| other.line < row.line && other.message == row.message) {
            wrong.push(format!("{at} has a row already"));
        }
    }
    insist(wrong);
}

#[test]
fn each_test_that_is_named_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = table();
    let rows = rows(&text);
    let mut wrong = Vec::new();
    let (mut followed, mut provoked, mut untried) = (0, 0, 0);
    for row in &rows {
        let (at, tests) = (format!("docs/messages.md:{}", row.line), row.tests());
        for (path, name) in &tests {
            let source = std::fs::read_to_string(root.join(path)).unwrap_or_default();
            let is_there = ["()", "<H: Harness>()"].iter().any(|form| source.contains(&format!("fn {name}{form}")));
            if !is_there {
                wrong.push(format!("{at}: {path} has no test `{name}`"));
            }
        }
        // What is not followed says why.
        let why = row.tried.rsplit_once("`: ").map_or("", |(_, why)| why);
        match row.tried.split(' ').next() {
            Some("provoked") if !tests.is_empty() && !why.is_empty() => provoked += 1,
            Some("untried:") if tests.is_empty() && row.tried.len() > 20 => untried += 1,
            Some(first) if first.starts_with('`') && !tests.is_empty() && why.is_empty() => followed += 1,
            _ => wrong.push(format!("{at}: tried by what? `{}`", row.tried)),
        }
    }
    println!("{} rows: {followed} followed, {provoked} provoked alone, {untried} untried", rows.len());
    insist(wrong);
}

#[test]
fn each_message_with_a_remedy_has_a_row() {
    let (text, literals) = (table(), of_src());
    let rows = rows(&text);
    let lacks =
        |literal: &&Literal| remedy(&literal.text).is_some() && !rows.iter().any(|row| row.is_of(&literal.text));
    let lacking: Vec<&Literal> = literals.iter().filter(|literal| literal.text.contains(' ')).filter(lacks).collect();
    let is_excused = |literal: &Literal| EXCEPTIONS.iter().any(|(part, _)| literal.text.contains(part));
    let told = |literal: &&Literal| {
        let word = remedy(&literal.text).unwrap_or_default();
        format!("{}:{}: `{word}` in `{}` asks for a row in docs/messages.md", literal.path, literal.line, literal.text)
    };
    let mut wrong: Vec<String> = lacking.iter().filter(|literal| !is_excused(literal)).map(told).collect();
    for (part, why) in EXCEPTIONS {
        if !lacking.iter().any(|literal| literal.text.contains(part)) {
            wrong.push(format!("no text needs the exception `{part}` ({why}) any more"));
        }
    }
    insist(wrong);
}

#[test]
fn rows_are_read_and_matched_by_their_parts() {
    let text = "| message | means | remedy | tried by |\n| --- | --- | --- | --- |\n| no ... here: give ... | - | do | `tests/a.rs: b`, `src/c.rs: d` |\n";
    let rows = rows(text);
    assert_eq!(rows.len(), 1);
    assert!(rows[0].is_of("there is no {what} here: give it {one}"));
    assert!(!rows[0].is_of("here: give it, no x"));
    assert_eq!(rows[0].tests(), [("tests/a.rs", "b"), ("src/c.rs", "d")]);
    assert_eq!(rows[0].line, 3);
}

#[test]
fn remedies_begin_with_a_word_of_their_own() {
    assert_eq!(remedy("it is full: Raise it"), Some("raise "));
    assert_eq!(remedy("because of that"), None, "`use ` within another word");
    assert_eq!(remedy("a WRITE of records"), None);
}
