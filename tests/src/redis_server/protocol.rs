//! The words of Redis on the wire, as far as a test asks.

use anyhow::{Context, bail};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(5);

/// One command over a connection of its own; the answer as text, the elements of lists one a line.
pub(super) fn ask(address: SocketAddr, words: &[&str]) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut request = format!("*{}\r\n", words.len());
    for word in words {
        request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    stream.write_all(request.as_bytes())?;
    let mut lines = Vec::new();
    read(&mut BufReader::new(stream), &mut lines)?;
    Ok(lines.join("\n"))
}

fn read(stream: &mut impl BufRead, lines: &mut Vec<String>) -> anyhow::Result<()> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let line = line.trim_end();
    let Some((kind, rest)) = line.split_at_checked(1) else { bail!("the server closed the connection") };
    match kind {
        "+" | ":" => lines.push(rest.to_owned()),
        "-" => bail!("{rest}"),
        "$" => {
            let length: i64 = rest.parse().context("a length")?;
            let Ok(length) = usize::try_from(length) else { return Ok(()) };
            let mut octets = vec![0; length + 2];
            stream.read_exact(&mut octets)?;
            octets.truncate(length);
            lines.push(String::from_utf8_lossy(&octets).into_owned());
        }
        "*" => {
            for _ in 0..rest.parse::<i64>().context("a length")? {
                read(stream, lines)?;
            }
        }
        _ => bail!("'{line}' is no answer"),
    }
    Ok(())
}
