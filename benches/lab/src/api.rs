//! A small blocking client that prepares a measurement: users, channels, sessions, open WebSockets.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};
use socket2::{Domain, Protocol, Socket, Type};

use crate::Outcome;
use crate::wire::Framing;

/// A keep-alive connection to a server.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    server: SocketAddr,
    received: Vec<u8>,
}

/// A user who has signed up.
#[derive(Clone, Debug)]
pub struct Account {
    /// Their id, as in JSON.
    pub user_id: String,
    /// Their access token.
    pub token: String,
}

/// A prepared connection: the socket, and the bytes received after the last response.
pub type Opened = (TcpStream, Vec<u8>);

/// Connections per loopback source address: an address has few ports, and servers limit the connections of
/// an address.
const PER_ADDRESS: usize = 4_000;

/// The receive buffer of a narrow connection, in bytes.
const NARROW: usize = 4_096;

/// The loopback address of the `number`th connection.
pub fn source(number: usize) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, 1 + (number / PER_ADDRESS) as u8).into()
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// If the server does not accept it.
    pub fn connect(server: SocketAddr) -> Outcome<Self> {
        Self::connect_from(server, source(0))
    }

    /// Connects from a loopback address of choice.
    ///
    /// # Errors
    /// If the server does not accept it, or no port is free.
    pub fn connect_from(server: SocketAddr, from: IpAddr) -> Outcome<Self> {
        Self::on(Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?, server, from)
    }

    /// Connects with a small receive buffer, which is full soon if it is not read.
    ///
    /// # Errors
    /// If the server does not accept it.
    pub fn connect_narrow(server: SocketAddr) -> Outcome<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        // Before the handshake, which announces the window's scale (socket(7), tcp(7)).
        socket.set_recv_buffer_size(NARROW)?;
        Self::on(socket, server, source(0))
    }

    fn on(socket: Socket, server: SocketAddr, from: IpAddr) -> Outcome<Self> {
        socket.bind(&SocketAddr::new(from, 0).into())?;
        socket.connect(&server.into())?;
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Self { stream, server, received: Vec::new() })
    }

    /// Sends a request; returns the response as JSON if its status is a success.
    ///
    /// # Errors
    /// If the connection breaks or the server refuses.
    pub fn request(
        &mut self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Option<&Value>,
    ) -> Outcome<Value> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\n",
            self.server,
            body.len()
        );
        if let Some(token) = token {
            request += &format!("authorization: Bearer {token}\r\n");
        }
        if !body.is_empty() {
            request += "content-type: application/json\r\n";
        }
        request = request + "\r\n" + &body;
        self.stream.write_all(request.as_bytes())?;
        let (head, body) = self.response()?;
        let status = head.split(' ').nth(1).unwrap_or_default();
        if !status.starts_with('2') {
            return Err(format!("{method} {path}: {status} {body}").into());
        }
        Ok(if body.is_empty() { Value::Null } else { serde_json::from_str(&body)? })
    }

    /// Signs a user up.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub fn sign_up(&mut self, username: &str) -> Outcome<Account> {
        let body = json!({"username": username, "password": "correct horse battery staple"});
        let response = self.request("POST", "/v1/users", None, Some(&body))?;
        let user_id = text(&response["user"]["user_id"])?;
        Ok(Account { user_id, token: text(&response["token"])? })
    }

    /// Makes a group and returns its id.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub fn group(&mut self, owner: &Account, members: &[Account]) -> Outcome<String> {
        let members: Vec<_> = members.iter().map(|member| &member.user_id).collect();
        let body = json!({"name": "measured", "members": members});
        let response = self.request("POST", "/v1/channels", Some(&owner.token), Some(&body))?;
        text(&response["channel"]["channel_id"])
    }

    /// The direct channel of two users.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub fn direct(&mut self, one: &Account, other: &Account) -> Outcome<String> {
        let path = format!("/v1/direct/{}", other.user_id);
        let response = self.request("PUT", &path, Some(&one.token), None)?;
        text(&response["channel"]["channel_id"])
    }

    /// Opens a session and returns the path of its long poll.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub fn session(&mut self, user: &Account) -> Outcome<String> {
        self.session_over(user, "long_polling")
    }

    /// Opens a session and returns its path on a transport, which is named as in the protocol.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub fn session_over(&mut self, user: &Account, transport: &str) -> Outcome<String> {
        let body = json!({});
        let response = self.request("POST", "/v1/sessions", Some(&user.token), Some(&body))?;
        text(&response["transports"][transport]["url"])
    }

    /// Turns the connection into a WebSocket, with a new session if there is a user.
    ///
    /// # Errors
    /// If the server refuses.
    pub fn websocket(mut self, user: Option<&Account>) -> Outcome<Opened> {
        self.upgrade("/v1/websocket", user.map(|user| user.token.as_str()))?;
        Ok(self.into_stream())
    }

    /// Turns the connection into a WebSocket of any server.
    ///
    /// # Errors
    /// If the server refuses.
    pub fn upgrade(&mut self, path: &str, token: Option<&str>) -> Outcome<()> {
        const HEADERS: &str = "connection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        self.begin(path, token, HEADERS, "HTTP/1.1 101")
    }

    /// Requests a stream; the bytes after the response's head remain to be read.
    ///
    /// # Errors
    /// If the server refuses.
    pub fn stream(&mut self, path: &str, token: Option<&str>) -> Outcome<()> {
        self.begin(path, token, "", "HTTP/1.1 200")
    }

    fn begin(
        &mut self,
        path: &str,
        token: Option<&str>,
        headers: &str,
        status: &str,
    ) -> Outcome<()> {
        let mut request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\n{headers}", self.server);
        if let Some(token) = token {
            request += &format!("authorization: Bearer {token}\r\n");
        }
        request += "\r\n";
        self.stream.write_all(request.as_bytes())?;
        let (head, body) = self.response()?;
        if head.starts_with(status) {
            Ok(())
        } else {
            Err(format!("GET {path}: not {status}: {head}{body}").into())
        }
    }

    /// Sends the bytes of a request; returns the body of the response, whatever its status.
    ///
    /// # Errors
    /// If the connection breaks.
    pub fn exchange(&mut self, request: &[u8]) -> Outcome<Vec<u8>> {
        self.write(request)?;
        self.body()
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// If the connection breaks.
    pub fn write(&mut self, bytes: &[u8]) -> Outcome<()> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// The body of the next response.
    ///
    /// # Errors
    /// If the connection breaks.
    pub fn body(&mut self) -> Outcome<Vec<u8>> {
        self.next(Framing::Http)
    }

    /// The payload of the next frame, response or chunk.
    ///
    /// # Errors
    /// If the connection breaks.
    pub fn next(&mut self, framing: Framing) -> Outcome<Vec<u8>> {
        loop {
            if let Some(unit) = framing.unit(&self.received) {
                let (body, length) = (unit.body.to_vec(), unit.head.len() + unit.body.len());
                self.received.drain(..length);
                return Ok(body);
            }
            self.read()?;
        }
    }

    /// Discards bytes up to the end of the next occurrence of `mark`.
    ///
    /// # Errors
    /// If the connection breaks.
    pub fn until(&mut self, mark: &[u8]) -> Outcome<()> {
        loop {
            if let Some(at) = memchr::memmem::find(&self.received, mark) {
                self.received.drain(..at + mark.len());
                return Ok(());
            }
            self.read()?;
        }
    }

    /// Releases the connection.
    pub fn into_stream(self) -> Opened {
        (self.stream, self.received)
    }

    fn response(&mut self) -> Outcome<(String, String)> {
        loop {
            if let Some(unit) = Framing::Http.unit(&self.received) {
                let head = String::from_utf8_lossy(unit.head).into_owned();
                let body = String::from_utf8_lossy(unit.body).into_owned();
                let length = unit.head.len() + unit.body.len();
                self.received.drain(..length);
                return Ok((head, body));
            }
            self.read()?;
        }
    }

    fn read(&mut self) -> Outcome<()> {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer)? {
            0 => Err("the server closed the connection".into()),
            read => {
                self.received.extend_from_slice(&buffer[..read]);
                Ok(())
            }
        }
    }
}

