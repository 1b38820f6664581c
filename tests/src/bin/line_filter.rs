//! The peer of the stream benchmark: a straightforward line-buffered JSON filter, as people write one. It reads a line, parses it, adds
//! up the tokens, and writes the line.

use std::io::{self, BufRead, BufReader, BufWriter, Write};

use serde_json::Value;

fn main() -> io::Result<()> {
    let mut input = BufReader::new(io::stdin().lock());
    let mut output = BufWriter::new(io::stdout().lock());
    let mut line = String::new();
    let mut tokens = [0u64; 2];
    while input.read_line(&mut line)? > 0 {
        if let Ok(event) = serde_json::from_str::<Value>(&line) {
            let usage = &event["message"]["usage"];
            for (sum, key) in tokens.iter_mut().zip(["input_tokens", "output_tokens"]) {
                *sum += usage[key].as_u64().unwrap_or(0);
            }
        }
        output.write_all(line.as_bytes())?;
        line.clear();
    }
    output.flush()?;
    eprintln!("input {} output {}", tokens[0], tokens[1]);
    Ok(())
}
