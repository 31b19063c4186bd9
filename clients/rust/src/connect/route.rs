//! How commands reach the server now.

use std::sync::Arc;

use super::line::Socket;
use super::session::Session;
use crate::error::Error;
use crate::token::Token;

/// How commands reach the server now. The driver publishes it, the outbox follows it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Route {
    /// The session to post commands to; `None` while there is none.
    pub(crate) session: Option<Arc<Session>>,
    /// The token to post with; `None` while it is that of the log-in.
    pub(crate) token: Option<Token>,
    /// The socket to send them over instead, while the transport has one.
    pub(crate) socket: Option<Socket>,
    /// Why the connection has ended. There is no route any more after that.
    pub(crate) ended: Option<Error>,
}
