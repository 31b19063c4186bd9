//! `/v1/channels/{channel_id}/members`: who is in a group, and what they may do there.

use axum::Json as Answer;
use axum::extract::State;
use http::StatusCode;
use pabal_core::model::{Channel, ChannelId, ChannelKind, Member, Role, UserId};
use pabal_core::ports::Audience;
use pabal_core::protocol::event::{self, Action};
use pabal_core::protocol::{Problem, ProblemCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::channels::require_role;
use super::request::{Json, Parameters, PathId};
use super::views::{IdSchema, RoleSchema, page};
use super::{Api, Failure};
use crate::auth::Caller;

/// Somebody in a channel.
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
    /// By user id.
    members: Vec<MemberView>,
    has_more: bool,
}

/// `{"member": {…}}`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MemberAnswer {
    member: MemberView,
}

/// The members of a channel.
///
/// For its members. By user id; the next page is `?after=` the last one.
#[utoipa::path(get, path = "/v1/channels/{channel_id}/members", tag = "channels",
    params(
        ("channel_id" = String, Path, description = "The channel"),
        ("after" = Option<String>, Query, description = "Those with larger user ids"),
        ("limit" = Option<usize>, Query, description = "1 to 200; 50 if absent"),
    ),
    responses(
        (status = 200, description = "The members", body = MembersAnswer),
        (status = 403, description = "`not_a_member`"),
    ))]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    PathId(channel_id): PathId<ChannelId>,
    parameters: Parameters,
) -> Result<Answer<MembersAnswer>, Failure> {
    let (limit, after) = (parameters.limit()?, parameters.id("after")?);
    api.membership(caller.user_id(), channel_id).await?;
    let all = api.directory().members(channel_id).await?;
    let (some, has_more) = page(all, |member| member.user_id, after, limit);
    let members = some.into_iter().map(MemberView::from).collect();
    Ok(Answer(MembersAnswer { members, has_more }))
}

/// What a member is to be.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct MemberPut {
    /// Absent: a new member becomes `member`, an old one stays as they are.
    #[schema(value_type = Option<RoleSchema>)]
    role: Option<Role>,
}

/// Add a member to a group, or give a member a role.
///
/// Owners and admins add members; only owners give other roles and change them. A group's last owner
/// stays its owner: the answer says which role it is now. Idempotent.
#[utoipa::path(put, path = "/v1/channels/{channel_id}/members/{user_id}", tag = "channels",
    params(
        ("channel_id" = String, Path, description = "The group"),
        ("user_id" = String, Path, description = "The user"),
    ),
    request_body = MemberPut,
    responses(
        (status = 200, description = "They were a member", body = MemberAnswer),
        (status = 201, description = "They are new", body = MemberAnswer),
        (status = 403, description = "`not_a_member`, `forbidden`"),
        (status = 404, description = "`not_found`: no such user"),
        (status = 422, description = "`invalid`: the group is full"),
    ))]
pub(super) async fn put(
    State(api): State<Api>,
    caller: Caller,
    PathId((channel_id, user_id)): PathId<(ChannelId, UserId)>,
    Json(body): Json<MemberPut>,
) -> Result<(StatusCode, Answer<MemberAnswer>), Failure> {
    let mine = api.membership(caller.user_id(), channel_id).await?;
    require_role(&mine, Role::Admin)?;
    let before = api.directory().membership(user_id, channel_id).await?;
    let before = before.map(|membership| membership.role);
    if body.role.is_some_and(|role| role != before.unwrap_or(Role::Member)) {
        require_role(&mine, Role::Owner)?;
    }
    let work = api.clone();
    api.finish(async move {
        let directory = work.directory();
        let (new, role) =
            directory.put_member(channel_id, user_id, body.role, work.group_members).await?;
        if new {
            work.publish_membership(channel_id, &[user_id], true).await;
            let (kind, name) = (ChannelKind::Group, mine.channel.name.as_deref());
            let event = event::channel(Action::Added, channel_id, kind, name);
            let audience = Audience::Users(vec![user_id]);
            work.publish_event(audience, event).await;
        }
        if new || before != Some(role) {
            let event = event::member(channel_id, user_id, true, Some(role));
            work.publish_to_channel(channel_id, event).await;
        }
        let status = if new { StatusCode::CREATED } else { StatusCode::OK };
        let member = MemberView { user_id, role };
        Ok((status, Answer(MemberAnswer { member })))
    })
    .await
}

/// Remove a member from a group, or leave it.
///
/// Everybody may leave. Owners and admins remove those whose role is below theirs. If the last owner
/// leaves, the admin who is there longest becomes owner, or else the member; if the last member
/// leaves, the group is deleted.
#[utoipa::path(delete, path = "/v1/channels/{channel_id}/members/{user_id}", tag = "channels",
    params(
        ("channel_id" = String, Path, description = "The group"),
        ("user_id" = String, Path, description = "The user; oneself to leave"),
    ),
    responses(
        (status = 204, description = "They are no member any more"),
        (status = 403, description = "`not_a_member`, `forbidden`"),
        (status = 404, description = "`not_found`: they were no member"),
    ))]
pub(super) async fn delete(
    State(api): State<Api>,
    caller: Caller,
    PathId((channel_id, user_id)): PathId<(ChannelId, UserId)>,
) -> Result<StatusCode, Failure> {
    let mine = api.membership(caller.user_id(), channel_id).await?;
    let leaving = user_id == caller.user_id();
    require_role(&mine, if leaving { Role::Member } else { Role::Admin })?;
    if !leaving {
        let theirs = api.directory().membership(user_id, channel_id).await?;
        let theirs = theirs.ok_or_else(no_member)?;
        if theirs.role >= mine.role {
            let detail = "only members with a role below one's own can be removed";
            return Err(Problem::new(ProblemCode::Forbidden, detail).into());
        }
    }
    let work = api.clone();
    api.finish(async move {
        let before = work.directory().members(channel_id).await?;
        if !work.directory().remove_member(channel_id, user_id).await? {
            return Err(no_member());
        }
        work.publish_leave(mine.channel, user_id, &before).await?;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

fn no_member() -> Problem {
    Problem::new(ProblemCode::NotFound, "this user is no member of the group")
}

impl Api {
    /// Tells everybody concerned that a user has left a group, and what followed from it.
    async fn publish_leave(
        &self,
        channel: Channel,
        user_id: UserId,
        before: &[Member],
    ) -> Result<(), Problem> {
        let channel_id = channel.channel_id;
        self.publish_membership(channel_id, &[user_id], false).await;
        let left = event::member(channel_id, user_id, false, None);
        // Those who left are not in the channel's audience any more.
        self.publish_event(Audience::Users(vec![user_id]), left.clone()).await;
        let after = self.directory().members(channel_id).await?;
        if after.is_empty() {
            self.publish_end(channel, &[]).await;
            return Ok(());
        }
        self.publish_to_channel(channel_id, left).await;
        for member in after.iter().filter(|member| !before.contains(member)) {
            // The successor of the last owner, or somebody who came meanwhile: then it is a repeat.
            let event = event::member(channel_id, member.user_id, true, Some(member.role));
            self.publish_to_channel(channel_id, event).await;
        }
        Ok(())
    }
}
