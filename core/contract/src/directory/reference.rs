//! Long random sequences of calls, whose results are compared with those of the in-memory
//! directory. They cover combinations that no named property lists.

use std::fmt::Debug;

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

use crate::property::properties;
use pabal_core::memory::MemoryDirectory;
use pabal_core::model::{MessageId, NotificationLevel, Role, UserId};
use pabal_core::ports::{Directory, ProfileChange, RelationLimits, SettingsChange};

use super::{Dir, access, channel_id, direct, group, password_hash, user};

pub(super) async fn run(fresh: &impl AsyncFn() -> Dir) {
    properties! { fresh() =>
        random_calls_return_the_same_as_in_memory
    }
}

const CALLS: usize = 500;

/// Limits that the random calls reach now and then.
const FEW: RelationLimits =
    RelationLimits { group_members: 4, groups_by_strangers: 2, channels: 4, friends: 3, blocks: 3 };

async fn random_calls_return_the_same_as_in_memory(directory: Dir) {
    let reference = MemoryDirectory::default();
    // A fixed seed gives the same calls in every run. A failure names the call.
    let mut rng = StdRng::seed_from_u64(0x_7061_6261_6c00);
    for call in 0..CALLS {
        let step = Step::random(&mut rng);
        let (expected, got) = (step.run(&reference).await, step.run(&*directory).await);
        assert_eq!(got, expected, "call {call}, {step:?}");
        if call % 25 == 0 {
            assert_eq!(all_data(&*directory).await, all_data(&reference).await, "{call}");
        }
    }
    assert_eq!(all_data(&*directory).await, all_data(&reference).await);
}

/// A call with arguments from so few users and channels that calls interact.
#[derive(Clone, Copy, Debug)]
struct Step {
    kind: u32,
    users: [UserId; 2],
    number: u64,
    role: Option<Role>,
    flag: bool,
}

impl Step {
    fn random(rng: &mut impl Rng) -> Self {
        let mut user_id = || UserId::new(rng.random_range(1..=7));
        let users = [user_id(), user_id()];
        let roles = [None, Some(Role::Member), Some(Role::Admin), Some(Role::Owner)];
        Self {
            kind: rng.random_range(0..20),
            users,
            number: rng.random_range(1..=6),
            role: roles[rng.random_range(0..roles.len())],
            flag: rng.random(),
        }
    }

    async fn run(self, directory: &dyn Directory) -> String {
        let Self { users: [one, two], number, role, flag, .. } = self;
        let id = channel_id(number);
        match self.kind {
            0 | 1 => {
                let (user, access) = (user(one.get()), access(one, one.get() + 10 * number));
                shown(directory.sign_up(user, password_hash(number), access).await)
            }
            2 => shown(directory.log_in(access(one, number)).await),
            3 => shown(directory.log_out(access(one, number).token).await),
            4 => {
                let status_text = flag.then(|| format!("status {number}"));
                let change = ProfileChange { status_text, ..Default::default() };
                shown(directory.change_profile(one, change).await)
            }
            5 => {
                let levels = [NotificationLevel::Mentions, NotificationLevel::None];
                let change = SettingsChange {
                    notifications: flag.then(|| levels[number as usize % 2]),
                    share_read: (!flag).then_some(number.is_multiple_of(2)),
                    ..Default::default()
                };
                shown(directory.change_settings(one, change).await)
            }
            6 | 7 => shown(directory.befriend(one, two, FEW).await),
            8 => shown(directory.unfriend(one, two).await),
            9 => shown(directory.block(one, two, FEW).await),
            10 => shown(directory.unblock(one, two).await),
            11 => shown(directory.direct_channel([one, two], direct(number), FEW).await),
            12 | 13 => shown(directory.create_group(group(number), one, vec![two, one], FEW).await),
            14 => shown(directory.rename_group(two, id, format!("name {}", one.get())).await),
            15 if flag => shown(directory.delete_group(two, id).await),
            15 | 16 => shown(directory.put_member(two, id, one, role, FEW).await),
            17 => shown(directory.put_member(one, id, two, role, FEW).await),
            18 => shown(directory.remove_member(if flag { one } else { two }, id, one).await),
            _ => {
                let up_to = MessageId::new(number * two.get());
                shown(directory.mark_read(id, one, up_to).await)
            }
        }
    }
}

/// All readable data of the users and channels in use.
async fn all_data(directory: &dyn Directory) -> Vec<String> {
    let mut seen = vec![shown(directory.users_by_prefix("", 100).await)];
    for user_id in (0..=8).map(UserId::new) {
        seen.push(shown(directory.user(user_id).await));
        seen.push(shown(directory.credentials(&user(user_id.get()).username).await));
        seen.push(shown(directory.settings(user_id).await));
        seen.push(shown(directory.friends(user_id).await));
        seen.push(shown(directory.blocks_after(user_id, None, 100).await));
        seen.push(shown(directory.memberships(user_id).await));
        for number in 1..=6 {
            seen.push(shown(directory.membership(user_id, channel_id(number)).await));
        }
    }
    for number in 1..=70 {
        seen.push(shown(directory.access(access(UserId::new(1), number).token).await));
    }
    for number in 1..=6 {
        seen.push(shown(directory.members(channel_id(number)).await));
        seen.push(shown(directory.push_targets(channel_id(number)).await));
    }
    seen
}

fn shown(result: impl Debug) -> String {
    format!("{result:?}")
}