/// Signs `count` users up, over four connections.
///
/// # Errors
/// If one of them fails.
pub fn sign_up_many(server: SocketAddr, count: usize) -> Outcome<Vec<Account>> {
    const CLIENTS: usize = 4;
    let stamp = std::process::id();
    let one = |client: usize| -> Outcome<Vec<(usize, Account)>> {
        let mut connection = Client::connect(server)?;
        let numbers = (client..count).step_by(CLIENTS);
        numbers
            .map(|number| Ok((number, connection.sign_up(&format!("u{stamp}x{number}"))?)))
            .collect()
    };
    let mut users = std::thread::scope(|scope| -> Outcome<Vec<_>> {
        let clients: Vec<_> = (0..CLIENTS).map(|client| scope.spawn(move || one(client))).collect();
        let mut users = Vec::new();
        for client in clients {
            users.extend(client.join().map_err(|_| "a client panicked")??);
        }
        Ok(users)
    })?;
    users.sort_by_key(|(number, _)| *number);
    Ok(users.into_iter().map(|(_, user)| user).collect())
}

/// The string of a JSON value.
///
/// # Errors
/// If it is not a string.
pub fn text(value: &Value) -> Outcome<String> {
    Ok(value.as_str().ok_or_else(|| format!("expected a string, not {value}"))?.to_owned())
}
