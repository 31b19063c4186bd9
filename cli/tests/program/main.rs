//! The program itself: its output, how it stops and how it fails.
#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod disk;
mod servers;
mod lab;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(20);

fn pabal(data: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pabal"));
    command.arg("serve").arg("--data").arg(data).args(arguments);
    captured(&mut command);
    command
}

/// Captures the output of the program, and kills it when the test ends.
fn captured(command: &mut Command) {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
}

/// Starts the program, and reads the address from its only line of output.
async fn start(data: &Path, arguments: &[&str]) -> (Child, String) {
    ready(&mut pabal(data, arguments)).await
}

async fn ready(command: &mut Command) -> (Child, String) {
    captured(command);
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.as_mut().unwrap());
    timeout(SOON, out.read_line(&mut line)).await.unwrap().unwrap();
    let url = line.trim_end().strip_prefix("listening on ").unwrap_or_else(|| panic!("{line:?}"));
    let url = url.to_owned();
    (child, url)
}

fn signal(child: &Child, name: &str) {
    let id = child.id().unwrap().to_string();
    let sent = std::process::Command::new("kill").args([name, &id]).status().unwrap();
    assert!(sent.success());
}

/// The exit code of the program, and the rest of its output.
async fn end(mut child: Child) -> (Option<i32>, String, String) {
    let (mut out, mut err) = (String::new(), String::new());
    let (stdout, stderr) = (child.stdout.as_mut().unwrap(), child.stderr.as_mut().unwrap());
    let read = async {
        stdout.read_to_string(&mut out).await.unwrap();
        stderr.read_to_string(&mut err).await.unwrap();
    };
    let ended = timeout(SOON, read).await;
    assert!(ended.is_ok(), "still running: {out}{err}");
    let status = timeout(SOON, child.wait()).await.unwrap().unwrap();
    (status.code(), out, err)
}

#[tokio::test]
async fn the_program_prints_one_line_when_ready_and_stops_on_either_signal() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["-TERM", "-INT"] {
        let (child, url) = start(folder.path(), &["--listen", "127.0.0.1:0"]).await;
        let port = url.strip_prefix("http://127.0.0.1:").unwrap();
        assert_ne!(port.parse::<u16>().unwrap(), 0);
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        assert!(http.get(format!("{url}/readyz")).send().await.unwrap().status().is_success());
        signal(&child, name);
        let (code, out, err) = end(child).await;
        assert_eq!((code, out.as_str()), (Some(0), ""), "{err}");
        assert!(err.contains("stopped"), "{err}");
    }
    assert!(folder.path().join("directory.sqlite").is_file());
    assert!(folder.path().join("history").is_dir());
}

/// All files and folders below `path`, with their permissions.
fn permissions(path: &Path, found: &mut Vec<(PathBuf, u32)>) {
    for entry in std::fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        found.push((path.clone(), mode(&path)));
        if path.is_dir() {
            permissions(&path, found);
        }
    }
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn files_are_private_to_the_user_under_any_umask() {
    let folder = tempfile::tempdir().unwrap();
    let (created, existing) = (folder.path().join("new/data"), folder.path().join("given"));
    std::fs::create_dir(&existing).unwrap();
    std::fs::set_permissions(&existing, Permissions::from_mode(0o755)).unwrap();
    for (data, expected) in [(&created, 0o700), (&existing, 0o755)] {
        let mut command = Command::new("sh");
        command.arg("-c").arg(r#"umask 0; exec "$0" "$@""#).arg(env!("CARGO_BIN_EXE_pabal"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data);
        let (child, _) = ready(&mut command).await;
        assert_eq!(mode(data), expected, "{}", data.display());
        let mut found = Vec::new();
        permissions(data, &mut found);
        assert!(found.iter().any(|(path, _)| path.ends_with("directory.sqlite")), "{found:?}");
        for (path, mode) in found {
            assert_eq!(mode & 0o077, 0, "{} has {mode:o}", path.display());
        }
        signal(&child, "-TERM");
        assert_eq!(end(child).await.0, Some(0));
    }
}

#[tokio::test]
async fn an_unusable_setting_is_one_line_on_standard_error() {
    let folder = tempfile::tempdir().unwrap();
    let (first, data) = (folder.path().join("first"), folder.path().join("second"));
    let (child, url) = start(&first, &["--listen", "127.0.0.1:0"]).await;
    let address = url.strip_prefix("http://").unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let failures = [
        (pabal(&data, &["--listen", address]), "cannot listen on"),
        (pabal(&first, &["--listen", "127.0.0.1:0"]), "in use"),
        (pabal(&file, &["--listen", "127.0.0.1:0"]), "data folder"),
        (pabal(&data, &["--config", "/nowhere.toml"]), "/nowhere.toml"),
        (pabal(&data, &["--node-name", "Not A Name"]), "node.name"),
        (pabal(&data, &["--log", "a=b=c"]), "log.filter"),
    ];
    for (mut command, expected) in failures {
        let (code, out, err) = end(command.spawn().unwrap()).await;
        assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
        assert!(err.starts_with("pabal: ") && err.contains(expected), "{err}");
        assert_eq!(err.lines().count(), 1, "{err}");
    }
    signal(&child, "-TERM");
    assert_eq!(end(child).await.0, Some(0));
}

#[tokio::test]
async fn a_second_signal_stops_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (child, url) = start(folder.path(), &["--listen", "127.0.0.1:0"]).await;
    // A request in progress, which a graceful stop waits for.
    let address = url.strip_prefix("http://").unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = "POST /v1/users HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
        content-length: 100\r\n\r\n{";
    tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    signal(&child, "-TERM");
    tokio::time::sleep(Duration::from_millis(700)).await;
    signal(&child, "-TERM");
    let begun = std::time::Instant::now();
    let (code, _, err) = end(child).await;
    assert_eq!(code, Some(1), "{err}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{err}");
    assert!(err.contains("without waiting"), "{err}");
}

#[tokio::test]
async fn the_configuration_is_printed_and_checked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pabal.toml");
    let config = |what: &'static str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pabal"));
        command.args(["config", what, "--config"]).arg(&path);
        captured(&mut command);
        command
    };
    std::fs::write(&path, "[limits]\nbody_bytes = 2048\n").unwrap();
    let (code, out, err) = end(config("print").spawn().unwrap()).await;
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.contains("body_bytes = 2048\n") && out.contains("pabal.toml:2"), "{out}");
    let (code, out, err) = end(config("check").spawn().unwrap()).await;
    assert_eq!((code, out.as_str(), err.as_str()), (Some(0), "", ""));
    for (text, line) in [("\n[limits]\nbodybytes = 1", ":3:"), ("[limits]\nbody_bytes = 1", ":2:")]
    {
        std::fs::write(&path, text).unwrap();
        let mut serve = pabal(&folder.path().join("data"), &["--config", path.to_str().unwrap()]);
        for child in [config("check").spawn().unwrap(), serve.spawn().unwrap()] {
            let (code, _, err) = end(child).await;
            assert_eq!(code, Some(1), "{err}");
            let expected = format!("{}{line}", path.display());
            assert!(err.contains(&expected), "{err} does not name {expected}");
        }
    }
}

