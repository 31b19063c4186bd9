//! Checks every row of a push queue.

use fjall::Readable;

use super::chain;
use super::database::Database;
use super::findings::StoreReport;
use crate::codec::notification as codec;

/// Checks notifications and their positions.
pub(super) fn verify(database: &Database, report: &mut StoreReport) {
    let (mut last_given, mut highest) = (None, 0);
    for row in database.durable().iter(&database.push) {
        let (key, value) = match row.into_inner() {
            Ok(row) => row,
            Err(error) => {
                return report.findings.wrong(format!("the push queue cannot be read: {error}"));
            }
        };
        if *key == chain::KEY {
            continue;
        }
        if *key == codec::LAST_GIVEN {
            match codec::decode_position(&value) {
                Ok(position) => last_given = Some(position),
                Err(error) => report.findings.wrong(format!("last position of the queue: {error}")),
            }
            continue;
        }
        let read = codec::decode_position(&key)
            .and_then(|position| codec::decode(&value).map(|_| position));
        match read {
            Ok(position) => {
                report.notifications += 1;
                highest = highest.max(position);
            }
            Err(error) => report.findings.wrong(format!("notification {key:02x?}: {error}")),
        }
    }
    if last_given.unwrap_or_default() < highest {
        let last_given = last_given.unwrap_or_default();
        report.findings.wrong(format!(
            "notification {highest} is above {last_given}, the last position given"
        ));
    }
}
