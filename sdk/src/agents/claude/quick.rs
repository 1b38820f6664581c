//! The lines of the model, where only the verdict is wanted: by far the most of those that have to be read, so they are read the quick way.
//!
//! What comes out is what [`super::wire`] makes of the line; a line that is anything but usual is left to it.

use serde::de::IgnoredAny;

use super::wire::{Block, Count, Many, Message, MessageUsage, Text, Turn};
use crate::agents::scan::Scan;

/// A line `{"type":"assistant",…}`.
pub(super) fn assistant(line: &[u8]) -> Option<Turn<'_, IgnoredAny>> {
    let mut scan = Scan::new(std::str::from_utf8(line).ok()?);
    let mut turn = Turn { message: Message::default(), parent_tool_use_id: Text(None), session_id: Text(None), error: Text(None) };
    let Turn { message, parent_tool_use_id, session_id, error } = &mut turn;
    scan.object(&["message", "parent_tool_use_id", "session_id", "error"], |scan, field| match field {
        0 => read_message(scan, message),
        1 => read_text(scan, parent_tool_use_id),
        2 => read_text(scan, session_id),
        _ => read_text(scan, error),
    })?;
    scan.end()?;
    Some(turn)
}

fn read_message<'a>(scan: &mut Scan<'a>, message: &mut Message<'a, IgnoredAny>) -> Option<()> {
    let Message { id, model, content, usage } = message;
    scan.object(&["id", "model", "content", "usage"], |scan, field| match field {
        0 => read_text(scan, id),
        1 => read_text(scan, model),
        2 => read_blocks(scan, content),
        _ => read_usage(scan, usage),
    })
}

fn read_blocks<'a>(scan: &mut Scan<'a>, blocks: &mut Many<'a, Block<'a, IgnoredAny>>) -> Option<()> {
    scan.list(|scan| {
        blocks.items.push(Block::default());
        let block = blocks.items.last_mut()?;
        scan.object(&["type", "text", "id", "name", "thinking", "tool_use_id", "input", "is_error", "content"], |scan, field| match field {
            0 => read_text(scan, &mut block.kind),
            1 => read_text(scan, &mut block.text),
            2 => read_text(scan, &mut block.id),
            3 => read_text(scan, &mut block.name),
            4 => read_text(scan, &mut block.thinking),
            5 => read_text(scan, &mut block.tool_use_id),
            6 => scan.pass(),
            // The answer of a tool that the provider runs.
            _ => None,
        })
    })
}

fn read_usage(scan: &mut Scan<'_>, usage: &mut MessageUsage) -> Option<()> {
    let names = ["input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens"];
    scan.object(&names, |scan, field| {
        let count = match field {
            0 => &mut usage.input_tokens,
            1 => &mut usage.cache_creation_input_tokens,
            2 => &mut usage.cache_read_input_tokens,
            _ => &mut usage.output_tokens,
        };
        *count = Count(scan.count()?);
        Some(())
    })
}

fn read_text<'a>(scan: &mut Scan<'a>, text: &mut Text<'a>) -> Option<()> {
    *text = Text(scan.text()?);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agents::reasons::tests::recordings;
    use proptest::prelude::*;

    /// The recorded lines of the model.
    fn recorded() -> Vec<Vec<u8>> {
        let streams = recordings(&["claude-2.1.197", "claude-2.1.330"]);
        let streams = streams.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
        let bytes: Vec<u8> = streams.flat_map(|path| std::fs::read(path).unwrap()).collect();
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| line.starts_with(br#"{"type":"assistant""#));
        lines.map(<[u8]>::to_vec).collect()
    }

    fn whole(line: &[u8]) -> Option<Turn<'_, IgnoredAny>> {
        serde_json::from_slice(line).ok()
    }

    fn assert_alike(line: &[u8]) -> bool {
        let quick = assistant(line);
        if let Some(quick) = &quick {
            assert_eq!(Some(format!("{quick:?}")), whole(line).map(|turn| format!("{turn:?}")), "{}", String::from_utf8_lossy(line));
        }
        quick.is_some()
    }

    #[test]
    fn recorded_lines_are_read_the_quick_way_and_alike() {
        let recorded = recorded();
        let slow: Vec<_> = recorded.iter().filter(|line| !assert_alike(line)).map(|line| String::from_utf8_lossy(line)).collect();
        assert!(recorded.len() > 100 && slow.is_empty(), "{} of {}: {slow:#?}", slow.len(), recorded.len());
    }

    proptest! {
        #[test]
        fn what_is_read_the_quick_way_is_read_alike(
            which in any::<prop::sample::Index>(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![Just(0..0), Just(0..1), Just(0..9)], "(null|true|0|1.5|-7|\"|\\\\n|\\\\u00e4|\\\\ud800|[\\[\\]{}:, \u{2}ä]|\"id\":|\"text\":\"x\",|\"usage\":\\{\\},){0,2}"), 0..3),
        ) {
            let mut line = which.get(&recorded()).clone();
            for (at, removed, put) in changes {
                let at = at.index(line.len());
                let end = (at + removed.end).min(line.len());
                line.splice(at..end, put.bytes());
            }
            assert_alike(&line);
        }
    }
}
