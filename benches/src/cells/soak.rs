//! Ten minutes of clients on all transports that lose their connections, change transports and read slowly,
//! and of sockets that read nothing: memory, open files and tasks must return to their values of before, and
//! no client may lose, repeat or reorder a message. The buffers of history are filled first, or their
//! growth would look like a leak.

use std::path::Path;
use std::time::{Duration, Instant};

use pabal_lab::api::{Account, Client, text};
use pabal_lab::process::Server;
use pabal_lab::svg::{Panel, Span, timeline};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::json;
use tokio::time::sleep;

use super::Setting;
use crate::Outcome;
use crate::crowd::{Crowd, People, Plan};
use crate::report::{Claim, Report, Target, figure, median};

/// Messages of the first phase, to a channel without listeners: more than twice what history buffers in
/// memory before it writes a table (32 MiB of messages, 8 MiB of `client_message_id`s). The buffers keep
/// that size.
const FILLED: usize = 160_000;
/// Bytes of each of these messages.
const FILLER_BYTES: usize = 512;
/// Sends of one request; and sends of one session, after which an unread session is replaced.
const AT_ONCE: usize = 200;
const A_SESSION: usize = 50 * AT_ONCE;
/// Sockets that read nothing; they are replaced when the server has closed them.
const DEAF: usize = 20;
/// The interval at which a device is disturbed.
const DISTURBED: Duration = Duration::from_millis(250);
/// The warm-up, in which pools, caches and the allocator's reserve reach their size.
const WARM_UP: Duration = Duration::from_secs(60);
/// How long memory settles when all sessions have ended.
const SETTLE: Duration = Duration::from_secs(15);
/// Sessions end by themselves a minute after their connection broke.
const SESSIONS_END_WITHIN: Duration = Duration::from_secs(120);

/// The quantities of the server that could leak.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    at: f64,
    mib: f64,
    files: f64,
    tasks: f64,
    sessions: f64,
}

/// The claims on leaks; writes the samples as CSV and as a plot.
///
/// # Errors
/// If the server fails, or a device loses a message.
pub fn run(setting: &Setting, report: &mut Report) -> Outcome<()> {
    let span = Duration::from_secs(if setting.quick { 60 } else { 600 });
    let plan = Plan { groups: 6, users: 10, devices: 4, pace: Duration::from_millis(200) };
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let folder = setting.folder()?;
        let server = Server::pabal(&setting.pabal, folder.path(), &[])?;
        fill(&server)?;
        let people = People::gather(server.address(), plan).await?;
        let mut watch = Watch { server, start: Instant::now(), samples: Vec::new() };
        eprintln!("  {} devices; warming up", plan.devices());
        let crowd = people.come().await?;
        watch.disturb(&people, &crowd, WARM_UP).await?;
        crowd.leave().await?;
        let before = watch.quiet().await?;
        let from = watch.start.elapsed().as_secs_f64();
        let crowd = people.come().await?;
        watch.disturb(&people, &crowd, span).await?;
        let heard = crowd.leave().await?;
        let to = watch.start.elapsed().as_secs_f64();
        let after = watch.quiet().await?;
        let messages: u64 = heard.iter().map(|heard| heard.messages).sum();
        for (what, ours, theirs, unit, target) in [
            ("resident memory after, to before", after.mib, before.mib, "MiB", 1.05),
            ("open files after, to before", after.files, before.files, "", 1.0),
            ("tasks after, to before", after.tasks, before.tasks, "", 1.0),
        ] {
            let (cell, unit, target) = ("soak".into(), unit.into(), Target::AtMost(target));
            let what = format!("{what} {} minutes", span.as_secs() / 60);
            report.claim(Claim { cell, what, ours, theirs: Some(theirs), unit, target });
        }
        let busiest = watch.samples.iter().map(|sample| sample.mib).fold(0.0, f64::max);
        report.note(format!(
            "{} devices on all transports and {DEAF} that read nothing: {messages} deliveries, none \
             lost, repeated or out of order; at most {} MiB",
            plan.devices(),
            figure(busiest)
        ));
        let spans = [Span { name: "messages, lost connections, changed transports", from, to }];
        watch.draw(&setting.drawings, &spans)
    })
}

/// Fills history's buffers and has them written out.
fn fill(server: &Server) -> Outcome<()> {
    eprintln!("  filling the write buffers");
    let mut client = Client::connect(server.address())?;
    let author = client.sign_up("filler")?;
    let (channel_id, token) = (client.group(&author, &[])?, Some(author.token.as_str()));
    let content = "x".repeat(FILLER_BYTES);
    for first in (0..FILLED).step_by(A_SESSION) {
        let session = client.request("POST", "/v1/sessions", token, Some(&json!({})))?;
        let session = format!("/v1/sessions/{}", text(&session["session_id"])?);
        for first in (first..first + A_SESSION).step_by(AT_ONCE) {
            let sends: Vec<_> = (first..first + AT_ONCE)
                .map(|number| {
                    let (id, name) = (number.to_string(), format!("{number:032}"));
                    json!({"type": "send", "id": id, "channel_id": channel_id,
                        "client_message_id": name, "content": content})
                })
                .collect();
            let commands = json!({ "commands": sends });
            let path = format!("{session}/commands");
            let response = client.request("POST", &path, token, Some(&commands))?;
            let replies = response["replies"].as_array().ok_or("no replies")?;
            if let Some(refused) = replies.iter().find(|reply| reply["message_id"].is_null()) {
                return Err(format!("a send was not stored: {refused}").into());
            }
        }
        client.request("DELETE", &session, token, None)?;
    }
    Ok(())
}

