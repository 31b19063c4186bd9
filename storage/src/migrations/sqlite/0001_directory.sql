-- The directory: who there is, who may log in, who stands how to whom, who talks where.
-- Times are microseconds since the Unix epoch, UTC. Ids are below 2^63.

CREATE TABLE users (
    user_id      INTEGER NOT NULL PRIMARY KEY CHECK (user_id >= 0),
    username     TEXT    NOT NULL,
    -- The username without case, folded by the program: SQLite folds ASCII only. Unique, and in
    -- the order of code points, so that a prefix is a range of the index.
    username_key TEXT    NOT NULL UNIQUE,
    display_name TEXT    NOT NULL,
    status_text  TEXT    NOT NULL,
    avatar_url   TEXT    NOT NULL,
    created_at   INTEGER NOT NULL
) STRICT;

-- Apart from users, so that no read of a profile carries a password hash.
CREATE TABLE credentials (
    user_id       INTEGER NOT NULL PRIMARY KEY REFERENCES users,
    password_hash TEXT    NOT NULL
) STRICT;

CREATE TABLE devices (
    device_id INTEGER NOT NULL PRIMARY KEY CHECK (device_id >= 0),
    user_id   INTEGER NOT NULL REFERENCES users,
    name      TEXT    NOT NULL
) STRICT;

-- SHA-256 of the tokens; the tokens themselves are nowhere.
CREATE TABLE access_tokens (
    token_hash BLOB    NOT NULL PRIMARY KEY CHECK (length(token_hash) = 32),
    device_id  INTEGER NOT NULL REFERENCES devices,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- NULL is what the user never set: the program's default, whatever it is by then.
CREATE TABLE settings (
    user_id        INTEGER NOT NULL PRIMARY KEY REFERENCES users,
    locale         TEXT,
    notifications  TEXT CHECK (notifications IN ('all', 'mentions', 'none')),
    share_presence INTEGER CHECK (share_presence IN (0, 1)),
    share_read     INTEGER CHECK (share_read IN (0, 1))
) STRICT;

-- user_id has asked friend_id; two rows, one each way, are a friendship.
CREATE TABLE friends (
    user_id   INTEGER NOT NULL REFERENCES users,
    friend_id INTEGER NOT NULL REFERENCES users,
    PRIMARY KEY (user_id, friend_id),
    CHECK (user_id <> friend_id)
) STRICT, WITHOUT ROWID;

-- Who has asked a user.
CREATE INDEX friends_by_friend ON friends (friend_id, user_id);

-- user_id has blocked blocked_id.
CREATE TABLE blocks (
    user_id    INTEGER NOT NULL REFERENCES users,
    blocked_id INTEGER NOT NULL REFERENCES users,
    PRIMARY KEY (user_id, blocked_id),
    CHECK (user_id <> blocked_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE channels (
    channel_id  INTEGER NOT NULL PRIMARY KEY CHECK (channel_id >= 0),
    kind        TEXT    NOT NULL CHECK (kind IN ('direct', 'group')),
    name        TEXT,
    created_at  INTEGER NOT NULL,
    -- The pair of a direct channel, which has one channel; NULL in groups.
    direct_low  INTEGER REFERENCES users,
    direct_high INTEGER REFERENCES users,
    -- How many have ever come to it.
    arrivals    INTEGER NOT NULL,
    UNIQUE (direct_low, direct_high),
    CHECK ((kind = 'direct') = (direct_low IS NOT NULL)),
    CHECK ((kind = 'direct') = (direct_high IS NOT NULL)),
    CHECK (direct_low < direct_high)
) STRICT;

CREATE TABLE members (
    channel_id INTEGER NOT NULL REFERENCES channels ON DELETE CASCADE,
    user_id    INTEGER NOT NULL REFERENCES users,
    role       TEXT    NOT NULL CHECK (role IN ('member', 'admin', 'owner')),
    -- Smaller for those who came earlier; it orders who succeeds an owner.
    arrival    INTEGER NOT NULL,
    read_up_to INTEGER NOT NULL,
    PRIMARY KEY (channel_id, user_id)
) STRICT, WITHOUT ROWID;

-- The channels of a user.
CREATE INDEX members_by_user ON members (user_id, channel_id);
