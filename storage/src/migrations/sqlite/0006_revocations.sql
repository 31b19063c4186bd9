-- Access that was taken away. A change records it in its transaction; a node tells it to all nodes and
-- takes the entry out. AUTOINCREMENT, because a number that came again would take out an entry that no
-- node has seen. An entry outlives what it names, so it refers to nothing.
CREATE TABLE revocations (
    number       INTEGER PRIMARY KEY AUTOINCREMENT,
    kind         TEXT    NOT NULL CHECK (kind IN ('all', 'device', 'token', 'channel', 'group')),
    user_id      INTEGER NOT NULL,
    token_hash   BLOB    CHECK (length(token_hash) = 32),
    device_id    INTEGER,
    channel_id   INTEGER,
    channel_name TEXT,
    CHECK ((kind IN ('device', 'token')) = (token_hash IS NOT NULL)),
    CHECK ((kind = 'device') = (device_id IS NOT NULL)),
    CHECK ((kind IN ('channel', 'group')) = (channel_id IS NOT NULL))
) STRICT;

INSERT INTO revocations (kind, user_id) SELECT 'all', user_id FROM session_endings ORDER BY number;

DROP TABLE session_endings;