/// A server that is sampled every second.
struct Watch {
    server: Server,
    start: Instant,
    samples: Vec<Sample>,
}

impl Watch {
    /// Disturbs the crowd for a while, and keeps the deaf connected.
    async fn disturb(&mut self, people: &People, crowd: &Crowd, span: Duration) -> Outcome<()> {
        let until = Instant::now() + span;
        let (mut random, mut deaf) = (StdRng::seed_from_u64(7), Vec::new());
        let (mut round, mut number) = (Instant::now(), 0);
        while Instant::now() < until {
            crowd.disturb(&mut random);
            sleep(DISTURBED).await;
            if round.elapsed() < Duration::from_secs(1) {
                continue;
            }
            round = Instant::now();
            self.sample()?;
            let left = until.saturating_duration_since(round).as_secs();
            eprint!("\r  {left} s left ");
            // The server closes sockets that do not read: replace all of them after a while.
            if number % 45 == 0 {
                deaf.clear();
                for user in 0..DEAF {
                    let token = people.token(user).to_owned();
                    let user = Account { user_id: String::new(), token };
                    deaf.push(Client::connect(self.server.address())?.websocket(Some(&user))?);
                }
            }
            number += 1;
        }
        eprint!("\r");
        Ok(())
    }

    /// Waits until all sessions have ended and memory has settled.
    async fn quiet(&mut self) -> Outcome<Sample> {
        eprintln!("  all devices disconnected; waiting for their sessions to end");
        let until = Instant::now() + SESSIONS_END_WITHIN;
        while self.sample()?.sessions > 0.0 {
            if Instant::now() > until {
                return Err("unread sessions do not end".into());
            }
            sleep(Duration::from_secs(1)).await;
        }
        let settled = Instant::now() + SETTLE;
        let mut quiet = Vec::new();
        while Instant::now() < settled {
            sleep(Duration::from_secs(1)).await;
            quiet.push(self.sample()?);
        }
        let quiet = &quiet[quiet.len() - 5..];
        let of = |take: fn(&Sample) -> f64| median(quiet.iter().map(take));
        let at = self.start.elapsed().as_secs_f64();
        Ok(Sample {
            at,
            mib: of(|sample| sample.mib),
            files: of(|sample| sample.files),
            tasks: of(|sample| sample.tasks),
            sessions: 0.0,
        })
    }

    fn sample(&mut self) -> Outcome<Sample> {
        let mut client = Client::connect(self.server.address())?;
        let page = client.exchange(b"GET /metrics HTTP/1.1\r\nhost: pabal\r\n\r\n")?;
        let page = String::from_utf8(page)?;
        let gauge = |name: &str| -> Outcome<f64> {
            let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            Ok(value.ok_or_else(|| format!("no {name} among the metrics"))?.parse()?)
        };
        let sample = Sample {
            at: self.start.elapsed().as_secs_f64(),
            mib: self.server.rss()? as f64 / f64::from(1 << 20),
            files: self.server.open_files()? as f64,
            tasks: gauge("pabal_tasks")?,
            sessions: gauge("pabal_sessions")?,
        };
        self.samples.push(sample);
        Ok(sample)
    }

    fn draw(&self, folder: &Path, spans: &[Span]) -> Outcome<()> {
        std::fs::create_dir_all(folder)?;
        let mut csv = "seconds,resident_mib,open_files,tasks,sessions\n".to_owned();
        for Sample { at, mib, files, tasks, sessions } in &self.samples {
            csv += &format!("{at:.1},{mib:.2},{files},{tasks},{sessions}\n");
        }
        std::fs::write(folder.join("soak.csv"), csv)?;
        let panel = |title, take: fn(&Sample) -> f64| Panel {
            title,
            points: self.samples.iter().map(|sample| (sample.at, take(sample))).collect(),
        };
        let panels = [
            panel("Resident memory, MiB", |sample| sample.mib),
            panel("Open files", |sample| sample.files),
            panel("Tasks", |sample| sample.tasks),
            panel("Sessions", |sample| sample.sessions),
        ];
        let title = "Does the server leak after all clients have disconnected?";
        std::fs::write(folder.join("soak.svg"), timeline(title, &panels, spans))?;
        Ok(())
    }
}
