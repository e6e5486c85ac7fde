//! Messages over two streams; one that cannot be read costs itself and not the session.

use std::io::{self, BufRead, Read, Write};
use std::thread;

use crossbeam_channel::{Receiver, Sender, unbounded};
use lsp_server::{Connection, Message, Notification};

/// Largest message read; a file may be 64 MiB, and its text is escaped.
const LARGEST: usize = 512 << 20;

/// The method under which a message that cannot be read is handed on, with the reason.
pub(crate) const BROKEN: &str = "$/broken";

/// Connects to a client over standard input and output.
///
/// The connection ends when the input does. The returned handle waits until all was written.
#[must_use]
pub fn stdio() -> (Connection, Writer) {
    let (to_server, receiver) = unbounded();
    let (sender, to_client) = unbounded();
    thread::spawn(move || read_all(&mut io::stdin().lock(), &to_server));
    let writer = thread::spawn(move || write_all(&mut io::stdout().lock(), &to_client));
    (Connection { sender, receiver }, Writer(writer))
}

/// Waits until every message was written.
pub struct Writer(thread::JoinHandle<io::Result<()>>);

impl Writer {
    /// Waits until every message was written; the connection must have been dropped.
    ///
    /// # Errors
    /// What kept a message from being written; a client that went away is none.
    pub fn finish(self) -> io::Result<()> {
        match self.0.join() {
            Ok(Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(()),
        }
    }
}

fn write_all(out: &mut impl Write, messages: &Receiver<Message>) -> io::Result<()> {
    for message in messages {
        message.write(out)?;
    }
    Ok(())
}

/// Reads messages until the stream ends or nothing more can be made of it.
fn read_all(input: &mut impl BufRead, messages: &Sender<Message>) {
    loop {
        let message = match frame(input) {
            Ok(Some(body)) => serde_json::from_slice(&body).unwrap_or_else(|error| {
                Message::Notification(Notification::new(BROKEN.to_owned(), error.to_string()))
            }),
            Ok(None) | Err(_) => return,
        };
        let last = matches!(&message, Message::Notification(n) if n.method == "exit");
        if messages.send(message).is_err() || last {
            return;
        }
    }
}

/// The body of the next message; `None` at the end of the stream.
fn frame(input: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut length: Option<usize> = None;
    loop {
        let mut line = String::new();
        // A header line is short; one that is not is no header.
        if input.by_ref().take(4096).read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().ok().filter(|n| *n <= LARGEST);
            if length.is_none() {
                return Err(io::Error::other("a message of no readable length"));
            }
        }
    }
    let Some(length) = length else {
        return Err(io::Error::other("a message without its length"));
    };
    let mut body = Vec::new();
    let read = input.take(length as u64).read_to_end(&mut body)?;
    Ok((read == length).then_some(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<Message> {
        let (sender, receiver) = unbounded();
        read_all(&mut text.as_bytes(), &sender);
        drop(sender);
        receiver.into_iter().collect()
    }

    fn framed(body: &str) -> String {
        format!("Content-Length: {}\r\n\r\n{body}", body.len())
    }

    #[test]
    fn a_message_that_is_no_json_costs_itself_alone() {
        let good = r#"{"jsonrpc":"2.0","id":1,"method":"shutdown"}"#;
        let found = read(&(framed("{") + &framed(good)));
        assert!(matches!(&found[0], Message::Notification(n) if n.method == BROKEN));
        assert!(matches!(&found[1], Message::Request(r) if r.method == "shutdown"));
    }

    #[test]
    fn a_stream_that_is_no_protocol_ends_the_session() {
        assert!(read("hello\r\n\r\n").is_empty());
        assert!(read("Content-Length: 99999999999999\r\n\r\n{}").is_empty());
        assert!(read("Content-Length: 20\r\n\r\n{}").is_empty());
    }
}
