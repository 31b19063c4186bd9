//! The rules for values beyond their types: ranges, and values that depend on each other.

use pabal_core::model::MAX_PARTITIONS;
#[cfg(feature = "cluster")]
use pabal_storage::redis::RedisUrl;

use super::ConfigError;
use super::keys::Config;
use super::values::is_http;
use crate::telemetry::parse_filter;

/// The largest count. It serves as "no limit", and a sum of a few such counts does not overflow.
const MOST: usize = 1_000_000_000;

impl Config {
    /// Checks every value that can have the right type and still be invalid.
    ///
    /// # Errors
    /// [`ConfigError::Value`] for the first invalid value.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let wrong = |key: &str, reason: &str| {
            let (key, reason) = (key.to_owned(), reason.to_owned());
            Err(ConfigError::Value { key, reason })
        };
        let Self { server, node, auth, limits, push, storage, log, telemetry } = self;
        if let Some(url) = &telemetry.otlp_endpoint
            && !is_http(url)
        {
            return wrong("telemetry.otlp_endpoint", "must be an http:// or https:// URL");
        }
        if !(0.0..=1.0).contains(&telemetry.sample_ratio) {
            return wrong("telemetry.sample_ratio", "must be 0 to 1");
        }
        parse_filter(&log.filter)?;
        match (node.latitude, node.longitude) {
            (None, None) => {}
            (Some(latitude), Some(longitude)) => {
                if !(-90.0..=90.0).contains(&latitude) {
                    return wrong("node.latitude", "must be -90 to 90 degrees");
                }
                if !(-180.0..=180.0).contains(&longitude) {
                    return wrong("node.longitude", "must be -180 to 180 degrees");
                }
            }
            (Some(_), None) => return wrong("node.longitude", "is needed with node.latitude"),
            (None, Some(_)) => return wrong("node.latitude", "is needed with node.longitude"),
        }
        if !(1_000..=60_000).contains(&node.lease_ms) {
            return wrong("node.lease_ms", "must be 1,000 to 60,000 ms");
        }
        match (&server.tls_cert, &server.tls_key) {
            (None, None) | (Some(_), Some(_)) => {}
            (Some(_), None) => return wrong("server.tls_key", "is needed with server.tls_cert"),
            (None, Some(_)) => return wrong("server.tls_cert", "is needed with server.tls_key"),
        }
        if let Some(url) = &push.webhook_url
            && !is_http(url)
        {
            return wrong("push.webhook_url", "must be an http:// or https:// URL");
        }
        // Without the driver the node refuses the setting when it opens its stores.
        #[cfg(feature = "cluster")]
        if let Some(url) = &storage.queue
            && let Err(error) = url.parse::<RedisUrl>()
        {
            return wrong("storage.queue", &error.to_string());
        }
        let schemes: [(_, _, &[&str]); 2] = [
            ("storage.history", &storage.history, &["cassandra://"]),
            ("storage.directory", &storage.directory, &["postgres://", "postgresql://"]),
        ];
        for (key, url, schemes) in schemes {
            if let Some(url) = url
                && !schemes.iter().any(|scheme| url.starts_with(scheme))
            {
                return wrong(key, &format!("must begin with {}", schemes[0]));
            }
        }
        let counts = [
            ("storage.directory_connections", storage.directory_connections as usize),
            ("server.max_connections", server.max_connections),
            ("server.max_connections_per_address", server.max_connections_per_address),
            ("storage.log_messages_per_partition", storage.log_messages_per_partition),
            ("storage.inbox_deliveries", storage.inbox_deliveries),
            ("storage.push_queue_notifications", storage.push_queue_notifications),
            ("node.capacity", node.capacity as usize),
            ("auth.token_lifetime_days", auth.token_lifetime_days as usize),
            ("auth.waiting_hashes", auth.waiting_hashes),
            ("auth.attempts_per_address_per_second", auth.attempts_per_address_per_second as usize),
            (
                "auth.attempts_per_username_per_minute",
                auth.attempts_per_username_per_minute as usize,
            ),
            ("limits.content_bytes", limits.content_bytes),
            ("limits.mailbox_events", limits.mailbox_events),
            ("limits.sessions_per_user", limits.sessions_per_user),
            ("limits.channels_per_request", limits.channels_per_request),
            (
                "limits.requests_per_address_per_second",
                limits.requests_per_address_per_second as usize,
            ),
            ("limits.requests_per_user_per_second", limits.requests_per_user_per_second as usize),
            ("limits.sends_per_second", limits.sends_per_second as usize),
            ("limits.moments_per_second", limits.moments_per_second as usize),
            ("push.concurrent_posts", push.concurrent_posts),
            ("push.waiting_retries", push.waiting_retries),
            ("push.give_up_after_hours", push.give_up_after_hours as usize),
        ];
        for (key, count) in counts {
            if !(1..=MOST).contains(&count) {
                return wrong(key, &format!("must be 1 to {MOST}"));
            }
        }
        if !(1..=MAX_PARTITIONS).contains(&storage.partitions) {
            let reason = format!("must be 1 to {MAX_PARTITIONS}");
            return wrong("storage.partitions", &reason);
        }
        if limits.group_members < 2 {
            return wrong("limits.group_members", "must be at least 2");
        }
        if limits.body_bytes < 1024 {
            return wrong("limits.body_bytes", "must be at least 1024");
        }
        if limits.mailbox_bytes < 2 * limits.content_bytes + 1024 {
            let reason = "must hold a message: at least twice limits.content_bytes and 1024 more";
            return wrong("limits.mailbox_bytes", reason);
        }
        // The largest answer is one of a synchronisation; without room for it clients could not return.
        let answer = self.engine_limits().sync_answer_bytes();
        let budgets = [
            ("limits.in_flight_user_bytes", limits.in_flight_user_bytes, answer),
            ("limits.in_flight_connection_bytes", limits.in_flight_connection_bytes, answer),
            ("limits.in_flight_bytes", limits.in_flight_bytes / 2, answer),
        ];
        for (key, bytes, least) in budgets {
            if bytes < least {
                let reason = "must hold the largest answer, half of it if it is of the node";
                return wrong(key, &format!("{reason}: {least} bytes"));
            }
        }
        let waits = [
            ("server.first_request_timeout_ms", server.first_request_timeout_ms),
            ("server.idle_connection_timeout_ms", server.idle_connection_timeout_ms),
            ("server.body_timeout_ms", server.body_timeout_ms),
            ("server.write_timeout_ms", server.write_timeout_ms),
            ("limits.long_poll_max_wait_ms", limits.long_poll_max_wait_ms),
            ("limits.ping_interval_ms", limits.ping_interval_ms),
            ("limits.resume_window_ms", limits.resume_window_ms),
            ("limits.confirm_within_ms", limits.confirm_within_ms),
            ("push.post_timeout_ms", push.post_timeout_ms),
            ("push.first_retry_ms", push.first_retry_ms),
            ("push.longest_retry_ms", push.longest_retry_ms),
        ];
        for (key, wait) in waits {
            if !(1..=86_400_000).contains(&wait) {
                return wrong(key, "must be 1 ms to a day");
            }
        }
        Ok(())
    }
}
