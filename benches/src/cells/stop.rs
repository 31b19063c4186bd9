//! A node that is stopped with thousands of live sessions on all transports, and started again: the time to
//! exit, the time without a message, and that no device loses, repeats or reorders a message.

use std::time::{Duration, Instant};

use pabal_lab::process::Server;

use super::Setting;
use crate::Outcome;
use crate::crowd::{People, Plan};
use crate::report::{Claim, Report, Target, figure};

/// How long messages are sent before the node stops, and after it has started again.
const TALK: Duration = Duration::from_secs(10);
/// The node's own timeout of work in progress (`server.shutdown_grace_ms`).
const GRACE: f64 = 10.0;

/// The claims on stopping.
///
/// # Errors
/// If the server fails, or a device loses a message.
pub fn run(setting: &Setting, report: &mut Report) -> Outcome<()> {
    let groups = if setting.quick { 12 } else { 56 };
    let plan = Plan { groups, users: 6, devices: 15, pace: Duration::from_secs(1) };
    // A server ends with the thread that started it, which therefore lives as long as the runtime.
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().thread_keep_alive(Duration::MAX);
    runtime.build()?.block_on(async {
        let folder = setting.folder()?;
        let server = Server::pabal(&setting.pabal, folder.path(), &[])?;
        let address = server.address();
        let sessions = plan.devices() + plan.groups;
        eprintln!("  signing {} users up, {sessions} sessions", plan.groups * plan.users);
        let people = People::gather(address, plan).await?;
        let crowd = people.come().await?;
        tokio::time::sleep(TALK).await;
        let asked = Instant::now();
        let took = tokio::task::spawn_blocking(|| server.stop()).await??;
        let (pabal, data) = (setting.pabal.clone(), folder.path().to_owned());
        let start = move || Server::pabal_at(address, &pabal, &data, &[]);
        let server = tokio::task::spawn_blocking(start).await??;
        let unavailable = asked.elapsed();
        tokio::time::sleep(TALK).await;
        let heard = crowd.leave().await?;
        drop(server);
        report.claim(Claim {
            cell: "stop".into(),
            what: format!("SIGTERM to exit, {sessions} sessions on all transports"),
            ours: took.as_secs_f64(),
            theirs: None,
            unit: "s".into(),
            target: Target::AtMost(GRACE),
        });
        let mut silences: Vec<_> = heard.iter().map(|heard| heard.silence.as_secs_f64()).collect();
        silences.sort_by(f64::total_cmp);
        let quantile = |share: f64| figure(silences[((silences.len() - 1) as f64 * share) as usize]);
        let messages: u64 = heard.iter().map(|heard| heard.messages).sum();
        report.note(format!(
            "each of {} devices continued at its cursor: {messages} deliveries, none lost, repeated or \
             out of order; the node was unavailable for {} s",
            heard.len(),
            figure(unavailable.as_secs_f64()),
        ));
        report.note(format!(
            "the longest time without a message, of one a second: p50 {} p99 {} max {} s",
            quantile(0.5),
            quantile(0.99),
            quantile(1.0)
        ));
        Ok(())
    })
}
