//! `/v1/channels/{channel_id}/members`: the members of a channel and their roles.

use axum::Json as Reply;
use axum::extract::State;
use http::StatusCode;
use pabal_core::model::{ChannelId, ChannelKind, Member, Role, UserId};
use pabal_core::ports::{Audience, Delivery, PutMember, RemovedMember};
use pabal_core::protocol::event::{self, Action};
use pabal_core::protocol::{Problem, ProblemCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Caller;
use super::request::{Json, Parameters, PathId};
use super::views::{IdSchema, RoleSchema, page};
use super::{Api, Failure};

/// A member of a channel.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Member)]
pub(super) struct MemberView {
    #[schema(value_type = IdSchema)]
    user_id: UserId,
    #[schema(value_type = RoleSchema)]
    role: Role,
}

impl From<Member> for MemberView {
    fn from(member: Member) -> Self {
        let Member { user_id, role } = member;
        Self { user_id, role }
    }
}

/// `{"members": […]}`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MembersAnswer {
    /// Ordered by user id.
    members: Vec<MemberView>,
    has_more: bool,
}

/// `{"member": {…}}`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MemberAnswer {
    member: MemberView,
}

/// List the members of a channel
///
/// Allowed for its members. Ordered by user id. For the next page, set `after` to the last user id
/// of this one.
#[utoipa::path(get, path = "/v1/channels/{channel_id}/members", tag = "channels",
    params(
        ("channel_id" = String, Path, description = "The channel"),
        ("after" = Option<String>, Query, description = "Return users with larger ids"),
        ("limit" = Option<usize>, Query, description = "Page size, 1 to 200; 50 by default"),
    ),
    responses(
        (status = 200, description = "A page of members", body = MembersAnswer),
        (status = 403, description = "`not_a_member`"),
    ))]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    PathId(channel_id): PathId<ChannelId>,
    parameters: Parameters,
) -> Result<Reply<MembersAnswer>, Failure> {
    let (limit, after) = (parameters.limit()?, parameters.id("after")?);
    api.membership(caller.user_id(), channel_id).await?;
    let read = api.directory().members_after(channel_id, after, limit + 1).await?;
    let (members, has_more) = page(read, limit);
    let members = members.into_iter().map(MemberView::from).collect();
    Ok(Reply(MembersAnswer { members, has_more }))
}

/// The wanted role of a member.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct MemberPut {
    /// By default a new member becomes `member`, and an existing member keeps the role.
    #[schema(value_type = Option<RoleSchema>)]
    role: Option<Role>,
}

/// Add a member to a group, or change a member's role
///
/// Owners and admins add members; only owners give other roles and change them. The last owner of a
/// group stays its owner: the response has the role that is in effect. Idempotent.
#[utoipa::path(put, path = "/v1/channels/{channel_id}/members/{user_id}", tag = "channels",
    params(
        ("channel_id" = String, Path, description = "The group"),
        ("user_id" = String, Path, description = "The user"),
    ),
    request_body = MemberPut,
    responses(
        (status = 200, description = "The existing member", body = MemberAnswer),
        (status = 201, description = "The new member", body = MemberAnswer),
        (status = 403, description = "`not_a_member`, `forbidden`; also if the user holds as many \
            such groups as allowed"),
        (status = 404, description = "`not_found`: no such user"),
        (status = 422, description = "`invalid`: the group is full"),
        (status = 429, description = "`rate_limited`: too many members added"),
    ))]
pub(super) async fn put(
    State(api): State<Api>,
    caller: Caller,
    PathId((channel_id, user_id)): PathId<(ChannelId, UserId)>,
    Json(body): Json<MemberPut>,
) -> Result<(StatusCode, Reply<MemberAnswer>), Failure> {
    let by = caller.user_id();
    api.effects.added(by, 1)?;
    let work = api.clone();
    api.finish(async move {
        let put = work.directory().put_member(by, channel_id, user_id, body.role, work.relations);
        let PutMember { channel, before, role } = put.await?;
        let new = before.is_none();
        if new {
            work.publish_membership(channel_id, &[user_id], true).await;
            let (kind, name) = (ChannelKind::Group, channel.name.as_deref());
            let event = event::channel(Action::Added, channel_id, kind, name);
            let audience = Audience::Users(vec![user_id]);
            work.publish_event(audience, event).await;
        }
        if before != Some(role) {
            let event = event::member(channel_id, user_id, true, Some(role));
            work.publish_to_channel(channel_id, event).await;
        }
        let status = if new { StatusCode::CREATED } else { StatusCode::OK };
        let member = MemberView { user_id, role };
        Ok((status, Reply(MemberAnswer { member })))
    })
    .await
}

/// Remove a member from a group, or leave it
///
/// Every member may leave. Owners and admins remove members whose role is below their own. If the
/// last owner leaves, the longest-standing admin becomes owner, or without one the longest-standing
/// member. If the last member leaves, the group is deleted.
#[utoipa::path(delete, path = "/v1/channels/{channel_id}/members/{user_id}", tag = "channels",
    params(
        ("channel_id" = String, Path, description = "The group"),
        ("user_id" = String, Path, description = "The user; the caller to leave"),
    ),
    responses(
        (status = 204, description = "The user is no longer a member"),
        (status = 403, description = "`not_a_member`, `forbidden`"),
        (status = 404, description = "`not_found`: the user was not a member"),
    ))]
pub(super) async fn delete(
    State(api): State<Api>,
    caller: Caller,
    PathId((channel_id, user_id)): PathId<(ChannelId, UserId)>,
) -> Result<StatusCode, Failure> {
    let by = caller.user_id();
    let work = api.clone();
    api.finish(async move {
        let removed = work.directory().remove_member(by, channel_id, user_id).await?;
        let removed = removed.ok_or_else(no_member)?;
        work.revocations.tell().await;
        work.publish_leave(user_id, removed).await;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

fn no_member() -> Problem {
    Problem::new(ProblemCode::NotFound, "this user is not a member of the group")
}

impl Api {
    /// Publishes that a user has left a group, whose sessions were told, and the changes that followed
    /// from it.
    async fn publish_leave(&self, user_id: UserId, removed: RemovedMember) {
        let RemovedMember { channel, successor, ended } = removed;
        let channel_id = channel.channel_id;
        let left = event::member(channel_id, user_id, false, None);
        // The user who left is no longer in the audience of the channel.
        self.publish_event(Audience::Users(vec![user_id]), left.clone()).await;
        if ended {
            // The last session that was subscribed to it is not any more.
            self.engine.publish(Delivery::ChannelEnded { channel_id }).await;
            return;
        }
        self.publish_to_channel(channel_id, left).await;
        if let Some(successor) = successor {
            let event = event::member(channel_id, successor, true, Some(Role::Owner));
            self.publish_to_channel(channel_id, event).await;
        }
    }
}
