//! `/v1/channels` and `/v1/direct`: creating, renaming and deleting channels. Membership is in
//! `members`.

use std::collections::BTreeSet;

use axum::Json as Reply;
use axum::extract::State;
use futures::{StreamExt, TryStreamExt, stream};
use http::StatusCode;
use pabal_core::model::{Channel, ChannelId, ChannelKind, Membership, UserId};
use pabal_core::ports::{Audience, Delivery, DirectoryError, Unread};
use pabal_core::protocol::event::{self, Action};
use pabal_core::protocol::{Problem, ProblemCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Caller;
use super::request::{Json, Parameters, PathId};
use super::views::{ChannelAnswer, ChannelView, IdSchema, another, page};
use super::{Api, Failure, rules};

/// How many messages a count of unread ones looks at. A larger number makes no difference to a reader,
/// and the cost of a count must not grow with the length of the channel.
const UNREAD_ROWS: usize = 2_000;
/// How many counts of unread messages one request runs at a time.
const CONCURRENT_COUNTS: usize = 8;

/// A group to create.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct NewGroup {
    /// 1 to 100 characters.
    #[schema(example = "Lunch")]
    name: String,
    /// The members besides the caller, who becomes the owner. Repeated ids count once.
    #[serde(default)]
    #[schema(value_type = Vec<IdSchema>)]
    members: Vec<UserId>,
}

/// Create a group
///
/// The caller becomes its owner. The sessions of all members receive a `channel` event and, from
/// then on, the group's messages.
#[utoipa::path(post, path = "/v1/channels", tag = "channels", request_body = NewGroup,
    responses(
        (status = 201, description = "The group", body = ChannelAnswer),
        (status = 403, description = "`forbidden`: a member holds as many such channels as allowed"),
        (status = 404, description = "`not_found`: a member does not exist"),
        (status = 422, description = "`invalid`: the name, or too many members"),
        (status = 429, description = "`rate_limited`: too many groups, or members added"),
    ))]
pub(super) async fn create(
    State(api): State<Api>,
    caller: Caller,
    Json(body): Json<NewGroup>,
) -> Result<(StatusCode, Reply<ChannelAnswer>), Failure> {
    let owner = caller.user_id();
    let name = rules::group_name(&body.name)?;
    let mut members: BTreeSet<UserId> = body.members.into_iter().collect();
    members.insert(owner);
    let (limits, at_most) = (api.relations, api.relations.group_members);
    if members.len() > at_most {
        let detail = format!("a group has at most {at_most} members, the owner included");
        return Err(Problem::invalid("members", detail).into());
    }
    api.effects.group(owner, members.len() - 1)?;
    let work = api.clone();
    api.finish(async move {
        let members: Vec<UserId> = members.into_iter().collect();
        for _ in 0..3 {
            let channel = work.new_channel(ChannelKind::Group, Some(name.clone()));
            let (channel_id, directory) = (channel.channel_id, work.directory());
            match directory.create_group(channel, owner, members.clone(), limits).await {
                Err(DirectoryError::IdTaken) => continue,
                outcome => outcome?,
            }
            work.publish_membership(channel_id, &members, true).await;
            let (kind, name) = (ChannelKind::Group, Some(name.as_str()));
            let event = event::channel(Action::Added, channel_id, kind, name);
            work.publish_event(Audience::Users(members), event).await;
            let channel = work.channel_view(owner, channel_id).await?;
            return Ok((StatusCode::CREATED, Reply(ChannelAnswer { channel })));
        }
        Err(DirectoryError::IdTaken.into())
    })
    .await
}

