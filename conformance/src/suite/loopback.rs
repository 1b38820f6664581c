//! An HTTP server on a free port of 127.0.0.1: the socket, its thread, and its end. What is answered is the business of whoever starts one.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::sync::oneshot;

/// A running server. It ends, with all its connections, when it is dropped.
#[derive(Debug)]
pub(super) struct LoopbackServer {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl LoopbackServer {
    /// Starts it, in a thread of this name. It answers from the moment that this returns.
    ///
    /// # Errors
    /// No port, or no thread.
    pub(super) fn start<Answer, Answered>(name: &str, answer: Answer) -> io::Result<Self>
    where
        Answer: Fn(Request<Incoming>) -> Answered + Send + Sync + 'static,
        Answered: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let serving = serve(listener, Arc::new(answer), stopped);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || runtime.block_on(serving))?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for LoopbackServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in there was already printed.
            let _ = thread.join();
        }
    }
}

async fn serve<Answer, Answered>(listener: TcpListener, answer: Arc<Answer>, mut stopped: oneshot::Receiver<()>)
where
    Answer: Fn(Request<Incoming>) -> Answered + Send + Sync + 'static,
    Answered: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = &mut stopped => return,
        };
        let Ok((socket, _)) = accepted else { continue };
        let answer = Arc::clone(&answer);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let answered = answer(request);
                async move { Ok::<_, Infallible>(answered.await) }
            });
            // A client that goes away in the middle is its own business.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
        });
    }
}
