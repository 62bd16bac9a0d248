//! A command as text, taken apart as pexpect does: no shell, and few of its rules.

/// Where in the text one is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Plain,
    Blank,
    Escaped,
    Quoted(char),
}

/// Splits at blanks that are not quoted; a backslash takes what follows it as it is.
pub(super) fn split(command: &str) -> Vec<String> {
    let (mut words, mut word, mut at) = (Vec::new(), String::new(), At::Plain);
    for c in command.chars() {
        at = match (at, c) {
            (At::Escaped, c) => {
                word.push(c);
                At::Plain
            }
            (At::Quoted(quote), c) if c == quote => At::Plain,
            (At::Quoted(_), c) => {
                word.push(c);
                at
            }
            (_, '\\') => At::Escaped,
            (_, '\'' | '"') => At::Quoted(c),
            (At::Blank, c) if c.is_whitespace() => At::Blank,
            (At::Plain, c) if c.is_whitespace() => {
                words.push(std::mem::take(&mut word));
                At::Blank
            }
            (_, c) => {
                word.push(c);
                At::Plain
            }
        };
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_pexpect_does() {
        // As `pexpect.utils.split_command_line` answers.
        for (command, words) in [
            ("a  b 'c d' \"e 'f\"", vec!["a", "b", "c d", "e 'f"]),
            (r"a\ b 'c\d' x\'y", vec!["a b", r"c\d", "x'y"]),
            ("a '' b ", vec!["a", "", "b"]),
            ("a ''", vec!["a"]),
            (" a", vec!["", "a"]),
            ("a|b>c $HOME", vec!["a|b>c", "$HOME"]),
        ] {
            assert_eq!(split(command), words, "{command}");
        }
    }
}