/// Get or create the direct channel with a user
///
/// The first call by either user creates the channel, and the sessions of both receive a `channel`
/// event.
#[utoipa::path(put, path = "/v1/direct/{user_id}", tag = "channels",
    params(("user_id" = String, Path, description = "The other user")),
    responses(
        (status = 200, description = "The existing channel", body = ChannelAnswer),
        (status = 201, description = "The new channel", body = ChannelAnswer),
        (status = 403, description = "`forbidden`: one of the two holds as many channels as allowed"),
        (status = 404, description = "`not_found`: no such user"),
        (status = 422, description = "`invalid`: the user is the caller"),
    ))]
pub(super) async fn direct(
    State(api): State<Api>,
    caller: Caller,
    PathId(other): PathId<UserId>,
) -> Result<(StatusCode, Reply<ChannelAnswer>), Failure> {
    let user_id = caller.user_id();
    another(user_id, other)?;
    let work = api.clone();
    api.finish(async move {
        let users = [user_id, other];
        for _ in 0..3 {
            let new = work.new_channel(ChannelKind::Direct, None);
            let (channel, made) =
                match work.directory().direct_channel(users, new, work.relations).await {
                    Err(DirectoryError::IdTaken) => continue,
                    outcome => outcome?,
                };
            let channel_id = channel.channel_id;
            if made {
                work.publish_membership(channel_id, &users, true).await;
                let event = event::channel(Action::Added, channel_id, ChannelKind::Direct, None);
                let audience = Audience::Users(users.to_vec());
                work.publish_event(audience, event).await;
            }
            let channel = work.channel_view(user_id, channel_id).await?;
            let status = if made { StatusCode::CREATED } else { StatusCode::OK };
            return Ok((status, Reply(ChannelAnswer { channel })));
        }
        Err(DirectoryError::IdTaken.into())
    })
    .await
}

/// `{"channels": […]}`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ChannelsAnswer {
    /// Ordered by channel id, which is the order of creation.
    channels: Vec<ChannelView>,
    has_more: bool,
}

/// List the caller's channels
///
/// Direct channels and groups, ordered by channel id. For the next page, set `after` to the last
/// channel id of this one.
#[utoipa::path(get, path = "/v1/channels", tag = "channels",
    params(
        ("after" = Option<String>, Query, description = "Return channels with larger ids"),
        ("limit" = Option<usize>, Query, description = "Page size, 1 to 200; 50 by default"),
    ),
    responses((status = 200, description = "A page of channels", body = ChannelsAnswer)))]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    parameters: Parameters,
) -> Result<Reply<ChannelsAnswer>, Failure> {
    let (limit, after) = (parameters.limit()?, parameters.id("after")?);
    let read = api.directory().memberships_after(caller.user_id(), after, limit + 1).await?;
    let (memberships, has_more) = page(read, limit);
    let channels = api.channel_views(caller.user_id(), memberships).await?;
    Ok(Reply(ChannelsAnswer { channels, has_more }))
}

/// Get one of the caller's channels
#[utoipa::path(get, path = "/v1/channels/{channel_id}", tag = "channels",
    params(("channel_id" = String, Path, description = "The channel")),
    responses(
        (status = 200, description = "The channel", body = ChannelAnswer),
        (status = 403, description = "`not_a_member`, also for a channel that does not exist"),
    ))]
pub(super) async fn show(
    State(api): State<Api>,
    caller: Caller,
    PathId(channel_id): PathId<ChannelId>,
) -> Result<Reply<ChannelAnswer>, Failure> {
    let channel = api.channel_view(caller.user_id(), channel_id).await?;
    Ok(Reply(ChannelAnswer { channel }))
}

/// A change of a group.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct ChannelPatch {
    /// 1 to 100 characters; without it the name is kept.
    name: Option<String>,
}

/// Rename a group
///
/// Allowed for its owners and admins. The members' sessions receive a `channel` event.
#[utoipa::path(patch, path = "/v1/channels/{channel_id}", tag = "channels",
    params(("channel_id" = String, Path, description = "The group")),
    request_body = ChannelPatch,
    responses(
        (status = 200, description = "The group after the change", body = ChannelAnswer),
        (status = 403, description = "`not_a_member`, `forbidden`"),
        (status = 422, description = "`invalid`"),
    ))]
