//! Source text with everything blanked that is not code.

/// Where one `fn` stands.
pub(crate) struct Function {
    pub(crate) name: String,
    /// The line of the `fn`, from 1.
    pub(crate) line: usize,
    /// From the `fn` to the closing brace, both counted.
    pub(crate) lines: usize,
}

/// Replaces comments and what is quoted with spaces; lines stay where they are.
pub(crate) fn code(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = quoted(&chars, at);
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            let blanks = chars[at..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' });
            out.extend(blanks);
            at = end;
        }
    }
    out
}

/// Returns where the comment or literal that starts at `at` ends; `at` if none does.
fn quoted(chars: &[char], at: usize) -> usize {
    let get = |index: usize| chars.get(index).copied().unwrap_or('\0');
    match get(at) {
        '/' if get(at + 1) == '/' => find(chars, at, "\n"),
        '/' if get(at + 1) == '*' => comment(chars, at),
        '"' => escaped(chars, at + 1, '"'),
        '\'' if get(at + 1) == '\\' => escaped(chars, at + 1, '\''),
        '\'' if get(at + 2) == '\'' => at + 3,
        'r' if at == 0 || !is_word(chars[at - 1]) || "bc".contains(chars[at - 1]) => raw(chars, at),
        _ => at,
    }
}

/// Returns where `wanted` begins, or the end.
fn find(chars: &[char], from: usize, wanted: &str) -> usize {
    let wanted: Vec<char> = wanted.chars().collect();
    (from..chars.len()).find(|&at| chars[at..].starts_with(&wanted)).unwrap_or(chars.len())
}

fn comment(chars: &[char], from: usize) -> usize {
    let (mut at, mut depth) = (from, 0);
    while at < chars.len() {
        if chars[at..].starts_with(&['/', '*']) {
            (at, depth) = (at + 2, depth + 1);
        } else if chars[at..].starts_with(&['*', '/']) {
            (at, depth) = (at + 2, depth - 1);
        } else {
            at += 1;
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn escaped(chars: &[char], from: usize, close: char) -> usize {
    let mut at = from;
    while at < chars.len() && chars[at] != close {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    chars.len().min(at + 1)
}

fn raw(chars: &[char], at: usize) -> usize {
    let hashes = chars[at + 1..].iter().take_while(|&&c| c == '#').count();
    if chars.get(at + 1 + hashes) != Some(&'"') {
        return at;
    }
    let close = format!("\"{}", "#".repeat(hashes));
    chars.len().min(find(chars, at + 2 + hashes, &close) + close.len())
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The words of code and the signs between them, each with its line, from 1.
pub(crate) fn tokens(code: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let length = if is_word(first) {
                rest.find(|c| !is_word(c)).unwrap_or(rest.len())
            } else {
                first.len_utf8()
            };
            let (token, after) = rest.split_at(length);
            found.push((number + 1, token));
            rest = after.trim_start();
        }
    }
    found
}

/// The functions that have a body.
pub(crate) fn functions(tokens: &[(usize, &str)]) -> Vec<Function> {
    let mut found = Vec::new();
    for (at, pair) in tokens.windows(2).enumerate() {
        let [(line, word), (_, name)] = pair else { continue };
        if *word != "fn" || !name.starts_with(is_word) {
            continue;
        }
        if let Some(last) = body_end(&tokens[at..]) {
            found.push(Function { name: (*name).to_owned(), line: *line, lines: last + 1 - line });
        }
    }
    found
}

/// Returns the line of the brace that closes the body; `None` for a declaration.
fn body_end(tokens: &[(usize, &str)]) -> Option<usize> {
    let (mut braces, mut others) = (0, 0);
    for &(line, token) in tokens {
        match token {
            "(" | "[" => others += 1,
            ")" | "]" => others -= 1,
            ";" if braces == 0 && others == 0 => return None,
            "{" => braces += 1,
            "}" => {
                braces -= 1;
                if braces == 0 && others == 0 {
                    return Some(line);
                }
            }
            _ => {}
        }
    }
    None
}
