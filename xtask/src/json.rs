//! As much of JSON as it takes to check what the program prints with `--json`. Strict: what is no JSON is refused, with the place.

/// A JSON value. Numbers keep their text: nothing here computes with them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Value>),
    Object(Vec<(String, Value)>),
}

impl Value {
    /// One value and nothing after it but white space.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut parser = Parser { text, at: 0 };
        let value = parser.value(0)?;
        parser.space();
        if parser.at == text.len() { Ok(value) } else { Err(parser.error("nothing more")) }
    }

    /// A member of an object.
    pub(crate) fn member(&self, name: &str) -> Option<&Value> {
        let Value::Object(members) = self else { return None };
        members.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// A text member.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        if let Some(Value::Text(text)) = self.member(name) { Some(text) } else { None }
    }
}

/// Deeper than anything the program prints.
const DEPTH_MAX: usize = 32;

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn error(&self, wanted: &str) -> String {
        format!("expected {wanted} at byte {} of `{}`", self.at, self.text.trim_end())
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start_matches([' ', '\t', '\r', '\n']).len();
    }

    fn take(&mut self, token: &str) -> bool {
        self.space();
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn value(&mut self, depth: usize) -> Result<Value, String> {
        if depth > DEPTH_MAX {
            return Err(self.error("less depth"));
        }
        if self.take("{") {
            self.object(depth)
        } else if self.take("[") {
            self.list(depth)
        } else if self.take("\"") {
            Ok(Value::Text(self.string()?))
        } else if self.take("true") {
            Ok(Value::Bool(true))
        } else if self.take("false") {
            Ok(Value::Bool(false))
        } else if self.take("null") {
            Ok(Value::Null)
        } else {
            self.number()
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, String> {
        let mut members = Vec::new();
        if self.take("}") {
            return Ok(Value::Object(members));
        }
        loop {
            if !self.take("\"") {
                return Err(self.error("a name"));
            }
            let name = self.string()?;
            if !self.take(":") {
                return Err(self.error("`:`"));
            }
            members.push((name, self.value(depth + 1)?));
            if self.take("}") {
                return Ok(Value::Object(members));
            }
            if !self.take(",") {
                return Err(self.error("`,` or `}`"));
            }
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value, String> {
        let mut values = Vec::new();
        if self.take("]") {
            return Ok(Value::List(values));
        }
        loop {
            values.push(self.value(depth + 1)?);
            if self.take("]") {
                return Ok(Value::List(values));
            }
            if !self.take(",") {
                return Err(self.error("`,` or `]`"));
            }
        }
    }

    /// The text up to the closing quote; the opening one is taken.
    fn string(&mut self) -> Result<String, String> {
        let mut text = String::new();
        loop {
            let Some(c) = self.rest().chars().next() else { return Err(self.error("`\"`")) };
            self.at += c.len_utf8();
            match c {
                '"' => return Ok(text),
                '\\' => text.push(self.escape()?),
                c if c < ' ' => return Err(self.error("no control character")),
                c => text.push(c),
            }
        }
    }

    fn escape(&mut self) -> Result<char, String> {
        let Some(c) = self.rest().chars().next() else { return Err(self.error("an escape")) };
        self.at += c.len_utf8();
        Ok(match c {
            '"' | '\\' | '/' => c,
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'u' => {
                let code = self.rest().get(..4).and_then(|digits| u32::from_str_radix(digits, 16).ok());
                let Some(code) = code else { return Err(self.error("four hexadecimal digits")) };
                self.at += 4;
                char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            _ => return Err(self.error("an escape")),
        })
    }

    fn number(&mut self) -> Result<Value, String> {
        let text = self.rest();
        let length = text.find(|c: char| !(c.is_ascii_digit() || "+-.eE".contains(c))).unwrap_or(text.len());
        let digits = &text[..length];
        if !digits.starts_with(|c: char| c == '-' || c.is_ascii_digit()) || digits.parse::<f64>().is_err() {
            return Err(self.error("a value"));
        }
        let value = Value::Number(digits.to_owned());
        self.at += length;
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_program_prints() -> Result<(), String> {
        let value = Value::parse("{\"a\": [1, -2.5e3, {\"b\": null}], \"c\": \"x\\n\\u0041\", \"d\": true}\n")?;
        assert_eq!(value.text("c"), Some("x\nA"));
        assert_eq!(value.member("d"), Some(&Value::Bool(true)));
        let Some(Value::List(list)) = value.member("a") else { return Err("no list".to_owned()) };
        assert_eq!(list[1], Value::Number("-2.5e3".to_owned()));
        assert_eq!(value.member("e"), None);
        Ok(())
    }

    #[test]
    fn refuses_what_is_no_json() {
        for text in [
            "",
            "{",
            "{\"a\" 1}",
            "[1,]",
            "{} {}",
            "\"open",
            "nul",
            "+1",
            "\"\\x\"",
            "{\"a\":1,}",
            "tru",
            "1 2",
            "\"\n\"",
        ] {
            assert!(Value::parse(text).is_err(), "{text:?} was taken for JSON");
        }
        assert!(Value::parse(&"[".repeat(100_000)).is_err());
    }
}
