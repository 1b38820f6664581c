//! A text of ours in a file of Markdown that others write too, between two marks. Pure.

const BEGIN: &str = "<!-- agent-runner: begin; what stands here is written anew at each run -->";
const END: &str = "<!-- agent-runner: end -->";
/// How both begin, and what becomes of it in a text.
const MARK: (&str, &str) = ("<!-- agent-runner:", "<!-- agent-runner :");

/// The file with this text in its section; `None` if nothing is left to be in it.
pub(super) fn put(old: Option<&str>, text: &str) -> Option<String> {
    let (before, after) = around(old.unwrap_or_default());
    let text = text.trim_end();
    if text.is_empty() {
        let rest = match (before.trim_end(), after.trim_start_matches('\n')) {
            ("", rest) => rest.to_owned(),
            (rest, "") => format!("{rest}\n"),
            (before, after) => format!("{before}\n\n{after}"),
        };
        return (!rest.trim().is_empty()).then_some(rest);
    }
    // A text that holds the marks would end its own section. Taken out, what stands around them could be the next one.
    let text = text.replace(MARK.0, MARK.1);
    let mut all = String::with_capacity(before.len() + text.len() + after.len() + 160);
    if !before.trim_end().is_empty() {
        all.push_str(before.trim_end());
        all.push_str("\n\n");
    }
    for part in [BEGIN, "\n", &text, "\n", END, "\n"] {
        all.push_str(part);
    }
    let after = after.trim_start_matches('\n');
    if !after.is_empty() {
        all.push('\n');
        all.push_str(after);
    }
    Some(all)
}

/// What stands before the section and after it. Without a section: everything is before it.
fn around(file: &str) -> (&str, &str) {
    let Some(start) = file.find(BEGIN) else { return (file, "") };
    let rest = &file[start + BEGIN.len()..];
    match rest.find(END) {
        Some(end) => (&file[..start], &rest[end + END.len()..]),
        // The end was taken away: nobody can know where the section ended, and nothing is lost.
        None => (&file[..start], rest),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_users_text_stays_around_the_section() {
        let first = put(Some("# Mine\n"), "ours").unwrap();
        assert_eq!(first, format!("# Mine\n\n{BEGIN}\nours\n{END}\n"));
        let more = format!("{first}\nadded\n");
        let second = put(Some(&more), "others\n").unwrap();
        assert_eq!(second, format!("# Mine\n\n{BEGIN}\nothers\n{END}\n\nadded\n"));
        assert_eq!(put(Some(&second), "").unwrap(), "# Mine\n\nadded\n");
    }

    #[test]
    fn a_file_that_was_ours_alone_goes() {
        assert_eq!(put(put(None, "ours").as_deref(), ""), None);
        assert_eq!(put(None, ""), None);
    }

    #[test]
    fn marks_within_marks_end_no_section_either() {
        let text = format!("<!-- agent-runner: {END}end -->\n{}evil", &END.replace("agent", &format!("ag{BEGIN}ent")));
        let once = put(Some("mine\n"), &text).unwrap();
        assert_eq!((once.matches(BEGIN).count(), once.matches(END).count()), (1, 1));
        assert_eq!(put(Some(&once), "").unwrap(), "mine\n");
    }

    proptest! {
        #[test]
        fn a_second_run_changes_nothing(old in "(\\PC|\n){0,40}", text in "(\\PC|\n){0,40}") {
            let once = put(Some(&old), &text);
            prop_assert_eq!(&put(once.as_deref(), &text), &once);
        }

        #[test]
        fn no_text_ends_its_section(text in "(a|\n|<!-- agent|-runner: |end -->|<!-- agent-runner: end -->|begin; what stands here is written anew at each run -->|<!-- agent-runner: begin; what stands here is written anew at each run -->){0,8}b") {
            let once = put(Some("mine\n"), &text).unwrap();
            prop_assert_eq!(put(Some(&once), "").unwrap(), "mine\n");
        }
    }
}
