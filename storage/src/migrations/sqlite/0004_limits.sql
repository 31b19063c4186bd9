-- How many channels a user holds, and groups that take several transactions.

-- No call sees the group: it is being created or removed, or that was interrupted.
ALTER TABLE channels ADD COLUMN hidden INTEGER NOT NULL DEFAULT 0 CHECK (hidden IN (0, 1));

CREATE INDEX channels_hidden ON channels (created_at) WHERE hidden;

-- The user was added by another one who was no friend then. Not known of earlier members.
ALTER TABLE members ADD COLUMN by_stranger INTEGER NOT NULL DEFAULT 0 CHECK (by_stranger IN (0, 1));

-- How many channels of either kind a user holds.
CREATE INDEX members_held ON members (user_id, by_stranger);
