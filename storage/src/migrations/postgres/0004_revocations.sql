-- Access that was taken away. A change records it in its transaction; a node tells it to all nodes and
-- takes the entry out. An entry outlives what it names, so it refers to nothing.
CREATE TABLE revocations (
    number       BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind         TEXT   NOT NULL CHECK (kind IN ('all', 'device', 'token', 'channel', 'group')),
    user_id      BIGINT NOT NULL,
    token_hash   BYTEA  CHECK (length(token_hash) = 32),
    device_id    BIGINT,
    channel_id   BIGINT,
    channel_name TEXT,
    CHECK ((kind IN ('device', 'token')) = (token_hash IS NOT NULL)),
    CHECK ((kind = 'device') = (device_id IS NOT NULL)),
    CHECK ((kind IN ('channel', 'group')) = (channel_id IS NOT NULL))
);

INSERT INTO revocations (kind, user_id) SELECT 'all', user_id FROM session_endings ORDER BY number;

-- The table stays: nodes of the version before, which still run, read it.
DELETE FROM session_endings;
