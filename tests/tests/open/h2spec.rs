//! The HTTP/2 conformance tests of [h2spec](https://github.com/summerwind/h2spec), strict ones included, against the
//! real server. `h2spec.toml` lists the failures that are accepted, with reasons.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use pabal_tests::node::Node;
use serde::Deserialize;

const MODULE: &str = "github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible";
/// The number of cases.
const CASES: usize = 146;
/// The path of its requests: a request with a body gets its response after the body, and one without a body gets
/// a response with a body.
const PATH: &str = "/v1/users";
/// How many attempts a case has. Some send invalid frames after a request to which the server may respond first
/// (RFC 9113, section 8.1): on a busy machine they see the response and not the error.
const TRIES: usize = 5;

#[derive(Debug, Deserialize)]
struct Expected {
    failure: Vec<Failure>,
}

#[derive(Debug, Deserialize)]
struct Failure {
    listener: String,
    case: String,
    why: String,
}

/// A case as h2spec reports it.
#[derive(Debug)]
struct Case {
    name: String,
    failed: bool,
}

#[tokio::test]
async fn without_tls() {
    let Some(h2spec) = h2spec() else { return };
    let node = Node::start(&[]).await;
    judge("plain", || run(&h2spec, &node, &[]));
}

#[tokio::test]
async fn within_tls() {
    let Some(h2spec) = h2spec() else { return };
    let folder = tempfile::tempdir().expect("a folder for the certificate");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file can be written");
        path.to_str().expect("a path in UTF-8").to_owned()
    };
    let cert = file("cert.pem", made.cert.pem());
    let key = file("key.pem", made.signing_key.serialize_pem());
    let settings = [("PABAL_SERVER_TLS_CERT", &*cert), ("PABAL_SERVER_TLS_KEY", &*key)];
    let node = Node::start(&settings).await;
    judge("tls", || run(&h2spec, &node, &["--tls", "--insecure"]));
}

/// The path of h2spec, which is installed if it is missing. Without Go it cannot be installed: the test is then
/// skipped with a message, or fails where skipping is not allowed, as in CI.
fn h2spec() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("h2spec");
    let program = folder.join("h2spec");
    if program.exists() {
        return Some(program);
    }
    // Installed in another folder first, so that no process runs an incomplete program.
    let aside = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder to install to");
    let installed =
        Command::new("go").args(["install", MODULE]).env("GOBIN", aside.path()).output();
    let missing = match installed {
        Ok(output) if output.status.success() => {
            std::fs::create_dir_all(&folder).expect("a folder for h2spec");
            std::fs::rename(aside.path().join("h2spec"), &program).expect("h2spec can be moved");
            return Some(program);
        }
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => format!("go: {error}"),
    };
    pabal_servers::leave_out(format!("h2spec cannot be installed: {missing}"));
    None
}

fn run(h2spec: &Path, node: &Node, more: &[&str]) -> Vec<Case> {
    let address = node.address().get();
    let folder = tempfile::tempdir().expect("a folder for the report");
    let report = folder.path().join("report.xml");
    let output = Command::new(h2spec)
        .args(["--strict", "--path", PATH, "--timeout", "5"])
        .args(["--host", &address.ip().to_string(), "--port", &address.port().to_string()])
        .args(more)
        .arg("--junit-report")
        .arg(&report)
        .output()
        .expect("h2spec runs");
    let text = std::fs::read_to_string(&report);
    let said = String::from_utf8_lossy(&output.stdout);
    cases(&text.unwrap_or_else(|error| panic!("no report: {error}\n{said}")))
}

/// The cases of a JUnit report as h2spec writes it.
fn cases(report: &str) -> Vec<Case> {
    let attribute = |tag: &str, name: &str| {
        let value = tag.split_once(&format!("{name}=\""))?.1;
        Some(plain(value.split_once('"')?.0))
    };
    let cases = report.split("<testcase ").skip(1).map(|case| {
        let case = case.split("</testcase>").next().unwrap_or(case);
        let package = attribute(case, "package").expect("a case has a section");
        let name = attribute(case, "classname").expect("a case has a name");
        let failed = case.contains("<failure") || case.contains("<error");
        Case { name: format!("{package}: {name}"), failed }
    });
    cases.collect()
}

/// Text without the entities of XML.
fn plain(text: &str) -> String {
    let entities = [("&#34;", "\""), ("&#39;", "'"), ("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")];
    entities.iter().fold(text.to_owned(), |text, (entity, plain)| text.replace(entity, plain))
}

#[track_caller]
fn judge(listener: &str, run: impl Fn() -> Vec<Case>) {
    let list: Expected = toml::from_str(include_str!("h2spec.toml")).expect("a list");
    let explained = list.failure.iter().all(|failure| !failure.why.trim().is_empty());
    assert!(explained, "a failure without a reason");
    let here = list.failure.into_iter().filter(|failure| failure.listener == listener);
    let expected: BTreeSet<String> = here.map(|failure| failure.case).collect();
    let mut failed = failures(run());
    for _ in 1..TRIES {
        if failed == expected {
            break;
        }
        failed = &failed & &failures(run());
    }
    let new: Vec<_> = failed.difference(&expected).collect();
    let gone: Vec<_> = expected.difference(&failed).collect();
    assert!(new.is_empty() && gone.is_empty(), "{listener}: fail now {new:?}; pass now {gone:?}");
}

fn failures(cases: Vec<Case>) -> BTreeSet<String> {
    assert_eq!(cases.len(), CASES, "{cases:#?}");
    cases.into_iter().filter(|case| case.failed).map(|case| case.name).collect()
}
