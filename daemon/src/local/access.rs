//! Whom the gateway serves on its bus, by the credentials that the bus vouches for. What cannot be found out is refused.

use std::collections::HashMap;
use std::ffi::CString;
use std::sync::{Arc, Mutex, PoisonError};

use nix::unistd::{Gid, Group, Uid, User, geteuid, getgrouplist};
use tracing::warn;
use zbus::Connection;
use zbus::OwnedVariant;

/// How many connections are known; all are asked about anew when there are more.
const MOST_KNOWN: usize = 256;

/// Those who may ask.
#[derive(Debug)]
pub(super) struct Access {
    own: u32,
    group: Option<u32>,
    /// By unique name, which no bus gives twice: who is served, and `None` for those who are not.
    known: Mutex<HashMap<String, Option<Arc<str>>>>,
}

/// What the bus says of somebody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Credentials {
    user: Option<u32>,
    /// Older buses do not say.
    groups: Option<Vec<u32>>,
}

impl Access {
    /// By the group of this name, as the machine knows it now. Asks the machine's databases of users: waits.
    pub(super) fn new(group: &str) -> Self {
        let found = Group::from_name(group).unwrap_or_else(|e| {
            warn!(
                see = "group-unknown",
                "the group {group:?} cannot be looked up: {e}; its members are not served"
            );
            None
        });
        Self {
            own: geteuid().as_raw(),
            group: found.map(|group| group.gid.as_raw()),
            known: Mutex::default(),
        }
    }

    /// Whether the group is there.
    pub(super) const fn has_group(&self) -> bool {
        self.group.is_some()
    }

    /// The user's name if the owner of this unique name is served.
    pub(super) async fn of(&self, connection: &Connection, unique_name: &str) -> Option<Arc<str>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(unique_name).cloned();
        if let Some(known) = known {
            return known;
        }
        let Credentials { user: Some(user), groups } = credentials(connection, unique_name).await? else {
            return None;
        };
        let found = tokio::task::spawn_blocking(move || {
            let name = User::from_uid(Uid::from_raw(user)).ok().flatten();
            let groups = groups.or_else(|| name.as_ref().and_then(groups_of));
            let name = name.map_or_else(|| user.to_string(), |user| user.name);
            (groups.unwrap_or_default(), name)
        });
        let (groups, name) = found.await.ok()?;
        let served = is_served(user, &groups, self.own, self.group).then(|| Arc::<str>::from(name));
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST_KNOWN {
            known.clear();
        }
        known.insert(unique_name.to_owned(), served.clone());
        served
    }
}

/// Root, the daemon's own user, and the group's members.
fn is_served(user: u32, groups: &[u32], own: u32, group: Option<u32>) -> bool {
    user == 0 || user == own || group.is_some_and(|group| groups.contains(&group))
}

/// Of those that the machine's databases know.
fn groups_of(user: &User) -> Option<Vec<u32>> {
    let name = CString::new(user.name.as_str()).ok()?;
    let groups = getgrouplist(&name, user.gid).ok()?;
    Some(groups.into_iter().map(Gid::as_raw).collect())
}

async fn credentials(connection: &Connection, unique_name: &str) -> Option<Credentials> {
    const BUS: &str = "org.freedesktop.DBus";
    let path = "/org/freedesktop/DBus";
    let reply = connection
        .call_method(Some(BUS), path, Some(BUS), "GetConnectionCredentials", &unique_name)
        .await
        .ok()?;
    // Where a bus lets everybody send answers that nobody asked for, anybody may have sent this one.
    if reply.header().sender().is_none_or(|sender| sender != BUS) {
        return None;
    }
    let said: HashMap<String, OwnedVariant> = reply.body().deserialize().ok()?;
    let groups =
        said.get("UnixGroupIDs").and_then(|value| Vec::<u32>::try_from(value.try_clone().ok()?).ok());
    let user = said.get("UnixUserID").and_then(|value| u32::try_from(value).ok());
    Some(Credentials { user, groups })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_served() {
        for (who, user, groups, group, expected) in [
            ("root", 0, &[0][..], None, true),
            ("the daemon's own user", 990, &[990], Some(990), true),
            ("its own user where there is no group", 990, &[], None, true),
            ("a member", 1_000, &[1_000, 27, 990], Some(990), true),
            ("somebody else", 1_001, &[1_001, 27], Some(990), false),
            ("somebody where there is no group", 1_001, &[0, 990], None, false),
            ("a member of root's group", 1_001, &[0], Some(990), false),
            ("somebody of whom no groups are known", 1_001, &[], Some(990), false),
        ] {
            assert_eq!(is_served(user, groups, 990, group), expected, "{who}");
        }
    }

    #[test]
    fn a_group_that_is_not_there_has_no_members() {
        let access = Access::new("no-such-group-of-nowd");
        assert!(!access.has_group() && access.own == geteuid().as_raw());
        assert!(Access::new("root").has_group());
    }
}
