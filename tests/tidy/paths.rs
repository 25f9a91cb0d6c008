//! The paths that code names, and what may be named from outside of a module.

use std::collections::BTreeSet;

/// A path without its root, with the line where it begins.
pub(crate) type NamedPath<'a> = (usize, Vec<&'a str>);

/// The paths below `crate::` or, as `super::super::`, below the parent of the parent. A tree of a
/// `use` is one path for each leaf.
pub(crate) fn crate_paths<'a>(tokens: &[(usize, &'a str)]) -> Vec<NamedPath<'a>> {
    let mut found = Vec::new();
    for at in 0..tokens.len() {
        let begins = |root: &[&str]| {
            let here = tokens[at..].iter().map(|(_, token)| *token);
            here.take(root.len()).eq(root.iter().copied())
        };
        for root in [&["crate", ":", ":"][..], &["super", ":", ":", "super", ":", ":"][..]] {
            if begins(root) {
                let mut leaves = Vec::new();
                leaf(&tokens[at + root.len()..], &[], &mut leaves);
                found.extend(leaves.into_iter().map(|path| (tokens[at].0, path)));
            }
        }
    }
    found
}

/// Adds the paths of the tree that `tokens` begin with; returns how many tokens it has.
fn leaf<'a>(tokens: &[(usize, &'a str)], before: &[&'a str], out: &mut Vec<Vec<&'a str>>) -> usize {
    let token = |at: usize| tokens.get(at).map_or("", |(_, token)| *token);
    let mut path = before.to_vec();
    let mut at = 0;
    while token(at) != "{" {
        path.push(token(at));
        if (token(at + 1), token(at + 2)) != (":", ":") {
            out.push(path);
            return at + 1;
        }
        at += 3;
    }
    at += 1;
    while !["}", ""].contains(&token(at)) {
        at += leaf(&tokens[at..], &path, out);
        // `as name`, and what stands between two leaves.
        while !["}", ",", ""].contains(&token(at)) {
            at += 1;
        }
        at += usize::from(token(at) == ",");
    }
    at + 1
}

/// The names after `mod` or what else `words` says, by whether a bare `pub` stands before.
pub(crate) fn named<'a>(
    tokens: &[(usize, &'a str)],
    words: &[&str],
    public: bool,
) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::new();
    for (at, pair) in tokens.windows(2).enumerate() {
        let [(_, word), (_, name)] = *pair else { continue };
        let before = if at == 0 { "" } else { tokens[at - 1].1 };
        if words.contains(&word) && (before == "pub") == public && name != "fn" {
            names.insert(name);
        }
    }
    names
}
