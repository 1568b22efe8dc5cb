//! A Rust file as the borders see it: its code, without comments, strings and, where asked, tests.

/// Lines of code; what a comment or a string says is blanked out.
pub struct Code(Vec<String>);

impl Code {
    /// All of a file's code.
    pub fn of(text: &str) -> Self {
        Code(blank(text).lines().map(str::to_owned).collect())
    }

    /// The code up to the file's test module, which stands at its end.
    pub fn without_tests(text: &str) -> Self {
        let mut code = Self::of(text);
        let tests = code.0.iter().position(|line| line.trim_start().starts_with("#[cfg(test)]"));
        code.0.truncate(tests.unwrap_or(code.0.len()));
        code
    }

    /// The first line with `word` as a whole word, or path, of its own.
    pub fn line_with(&self, word: &str) -> Option<String> {
        self.find(|line| {
            line.match_indices(word).any(|(at, _)| {
                let open = word.ends_with([':', '!']);
                !ends_in_name(&line[..at]) && (open || !starts_with_name(&line[at + word.len()..]))
            })
        })
    }

    /// The first line that uses the crate `name`: as the start of a path or in a bare `use`. A path
    /// that only passes through the name (`crate::name::x`) is a module of ours.
    pub fn line_using(&self, name: &str) -> Option<String> {
        self.find(|line| {
            line.match_indices(name).any(|(at, _)| {
                let (before, after) = (line[..at].trim_end(), line[at + name.len()..].trim_start());
                let starts_path = match before.strip_suffix("::") {
                    Some(earlier) => !ends_in_name(earlier),
                    None => !ends_in_name(&line[..at]),
                };
                let imported =
                    before.ends_with("use") && (after.starts_with(';') || after.starts_with("as "));
                starts_path && (after.starts_with("::") || imported)
            })
        })
    }

    fn find(&self, offends: impl Fn(&str) -> bool) -> Option<String> {
        let found = self.0.iter().enumerate().find(|(_, line)| offends(line));
        found.map(|(index, line)| format!("line {}: {}", index + 1, line.trim()))
    }
}

fn is_name(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

fn ends_in_name(text: &str) -> bool {
    text.chars().next_back().is_some_and(is_name)
}

fn starts_with_name(text: &str) -> bool {
    text.chars().next().is_some_and(is_name)
}

/// Replaces comments and the contents of strings by nothing, and keeps the lines.
fn blank(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let length = match letter {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => block_comment(rest),
            '"' => string(rest),
            'r' if !ends_in_name(&code) => raw_string(rest).unwrap_or(0),
            '\'' => character(rest),
            _ => 0,
        };
        if length == 0 {
            code.push(letter);
            rest = &rest[letter.len_utf8()..];
        } else {
            code.extend(rest[..length].chars().filter(|&letter| letter == '\n'));
            rest = &rest[length..];
        }
    }
    code
}

/// The length of the block comment that `text` starts with; they nest.
fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

/// The length of the string literal that `text` starts with.
fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of the raw string literal that `text` starts with, if it does.
fn raw_string(text: &str) -> Option<usize> {
    let hashes = text[1..].bytes().take_while(|&byte| byte == b'#').count();
    if text.as_bytes().get(1 + hashes) != Some(&b'"') {
        return None;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let start = 2 + hashes;
    Some(text[start..].find(&end).map_or(text.len(), |at| start + at + end.len()))
}

/// The length of the character literal that `text` starts with; 0 for a lifetime.
fn character(text: &str) -> usize {
    let mut letters = text.char_indices().skip(1);
    match letters.next() {
        Some((_, '\\')) => text[2..].find('\'').map_or(0, |at| {
            // An escaped quote is not the end.
            if at == 0 { text[3..].find('\'').map_or(0, |at| at + 4) } else { at + 3 }
        }),
        Some(_) => match letters.next() {
            Some((at, '\'')) => at + 1,
            _ => 0,
        },
        None => 0,
    }
}

#[test]
fn comments_and_strings_are_no_code() {
    let text = "a // b\nc /* d\n/* e */ f */ g \"h // \\\" i\" j r#\"k \" l\"# m";
    let expected = "a \nc \n g  j  m";
    assert_eq!(blank(text), expected);
}

#[test]
fn characters_are_no_code_and_lifetimes_are() {
    assert_eq!(
        blank(r"x('a', '\'', '\n', '\u{41}', '\\') <'a> &'static str"),
        "x(, , , , ) <'a> &'static str"
    );
    assert_eq!(blank("'\"' a"), " a");
}

#[test]
fn the_line_and_its_number_are_named() {
    let code = Code::of("//! x\n\nuse std::fs::File;");
    assert_eq!(code.line_with("fs::").as_deref(), Some("line 3: use std::fs::File;"));
}

#[test]
fn a_crate_is_told_from_a_module_of_its_name() {
    for line in [
        "use rocksdb::DB;",
        "use rocksdb;",
        "use rocksdb as r;",
        "x(&rocksdb::DB)",
        "::rocksdb::f()",
    ] {
        assert!(Code::of(line).line_using("rocksdb").is_some(), "{line}");
    }
    for line in [
        "mod rocksdb;",
        "crate::rocksdb::f()",
        "my_rocksdb::f()",
        "rocksdb_x::f()",
        "let rocksdb = 1;",
    ] {
        assert!(Code::of(line).line_using("rocksdb").is_none(), "{line}");
    }
}