/// Writes a certificate for `localhost` and its key, valid until the first day of a year.
fn certify(cert: &Path, key: &Path, until: i32) {
    let pair = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(until, 1, 1);
    std::fs::write(cert, params.self_signed(&pair).unwrap().pem()).unwrap();
    std::fs::write(key, pair.serialize_pem()).unwrap();
}

/// Reads standard error up to a line that contains `expected`.
async fn logged(child: &mut Child, expected: &str) {
    let mut lines = BufReader::new(child.stderr.as_mut().unwrap()).lines();
    let found = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains(expected) {
                return;
            }
        }
        panic!("no line contains {expected:?}");
    };
    timeout(SOON, found).await.unwrap();
}

#[tokio::test]
async fn a_certificate_is_read_again_on_sighup() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    certify(&cert, &key, 2020);
    let arguments = [
        "--listen",
        "127.0.0.1:0",
        "--tls-cert",
        cert.to_str().unwrap(),
        "--tls-key",
        key.to_str().unwrap(),
    ];
    let data = folder.path().join("data");
    let (mut child, url) = start(&data, &arguments).await;
    assert!(url.starts_with("https://127.0.0.1:"), "{url}");
    let ended =
        |year| format!("tls_cert: the certificate in {} ended at {year}-01-01T", cert.display());
    logged(&mut child, &ended(2020)).await;
    certify(&cert, &key, 2021);
    signal(&child, "-HUP");
    logged(&mut child, "the certificate was read again").await;
    signal(&child, "-HUP");
    logged(&mut child, &ended(2021)).await;
    std::fs::write(&cert, "no certificate").unwrap();
    signal(&child, "-HUP");
    logged(&mut child, "keeping the certificate in use").await;
    signal(&child, "-TERM");
    assert_eq!(end(child).await.0, Some(0));

    let (code, out, err) = end(pabal(&data, &arguments).spawn().unwrap()).await;
    assert_eq!((code, out.as_str(), err.lines().count()), (Some(1), "", 1), "{err}");
    assert!(err.starts_with("pabal: ") && err.contains("holds no certificate"), "{err}");
}

#[tokio::test]
async fn the_log_has_the_client_address_that_a_trusted_proxy_reports() {
    let folder = tempfile::tempdir().unwrap();
    let mut command =
        pabal(&folder.path().join("data"), &["--listen", "127.0.0.1:0", "--log", "debug"]);
    command.env("PABAL_SERVER_TRUSTED_PROXIES", r#"["127.0.0.1"]"#);
    let (mut child, url) = ready(&mut command).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = http.get(format!("{url}/healthz"));
    let request = request.header("x-forwarded-for", "198.51.100.1, 192.0.2.7");
    assert_eq!(request.send().await.unwrap().status(), 200);
    logged(&mut child, "client=192.0.2.7").await;
    signal(&child, "-TERM");
    assert_eq!(end(child).await.0, Some(0));
}
