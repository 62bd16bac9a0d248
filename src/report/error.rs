//! How a failure looks: the chain of causes, the hint, what is left behind. Once, and only here.

use std::fmt::Write as _;

use super::text::{printable, printable_lines};
use crate::exit::Failure;

/// Renders a failure, of `build` where there were several: the causes, what to do, what is left.
pub(super) fn render(failure: &Failure, build: Option<&str>) -> String {
    let build = build.map_or_else(String::new, |build| format!("{}: ", printable(build)));
    let mut text = String::new();
    for (depth, why) in failure.chain().enumerate() {
        let why = printable_lines(&why);
        let _infallible = match depth {
            0 => writeln!(text, "error: {build}{why}"),
            _ => writeln!(text, "  caused by: {}", indented(&why)),
        };
    }
    if let Some(hint) = &failure.hint {
        let _infallible = writeln!(text, "hint: {}", printable_lines(hint));
    }
    for leftover in &failure.left_behind {
        let verb = match leftover.is_to_go() {
            true => "remove it with",
            false => "go on by",
        };
        let _infallible = writeln!(
            text,
            "left behind: {} ({verb} `{}`)",
            leftover.what, leftover.remove_with
        );
    }
    if let (true, Some(gone)) = (failure.left_behind.is_empty(), &failure.cleaned_up) {
        let _infallible = writeln!(text, "left behind: nothing ({gone})");
    }
    text
}

/// Keeps the later lines of a cause below its first.
fn indented(text: &str) -> String {
    text.trim_end().replace('\n', "\n    ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Leftover;

    #[derive(Debug, thiserror::Error)]
    #[error("step 7 `sshd` failed on i-0abc12")]
    struct Outer {
        source: std::io::Error,
    }

    #[test]
    fn a_failure_reads_from_the_outermost_reason_to_what_is_left() {
        let source = std::io::Error::other("line 12: Bad configuration option: Foo");
        let mut failure = Failure::new(Outer { source }).with_hint("nothing was restarted");
        failure.cleaned_up = Some("builder and security group are gone".into());
        assert_eq!(
            render(&failure, None),
            "error: step 7 `sshd` failed on i-0abc12\n  \
             caused by: line 12: Bad configuration option: Foo\n\
             hint: nothing was restarted\n\
             left behind: nothing (builder and security group are gone)\n"
        );
        failure.left_behind.push(Leftover {
            what: "instance i-0abc12".into(),
            remove_with: "amibake reap".into(),
        });
        let last = "left behind: instance i-0abc12 (remove it with `amibake reap`)\n";
        let said = render(&failure, Some("web (arm64)"));
        assert!(
            said.starts_with("error: web (arm64): step 7") && said.ends_with(last),
            "{said}"
        );
    }

    #[test]
    fn what_has_passed_is_gone_on_with_and_not_removed() {
        let mut failure = Failure::new("no");
        failure.left_behind.push(Leftover {
            what: "image ami-0abc".into(),
            remove_with: "amibake resume ami-0abc web.yaml".into(),
        });
        let last = "left behind: image ami-0abc (go on by `amibake resume ami-0abc web.yaml`)\n";
        assert!(render(&failure, None).ends_with(last));
    }
}