pub(super) async fn rename(
    State(api): State<Api>,
    caller: Caller,
    PathId(channel_id): PathId<ChannelId>,
    Json(body): Json<ChannelPatch>,
) -> Result<Reply<ChannelAnswer>, Failure> {
    let user_id = caller.user_id();
    let name = body.name.as_deref().map(rules::group_name).transpose()?;
    let work = api.clone();
    api.finish(async move {
        if let Some(name) = name {
            let channel = work.directory().rename_group(user_id, channel_id, name).await?;
            let (kind, name) = (channel.kind, channel.name.as_deref());
            let event = event::channel(Action::Renamed, channel_id, kind, name);
            work.publish_to_channel(channel_id, event).await;
        }
        let channel = work.channel_view(user_id, channel_id).await?;
        Ok(Reply(ChannelAnswer { channel }))
    })
    .await
}

/// Delete a group
///
/// Allowed for its owners. Its messages can no longer be read, and the members' sessions receive a
/// `channel` event.
#[utoipa::path(delete, path = "/v1/channels/{channel_id}", tag = "channels",
    params(("channel_id" = String, Path, description = "The group")),
    responses(
        (status = 204, description = "Deleted"),
        (status = 403, description = "`not_a_member`, `forbidden`"),
    ))]
pub(super) async fn delete(
    State(api): State<Api>,
    caller: Caller,
    PathId(channel_id): PathId<ChannelId>,
) -> Result<StatusCode, Failure> {
    let by = caller.user_id();
    let work = api.clone();
    api.finish(async move {
        let (_, members) = work.directory().delete_group(by, channel_id).await?;
        work.revocations.tell().await;
        // Sessions that are being opened may have read the memberships before.
        work.publish_membership(channel_id, &members, false).await;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

impl Api {
    fn new_channel(&self, kind: ChannelKind, name: Option<String>) -> Channel {
        let created_at = self.engine.ports().clock.now();
        Channel { channel_id: ChannelId::generate(created_at), kind, name, created_at }
    }

    /// The current view that a member has of a channel.
    async fn channel_view(
        &self,
        user_id: UserId,
        channel_id: ChannelId,
    ) -> Result<ChannelView, Problem> {
        let membership = self.membership(user_id, channel_id).await?;
        let mut views = self.channel_views(user_id, vec![membership]).await?;
        views.pop().ok_or_else(|| Problem::new(ProblemCode::Internal, "one channel has no view"))
    }

    async fn channel_views(
        &self,
        user_id: UserId,
        memberships: Vec<Membership>,
    ) -> Result<Vec<ChannelView>, Problem> {
        let history = &self.engine.ports().history;
        let ids: Vec<_> = memberships.iter().map(|one| one.channel.channel_id).collect();
        let heads = history.heads(&ids).await?;
        let views = memberships.into_iter().zip(heads).map(async |(membership, head)| {
            let (channel_id, read) = (membership.channel.channel_id, membership.read_up_to);
            let unread = if head > read {
                history.count_unread(channel_id, read, user_id, UNREAD_ROWS).await?
            } else {
                Unread::default()
            };
            Ok(ChannelView::new(membership, head, unread))
        });
        stream::iter(views).buffered(CONCURRENT_COUNTS).try_collect().await
    }

    /// Publishes an event to the sessions of `audience`.
    pub(super) async fn publish_event(&self, audience: Audience, event: bytes::Bytes) {
        self.engine.publish(Delivery::Event { audience, event }).await;
    }

    /// Publishes an event to all sessions that are subscribed to a channel.
    pub(super) async fn publish_to_channel(&self, channel_id: ChannelId, event: bytes::Bytes) {
        let audience = Audience::Channel { channel_id, except: None };
        self.publish_event(audience, event).await;
    }
}
