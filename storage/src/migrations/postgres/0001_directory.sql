-- The directory: who there is, who may log in, who stands how to whom, who talks where.
-- Times are microseconds since the Unix epoch, UTC. Ids are below 2^63.

CREATE TABLE users (
    user_id      BIGINT  NOT NULL PRIMARY KEY CHECK (user_id >= 0),
    username     TEXT    NOT NULL,
    -- The username without case, folded by the program, as everywhere. In the order of code points,
    -- so that a prefix is a range of the index.
    username_key TEXT    COLLATE "C" NOT NULL,
    display_name TEXT    NOT NULL,
    status_text  TEXT    NOT NULL,
    avatar_url   TEXT    NOT NULL,
    created_at   BIGINT  NOT NULL,
    disabled     BOOLEAN NOT NULL DEFAULT FALSE,
    -- The program knows this name, and what it means to whoever asks for the username.
    CONSTRAINT users_have_different_names UNIQUE (username_key)
);

-- Apart from users, so that no read of a profile carries a password hash.
CREATE TABLE credentials (
    user_id       BIGINT NOT NULL PRIMARY KEY REFERENCES users,
    password_hash TEXT   NOT NULL
);

CREATE TABLE devices (
    device_id BIGINT NOT NULL PRIMARY KEY CHECK (device_id >= 0),
    user_id   BIGINT NOT NULL REFERENCES users,
    name      TEXT   NOT NULL
);

-- The devices of a user.
CREATE INDEX devices_by_user ON devices (user_id);

-- SHA-256 of the tokens; the tokens themselves are nowhere.
CREATE TABLE access_tokens (
    token_hash BYTEA  NOT NULL PRIMARY KEY CHECK (length(token_hash) = 32),
    device_id  BIGINT NOT NULL REFERENCES devices,
    expires_at BIGINT NOT NULL
);

-- Expired tokens are removed, the earliest first.
CREATE INDEX access_tokens_by_expiry ON access_tokens (expires_at);

-- For whoever removes a device: that no token needs it is looked up here.
CREATE INDEX access_tokens_by_device ON access_tokens (device_id);

-- NULL is what the user never set: the program's default, whatever it is by then.
CREATE TABLE settings (
    user_id        BIGINT NOT NULL PRIMARY KEY REFERENCES users,
    locale         TEXT,
    notifications  TEXT CHECK (notifications IN ('all', 'mentions', 'none')),
    share_presence BOOLEAN,
    share_read     BOOLEAN
);

-- user_id has asked friend_id; two rows, one each way, are a friendship.
CREATE TABLE friends (
    user_id   BIGINT NOT NULL REFERENCES users,
    friend_id BIGINT NOT NULL REFERENCES users,
    PRIMARY KEY (user_id, friend_id),
    CHECK (user_id <> friend_id)
);

-- Who has asked a user.
CREATE INDEX friends_by_friend ON friends (friend_id, user_id);

-- user_id has blocked blocked_id.
CREATE TABLE blocks (
    user_id    BIGINT NOT NULL REFERENCES users,
    blocked_id BIGINT NOT NULL REFERENCES users,
    PRIMARY KEY (user_id, blocked_id),
    CHECK (user_id <> blocked_id)
);

CREATE TABLE channels (
    channel_id  BIGINT NOT NULL PRIMARY KEY CHECK (channel_id >= 0),
    kind        TEXT   NOT NULL CHECK (kind IN ('direct', 'group')),
    name        TEXT,
    created_at  BIGINT NOT NULL,
    -- The pair of a direct channel, which has one channel; NULL in groups.
    direct_low  BIGINT REFERENCES users,
    direct_high BIGINT REFERENCES users,
    -- How many have ever come to it.
    arrivals    BIGINT NOT NULL,
    UNIQUE (direct_low, direct_high),
    CHECK ((kind = 'direct') = (direct_low IS NOT NULL)),
    CHECK ((kind = 'direct') = (direct_high IS NOT NULL)),
    CHECK (direct_low < direct_high)
);

CREATE TABLE members (
    channel_id BIGINT NOT NULL REFERENCES channels ON DELETE CASCADE,
    user_id    BIGINT NOT NULL REFERENCES users,
    role       TEXT   NOT NULL CHECK (role IN ('member', 'admin', 'owner')),
    -- Smaller for those who came earlier; it orders who succeeds an owner.
    arrival    BIGINT NOT NULL,
    read_up_to BIGINT NOT NULL,
    PRIMARY KEY (channel_id, user_id)
);

-- The channels of a user.
CREATE INDEX members_by_user ON members (user_id, channel_id);

-- Whose sessions must end; a running node does it and takes the entry out.
CREATE TABLE session_endings (
    number  BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id BIGINT NOT NULL REFERENCES users
);
