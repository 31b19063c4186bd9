//! The flags of `pabal load`, and the plans they make.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::error::LoadError;
use crate::schedule::{Schedule, Spike};
use crate::target::Target;
use pabal_cost::{Headers, Http, Plan, Transport};

/// The flags of `pabal load`. Ctrl-C ends the run early, with the report. Start the server without rate
/// limits: `pabal serve --no-rate-limits`.
#[derive(Args, Clone, Debug)]
pub struct Flags {
    /// URL of the server, or of any node of a cluster.
    #[arg(long, value_name = "URL", env = "PABAL_URL", default_value = "http://127.0.0.1:8080")]
    pub(crate) url: String,
    /// URL to send messages to, if it differs: another node, so that messages are forwarded in the cluster.
    #[arg(long, value_name = "URL")]
    pub(crate) speak_url: Option<String>,
    /// Transports of the clients: websocket, sse, long-polling, polling. Several, separated by commas, share
    /// the clients evenly, or by weights: `websocket=8,polling=2`.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "websocket")]
    pub(crate) transport: Vec<Share>,
    /// Interval of short polls.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = time)]
    pub(crate) interval: Duration,
    /// Number of clients: sessions, each on its own connection.
    #[arg(long, value_name = "COUNT", default_value_t = 1_000)]
    pub(crate) clients: usize,
    /// Number of clients that receive the same channel.
    #[arg(long, value_name = "COUNT", default_value_t = 16)]
    pub(crate) group: usize,
    /// Messages that each client is to receive in a minute.
    #[arg(long, value_name = "COUNT", default_value_t = 6.0)]
    pub(crate) rate: f64,
    /// Bytes of content of a message, 32 to 16384.
    #[arg(long, value_name = "COUNT", default_value_t = 128)]
    pub(crate) bytes: usize,
    /// Time during which messages are sent.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    pub(crate) duration: Duration,
    /// Time over which the clients connect; by default as fast as the server accepts them.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = time)]
    pub(crate) ramp: Duration,
    /// Multiply the rate for a while in the middle of the run: `10:5s`.
    #[arg(long, value_name = "FACTOR:TIME")]
    pub(crate) spike: Option<Paired<Factor>>,
    /// Disconnect this share of the clients at once, at this interval; they reconnect: `50%:10s`.
    #[arg(long, value_name = "SHARE:TIME")]
    pub(crate) storm: Option<Paired<Percent>>,
    /// Stop this share of the clients from reading for a while, after a third of the duration: `10%:5s`.
    #[arg(long, value_name = "SHARE:TIME")]
    pub(crate) slow: Option<Paired<Percent>>,
    /// Seed of the schedule; the same seed makes the same schedule.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub(crate) seed: u64,
    /// The version of HTTP.
    #[arg(long, value_name = "VERSION", value_enum, default_value = "1")]
    pub(crate) http: Version,
    /// Request headers of the clients.
    #[arg(long, value_name = "KIND", value_enum, default_value = "minimal")]
    pub(crate) headers: Kind,
    /// Certificates to trust instead of the system's, in PEM.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Accept any certificate of the server.
    #[arg(long, conflicts_with = "ca")]
    pub(crate) insecure: bool,
    /// Write the report as JSON to this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Version {
    /// HTTP/1.1.
    #[value(name = "1")]
    One,
    /// HTTP/2; a WebSocket is a stream of it (RFC 8441).
    #[value(name = "2")]
    Two,
}

/// The headers that requests carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Only the headers that the protocol requires.
    Minimal,
    /// The headers that a browser sends.
    Browser,
}

/// A transport and its weight.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Share {
    name: Name,
    weight: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Name {
    Websocket,
    Sse,
    LongPolling,
    Polling,
}

/// A value with a length or an interval of time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Paired<T> {
    pub(crate) what: T,
    pub(crate) time: Duration,
}

/// A factor above 0.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Factor(pub(crate) f64);

/// A share of all clients, from 0 to 1; written in percent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Percent(pub(crate) f64);

impl Flags {
    pub(crate) fn target(&self) -> Target {
        Target { url: self.url.clone(), roots: self.ca.clone(), insecure: self.insecure }
    }

    /// Checks that the flags describe a possible run.
    ///
    /// # Errors
    /// [`LoadError::Plan`], with what to change.
    pub(crate) fn check(&self) -> Result<(), LoadError> {
        if self.storm.is_some_and(|storm| storm.time >= self.duration) {
            let why =
                "the first storm would be after the end: raise --duration, or shorten --storm";
            return Err(LoadError::Plan(why.into()));
        }
        self.plans().iter().try_for_each(crate::plan::check)
    }

