//! `/v1/me/devices`: where the caller is logged in, and how to end that.

use std::sync::Arc;

use axum::Json as Reply;
use axum::extract::State;
use http::StatusCode;
use pabal_core::model::{DeviceId, Timestamp};
use pabal_core::ports::DeviceAccess;
use pabal_core::protocol::{Problem, ProblemCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::Caller;
use super::request::{Parameters, PathId};
use super::views::{IdSchema, TimeSchema, page};
use super::{Api, Failure};

/// A device of the caller.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Device)]
pub(super) struct DeviceView {
    #[schema(value_type = IdSchema)]
    device_id: DeviceId,
    /// The name that the log-in gave; empty if none.
    name: String,
    /// When the last token of the device expires.
    #[schema(value_type = TimeSchema)]
    expires_at: Timestamp,
    /// Whether the request came from this device.
    current: bool,
}

/// `{"devices": […]}`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DevicesAnswer {
    /// Ordered by device id, which is the order in which they logged in.
    devices: Vec<DeviceView>,
    has_more: bool,
}

/// List the caller's devices
///
/// A device is a place where the caller is logged in. For the next page, set `after` to the last device
/// id of this one.
#[utoipa::path(get, path = "/v1/me/devices", tag = "accounts",
    params(
        ("after" = Option<String>, Query, description = "Return devices with larger ids"),
        ("limit" = Option<usize>, Query, description = "Page size, 1 to 200; 50 by default"),
    ),
    responses((status = 200, description = "A page of devices", body = DevicesAnswer)))]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    parameters: Parameters,
) -> Result<Reply<DevicesAnswer>, Failure> {
    let (limit, after) = (parameters.limit()?, parameters.id("after")?);
    let read = api.accounts.devices_after(caller.user_id(), after, limit + 1).await?;
    let (read, has_more) = page(read, limit);
    let now = api.engine.ports().clock.now();
    // Expired tokens are removed hourly.
    let read = read.into_iter().filter(|it| now < it.expires_at);
    let devices = read.map(|DeviceAccess { device, expires_at }| DeviceView {
        current: device.device_id == caller.access.device.device_id,
        device_id: device.device_id,
        name: device.name,
        expires_at,
    });
    Ok(Reply(DevicesAnswer { devices: devices.collect(), has_more }))
}

/// Log a device out
///
/// On return its tokens are invalid on every node. Its sessions and connections are closed. The device
/// may be the one that the request comes from.
#[utoipa::path(delete, path = "/v1/me/devices/{device_id}", tag = "accounts",
    params(("device_id" = String, Path, description = "The device")),
    responses(
        (status = 204, description = "Logged out"),
        (status = 404, description = "`not_found`: the caller has no such device"),
    ))]
pub(super) async fn delete(
    State(api): State<Api>,
    caller: Caller,
    PathId(device_id): PathId<DeviceId>,
) -> Result<StatusCode, Failure> {
    let (user_id, accounts) = (caller.user_id(), Arc::clone(&api.accounts));
    let removed =
        api.take_back(async move { Ok(accounts.remove_device(user_id, device_id).await?) }).await?;
    if removed {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(Problem::new(ProblemCode::NotFound, "you have no such device").into())
}
