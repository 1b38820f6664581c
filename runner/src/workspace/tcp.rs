//! The sockets beneath HTTP, as its client wants them: each stops when the run does, and has its own limit on silence.
//!
//! What goes over them, and TLS above them, are the business of `http` and `tls`.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::SocketAddr;

use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport};

use super::wire::{Cancel, Watched, connect_tcp};

/// Opens sockets that the flag stops.
#[derive(Debug)]
pub(super) struct TcpConnector {
    pub(super) cancel: Cancel,
}

impl<In: Transport> Connector<In> for TcpConnector {
    type Out = Either<In, TcpTransport>;

    fn connect(&self, details: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<Self::Out>, ureq::Error> {
        if let Some(tunnel) = chained {
            return Ok(Some(Either::A(tunnel)));
        }
        let addresses: Vec<SocketAddr> = details.addrs.iter().copied().collect();
        let socket = connect_tcp(&addresses, &self.cancel)?;
        let buffers = LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(Either::B(TcpTransport { socket, buffers })))
    }
}

/// A socket that the flag stops. Its own limit on silence stands in for ureq's timeouts.
pub(super) struct TcpTransport {
    socket: Watched<std::net::TcpStream>,
    buffers: LazyBuffers,
}

impl fmt::Debug for TcpTransport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("TcpTransport").field(&self.socket.get_ref().peer_addr().ok()).finish()
    }
}

impl Transport for TcpTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.socket.write_all(&self.buffers.output()[..amount])?;
        Ok(())
    }

    fn await_input(&mut self, _timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let amount = self.socket.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        // A pooled socket that the server has closed is readable (end of file); anything else unread is garbage. Both: not open.
        let socket = self.socket.get_ref();
        let idle = socket.set_nonblocking(true).is_ok()
            && matches!(socket.peek(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        idle && socket.set_nonblocking(false).is_ok()
    }
}
