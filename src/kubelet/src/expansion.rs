//! `$(NAME)` in commands, arguments and environment values.

/// Replaces each `$(NAME)` that `lookup` knows; others stay as they are, and `$$` stands for one `$`.
pub fn expand<'a>(input: &str, lookup: impl Fn(&str) -> Option<&'a str>) -> String {
    let mut output = String::with_capacity(input.len());
    let mut rest = input;
    while let Some(dollar) = rest.find('$') {
        output.push_str(&rest[..dollar]);
        let after = &rest[dollar + 1..];
        rest = if let Some(after) = after.strip_prefix('$') {
            output.push('$');
            after
        } else if let Some((name, after)) = after.strip_prefix('(').and_then(|reference| reference.split_once(')')) {
            match lookup(name) {
                Some(value) => output.push_str(value),
                None => {
                    output.push_str("$(");
                    output.push_str(name);
                    output.push(')');
                }
            }
            after
        } else {
            output.push('$');
            after
        };
    }
    output.push_str(rest);
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_replaced_as_kubernetes_does() {
        let lookup = |name: &str| match name {
            "A" => Some("alpha"),
            "EMPTY" => Some(""),
            _ => None,
        };
        for (input, expected) in [
            ("$(A)", "alpha"),
            ("x-$(A)-$(A)", "x-alpha-alpha"),
            ("$(EMPTY)", ""),
            ("$(NONE)", "$(NONE)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$alpha"),
            ("$A $", "$A $"),
            ("$(A", "$(A"),
            ("()", "()"),
            ("größe $(A)", "größe alpha"),
        ] {
            assert_eq!(expand(input, lookup), expected, "{input}");
        }
    }
}