    /// One plan per transport; the plans share all clients.
    pub(crate) fn plans(&self) -> Vec<Plan> {
        let all: f64 = self.transport.iter().map(|share| share.weight).sum();
        let (mut weight, mut placed) = (0.0, 0);
        let plans = self.transport.iter().map(|share| {
            weight += share.weight;
            let until = (self.clients as f64 * weight / all).round() as usize;
            let clients = until - placed;
            placed = until;
            Plan {
                transport: match share.name {
                    Name::Websocket => Transport::WebSocket,
                    Name::Sse => Transport::Sse,
                    Name::LongPolling => Transport::LongPolling,
                    Name::Polling => {
                        Transport::ShortPolling { every_ms: self.interval.as_millis() as u64 }
                    }
                },
                clients,
                group: self.group,
                per_minute: self.rate,
                content_bytes: self.bytes,
                http: if self.http == Version::Two { Http::Two } else { Http::One },
                headers: if self.headers == Kind::Browser {
                    Headers::Browser
                } else {
                    Headers::Minimal
                },
            }
        });
        plans.collect()
    }

    pub(crate) fn schedule(&self, number: usize) -> Schedule {
        let spike = self.spike.map(|Paired { what, time: lasts }| {
            let begins = self.duration.saturating_sub(lasts) / 2;
            Spike { factor: what.0, begins, lasts }
        });
        let seed = self.seed.wrapping_add(number as u64);
        Schedule { per_minute: self.rate, spike, seed }
    }
}

/// Reads `250ms`, `1.5s`, `2m` or `1h`.
fn time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time like 250ms, 10s, 2m or 1h");
    let digits = text.find(|it: char| it.is_ascii_alphabetic()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        _ => return Err(wrong()),
    };
    let number: f64 = number.parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| wrong())
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, weight) = text.split_once('=').unwrap_or((text, "1"));
        let name = Name::from_str(name.trim(), false)
            .map_err(|_| format!("{name:?} is none of websocket, sse, long-polling, polling"))?;
        let weight: f64 = weight.trim().parse().map_err(|_| format!("{weight:?} is no weight"))?;
        if weight > 0.0 && weight.is_finite() {
            return Ok(Self { name, weight });
        }
        Err("a weight is more than 0".into())
    }
}

impl<T: FromStr<Err = String>> FromStr for Paired<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (what, time) =
            text.split_once(':').ok_or("it has two parts, with a colon between them")?;
        let time = self::time(time)?;
        if time.is_zero() {
            return Err("the time must be more than 0".into());
        }
        Ok(Self { what: what.parse()?, time })
    }
}

impl FromStr for Factor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim_end_matches('x').parse::<f64>() {
            Ok(factor) if factor > 0.0 && factor.is_finite() => Ok(Self(factor)),
            _ => Err(format!("{text:?} is no factor above 0")),
        }
    }
}

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let percent = text.strip_suffix('%').and_then(|text| text.parse::<f64>().ok());
        match percent {
            Some(percent) if percent > 0.0 && percent <= 100.0 => Ok(Self(percent / 100.0)),
            _ => Err(format!("{text:?} is no share like 50%")),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        flags: Flags,
    }

    fn parse(line: &str) -> Result<Flags, String> {
        let words = std::iter::once("load").chain(line.split_whitespace());
        Program::try_parse_from(words).map(|it| it.flags).map_err(|error| error.to_string())
    }

    #[test]
    fn clients_are_shared_without_one_left_over() {
        let of = |line: &str| {
            let plans = parse(line).unwrap().plans();
            plans.iter().map(|plan| plan.clients).collect::<Vec<_>>()
        };
        assert_eq!(of("--clients 100"), [100]);
        assert_eq!(of("--clients 100 --transport websocket,sse,polling"), [33, 34, 33]);
        assert_eq!(of("--clients 10 --transport websocket=8,long-polling=2"), [8, 2]);
        let flags = parse("--transport polling --interval 250ms").unwrap();
        assert_eq!(flags.plans()[0].transport, Transport::ShortPolling { every_ms: 250 });
    }

    #[test]
    fn a_spike_is_in_the_middle() {
        let flags = parse("--duration 1m --spike 10x:20s --rate 3").unwrap();
        let spike = flags.schedule(0).spike.unwrap();
        assert_eq!((spike.factor, spike.begins), (10.0, Duration::from_secs(20)));
    }

    #[test]
    fn invalid_flags_are_refused_with_an_example_of_valid_ones() {
        for (line, expected) in [
            ("--transport pigeon", "none of websocket"),
            ("--transport websocket=0", "more than 0"),
            ("--duration 10", "like 250ms"),
            ("--storm 50:10s", "like 50%"),
            ("--storm 101%:10s", "like 50%"),
            ("--slow 10%", "two parts"),
            ("--spike 0:1s", "above 0"),
            ("--spike 5:0s", "more than 0"),
            ("--http 3", "possible values: 1, 2"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }
}
