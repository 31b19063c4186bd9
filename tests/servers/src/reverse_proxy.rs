//! A reverse proxy in front of an HTTP server: nginx or HAProxy, each with connections to the server that
//! it keeps for the requests of all its clients.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::{Missing, Process, Program, port};

/// The folders of programs for administrators, which are not always in `PATH`.
const FOLDERS: &[&str] = &["/usr/sbin", "/usr/local/sbin"];
const NGINX: Program =
    Program { name: "nginx", how: "make servers, or: apt-get install nginx", folders: FOLDERS };
const HAPROXY: Program =
    Program { name: "haproxy", how: "make servers, or: apt-get install haproxy", folders: FOLDERS };

/// How many ports are tried before another error is assumed.
const TRIES: usize = 5;

/// A reverse proxy.
#[derive(Debug)]
pub struct ReverseProxy {
    // Before the folder, which is removed once no process writes into it.
    _process: Process,
    port: u16,
    _folder: TempDir,
}

impl ReverseProxy {
    /// Starts nginx in front of `server`.
    ///
    /// # Errors
    /// [`Missing`].
    ///
    /// # Panics
    /// If it does not become ready.
    pub async fn nginx(server: SocketAddr) -> Result<Self, Missing> {
        let configuration = |port: u16, folder: &Path| {
            let folder = folder.display();
            let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                .map(|name| format!("{name}_temp_path {folder}/{name};"))
                .concat();
            format!(
                "daemon off; master_process off; pid {folder}/pid; error_log stderr;
                events {{ worker_connections 512; }}
                http {{
                    access_log off; {temporary}
                    upstream node {{ server {server}; keepalive 32; }}
                    server {{
                        listen 127.0.0.1:{port};
                        location / {{
                            proxy_pass http://node;
                            proxy_http_version 1.1;
                            proxy_set_header Connection \"\";
                        }}
                    }}
                }}\n"
            )
        };
        Self::start(NGINX, configuration, &["-e", "stderr", "-c"]).await
    }

    /// Starts HAProxy in front of `server`.
    ///
    /// # Errors
    /// [`Missing`].
    ///
    /// # Panics
    /// If it does not become ready.
    pub async fn haproxy(server: SocketAddr) -> Result<Self, Missing> {
        let configuration = |port: u16, _: &Path| {
            format!(
                "defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    http-reuse always
frontend clients
    bind 127.0.0.1:{port}
    default_backend node
backend node
    server node {server}\n"
            )
        };
        Self::start(HAPROXY, configuration, &["-db", "-f"]).await
    }

    async fn start(
        program: Program,
        configuration: impl Fn(u16, &Path) -> String,
        arguments: &[&str],
    ) -> Result<Self, Missing> {
        let path = program.find()?;
        let folder = TempDir::with_prefix("pabal-proxy-").expect("a folder for the proxy");
        let (file, log) = (folder.path().join("conf"), folder.path().join("log"));
        for _ in 0..TRIES {
            let port = port::spare_ports(1)[0];
            std::fs::write(&file, configuration(port, folder.path())).expect("a file");
            let mut command = Command::new(&path);
            command.args(arguments).arg(&file);
            let started = Process::start_until(program.name, &mut command, &log, async || {
                TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok()
            })
            .await;
            if let Some(process) = started {
                return Ok(Self { _process: process, port, _folder: folder });
            }
        }
        let log = std::fs::read_to_string(&log).unwrap_or_default();
        panic!("{} does not come up:\n{log}", program.name);
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }
}
