//! One HTTP request and its answer, as gix holds them: three ends, of which the first that is read sends the request.
//!
//! What is sent, to whom and with which credentials is the business of `http`.

use std::io::{self, BufRead, BufReader, Cursor, Read, Write};
use std::sync::{Arc, Mutex};

use super::http::Client;

/// One request and its answer, shared by the three ends that gix holds.
#[derive(Clone)]
pub(super) struct Exchange(Arc<Mutex<ExchangeState>>);

struct ExchangeState {
    client: Client,
    url: String,
    base: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    sent: bool,
    answer_headers: Option<Vec<u8>>,
    answer_body: Option<Box<dyn Read + Send + Sync>>,
}

impl Exchange {
    pub(super) fn new(
        client: Client,
        url: &str,
        base: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
        body: Option<Vec<u8>>,
    ) -> Self {
        let headers = headers.into_iter().filter_map(|line| {
            let (name, value) = line.as_ref().split_once(':')?;
            // gix names itself; the runner does.
            (!name.eq_ignore_ascii_case("user-agent")).then(|| (name.trim().to_owned(), value.trim().to_owned()))
        });
        Self(Arc::new(Mutex::new(ExchangeState {
            headers: headers.collect(),
            client,
            url: url.to_owned(),
            base: base.to_owned(),
            body,
            sent: false,
            answer_headers: None,
            answer_body: None,
        })))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, ExchangeState> {
        // A panic while sending leaves `sent` set and no answer: the reader then sees an end of file, not half an answer.
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn send(&self) -> io::Result<()> {
        let mut state = self.lock();
        if !state.sent {
            state.sent = true;
            let (headers, body) = state.client.send(&state.url, &state.base, &state.headers, state.body.as_deref())?;
            state.answer_headers = Some(headers);
            state.answer_body = Some(body);
        }
        Ok(())
    }

    pub(super) fn split(self) -> (Headers, ResponseBody, PostBody) {
        (Headers { exchange: self.clone(), lines: None }, ResponseBody { exchange: self.clone(), reader: None }, PostBody(self))
    }
}

/// The answer's headers, a line each.
pub(crate) struct Headers {
    exchange: Exchange,
    lines: Option<Cursor<Vec<u8>>>,
}

impl Headers {
    fn lines(&mut self) -> io::Result<&mut Cursor<Vec<u8>>> {
        if self.lines.is_none() {
            self.exchange.send()?;
        }
        Ok(self.lines.get_or_insert_with(|| Cursor::new(self.exchange.lock().answer_headers.take().unwrap_or_default())))
    }
}

impl Read for Headers {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.lines()?.read(buffer)
    }
}

impl BufRead for Headers {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.lines()?.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        if let Some(lines) = &mut self.lines {
            lines.consume(amount);
        }
    }
}

/// The answer's body.
pub(crate) struct ResponseBody {
    exchange: Exchange,
    reader: Option<BufReader<Box<dyn Read + Send + Sync>>>,
}

impl ResponseBody {
    fn reader(&mut self) -> io::Result<&mut BufReader<Box<dyn Read + Send + Sync>>> {
        if self.reader.is_none() {
            self.exchange.send()?;
        }
        Ok(self.reader.get_or_insert_with(|| {
            let body = self.exchange.lock().answer_body.take().unwrap_or_else(|| Box::new(io::empty()));
            BufReader::with_capacity(64 * 1024, body)
        }))
    }

    fn noted<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.inspect_err(|error| {
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<io::Error>()).unwrap_or(error);
            self.exchange.lock().client.note_broken(inner);
        })
    }
}

impl Read for ResponseBody {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = self.reader()?.read(buffer);
        self.noted(result)
    }
}

impl BufRead for ResponseBody {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let result = self.reader()?.fill_buf().map(|_| ());
        self.noted(result)?;
        self.reader()?.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        if let Some(reader) = &mut self.reader {
            reader.consume(amount);
        }
    }
}

/// Where gix writes the request's body.
pub(crate) struct PostBody(Exchange);

impl Write for PostBody {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.lock().body.get_or_insert_default().extend_from_slice(buffer);
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
